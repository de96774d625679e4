"""Files: which are images and videos, whether they are still the same, and writing them whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from videxplain.errors import VidexplainError
from videxplain.interrupt import undone_by

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"))
VIDEO_SUFFIXES = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".wmv", ".flv"),
        *(".ogv", ".gif"),
    )
)
"""By these names files in folders are taken for images and videos."""
ARRAY_SUFFIXES = frozenset((".npy", ".npz"))


def file_state(path: str | os.PathLike[str]) -> list[str | int]:
    """Where a file is, its size and its time of change: equal as long as it is the same.

    Of a file that is gone, only where it was.
    """
    place = os.path.abspath(path)
    try:
        status = os.stat(place)
    except OSError:
        return [place]
    return [place, status.st_size, status.st_mtime_ns]


def sha256_of(paths: Iterable[str | os.PathLike[str]]) -> str | None:
    """Hash of files, one after the other; None if one is gone."""
    digest = hashlib.sha256()
    try:
        for path in paths:
            with open(path, "rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
    except OSError:
        return None
    return digest.hexdigest()


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a scratch name beside `path`; moves it there if the block succeeds, removes it if not.

    Raises
    ------
    VidexplainError
        If the file cannot be written: no such folder, no permission, a folder of that name, a full disk.
    """
    path = Path(path)
    if path.is_dir():
        raise VidexplainError(f"{path} is a folder; give the name of a file to write")
    scratch = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        scratch = Path(name)
        _chmod_as_usual(scratch, 0o666)
        with undone_by(scratch.unlink):
            yield scratch
            os.replace(scratch, path)
    except OSError as error:
        raise VidexplainError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a scratch folder beside `path`; gives it that name if the block succeeds, removes it if not.

    Raises
    ------
    VidexplainError
        If there is a file of that name, or a folder that is not empty, or it cannot be written.
    """
    path = Path(path).absolute()
    scratch = None
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise VidexplainError(
                f"{path} is there already; give the name of a new folder, or of an empty one"
            )
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        _chmod_as_usual(scratch, 0o777)
        with undone_by(partial(shutil.rmtree, scratch, ignore_errors=True)):
            yield scratch
            os.replace(scratch, path)
    except OSError as error:
        raise VidexplainError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _chmod_as_usual(scratch: Path, mode: int) -> None:
    """Gives a scratch file or folder, which only its owner may read, the permissions of others made now."""
    umask = os.umask(0)
    os.umask(umask)
    scratch.chmod(mode & ~umask)
