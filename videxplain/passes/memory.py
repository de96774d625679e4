"""What glibc's malloc does with freed memory: keeps it for what comes next, or gives it back to the system.

Nothing happens with other C libraries.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""malloc.h's numbers of what `mallopt` sets."""
_DECIDED = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")
"""Variables by which a user has decided already."""


@cache
def _malloc() -> ctypes.CDLL | None:
    """The C library, if it is glibc."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
    except OSError:  # of a Python without shared libraries
        return None
    return library if hasattr(library, "gnu_get_libc_version") else None


@cache
def keep() -> None:
    """From now on freed memory stays with the process, up to 2 GiB of it in one piece, until `give_back`.

    malloc returns blocks above 32 MiB, of which a network's passes have many, as soon as they are freed, so that
    each pass takes new ones: every page of them is a fault, and is cleared before it is written.
    """
    library = _malloc()
    if library and not any(name in os.environ for name in _DECIDED):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def give_back() -> None:
    """Returns to the system what is not in use.

    Frames of a video come and go in many threads, each of which has a heap of its own: the holes in these grow for
    hours.
    """
    if library := _malloc():
        library.malloc_trim(0)
