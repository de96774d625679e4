"""What glibc's malloc keeps of memory that nobody needs any more, given back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


@cache
def _malloc_trim() -> Any:
    """The function of that name, where the C library has it."""
    if sys.platform != "linux":
        return None
    try:
        return ctypes.CDLL(None).malloc_trim  # glibc's alone
    except (OSError, AttributeError):
        return None


def give_back() -> None:
    """Returns holes between what is in use to the system.

    Frames of a video come and go in many threads, each of which has a heap of its own: the holes in these grow for
    hours.
    """
    if trim := _malloc_trim():
        trim(0)
