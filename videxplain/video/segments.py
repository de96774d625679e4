"""Writing a long video so that no fault loses it: whole segments and a journal, joined when the last is there."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.video.encoder import Encoding, SegmentEncoder, disk_error
from videxplain.video.opening import Source
from videxplain.video.writer import check_encoding, check_output, finish_video

try:
    import fcntl
except ImportError:  # only POSIX systems have it; elsewhere nothing guards against two writers of one file
    fcntl = None  # type: ignore[assignment]

State = dict[str, np.ndarray]
_JOURNAL, _LOCK, _PIECE = "journal.jsonl", "lock", "unfinished.mp4"


@dataclass(frozen=True)
class _Segment:
    """A segment that is whole: how many frames there are up to its end, when that is, and what its file weighs."""

    frames: int
    end: Fraction
    size: int


class ResumableWriter:
    """Writes a video in segments that survive a crash, in a hidden folder beside the output.

    Parameters
    ----------
    path
        The output; it appears when `finish` is called, whole.
    encoding
        As for `SegmentEncoder`.
    source
        A file whose audio, subtitles, chapters and metadata are carried over.
    job
        Everything that decides what the frames are. Segments of another job are thrown away.

    Attributes
    ----------
    frames
        How many frames whole segments hold already; the caller goes on behind them.
    state
        What the caller gave to `commit` with the last whole segment.

    Raises
    ------
    VidexplainError
        If the file cannot be written there, or somebody is writing it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        encoding: Encoding,
        *,
        source: str | os.PathLike[str] | Source | None,
        job: dict[str, Any],
    ) -> None:
        self.path = os.fspath(path)
        self.source = Source.of(source)
        check_output(self.path, self.source)
        self.encoding = check_encoding(self.path, encoding)
        self.folder = Path(os.path.abspath(self.path)).parent / f".{Path(self.path).name}.videxplain"
        self._encoder: SegmentEncoder | None = None
        self._end = Fraction(0)
        self._job = json.dumps(job, sort_keys=True, default=str)
        with self._told():
            self.folder.mkdir(exist_ok=True)
            self._lock = open(self.folder / _LOCK, "w")  # noqa: SIM115  held as long as the writer lives
        try:
            if fcntl:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise VidexplainError(
                f"{self.path!r} is being written by another videxplain right now."
            ) from None
        with self._told():
            self._segments = self._read_journal()
            for left in self.folder.iterdir():
                if left.name != _LOCK and left.name not in self._kept():
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            self._write_journal()
            self.state = self._load_state()

    @property
    def frames(self) -> int:
        return self._segments[-1].frames if self._segments else 0

    def write(
        self, image: npt.NDArray[np.uint8] | av.VideoFrame, time: Fraction, duration: Fraction | None = None
    ) -> None:
        """Add a frame, uint8 RGB (H, W, 3), shown from `time` on; `duration` counts if it is the last."""
        with self._told():
            if self._encoder is None:
                self._encoder = SegmentEncoder(str(self.folder / _PIECE), self.encoding)
            self._encoder.write(image, time)
        self._end = time + (duration or 1 / self.encoding.rate)

    def commit(self, frames: int, state: State) -> None:
        """End a segment, behind `frames` frames of the video in all; from here a later run can go on."""
        assert self._encoder is not None
        with self._told():
            encoder, self._encoder = self._encoder, None
            encoder.close()
            number = len(self._segments)
            buffer = io.BytesIO()
            np.savez(buffer, **state)  # type: ignore[arg-type]
            (self.folder / _state_name(number)).write_bytes(buffer.getvalue())
            path = self.folder / _segment_name(number)
            os.replace(self.folder / _PIECE, path)
            for name in (path, self.folder / _state_name(number)):
                _sync(name)
            self._segments.append(_Segment(frames, self._end, path.stat().st_size))
            self._write_journal()
            if number:
                (self.folder / _state_name(number - 1)).unlink(missing_ok=True)

    def finish(self) -> list[str]:
        """Join the segments, put the video in place, and clean up; returns what could not be carried over."""
        if not self._segments:
            self.discard()
            raise VidexplainError(f"no frame was written to {self.path!r}.")
        paths = [str(self.folder / _segment_name(n)) for n in range(len(self._segments))]
        with self._told(), tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            notes = finish_video(
                paths, self.path, self.encoding, self._segments[-1].end, self.source, folder=scratch
            )
        self.discard()
        return notes

    def break_off(self) -> str | None:
        """After a fault: put what there is under a name with `.partial`, and keep whole segments for a later run.

        Returns
        -------
        str or None
            The partial file, if there was any frame for it and room on the disk.
        """
        paths = [str(self.folder / _segment_name(n)) for n in range(len(self._segments))]
        partial = Path(self.path).with_suffix(f".partial{Path(self.path).suffix}")
        encoder, self._encoder = self._encoder, None
        try:
            if encoder is not None:
                encoder.close()
                paths.append(encoder.path)
            if paths:
                with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                    finish_video(paths, str(partial), self.encoding, self._end, self.source, folder=scratch)
        except (OSError, VidexplainError, ValueError):
            if encoder is not None:
                encoder.abort()
            paths = []
        self.close()
        return str(partial) if paths else None

    def close(self) -> None:
        """Let go of the folder, and remove it unless it holds whole segments."""
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
        (self.folder / _PIECE).unlink(missing_ok=True)
        if self._segments:
            self._lock.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _kept(self) -> set[str]:
        numbers = range(len(self._segments))
        return {_JOURNAL, *map(_segment_name, numbers), *map(_state_name, numbers[-1:])}

    def _read_journal(self) -> list[_Segment]:
        """The segments of this very job that are whole; none if the journal is another's or unreadable."""
        try:
            job, *entries = (self.folder / _JOURNAL).read_text().splitlines()
            if job != self._job:
                return []
            segments = []
            for number, entry in enumerate(map(json.loads, entries)):
                segment = _Segment(entry["frames"], Fraction(entry["end"]), entry["size"])
                if (self.folder / _segment_name(number)).stat().st_size != segment.size:
                    return []
                segments.append(segment)
            if segments:
                self._end = segments[-1].end
                np.load(self.folder / _state_name(len(segments) - 1), allow_pickle=False).close()
            return segments
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return []

    def _write_journal(self) -> None:
        """All of it, in one step: a journal is never half there."""
        entries = [{"frames": s.frames, "end": str(s.end), "size": s.size} for s in self._segments]
        lines = [self._job, *map(json.dumps, entries)]
        scratch = self.folder / f"{_JOURNAL}.new"
        scratch.write_text("\n".join(lines) + "\n")
        _sync(scratch)
        os.replace(scratch, self.folder / _JOURNAL)
        _sync(self.folder)

    def _load_state(self) -> State:
        if not self._segments:
            return {}
        with np.load(self.folder / _state_name(len(self._segments) - 1), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    @contextlib.contextmanager
    def _told(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except OSError as error:
            told = disk_error(error, self.path)
            if told is None:
                raise
            raise told from error


def _segment_name(number: int) -> str:
    return f"segment-{number:05d}.mp4"


def _state_name(number: int) -> str:
    return f"state-{number:05d}.npz"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
