"""Reading files that anybody may have written: in bounded time and memory, and nothing in them is run.

What is wrong raises ValueError or OSError, for callers to say in a sentence which file it is.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from tokenize import TokenError
from typing import IO, Any, BinaryIO

import numpy as np

MOST_JSON = 1 << 26
"""Bytes of a JSON text; ours have some thousands."""
ALWAYS_FIT, MOST_EXPANSION = 1 << 30, 50
"""Arrays may take so many bytes, and so many times their file's: more is a trap, not data."""
_NUMBER = re.compile(r"-?\d{1,40}(/[1-9]\d{0,39})?")
_HEADERS: dict[tuple[int, int], Callable[..., Any]] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

Shape = tuple[int, ...]


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading; a pipe or a device, which may never end, is refused."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = open(handle, "rb")  # noqa: SIM115  the caller closes it
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise ValueError(f"{os.fspath(path)!r} is no plain file")
    return file


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object that a JSON file holds."""
    with open_file(path) as file:
        text = file.read(MOST_JSON + 1)
    if len(text) > MOST_JSON:
        raise ValueError(f"{os.path.basename(path)} is larger than {MOST_JSON >> 20} MiB")
    return parse_json(text)


def parse_json(text: bytes | str) -> dict[str, Any]:
    """The object that a JSON text stands for."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("its JSON is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("its JSON is no object")
    return found


def check_format(manifest: Mapping[str, Any], name: str, version: int) -> None:
    """Raises ValueError unless a manifest is of this format, and of this version or an earlier one."""
    if manifest.get("format") != name:
        raise ValueError("its manifest is of another kind")
    found = manifest.get("version")
    if not isinstance(found, int):
        raise ValueError("its manifest does not tell its version")
    if found > version:
        raise ValueError(f"it has format version {found}, newer than this videxplain reads ({version})")


def fraction(text: Any) -> Fraction:
    """A time as `str(Fraction)` writes it; "1e400000000" would take for ever, and is refused."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise ValueError(f"{str(text)[:40]!r} is no time")
    return Fraction(text)


def read_arrays(
    source: str | os.PathLike[str], check: Callable[[Mapping[str, tuple[Shape, np.dtype]]], None]
) -> dict[str, np.ndarray]:
    """The numeric arrays of an .npz file.

    Parameters
    ----------
    check
        Is given names, shapes and types before any array is read; raises ValueError if they are not what is wanted.
    """
    with open_file(source) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
                if len(members) != len(archive.infolist()) or len(members) > 10_000:
                    raise ValueError("it holds arrays of one name, or too many")
                headers = {}
                for name, info in members.items():
                    with archive.open(info) as member:
                        headers[name] = _header(member, info.file_size)
                needed = sum(info.file_size for info in members.values())
                if needed > max(ALWAYS_FIT, MOST_EXPANSION * size):
                    raise ValueError(f"its {size} bytes would become {needed}, which no explanation's do")
                check(headers)
                return {name: _array(archive, info) for name, info in members.items()}
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"it is damaged: {error}") from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
    return array


def _header(member: IO[bytes], size: int) -> tuple[Shape, np.dtype]:
    """Shape and type of an array in a stream of so many bytes, which it fills."""
    read = _HEADERS.get(np.lib.format.read_magic(member))
    if read is None:
        raise ValueError("an array of it has a format that is not known")
    try:
        shape, _, dtype = read(member)
    except (
        SyntaxError,
        TokenError,
    ) as error:  # a header of version 1 may be written as Python 2 did, and is parsed
        raise ValueError(f"the header of an array cannot be read: {error}") from None
    if dtype.kind not in "biuf" or not all(0 <= axis < 2**40 for axis in shape):
        raise ValueError(f"an array of {dtype} {shape} is not expected")
    count = 1
    for axis in shape:
        count *= axis
    if member.tell() + count * dtype.itemsize != size:
        raise ValueError(f"an array of shape {shape} does not have as many bytes as it says")
    return shape, dtype


def read_single_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The numeric array of an .npy file."""
    with open_file(path) as file:
        _header(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def array_header(path: str | os.PathLike[str]) -> tuple[Shape, np.dtype]:
    """Shape and type of the numeric array in an .npy file."""
    with open_file(path) as file:
        return _header(file, os.fstat(file.fileno()).st_size)


def read_array(archive: zipfile.ZipFile, name: str, most: int) -> np.ndarray:
    """One numeric array of an archive, of at most so many bytes."""
    info = archive.getinfo(name)
    with archive.open(info) as member:
        shape, _ = _header(member, info.file_size)
    if info.file_size > most:
        raise ValueError(f"its array of shape {shape} is larger than any that was written")
    return _array(archive, info)
