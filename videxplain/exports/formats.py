"""The formats by name; a module of this package registers each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from videxplain.exports.explained import Explained
from videxplain.registry import Registry

Write: TypeAlias = "Callable[[Explained, Path, int], None]"
"""Writes into a file, or an empty folder, of that path; the number is how many regions of a window, 0 for all."""


@dataclass(frozen=True)
class Format:
    """How something is exported.

    Attributes
    ----------
    write
        Does it.
    suffix
        Of the file's name; empty where a folder is written.
    package
        What has to be installed; empty for nothing.
    takes_top_k
        Whether it holds some regions of a window only.
    """

    write: Write
    suffix: str = ""
    package: str = ""
    takes_top_k: bool = False


FORMATS: Registry[Format] = Registry("format")


def exports_to(
    name: str, *, suffix: str = "", package: str = "", takes_top_k: bool = False
) -> Callable[[Write], Write]:
    """Decorator for the function that writes a format; see `Format`."""

    def add(write: Write) -> Write:
        FORMATS.register(name)(Format(write, suffix, package, takes_top_k))
        return write

    return add
