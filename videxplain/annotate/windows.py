"""Cutting a stream of frames into windows to explain and frames to write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

F = TypeVar("F")


@dataclass(frozen=True)
class Window(Generic[F]):
    """Frames to explain, and frames to write, the first of which is number `first` of the window.

    Where there are no `frames` to explain, those to write are shown as they are.
    """

    frames: list[F]
    first: int
    written: list[F]


def cut(frames: Iterable[F], span: int, hop: int) -> Iterator[Window[F]]:
    """Windows of `span` frames every `hop`; each frame is written once, by the last window that begins before it.

    What is left at the end goes to a window that reaches back as far as it must to be whole. However large the hop,
    no more than three windows' frames are held.
    """
    kept: list[F] = []  # from the start of the last window on
    fresh = 0  # where in it the frames not yet written begin
    gap = 0  # how many frames are to pass before the next window begins
    passing: list[F] = []
    whole: Window[F] | None = None  # waits until it is known whether it is the last
    for frame in frames:
        if whole:
            yield whole
            whole = None
        kept.append(frame)
        if gap:
            gap -= 1
            passing.append(frame)
            kept = kept[-span:]
            fresh = len(kept)
            if len(passing) == span or not gap:
                yield Window([], 0, passing)
                passing = []
        elif len(kept) - fresh == span:
            whole = Window(kept[fresh:], 0, kept[fresh : fresh + hop])
            gap = max(0, hop - span)
            end = fresh + min(hop, span)
            kept, fresh = kept[max(0, end - span) :], min(span, end)
    if whole:
        yield Window(whole.frames, 0, whole.frames)
        return
    if passing:
        yield Window([], 0, passing)
    if len(kept) > fresh:
        start = max(0, min(fresh, len(kept) - span))
        yield Window(kept[start : start + span], fresh - start, kept[fresh:])
