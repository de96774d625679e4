"""Hidden folders of half-done work: locked, never reached through a link; only what we made in them is deleted."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from videxplain.errors import VidexplainError

try:
    import fcntl
except ImportError:  # only POSIX systems have it; elsewhere nothing guards against two writers of one file
    fcntl = None  # type: ignore[assignment]

_LOCK, _MARK = "lock", b"a folder of videxplain\n"
_SCRATCH = "scratch-"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


class OwnFolder:
    """A folder that one process at a time has, with files whose names are known.

    Parameters
    ----------
    path
        Made if it is not there; one that is a link, is another user's, or was not made by this class is refused.
    pattern
        A regular expression: names of the files and folders that belong in it. Nothing else in it is ever deleted.
    purpose
        What is being written, for the sentence where another process has it.

    Raises
    ------
    VidexplainError
        If the folder is not ours, or in use.
    OSError
        If the disk fails.
    """

    def __init__(self, path: Path, pattern: str, purpose: str) -> None:
        self.path = path
        self._pattern = re.compile(f"(?:{pattern})|{_SCRATCH}[a-z0-9_]+")
        for _ in range(100):  # another process may remove the folder between two of these steps
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            try:
                self._check(path.lstat(), stat.S_ISDIR, path)
                self._handle = self._locked(purpose)
            except FileNotFoundError:
                if not path.parent.is_dir():
                    raise
                continue
            return
        raise VidexplainError(f"{purpose} is being written by another videxplain right now.")

    def _locked(self, purpose: str) -> int:
        """The lock of the folder that has this name; raises FileNotFoundError if it went away."""
        place = self.path / _LOCK
        try:
            handle = os.open(place, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o600)
        except OSError as error:
            if place.is_symlink() or place.is_dir():
                raise self._foreign(place) from error
            raise
        try:
            self._check(os.fstat(handle), stat.S_ISREG, place)
            try:
                if fcntl:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise VidexplainError(
                    f"{purpose} is being written by another videxplain right now."
                ) from None
            if not os.path.samestat(os.fstat(handle), place.lstat()):
                raise FileNotFoundError
            mark = os.read(handle, len(_MARK) + 1)
            if not mark and os.listdir(self.path) == [_LOCK]:
                os.write(handle, _MARK)
                os.fsync(handle)
            elif mark != _MARK:
                raise VidexplainError(
                    f"{os.fspath(self.path)!r} was not made by videxplain; move it away, or choose another name."
                )
            return handle
        except BaseException:
            os.close(handle)
            raise

    def _check(self, status: os.stat_result, kind: object, path: Path) -> None:
        mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
        linked = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
        if not kind(status.st_mode) or not mine or linked:  # type: ignore[operator]
            raise self._foreign(path)

    def _foreign(self, path: Path) -> VidexplainError:
        return VidexplainError(
            f"{os.fspath(path)!r} is a link, or somebody else's; remove it, or choose another name."
        )

    def clean(self, kept: set[str]) -> None:
        """Delete what is ours, except what is `kept`."""
        for entry in list(os.scandir(self.path)):
            if entry.name not in kept and self._pattern.fullmatch(entry.name):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[str]:
        """A new folder in it, for as long as the block lasts."""
        with tempfile.TemporaryDirectory(dir=self.path, prefix=_SCRATCH, ignore_cleanup_errors=True) as name:
            yield name

    def write(self, name: str, content: bytes) -> None:
        """Put a file into it, as a whole and for good."""
        with self.scratch() as folder:
            new = os.path.join(folder, name)
            with open(new, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, self.path / name)
        sync(self.path)

    def close(self) -> None:
        """Let go of it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def discard(self) -> None:
        """Delete what is ours in it, and the folder itself if nothing else is left; does not fail."""
        if self._handle >= 0:
            with contextlib.suppress(OSError):
                self.clean(set())
                if os.listdir(self.path) == [_LOCK]:
                    os.unlink(self.path / _LOCK)
                    self.path.rmdir()
        self.close()


def sync(path: str | os.PathLike[str]) -> None:
    """Wait until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file that is none but a file.

    Raises
    ------
    OSError
        If it cannot be read, or is a link, a pipe or the like.
    """
    handle = os.open(path, os.O_RDONLY | _NO_LINK)
    found = hashlib.sha256()
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{os.fspath(path)!r} is no file")
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()
