"""What the command line prints: names of files and classes are other people's, and could command a terminal."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from collections.abc import Iterator
from time import perf_counter
from typing import TextIO

_HARMLESS = "\n\t"
_verbose = False
"""Whether a command tells how something was done."""
_KINDS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def shown(text: object, *, lines: bool = False) -> str:
    """A text with whatever is no letter, mark, number, sign or space written as an escape, such as ``\\\\x1b``.

    Control characters move the cursor, change colours and titles, or make a terminal type; others turn the direction of
    reading. Line breaks stay only where `lines` says so, for a name that holds one could pass for another line.
    """
    return "".join(
        character
        if (lines and character in _HARMLESS) or unicodedata.category(character) not in _KINDS
        else _escape(character)
        for character in str(text)
    )


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no text, in a file's name
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@contextlib.contextmanager
def telling_details(verbose: bool) -> Iterator[None]:
    """Whether details are told inside the block."""
    global _verbose
    before, _verbose = _verbose, verbose
    try:
        yield
    finally:
        _verbose = before


def say(text: object = "", *, file: TextIO | None = None) -> None:
    """Prints text, of several lines or one, with nothing in it that a terminal would obey, or that it cannot show."""
    stream = sys.stdout if file is None else file
    known = getattr(stream, "encoding", None) or "utf-8"
    print(shown(text, lines=True).encode(known, "backslashreplace").decode(known), file=stream)


def complain(text: object) -> None:
    """Prints to stderr why a command ended, or what is no error but ought to be known."""
    say(f"videxplain: {text}", file=sys.stderr)


def detail(text: object) -> None:
    """Prints to stderr how something was done, where a command is to tell that."""
    if _verbose:
        complain(text)


@contextlib.contextmanager
def timed(work: str) -> Iterator[None]:
    """Tells how long the block took, where a command is to tell that."""
    began = perf_counter()
    yield
    detail(f"{work}: {perf_counter() - began:.2f} s")
