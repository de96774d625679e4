"""Regions from videos whose pixels are numbers of objects, kept by a codec without loss."""

from __future__ import annotations

import os
import threading
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.regions.painting import check_extent
from videxplain.video.decoding import chosen_stream, opened

Numbers = npt.NDArray[np.unsignedinteger[Any]]
_GREY = ("gray", "pal8")
_AS_FFV1 = "FFV1 in Matroska keeps numbers: ffmpeg -i IN -pix_fmt gray16le -c:v ffv1 masks.mkv"


class MaskVideo:
    """Frames (H, W) of a video as numbers, by their place; one is in memory at a time.

    Frames are read fastest in their order; for an earlier one the file is sought in.

    Raises
    ------
    VidexplainError
        If its codec may change numbers, or it is in colour or turned.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fsdecode(path)
        self._times = array("q")  # of all frames, as far as they are known
        self._key_frames: list[int] = []  # at which reading can begin
        self._frames: Iterator[Numbers] | None = None
        self._next = 0
        self._lock = threading.Lock()
        with opened(self.path) as container:
            self._check(chosen_stream(container, None, self.path))

    def _check(self, stream: Any) -> None:
        codec = stream.codec_context.codec
        if not codec.lossless or codec.lossy:
            raise VidexplainError(
                f"{self.path!r} cannot hold numbers of objects: its codec, {codec.name}, may change them. {_AS_FFV1}"
            )
        form = stream.codec_context.pix_fmt or "no known format"
        if not form.startswith(_GREY) or form.startswith("grayf"):
            raise VidexplainError(
                f"{self.path!r} is in colour ({form}); numbers of objects are grey values or indices of a palette. "
                f"{_AS_FFV1}"
            )

    def __iter__(self) -> Iterator[Numbers]:
        """All frames, in their order; what `read` needs is noted on the way."""
        self._times, self._key_frames = array("q"), []
        with opened(self.path) as container:
            stream = chosen_stream(container, None, self.path)
            for place, frame in enumerate(self._decoded(container, stream)):
                if frame.rotation:
                    raise VidexplainError(f"{self.path!r} is marked as turned; save the masks upright.")
                if frame.pts is None or (place and frame.pts <= self._times[-1]):
                    raise VidexplainError(
                        f"{self.path!r} does not tell the time of each frame; copy it into Matroska: "
                        "ffmpeg -i IN -c copy masks.mkv"
                    )
                self._times.append(frame.pts)
                if frame.key_frame:
                    self._key_frames.append(place)
                yield _numbers(frame)

    def read(self, place: int) -> Numbers:
        """The frame at a place, after all were passed once.

        Raises
        ------
        ValueError
            If the file is not what it was then.
        """
        with self._lock:
            start = self._key_frames[max(0, bisect_right(self._key_frames, place) - 1)]
            if self._frames is None or not start <= self._next <= place:
                self._frames, self._next = self._from(start), start
            for frame in self._frames:
                self._next += 1
                if self._next > place:
                    return frame
        raise ValueError("it ends before this frame")

    def _decoded(self, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
        try:
            yield from container.decode(stream)
        except av.FFmpegError as error:
            raise VidexplainError(f"{self.path!r} is damaged: {error}.") from error

    def _from(self, start: int) -> Iterator[Numbers]:
        """Frames from that of a key frame on."""
        with opened(self.path) as container:
            stream = chosen_stream(container, None, self.path)
            container.seek(self._times[start], stream=stream)
            place = start
            for frame in self._decoded(container, stream):
                if frame.pts is not None and frame.pts < self._times[start]:
                    continue
                if place >= len(self._times) or frame.pts != self._times[place]:
                    raise ValueError("it has changed since it was opened")
                place += 1
                yield _numbers(frame)


def _numbers(frame: av.VideoFrame) -> Numbers:
    """The samples of a grey frame, or its indices of a palette, as they are stored."""
    component = frame.format.components[0]
    kind = np.dtype(np.uint8 if component.bits <= 8 else np.uint16)
    if frame.format.is_big_endian:
        kind = kind.newbyteorder(">")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]  # type: ignore[call-overload]
    samples = np.ascontiguousarray(rows[:, : frame.width * kind.itemsize]).view(kind)
    return samples.astype(kind.newbyteorder("="))


def read_mask_video(path: str | os.PathLike[str]) -> Numbers:
    """Numbers (T, H, W) of all frames."""
    frames: list[Numbers] = []
    for frame in MaskVideo(path):
        if frames and frame.shape != frames[0].shape:
            raise VidexplainError(
                f"frame {len(frames)} in {os.fspath(path)!r} is of another size than the first."
            )
        frames.append(frame)
        check_extent(len(frames), frame.shape)
    if not frames:
        raise VidexplainError(f"{os.fspath(path)!r} has no frame.")
    return np.stack(frames)
