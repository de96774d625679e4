"""Encoding frames into one self-contained segment, and joining segments into one track."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import queue
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace

from videxplain.errors import VidexplainError
from videxplain.settings import Encoding
from videxplain.video.frames import planes, reformatter
from videxplain.video.opening import url

if TYPE_CHECKING:
    from videxplain.video.reader import Video

DEFAULT_CODEC = "libx264"
# libx264: "veryfast" at 18 looks like "medium" at 20, in under half of the time and a ninth to a fifth more bytes
_CRF = {"libx264": 18, "libx265": 22, "libvpx-vp9": 30, "libsvtav1": 30}
_PRESET = {"libx264": "veryfast", "libx265": "medium", "libsvtav1": "8", "libvpx-vp9": "4"}
# AVColorSpace to the names of PyAV's reformatter; what is not tagged is BT.601, as in swscale
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: getattr(Colorspace, "BT2020", Colorspace.ITU709),  # PyAV has it from 18 on
}
_FORMAT = "yuv420p"
# MP4 keeps ticks per second in 32 bits and track lengths in ticks; finer clocks are rounded to this
_FINEST = 1_000_000
_FINEST_OF = {"mpeg4": 65535}


@dataclass(frozen=True)
class TrackFormat:
    """How pictures become a track: everything that has to be equal for segments to fit together.

    Attributes
    ----------
    width, height : int
        Of the pictures; the track is one pixel larger where they are odd and the format needs even ones.
    time_base : Fraction
        Ticks of the track, in seconds; frame times are multiples of it.
    rate : Fraction
        Mean frames per second, which guides the encoder; frame times need not follow it.
    encoding : Encoding
    sample_aspect_ratio : Fraction
        Width over height of a displayed pixel.
    color : tuple of (str, int)
        Colour tags, as `Video.color` has them.
    tags : tuple of (str, str)
        Language, title and handler_name, for the finished file.
    default : bool
        Whether the track is marked as one to be shown by default, where the container can tell.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    encoding: Encoding = field(default_factory=Encoding)
    sample_aspect_ratio: Fraction = Fraction(1)
    color: tuple[tuple[str, int], ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    default: bool = True

    @classmethod
    def like(cls, video: Video, encoding: Encoding) -> TrackFormat:
        """For pictures of a video's size, clock and colours."""
        return cls(
            video.width,
            video.height,
            video.time_base,
            video.rate,
            encoding,
            video.sample_aspect_ratio,
            tuple(sorted(video.color.items())),
            tuple(sorted(video.tags.items())),
            video.default,
        )

    @property
    def codec(self) -> str:
        """ffmpeg's name of the encoder."""
        return self.encoding.codec or DEFAULT_CODEC

    def checked(self) -> TrackFormat:
        """The same with ticks that a container can hold; refuses a codec that is missing here."""
        try:
            codec = av.Codec(self.codec, "w")
        except (av.FFmpegError, ValueError):
            raise VidexplainError(
                f"there is no video encoder {self.codec!r} here; "
                f"try libx264, libx265, libvpx-vp9, libsvtav1 or mpeg4."
            ) from None
        if codec.type != "video":
            raise VidexplainError(f"{self.codec!r} does not encode video; try libx264.")
        formats = {known.name for known in codec.video_formats or ()}
        if formats and _FORMAT not in formats:
            raise VidexplainError(
                f"the encoder {self.codec!r} does not take pictures as {_FORMAT}, which is all that is written here; "
                "try libx264."
            )
        for name, value, codecs in (
            ("crf", self.encoding.crf, _CRF),
            ("preset", self.encoding.preset, _PRESET),
        ):
            if value is not None and self.codec not in codecs:
                raise VidexplainError(
                    f"{name} works here for {', '.join(codecs)} only, not for {self.codec!r}."
                )
        finest = _FINEST_OF.get(self.codec, _FINEST)
        ticks = self.time_base.denominator if self.time_base > 0 else finest
        if ticks > finest:  # if possible, a clock that still tells most times
            ticks = max((n for n in range(1, finest + 1) if ticks % n == 0), default=1)
            ticks = ticks if ticks * 10 >= finest else finest
        return replace(self, time_base=Fraction(1, ticks))

    @property
    def padded(self) -> tuple[int, int]:
        """Width and height of the track: even, as 4:2:0 sampling needs."""
        return self.width + self.width % 2, self.height + self.height % 2

    @property
    def clock(self) -> dict[str, str]:
        """Options of ffmpeg's writer of MP4 that keep times as they are.

        The second is for when the track begins, which the file tells in units of its own; by default milliseconds.
        """
        return dict.fromkeys(("video_track_timescale", "movie_timescale"), str(self.time_base.denominator))

    def try_out(self, container: str) -> None:
        """Refuse, before any work, an encoder that does not open here, or whose track the container cannot hold.

        Parameters
        ----------
        container : ffmpeg's name of the output's format

        Raises
        ------
        VidexplainError
            Which of the two it is.
        """
        track = io.BytesIO()
        encoder = SegmentEncoder(track, self)
        encoder.write(self.picture(np.zeros((self.height, self.width, 3), np.uint8)), Fraction(0))
        encoder.close()
        track.seek(0)
        source: Any
        target: Any
        try:
            with av.open(track) as source, av.open(io.BytesIO(), "w", format=container) as target:
                copy = target.add_stream_from_template(source.streams.video[0], opaque=True)
                for packet in source.demux(video=0):
                    if packet.pts is not None:
                        packet.stream = copy
                        target.mux(packet)
        except (av.FFmpegError, ValueError):
            raise VidexplainError(
                f"{container} cannot hold what the encoder {self.codec!r} makes; "
                "choose another codec, or another ending of the output's name."
            ) from None

    def ticks(self, time: Fraction) -> int:
        return round(time / self.time_base)

    def picture(self, image: npt.NDArray[np.uint8]) -> av.VideoFrame:
        """An RGB picture, uint8 (H, W, 3), as the encoder takes it; any thread may make it."""
        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            expected = (self.height, self.width, 3)
            raise ValueError(f"expected uint8 {expected}, got {image.dtype} {image.shape}")
        width, height = self.padded
        if (width, height) != (self.width, self.height):
            image = np.pad(image, ((0, height - self.height), (0, width - self.width), (0, 0)), mode="edge")
        return self._tagged(self._converted(image))

    def planes(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.uint8]]:
        """The planes that an RGB image, uint8 (h, w, 3) with even sides, has in the track."""
        return planes(self._converted(image))

    def takes(self, frame: av.VideoFrame) -> bool:
        """Whether a frame's samples mean in the track what they mean in the frame."""
        return (
            frame.format.name in ("yuv420p", "yuvj420p")
            and not (frame.width % 2 or frame.height % 2)
            and _MATRICES.get(frame.colorspace, Colorspace.ITU601) == self._matrix
            and (frame.color_range == 2 or frame.format.name == "yuvj420p") == self._full_range
        )

    def blank(self) -> av.VideoFrame:
        """A picture to be drawn: its samples are undefined."""
        return self._tagged(av.VideoFrame(*self.padded, _FORMAT))

    @property
    def _matrix(self) -> Colorspace:
        return _MATRICES.get(dict(self.color).get("colorspace", 2), Colorspace.ITU601)

    @property
    def _full_range(self) -> bool:
        return dict(self.color).get("color_range") == 2

    def _converted(self, image: npt.NDArray[np.uint8]) -> av.VideoFrame:
        return reformatter(_FORMAT).reformat(
            # copied, into rows of FFmpeg's own length: swscale reads past the end of others
            av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24"),
            format=_FORMAT,
            dst_colorspace=self._matrix,
            dst_color_range=2 if self._full_range else 1,
        )

    def _tagged(self, frame: av.VideoFrame) -> av.VideoFrame:
        for name, value in self.color:
            with contextlib.suppress(AttributeError):
                setattr(frame, name, value)
        return frame


