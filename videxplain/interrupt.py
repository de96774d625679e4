"""Ctrl-C: the first ends what is going on and tidies up, the second ends at once, and so does tidying up that hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

GRACE = 20.0
"""Seconds that tidying up may take."""
STATUS = 130
_BOUNCE = (
    0.2  # seconds within which a second signal is the first again: a terminal and a wrapper both send it
)
_leftovers: dict[int, Callable[[], object]] = {}


@contextlib.contextmanager
def undone_by(undo: Callable[[], object]) -> Iterator[None]:
    """While the block lasts, an end at once calls `undo`, which must be quick: to delete a file or kill a process."""
    key = id(undo)
    _leftovers[key] = undo
    try:
        yield
    finally:
        del _leftovers[key]


def communicate(process: subprocess.Popen[bytes]) -> bytes:
    """Waits for a program and returns what it wrote to stderr; it does not outlive this wait."""
    try:
        with undone_by(process.kill):
            _, said = process.communicate()
    except BaseException:
        process.kill()
        process.wait()
        raise
    return said


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """While the block lasts, Ctrl-C ends the process even where Python does not get to act on it.

    The signal's handler runs in the main thread, between two steps of Python; a network or a library that hangs does
    not get there. So another thread is told too. Does nothing in another thread than the main one.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    before = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(receiver,), name="interrupt", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(sender)
        watcher.join()


def _watch(receiver: int) -> None:
    """Ends the process at the second SIGINT, or some time after the first."""
    first: float | None = None
    while True:
        left = None if first is None else max(0.0, first + GRACE - time.monotonic())
        ready, _, _ = select.select([receiver], [], [], left)
        numbers = os.read(receiver, 64) if ready else b""
        if ready and not numbers:
            os.close(receiver)
            return
        if ready and signal.SIGINT not in numbers:
            continue
        now = time.monotonic()
        if first is None:
            first = now
        elif not ready or now - first > _BOUNCE:
            _end_now()


def _end_now() -> None:
    for undo in list(_leftovers.values()):
        with contextlib.suppress(Exception):
            undo()
    with contextlib.suppress(Exception):
        os.write(sys.stderr.fileno(), b"\nvidexplain: interrupted\n")
    os._exit(STATUS)
