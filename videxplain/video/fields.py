"""Interlaced pictures made whole: each holds two fields, of different times, line by line in turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import av

_FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=interlaced")


def deinterlaced(frames: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The same frames, each with whatever came with it; those marked as interlaced show their first field only.

    By FFmpeg's `bwdif`: it fills in the lines of the other field from those around, and from the frames before and
    after.
    """
    graph: Any = None
    shape: tuple[Any, ...] = ()
    number = 0
    waiting: deque[tuple[Any, Any, Any, Any]] = deque()
    for frame, companion in frames:
        if shape != (frame.format.name, frame.width, frame.height):
            if graph is not None:
                yield from _taken(graph, waiting, last=True)
            graph = _graph(frame)
            shape = (frame.format.name, frame.width, frame.height)
        waiting.append((frame.pts, frame.dts, frame.duration, companion))
        frame.pts = number = number + 1  # its own may be missing, or go back
        graph.push(frame)
        yield from _taken(graph, waiting)
    if graph is not None:
        yield from _taken(graph, waiting, last=True)


def _graph(frame: Any) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    middle, sink = graph.add(*_FILTER), graph.add("buffersink")
    source.link_to(middle)
    middle.link_to(sink)
    graph.configure()
    return graph


def _taken(graph: Any, waiting: deque[Any], last: bool = False) -> Iterator[tuple[Any, Any]]:
    """What the filter has ready: as many frames as went in, in the same order."""
    if last:
        graph.push(None)
    while waiting:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        frame.pts, frame.dts, frame.duration, companion = waiting.popleft()
        yield frame, companion
