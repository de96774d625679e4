"""Streaming reader: upright RGB frames with exact times, in memory that does not grow with length."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np
import numpy.typing as npt

from videxplain.clip import Clip
from videxplain.errors import VidexplainError, kind_of
from videxplain.video.clock import Clock, DecodeReport
from videxplain.video.decoding import all_frames, chosen_stream, may_jump, opened, origin, timeline_of
from videxplain.video.fields import deinterlaced
from videxplain.video.frames import (
    UPRIGHT,
    Frame,
    Orientation,
    color_of,
    convertible,
    fraction,
    orientation_of,
    rgb_color,
    side_data_of,
)
from videxplain.video.images import find_images, frames_in, is_animation, read_animation, read_images
from videxplain.video.opening import Source, check_input

_SAME_TIME = 1e-4  # seconds
DEFAULT_RATE = Fraction(25)
# a second: less is no video, but a clock that jumps
_FEWEST_BYTES = 1000
# PyAV's names of side data, and FFmpeg's of tags, that say more than how to read the samples
_EXTRAS = {
    "A53_CC": "closed captions",
    "STEREO3D": "the stereo arrangement",
    "stereo_mode": "the stereo arrangement",
    "SPHERICAL": "the spherical projection",
    "timecode": "the timecode",
    "S12M_TIMECODE": "the timecode",
    "ICC_PROFILE": "the colour profile",
    "MASTERING_DISPLAY_METADATA": "HDR metadata",
    "CONTENT_LIGHT_LEVEL": "HDR metadata",
    "DYNAMIC_HDR_PLUS": "HDR metadata",
    "DYNAMIC_HDR_VIVID": "HDR metadata",
    "DOVI_METADATA": "HDR metadata",
    "DOVI_RPU_BUFFER": "HDR metadata",
}


class Video:
    """A video that can be read frame by frame or clip by clip, any number of times; see `open_video`.

    Attributes
    ----------
    path : str
    width, height : int
        Of the upright frames, in pixels.
    rate : Fraction
        Mean frames per second as the container tells (25 where it does not).
    duration : Fraction or None
        In seconds, as the container tells.
    frame_count : int or None
        As the container tells; containers may be wrong, and many do not say.
    time_base : Fraction
        Every frame time is a multiple of it, as long as the timestamps are sound.
    stream_index : int or None
        Which stream of the file is read; None for images.
    sample_aspect_ratio : Fraction
        Width over height of a displayed pixel of the upright frame.
    color : dict
        Tags, in ffmpeg's numbers, for a track of Y'CbCr that shows the same colours: colorspace, color_range,
        color_primaries, color_trc.
    report : DecodeReport
        Of the last, or current, pass over the frames.
    tags : dict
        The stream's language, title and handler_name, as far as the container tells them.
    default : bool
        Whether the container marks the stream as one to be shown by default.
    source : Source or None
        The file, for what is to be taken over from it; None for images.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        stream: int | None = None,
        rate: float | None = None,
        deinterlace: bool = False,
    ) -> None:
        self._deinterlace = deinterlace
        self.path = os.fsdecode(path)
        self.report = DecodeReport()
        self.sample_aspect_ratio = Fraction(1)
        self.color: dict[str, int] = {}
        self.orientation: Orientation = UPRIGHT
        self.stream_index: int | None = None
        self.tags: dict[str, str] = {}
        self.default = True
        self._origin = Fraction(0)
        self._left_out: list[str] = []
        self.source: Source | None = None
        images = find_images(self.path)
        self._images: list[Path] | None = images
        self._animated = images is None and is_animation(self.path)
        if self._animated:
            self._probe_animation()
        elif images is not None:
            self.rate = Fraction(rate).limit_denominator(1001) if rate else DEFAULT_RATE
            self.time_base = 1 / self.rate
            self.frame_count: int | None = len(images)
            self.duration: Fraction | None = len(images) / self.rate
            first = next(read_images(images[:1], None, self.report))
            self._stored = first.shape[:2]
            self.color = rgb_color(self._stored[0])
        else:
            check_input(self.path)
            self.source = Source(self.path)
            self._probe(stream)
        self.height, self.width = self._stored[::-1] if self.orientation[0] % 2 else self._stored

    @property
    def expected_frames(self) -> int | None:
        """`frame_count`, or what the duration and the rate make of it; None where the container tells neither."""
        if self.frame_count is None and self.duration is not None:
            return max(1, round(self.duration * self.rate))
        return self.frame_count

    def __enter__(self) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass  # every pass over the frames opens the file for itself and closes it

    def __repr__(self) -> str:
        return f"Video({self.path!r}, {self.width}x{self.height}, {float(self.rate):.3f} fps)"

    def frames(self) -> Iterator[Frame]:
        """All frames in order of presentation, decoded as they are asked for.

        Damaged packets are left out and told in `report`; nothing is raised for them.
        """
        self.report = report = DecodeReport(left_out=list(self._left_out))
        if self._images is not None:
            for index, image in enumerate(read_images(self._images, self._stored, report)):
                yield Frame(index, index / self.rate, image, duration=1 / self.rate)
            return
        if self._animated:
            yield from self._animation(report)
            return
        clock = Clock(self.time_base, 1 / self.rate, self.duration, report, self._origin)
        assert self.source is not None
        decoded = all_frames(self.source, self.stream_index, clock)
        if self._deinterlace:
            decoded = deinterlaced(decoded)
        for index, (frame, context) in enumerate(decoded):
            time = clock.stamp(frame.pts, frame.dts)
            stretch = 1.0
            if (frame.height, frame.width) != self._stored:
                report.resized += 1
                ratio = fraction(context.sample_aspect_ratio) or Fraction(1)
                stretch = float(ratio / self._stored_ratio) if ratio > 0 else 1.0
            report.interlaced += frame.interlaced_frame
            if matrix := convertible(frame):
                report.matrices.add(matrix)
            duration = frame.duration * self.time_base if frame.duration else None
            yield Frame(
                index,
                time,
                duration=duration,
                decoded=frame,
                size=self._stored,
                orientation=self.orientation,
                stretch=stretch,
            )

    def clips(self, length: int = 16, stride: int = 1, hop: int | None = None) -> Iterator[Clip]:
        """Windows of `length` frames, `stride` frames apart, the next window `hop` frames after the last.

        Parameters
        ----------
        hop : int, optional
            By default ``length * stride``: windows follow each other without overlap or gap.

        Yields
        ------
        Clip
            Every window that holds a frame no window before it reached. The last one, when the video ends
            inside it, is filled up by holding its last frame; `Clip.held` says with how many.
        """
        hop = length * stride if hop is None else hop
        if min(length, stride, hop) < 1:
            raise ValueError(f"length, stride and hop must be positive, got {length}, {stride}, {hop}")
        span = (length - 1) * stride + 1
        window: list[Frame] = []
        start, seen, reached = 0, 0, 0
        for frame in self.frames():
            seen = frame.index + 1
            if frame.index >= start and (frame.index - start) % stride == 0:
                window.append(frame)
            elif frame.index >= start and hop % stride:
                window.append(frame)  # a later window will want it
            if frame.index == start + span - 1:
                yield _clip(window, start, stride, length, self.path)
                reached = start + span
                start += hop
                window = [kept for kept in window if kept.index >= start]
        while start < seen and reached < seen and window:
            yield _clip(window, start, stride, length, self.path)
            reached = start + span
            start += hop
            window = [kept for kept in window if kept.index >= start]

    def pictures_at(self, times: Sequence[float]) -> npt.NDArray[np.uint8]:
        """The frames (T, H, W, 3) that are shown from these times on, in seconds, which rise.

        Decoding begins at the key frame before the first; at the beginning of the file where its time stamps are not
        the times at which frames are shown.

        Raises
        ------
        VidexplainError
            If the video has no such frames.
        """
        for frames in (self._frames_from(times[0]), self.frames()):
            found: list[npt.NDArray[np.uint8]] = []
            for frame in frames:
                while len(found) < len(times) and abs(float(frame.time) - times[len(found)]) < _SAME_TIME:
                    found.append(frame.rgb())  # a frame that is held has its time again
                if len(found) == len(times):
                    return np.stack(found)
                if float(frame.time) > times[len(found)] + _SAME_TIME:
                    break
        raise VidexplainError(
            f"{self.path!r} has no frames at {times[0]:.3f} to {times[-1]:.3f} s; is it the video that was explained?"
        )

    def _frames_from(self, time: float) -> Iterator[Frame]:
        """Frames from the key frame before `time` on, with the file's own time stamps; none where it cannot jump."""
        if self.source is None or self._deinterlace:
            return
        with opened(self.path) as container:
            stream = container.streams[self.stream_index]
            try:
                container.seek(
                    int(time / self.time_base) + round(self._origin / self.time_base), stream=stream
                )
                for frame in container.decode(stream):
                    if frame.pts is None or (frame.height, frame.width) != self._stored:
                        return
                    at = (frame.pts - round(self._origin / self.time_base)) * self.time_base
                    yield Frame(-1, at, decoded=frame, size=self._stored, orientation=self.orientation)
            except (av.FFmpegError, OSError, ValueError):
                return

    def _probe_animation(self) -> None:
        image, duration = next(read_animation(self.path))
        self._stored = image.shape[:2]
        self.color = rgb_color(self._stored[0])
        self.rate, self.time_base = 1 / duration, Fraction(1, 1000)
        self.frame_count = frames_in(self.path)
        self.duration = None

    def _animation(self, report: DecodeReport) -> Iterator[Frame]:
        time = Fraction(0)
        try:
            for index, (image, duration) in enumerate(read_animation(self.path)):
                yield Frame(index, time, image, duration=duration)
                time += duration
        except (OSError, ValueError, SyntaxError) as error:
            report.broken_off = str(error)

    def _probe(self, stream: int | None) -> None:
        assert self.source is not None
        with opened(self.path) as container:
            chosen = chosen_stream(container, stream, self.path)
            self.stream_index = chosen.index
            self.time_base = fraction(chosen.time_base) or Fraction(1, 1000)
            told = {name.lower(): text for name, text in chosen.metadata.items() if text}
            told.setdefault("title", told.get("name", ""))  # so MP4 calls it
            self.tags = {name: told[name] for name in ("language", "title", "handler_name") if told.get(name)}
            self.default = bool(chosen.disposition & av.stream.Disposition.default)
            self._origin = origin(container)
            self.source.timeline = timeline_of(container)
            rate = fraction(chosen.average_rate or chosen.guessed_rate or chosen.base_rate)
            self.rate = rate if rate and 0 < rate <= 1000 else DEFAULT_RATE
            self.frame_count = chosen.frames if chosen.frames > 0 else None
            if chosen.duration is not None and chosen.duration > 0:
                self.duration = chosen.duration * self.time_base
            elif container.duration is not None and container.duration > 0:
                self.duration = Fraction(container.duration, av.time_base)
                if self.duration > self._origin and not may_jump(container):
                    self.duration -= self._origin  # such containers tell when they end
            else:
                self.duration = None
            # made of the first and the last time stamp, which then tell nothing
            claimed = self.duration if may_jump(container) else None
            if claimed and os.path.getsize(self.path) < _FEWEST_BYTES * claimed:
                self.duration = None
            first, _ = next(all_frames(self.source, chosen.index, None), (None, None))
            if first is None:
                raise VidexplainError(
                    f"{self.path!r} has no video frame that can be decoded; it may be cut off or damaged."
                )
            convertible(first)
            self._stored = (first.height, first.width)
            self.orientation = orientation_of(first)
            self.color = color_of(first)
            self._left_out = _left_out(first, told)
            self.stored_format = first.format.name
            ratio = fraction(chosen.sample_aspect_ratio)
            self._stored_ratio = ratio if ratio and ratio > 0 else Fraction(1)
            turned = self.orientation[0] % 2
            self.sample_aspect_ratio = 1 / self._stored_ratio if turned else self._stored_ratio


