"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videxplain.errors import VidexplainError
from videxplain.interrupt import undone_by


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
        umask = os.umask(0)
        os.umask(umask)
        scratch.chmod(0o666 & ~umask)
        with undone_by(scratch.unlink):
            yield scratch
            os.replace(scratch, path)
    except OSError as error:
        raise VidexplainError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
