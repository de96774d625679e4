"""Writing a video, with everything but the picture taken over from a source."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.settings import Encoding
from videxplain.video import ffmpeg as program
from videxplain.video.encoder import DEFAULT_CODEC, SegmentEncoder, TrackFormat, disk_error
from videxplain.video.opening import Source, url


def check_output(path: str | os.PathLike[str], *inputs: str | os.PathLike[str] | Source | None) -> None:
    """Refuse, before any work, an output that cannot be written.

    Raises
    ------
    VidexplainError
        If `path` is a folder, is one of `inputs`, has an ending that names no container, or lies where
        nothing may be written.
    """
    name = os.fsdecode(path)
    if os.path.isdir(name):
        raise VidexplainError(f"the output {name!r} is a folder; give the name of a file in it.")
    if os.path.exists(name) and not os.path.isfile(name):
        raise VidexplainError(f"the output {name!r} is a pipe or a device; give the name of a file.")
    program.container_format(name)
    for other in inputs:
        if other is None or not os.path.exists(name) or not os.path.exists(other):
            continue
        if os.path.samefile(name, other):
            raise VidexplainError(f"the output {name!r} is the input itself; choose another name.")
    folder = os.path.dirname(os.path.abspath(name))
    if not os.path.isdir(folder):
        raise VidexplainError(f"there is no folder {folder!r}; make it first.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        told = disk_error(error, name) or VidexplainError(f"cannot write to {folder!r} ({error.strerror}).")
        raise told from error


def with_codec(encoding: Encoding, path: str | os.PathLike[str]) -> Encoding:
    """The encoding with an encoder for that output, where none was asked for."""
    if encoding.codec:
        return encoding
    return replace(
        encoding, codec="libvpx-vp9" if program.container_format(path) == "webm" else DEFAULT_CODEC
    )


def check_track(path: str | os.PathLike[str], track: TrackFormat) -> TrackFormat:
    """The track with an encoder and with ticks that a container can hold, once tried; nothing is written.

    Raises
    ------
    VidexplainError
        If the encoder is missing, does not work here, or makes what the output's container cannot hold.
    """
    track = replace(track, encoding=with_codec(track.encoding, path)).checked()
    track.try_out(program.container_format(path))
    return track


class VideoWriter:
    """Writes frames with exact times; the file appears under its name only when it is whole.

    Parameters
    ----------
    path : path
        Ends in .mp4, .m4v, .mov, .mkv or .webm.
    track : TrackFormat
        Of the frames. Odd sizes are padded by repeating the last row or column: 4:2:0 sampling needs even ones.
    source : path or Source, optional
        A file whose audio, subtitles, chapters and metadata are carried over. `Video.source` knows how its clock jumps.

    Raises
    ------
    VidexplainError
        If the file cannot be written there, or the encoder does not exist.

    Examples
    --------
    >>> track = TrackFormat(640, 360, time_base=Fraction(1, 25), rate=Fraction(25))
    >>> with VideoWriter("out.mp4", track) as writer:  # doctest: +SKIP
    ...     writer.write(image, Fraction(0))
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        track: TrackFormat,
        *,
        source: str | os.PathLike[str] | Source | None = None,
    ) -> None:
        self.path = os.fsdecode(path)
        self.source = Source.of(source)
        self.notes: list[str] = []
        check_output(self.path, self.source)
        self.track = check_track(self.path, track)
        self._folder = tempfile.TemporaryDirectory(
            dir=os.path.dirname(os.path.abspath(self.path)),
            prefix=f".{Path(self.path).stem}-",
            ignore_cleanup_errors=True,
        )
        self._segment = os.path.join(self._folder.name, "video.mp4")
        self._encoder: SegmentEncoder | None = None
        self._end: Fraction | None = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def write(self, image: npt.NDArray[np.uint8], time: Fraction, duration: Fraction | None = None) -> None:
        """Add a frame, uint8 RGB (H, W, 3), shown from `time` on; `duration` counts if it is the last."""
        with self._told():
            if self._encoder is None:
                self._encoder = SegmentEncoder(self._segment, self.track)
            self._encoder.write(image, time)
        self._end = time + (duration or 1 / self.track.rate)

    def close(self) -> None:
        """Finish the file and give it its name.

        Raises
        ------
        VidexplainError
            If no frame was written, or the disk fails.
        """
        if self._encoder is None:
            self.abort()
            raise VidexplainError(f"no frame was written to {self.path!r}.")
        with self._told():
            encoder, self._encoder = self._encoder, None
            encoder.close()
            self.notes += finish_video(
                [self._segment], self.path, self.track, self._end, self.source, folder=self._folder.name
            )
        self._folder.cleanup()

    def abort(self) -> None:
        """Leave nothing behind."""
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
        self._folder.cleanup()

    @contextlib.contextmanager
    def _told(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except OSError as error:
            self.abort()
            told = disk_error(error, self.path)
            if told is None:
                raise
            raise told from error
        except BaseException:
            self.abort()
            raise


class Chapter(NamedTuple):
    """A chapter of a video, from `begin` in milliseconds to where the next one begins."""

    begin: int
    title: str


def join_segments(
    paths: Iterable[str],
    output: str,
    track: TrackFormat,
    end: Fraction | None,
    chapters: Sequence[Chapter] = (),
) -> int:
    """Join segments, in order, into one MP4 file of one track, without touching a frame.

    Decoding times are laid anew, from the sorted presentation times of all segments, because each encoder
    only knew its own.

    Parameters
    ----------
    end : Fraction, optional
        When the last frame stops being shown, in seconds.
    chapters : sequence of Chapter, optional
        Of the file, in order.

    Returns
    -------
    int
        The number of frames.
    """
    paths = list(paths)
    times: list[int] = []
    delay = 0
    for path in paths:
        stamps = [packet.pts for packet, _ in _packets(path, track)]
        order = {stamp: rank for rank, stamp in enumerate(sorted(stamps))}
        delay = max([delay, *(place - order[stamp] for place, stamp in enumerate(stamps))])
        times += sorted(stamps)
    step = times[1] - times[0] if len(times) > 1 else max(1, track.ticks(1 / track.rate))
    last = times[-1] + step if end is None else track.ticks(end)
    places = {stamp: rank for rank, stamp in enumerate(times)}
    written = 0
    with av.open(url(output), "w", format="mp4", options=track.clock) as container:
        stream = None
        ends = [chapter.begin for chapter in chapters[1:]] + [round(1000 * last * track.time_base)]
        container.set_chapters(
            [
                {
                    "id": number,
                    "start": chapter.begin,
                    "end": max(stop, chapter.begin + 1),
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": chapter.title},
                }
                for number, (chapter, stop) in enumerate(zip(chapters, ends, strict=False))
            ]
        )
        for path in paths:
            for packet, template in _packets(path, track):
                if stream is None:
                    stream = container.add_stream_from_template(template, opaque=True)
                    stream.time_base = track.time_base
                rank = places[packet.pts]
                following = times[rank + 1] if rank + 1 < len(times) else max(last, packet.pts + 1)
                packet.duration = following - packet.pts
                early = written - delay
                packet.dts = times[early] if early >= 0 else times[0] + early * step
                packet.stream = stream
                container.mux(packet)
                written += 1
    return written


def _packets(path: str, track: TrackFormat) -> Iterator[tuple[Any, Any]]:
    with av.open(url(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.pts is None:
                continue
            if packet.time_base != track.time_base:
                packet.pts = track.ticks(packet.pts * packet.time_base)
                packet.time_base = track.time_base
            yield packet, stream


def finish_video(
    segments: list[str],
    output: str,
    track: TrackFormat,
    end: Fraction | None,
    source: Source | None,
    *,
    folder: str,
    chapters: Sequence[Chapter] | None = None,
) -> list[str]:
    """Join encoded segments, carry over the rest of `source`, and put the result in place in one step.

    Parameters
    ----------
    folder : path
        For the files on the way, on the same disk as `output`.
    chapters : sequence of Chapter, optional
        Instead of those of `source`.

    Returns
    -------
    list of str
        Sentences on what could not be carried over as it was.
    """
    picture = os.path.join(folder, "track.mp4")
    whole = os.path.join(folder, f"whole{Path(output).suffix.lower()}")
    try:
        join_segments(segments, picture, track, end, chapters or ())
        notes = program.finish(
            picture,
            whole,
            source,
            timescale=track.time_base.denominator,
            tags=dict(track.tags),
            default=track.default,
            own_chapters=chapters is not None,
        )
        with open(whole, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(whole, output)
    finally:
        for path in (picture, whole):
            with contextlib.suppress(OSError):
                os.unlink(path)
    return notes