def open_video(
    path: str | os.PathLike[str],
    stream: int | None = None,
    rate: float | None = None,
    deinterlace: bool = False,
) -> Video:
    """Open a video for streaming.

    Parameters
    ----------
    path : path
        A video file of any format that ffmpeg reads, an animated GIF, a folder of images, or a pattern
        of numbered images such as ``frame%04d.png``.
    stream : int, optional
        Which of the file's video streams, counted from 0; by default the one that ffmpeg calls best.
    rate : float, optional
        Frames per second of images (25 by default); a video has its own.
    deinterlace : bool
        Make frames that are marked as interlaced whole, by ffmpeg's `bwdif`: their number and times stay.

    Returns
    -------
    Video
        To be read by `frames` or `clips`; a context manager.

    Raises
    ------
    VidexplainError
        If there is no such file, or nothing in it can be decoded as video.

    Examples
    --------
    >>> for clip in open_video("match.mp4").clips(length=16, stride=2):  # doctest: +SKIP
    ...     print(clip.times[0], clip.frames.shape)
    """
    if not isinstance(path, str | bytes | os.PathLike):
        raise VidexplainError(f"open_video takes the path of a video, not {kind_of(path)}.")
    return Video(path, stream, rate, deinterlace)


def _left_out(first: av.VideoFrame, tags: dict[str, str]) -> list[str]:
    """What comes with the pictures beside their samples that encoding them anew loses, as their first tells."""
    there = {*side_data_of(first), *tags}
    return sorted({name for key, name in _EXTRAS.items() if key in there})


def check_source(path: str | os.PathLike[str]) -> None:
    """Refuse, before any work, what cannot be opened, as far as that shows from outside; folders of videos pass.

    Raises
    ------
    VidexplainError
        As `check_input`, or where no image fits a pattern.
    """
    name = os.fsdecode(path)
    if os.path.isdir(name) or find_images(name) is None:
        check_input(name)


def _clip(window: list[Frame], start: int, stride: int, length: int, source: str) -> Clip:
    chosen = [frame for frame in window if (frame.index - start) % stride == 0][:length]
    held = length - len(chosen)
    chosen += [chosen[-1]] * held
    frames = np.stack([frame.image for frame in chosen])
    return Clip(frames, tuple(frame.time for frame in chosen), start, stride, held, source)