class FramePool:
    """Frames to draw pictures into, which are used again when they have been encoded; for several threads.

    Long videos would otherwise take memory for each frame in one thread and free it in another, which leaves holes.

    Parameters
    ----------
    most
        How many are kept for later.
    """

    def __init__(self, track: TrackFormat, most: int) -> None:
        self._track = track
        self._most = most
        self._free: queue.SimpleQueue[av.VideoFrame] = queue.SimpleQueue()

    def blank(self) -> av.VideoFrame:
        """As `TrackFormat.blank`."""
        try:
            picture = self._free.get_nowait()
        except queue.Empty:
            return self._track.blank()
        picture.make_writable()  # some encoders keep a frame for a while: then this one gets memory of its own
        return picture

    def give_back(self, picture: av.VideoFrame) -> None:
        """For a picture that was encoded."""
        if self._free.qsize() < self._most:
            self._free.put(picture)


class SegmentEncoder:
    """Encodes consecutive frames into an MP4 file of one track.

    Parameters
    ----------
    file : path of the file to write, or a file in memory
    track : TrackFormat

    Raises
    ------
    VidexplainError
        If MP4 cannot hold such a track; when the first picture is written, if the encoder does not open.
    """

    def __init__(self, file: str | io.BytesIO, track: TrackFormat) -> None:
        self.path = file if isinstance(file, str) else ""
        self.track = track
        self._written = 0
        self._last: int | None = None
        target: Any = url(file) if isinstance(file, str) else file
        self._container = av.open(target, "w", format="mp4", options=track.clock)
        try:
            self._stream = self._configure(self._container)
        except ValueError:
            self.abort()
            raise VidexplainError(
                f"what the encoder {track.codec!r} makes does not go into MP4, through which it is written here; "
                "try libx264."
            ) from None
        except BaseException:
            self.abort()
            raise

    def _configure(self, container: Any) -> Any:
        track, codec, encoding = self.track, self.track.codec, self.track.encoding
        options = {}
        crf = _CRF.get(codec) if encoding.crf is None else encoding.crf
        if crf is not None and codec in _CRF:
            options["crf"] = f"{crf:g}"
        preset = encoding.preset or _PRESET.get(codec)
        if preset:
            options["cpu-used" if codec == "libvpx-vp9" else "preset"] = preset
        if codec == "libvpx-vp9":
            options |= {"deadline": "good", "row-mt": "1", "b": "0"}
        elif codec == "libsvtav1":
            os.environ.setdefault(
                "SVT_LOG", "1"
            )  # errors only: it prints to the terminal past ffmpeg's own log
        elif codec == "libx265":
            options["x265-params"] = "log-level=none"
        stream = container.add_stream(codec, rate=track.rate.limit_denominator(100000), options=options)
        stream.width, stream.height = track.padded
        stream.pix_fmt = _FORMAT
        context = stream.codec_context
        context.time_base = track.time_base
        stream.time_base = track.time_base
        context.thread_count = encoding.threads
        context.thread_type = "AUTO"  # by frames as well; PyAV alone would have slices only, which is slower
        context.sample_aspect_ratio = track.sample_aspect_ratio
        for name, value in track.color:
            setattr(context, name, value)
        return stream

    def write(self, image: npt.NDArray[np.uint8] | av.VideoFrame, time: Fraction) -> None:
        """Add a frame, RGB or made by `TrackFormat.picture`, shown from `time` (in seconds; it has to grow)."""
        track = self.track
        ticks = track.ticks(time)
        if self._last is not None and ticks <= self._last:
            raise ValueError(
                f"frame times must increase: {float(time):.6f} s does not come after the frame before"
            )
        frame = image if isinstance(image, av.VideoFrame) else track.picture(image)
        frame.pts, frame.time_base = ticks, track.time_base
        self._last = ticks
        self._written += 1
        self._mux(self._encode(frame))

    def close(self) -> None:
        """Encode what is left and finish the file."""
        packets = self._encode(None)
        if self._written == 1:  # libx265 has no decoding time for a lone picture, and tells one at random
            for packet in packets:
                packet.dts = packet.pts
        self._mux(packets)
        self._container.close()

    def abort(self) -> None:
        """Give up: close the file and remove it."""
        with contextlib.suppress(Exception):
            self._container.close()
        if self.path:
            with contextlib.suppress(OSError):
                os.unlink(self.path)

    def _encode(self, frame: av.VideoFrame | None) -> list[Any]:
        try:
            return self._stream.encode(frame)
        except (
            av.FFmpegError,
            ValueError,
        ) as error:  # some say "not permitted", which is not about the output's folder
            what = "does not work here with these settings" if self._written < 2 else "failed"
            reason = getattr(error, "strerror", None) or error
            raise VidexplainError(
                f"the encoder {self.track.codec!r} {what} ({reason}); try another, such as libx264."
            ) from error

    def _mux(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)


def disk_error(error: BaseException, path: str) -> VidexplainError | None:
    """A sentence for the ways in which writing to a disk fails, or None if it is something else."""
    number = getattr(error, "errno", None)
    folder = os.path.dirname(os.path.abspath(path))
    reasons = {
        errno.ENOSPC: f"the disk is full: {path!r} could not be written; make room, or choose another place.",
        errno.EDQUOT: f"the disk quota is used up: {path!r} could not be written.",
        errno.EACCES: f"{folder!r} may not be written to; choose another place for {path!r}.",
        errno.EPERM: f"{folder!r} may not be written to; choose another place for {path!r}.",
        errno.EROFS: f"{folder!r} is read-only; choose another place for {path!r}.",
        errno.ENOENT: f"there is no folder {folder!r}; make it first.",
        errno.ENOTDIR: f"{folder!r} is not a folder.",
        errno.EFBIG: f"{path!r} became too large for its file system.",
        errno.EIO: f"the disk failed while {path!r} was written.",
    }
    return VidexplainError(reasons[number]) if number in reasons else None
