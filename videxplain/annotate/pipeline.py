"""Stages over bounded queues: each runs in a thread of its own, and knows how long it waited for its neighbours."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_POLL = 0.1  # seconds after which a waiting stage looks whether all is to stop
_PATIENCE = 5.0  # seconds that stages get to end after a failure
_NICER = 10  # added to the nice value of threads that yield
_END = object()


@dataclass
class StageTime:
    """Where a stage's time went, in seconds.

    Attributes
    ----------
    busy
        Working.
    starved
        Waiting for the stage before it.
    blocked
        Waiting for the stage after it to take what it had made, or until it may begin.
    items
        How many it made.
    """

    name: str
    busy: float = 0.0
    starved: float = 0.0
    blocked: float = 0.0
    items: int = 0


class Stopped(Exception):
    """Ends a stage because another one failed or the user interrupted."""


class Pipeline:
    """Chains generators, each run ahead of its consumer in a thread, by at most `size` items.

    A failure in any stage surfaces where its items are consumed; leaving the block stops and joins all threads. After a
    failure, and Ctrl-C is one, no longer than a few seconds are spent on that: `hanging` names those that are left.

    Parameters
    ----------
    first
        Name of the stage that goes first where all compete for processors: threads of the others, and those that they
        start, run at a lower priority, where the system knows one for single threads (Linux). A network whose threads
        wait for each other at every layer loses much to whoever interrupts one of them.

    Examples
    --------
    >>> with Pipeline() as pipeline:
    ...     numbers = pipeline.stage("count", iter(range(3)), size=2)
    ...     squares = pipeline.stage("square", (n * n for n in numbers), size=2)
    ...     print(list(squares))
    [0, 1, 4]
    """

    def __init__(self, first: str | None = None) -> None:
        self.times: list[StageTime] = []
        self.hanging: list[str] = []
        self._first = first
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._last: _Stage[Any] | None = None
        self._slots: threading.Semaphore | None = None

    def done(self) -> None:
        """One item of the stage that has a limit is no longer needed."""
        assert self._slots is not None
        self._slots.release()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        until = None if kind is None else perf_counter() + _PATIENCE
        for thread in self._threads:
            thread.join(None if until is None else max(0.0, until - perf_counter()))
        self.hanging = [thread.name for thread in self._threads if thread.is_alive()]

    def check(self) -> None:
        """For stages that wait for something else than their neighbours: raises `Stopped` if all is to end."""
        if self._stop.is_set():
            raise Stopped

    def stage(self, name: str, items: Iterable[T], size: int, limit: int | None = None) -> Iterator[T]:
        """Runs `items`, which may consume the stage before it, in a thread; yields what it makes.

        With a `limit` no more than so many items are on their way at a time: each from when it is begun until `done` is
        called for it. So memory has its full size as soon as so many are there, wherever they wait.
        """
        yields = self._first not in (None, name)
        slots = None if limit is None else threading.Semaphore(limit)
        self._slots = slots or self._slots
        stage = _Stage(StageTime(name), items, size, self._stop, self._last, yields, slots)
        self.times.append(stage.time)
        self._last = stage
        thread = threading.Thread(target=stage.run, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return iter(stage)


class _Stage(Generic[T]):
    def __init__(
        self,
        time: StageTime,
        items: Iterable[T],
        size: int,
        stop: threading.Event,
        source: _Stage[Any] | None,
        yields: bool,
        slots: threading.Semaphore | None,
    ) -> None:
        self.time = time
        self.waited = 0.0  # by the consumer
        self._items = items
        self._source = source
        self._queue: queue.Queue[Any] = queue.Queue(size)
        self._stop = stop
        self._yields = yields
        self._slots = slots
        self._error: BaseException | None = None

    def run(self) -> None:
        if self._yields:
            _lower_priority()
        items = iter(self._items)
        try:
            while True:
                self._wait_for_slot()
                began = perf_counter()
                waited = self._source.waited if self._source else 0.0
                item = next(items, _END)
                starved = (self._source.waited if self._source else 0.0) - waited
                self.time.starved += starved
                self.time.busy += perf_counter() - began - starved
                if item is _END:
                    break
                began = perf_counter()
                self._put(item)
                self.time.blocked += perf_counter() - began
                self.time.items += 1
                del item  # not one more in memory while the next is made
        except Stopped:
            return
        except BaseException as error:
            self._error = error
        try:
            self._put(_END)
        except Stopped:
            return

    def _wait_for_slot(self) -> None:
        if self._slots is None:
            return
        began = perf_counter()
        while not self._slots.acquire(timeout=_POLL):
            if self._stop.is_set():
                raise Stopped
        self.time.blocked += perf_counter() - began

    def _put(self, item: Any) -> None:
        while not self._stop.is_set():
            try:
                return self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue
        raise Stopped

    def __iter__(self) -> Iterator[T]:
        while True:
            began = perf_counter()
            item = self._get()
            self.waited += perf_counter() - began
            if item is _END:
                if self._error is not None:
                    raise self._error
                return
            yield item
            del item

    def _get(self) -> Any:
        while not self._stop.is_set():
            try:
                return self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue
        raise Stopped


def _lower_priority() -> None:
    """Makes this thread, and those it starts, yield to others; only Linux has priorities of threads."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER)


def profile_table(times: list[StageTime], frames: int) -> str:
    """The times as text, one line per stage, and a sentence on which one the others waited for."""
    lines = [f"{'stage':10s} {'busy s':>8s} {'ms/frame':>9s} {'waited for input s':>19s} {'for room s':>11s}"]
    for time in times:
        lines.append(
            f"{time.name:10s} {time.busy:8.2f} {1000 * time.busy / max(1, frames):9.2f} "
            f"{time.starved:19.2f} {time.blocked:11.2f}"
        )
    slowest = max(times, key=lambda time: time.busy)
    lines.append(f"slowest stage: {slowest.name}")
    return "\n".join(lines)
