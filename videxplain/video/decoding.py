"""Decoding one stream of a file, whatever is wrong with it, and making sense of its clock."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from videxplain.errors import VidexplainError
from videxplain.video.clock import LONGEST_PAUSE, Clock, Timeline
from videxplain.video.opening import Source, check_input, open_container


def opened(path: str) -> Any:
    """PyAV's container of a file, or one sentence on why it cannot be had."""
    check_input(path)
    # Older torchvision has FFmpeg's messages sent to Python. A decoder's thread with one to send would wait
    # for the lock that is held by whoever closes the decoder and waits for its threads.
    av.logging.set_level(None)
    container: Any
    try:
        container = open_container(path)
    except PermissionError:
        raise VidexplainError(f"{path!r} may not be read; check its permissions.") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = _reason(error)
        if getattr(error, "errno", None) == errno.EINVAL:  # that is what a format gets that is not allowed
            reason = "its format is no container of video; playlists and scripts are not followed"
        raise VidexplainError(f"{path!r} is not a video that ffmpeg can read ({reason}).") from error
    # where there are no presentation times, as in AVI, FFmpeg's guess at them is worse than the decoder's order
    container.flags &= ~av.container.Flags.gen_pts.value
    return container


def chosen_stream(container: Any, stream: int | None, path: str) -> Any:
    """The stream of that number among those of pictures, or the one that FFmpeg calls best."""
    videos = list(container.streams.video)
    if not videos:
        raise VidexplainError(f"{path!r} has no video stream.")
    if stream is not None:
        if not 0 <= stream < len(videos):
            raise VidexplainError(
                f"{path!r} has {len(videos)} video stream(s), counted from 0; there is no {stream}."
            )
        return videos[stream]
    return container.streams.best("video") or videos[0]


def _read_only(container: Any, chosen: Any) -> None:
    """Pass over all other streams in the file: what is damaged in them must not end the reading of this one."""
    discard = getattr(av.stream, "Discard", None)  # not in every release of PyAV
    if discard is None:
        return
    for stream in container.streams:
        if stream.index != chosen.index:
            stream.discard = discard.all


def all_frames(source: Source, index: int | None, clock: Clock | None) -> Iterator[tuple[Any, Any]]:
    """Frames of one stream, each with its decoder's context.

    Decoding is threaded by frames, and begun again without that where a packet is damaged: such threads then lose
    frames that can be decoded.
    """
    passed = 0
    for threads in ("AUTO", "SLICE"):
        if passed and clock and (change := source.change()):
            clock.report.broken_off = f"the file {change} while it was read"
            return
        with opened(source.path) as container:
            stream = container.streams[index]
            _read_only(container, stream)
            stream.thread_type = threads
            again = passed
            try:
                for frame in _decode(container, stream, source, clock, strict=threads == "AUTO"):
                    if again:
                        again -= 1
                        continue
                    passed += 1
                    yield frame, stream.codec_context
                return
            except _DamagedError:
                continue


class _DamagedError(Exception):
    """A packet could not be decoded."""


def _decode(
    container: Any, stream: Any, source: Source, clock: Clock | None, strict: bool
) -> Iterator[av.VideoFrame]:
    """Frames of one stream; what cannot be decoded is counted and passed over, as ffmpeg does, unless `strict`."""
    packets = container.demux(stream)
    shift = None
    if clock:
        clock.report.jumps.clear()
        shift = source.timeline.lead(clock.nominal, clock.report, clock.origin * clock.time_base)
    while True:
        try:
            packet = next(packets)
            if clock and source.rewritten():
                clock.report.broken_off = f"the file {source.change()} while it was read"
                packet = None
        except StopIteration:
            return
        except (av.FFmpegError, OSError, ValueError) as error:
            if clock:
                clock.report.broken_off = _reason(error)
            packet = None
        if packet is not None and shift:
            shift(packet)
        try:
            frames = stream.decode(packet)
        except EOFError:
            return
        except (av.FFmpegError, OSError, ValueError) as error:
            if strict:
                raise _DamagedError from error
            frames = []
            if clock:
                clock.report.add_damage(clock.now)
        yield from frames
        if packet is None:
            return


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def origin(container: Any) -> Fraction:
    """What a container's own clock shows where it begins, in seconds, which players show as 0.

    Less than a second is meant as it is where the clock is to be trusted: a picture that comes late, sound that begins
    early because its coder needs that.
    """
    start = Fraction(container.start_time or 0, av.time_base)
    return start if may_jump(container) or abs(start) >= 1 else Fraction(0)


def may_jump(container: Any) -> bool:
    """Whether it is usual in files of this format that the clock begins anywhere and jumps."""
    return bool(container.format.flags & av.format.Flags.ts_discont.value)


def timeline_of(container: Any) -> Timeline:
    """As ffmpeg judges what a jump is where they are usual; elsewhere only what cannot be meant is one."""
    if may_jump(container):
        return Timeline(back=Fraction(1, 10), ahead=Fraction(10), stamps="dts")
    told = Fraction(max(container.duration or 0, 0), av.time_base)
    return Timeline(back=Fraction(1), ahead=max(told, LONGEST_PAUSE))
