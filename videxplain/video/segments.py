"""Writing a long video so that no fault loses it: whole segments and a journal, joined when the last is there."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.own_folder import OwnFolder, checksum, sync
from videxplain.reading import fraction, read_arrays, read_json
from videxplain.video.encoder import SegmentEncoder, TrackFormat, disk_error
from videxplain.video.opening import Source
from videxplain.video.writer import Chapter, check_output, check_track, finish_video

State = dict[str, np.ndarray]
_JOURNAL, _PIECE = "journal.json", "unfinished.mp4"
_NAMES = r"journal\.json|unfinished\.mp4|segment-\d{5}\.mp4|state-\d{5}\.npz"
_LONGEST = 255  # bytes of a file's name


@dataclass(frozen=True)
class _Segment:
    """A segment that is whole: how many frames there are up to its end, when that is, and its file's SHA-256."""

    frames: int
    end: str
    sha256: str


class ResumableWriter:
    """Writes a video in segments that survive a crash, in a hidden folder beside the output.

    Parameters
    ----------
    path
        The output; it appears when `finish` is called, whole.
    track
        As for `SegmentEncoder`.
    source
        A file whose audio, subtitles, chapters and metadata are carried over.
    job
        Everything that decides what the frames are. Segments of another job are thrown away.
    accept
        Asked before segments of an earlier run are used, with the numbers of frames up to the end of each and the
        state behind the last; where it says no, the video is begun anew.

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
        track: TrackFormat,
        *,
        source: str | os.PathLike[str] | Source | None,
        job: dict[str, Any],
        accept: Callable[[list[int], State], bool] = lambda ends, state: True,
    ) -> None:
        self.path = os.fspath(path)
        self.source = Source.of(source)
        check_output(self.path, self.source)
        self.track = check_track(self.path, track)
        self.folder = _hidden(Path(os.path.abspath(self.path)))
        self._encoder: SegmentEncoder | None = None
        self._job = json.dumps(job, sort_keys=True, default=str)
        self._end = Fraction(0)
        self._segments: list[_Segment] = []
        self._finishing = False
        self._partial: list[Any] | None = None  # name and identity of what this job left under a partial name
        self._state_sha256 = ""
        self.state: State = {}
        with self._told():
            self._own = OwnFolder(self.folder, _NAMES, repr(self.path))
            try:
                self._read_journal(accept)
                self._own.clean(self._kept())
                self._write_journal()
            except BaseException:
                self._own.close()
                raise

    @property
    def frames(self) -> int:
        return self._segments[-1].frames if self._segments else 0

    @property
    def ends(self) -> list[int]:
        """How many frames there are up to the end of each whole segment."""
        return [segment.frames for segment in self._segments]

    def write(
        self, image: npt.NDArray[np.uint8] | av.VideoFrame, time: Fraction, duration: Fraction | None = None
    ) -> None:
        """Add a frame, uint8 RGB (H, W, 3), shown from `time` on; `duration` counts if it is the last."""
        with self._told():
            if self._encoder is None:
                self._encoder = SegmentEncoder(str(self.folder / _PIECE), self.track)
            self._encoder.write(image, time)
        self._end = time + (duration or 1 / self.track.rate)

    def commit(self, frames: int, state: State) -> None:
        """End a segment, behind `frames` frames of the video in all; from here a later run can go on."""
        assert self._encoder is not None
        with self._told():
            encoder, self._encoder = self._encoder, None
            encoder.close()
            number = len(self._segments)
            buffer = io.BytesIO()
            np.savez(buffer, **state)  # type: ignore[arg-type]
            self._own.write(_state_name(number), buffer.getvalue())
            path = self.folder / _segment_name(number)
            sync(self.folder / _PIECE)
            os.replace(self.folder / _PIECE, path)
            self._segments.append(_Segment(frames, str(self._end), checksum(path)))
            self._state_sha256 = hashlib.sha256(buffer.getvalue()).hexdigest()
            self._write_journal()
            if number:
                (self.folder / _state_name(number - 1)).unlink(missing_ok=True)

    def finish(self, chapters: Sequence[Chapter] | None = None) -> list[str]:
        """Join the segments, put the video in place, and clean up; returns what could not be carried over.

        Chapters take the place of the source's.
        """
        if not self._segments:
            self.discard()
            raise VidexplainError(f"no frame was written to {self.path!r}.")
        self._finishing = True
        with self._told(), self._own.scratch() as scratch:
            notes = finish_video(
                self._paths(),
                self.path,
                self.track,
                self._end,
                self.source,
                folder=scratch,
                chapters=chapters,
            )
            sync(self.folder.parent)
        with contextlib.suppress(OSError):
            if place := self._own_partial():
                place.unlink()
        self.discard()
        return notes

    def break_off(self) -> str | None:
        """After a fault: put what there is under a name with `.partial`, and keep whole segments for a later run.

        The name is a free one, or that of what this job left before. Where `finish` has failed there is none: it would
        fail, or hang, again.

        Returns
        -------
        str or None
            The partial file, if there was any frame for it and room on the disk.
        """
        paths, partial = self._paths(), None
        encoder, self._encoder = self._encoder, None
        try:
            if encoder is not None:
                encoder.close()
                paths.append(encoder.path)
            if paths and not self._finishing:
                partial = self._place_partial(paths)
        except (OSError, VidexplainError, ValueError):
            if encoder is not None:
                encoder.abort()
        self.close()
        return None if partial is None else str(partial)

    def _place_partial(self, paths: list[str]) -> Path:
        with self._own.scratch() as scratch:
            whole = os.path.join(scratch, f"partial{Path(self.path).suffix}")
            finish_video(paths, whole, self.track, self._end, self.source, folder=scratch)
            if place := self._own_partial():
                os.replace(whole, place)
            else:
                place = _under_a_free_name(Path(whole), Path(self.path))
        with contextlib.suppress(OSError):  # on a full disk it is only not removed later
            self._partial = [place.name, *_identity(place)]
            self._write_journal()
        return place

    def _own_partial(self) -> Path | None:
        """The partial file that this job left, if it is still the same."""
        if self._partial is None:
            return None
        with contextlib.suppress(OSError, ValueError, TypeError):
            name, *identity = self._partial
            place = Path(self.path).with_name(name)
            if _identity(place) == identity:
                return place
        return None

    def remembered(self) -> bool:
        """Whether the folder still holds what a later run would go on with."""
        return bool(self._segments) and all((self.folder / name).is_file() for name in self._kept())

    def close(self) -> None:
        """Let go of the folder, and remove it unless it holds whole segments, or tells whose a partial file is."""
        if self._encoder is not None:
            self._encoder.abort()
            self._encoder = None
        with contextlib.suppress(OSError):
            (self.folder / _PIECE).unlink(missing_ok=True)
        if self._segments or self._partial:
            self._own.close()
        else:
            self.discard()

    def discard(self) -> None:
        """Remove the folder with all of ours in it."""
        self._own.discard()

    def _paths(self) -> list[str]:
        return [str(self.folder / _segment_name(number)) for number in range(len(self._segments))]

    def _kept(self) -> set[str]:
        numbers = range(len(self._segments))
        return {_JOURNAL, *map(_segment_name, numbers), *map(_state_name, numbers[-1:])}

    def _read_journal(self, accept: Callable[[list[int], State], bool]) -> None:
        """The segments of this very job that are whole; none if the journal is another's or unreadable."""
        try:
            journal = read_json(self.folder / _JOURNAL)
            if journal.pop("sha256") != _sum(journal) or journal["job"] != self._job:
                return
            self._partial = journal["partial"]
            segments = [_Segment(**entry) for entry in journal["segments"]]
            for number, segment in enumerate(segments):
                if checksum(self.folder / _segment_name(number)) != segment.sha256:
                    return
            state: State = {}
            if segments:
                place = self.folder / _state_name(len(segments) - 1)
                if checksum(place) != journal["state"]:
                    return
                state = read_arrays(place, lambda headers: None)
                self._end = fraction(segments[-1].end)
                if not accept([segment.frames for segment in segments], state):
                    return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        self._segments, self.state, self._state_sha256 = segments, state, journal["state"]

    def _write_journal(self) -> None:
        """All of it, in one step: a journal is never half there."""
        journal = {
            "job": self._job,
            "segments": [asdict(segment) for segment in self._segments],
            "state": self._state_sha256,
            "partial": self._partial,
        }
        self._own.write(_JOURNAL, json.dumps(journal | {"sha256": _sum(journal)}).encode())

    @contextlib.contextmanager
    def _told(self):  # type: ignore[no-untyped-def]
        try:
            yield
        except OSError as error:
            if (
                isinstance(error, FileNotFoundError)
                and self.folder.parent.is_dir()
                and not self.folder.is_dir()
            ):
                raise VidexplainError(
                    f"{os.fspath(self.folder)!r}, the folder of what was written so far, was removed meanwhile."
                ) from error
            told = disk_error(error, self.path)
            if told is None:
                raise
            raise told from error


def _hidden(output: Path) -> Path:
    """The folder beside an output where its segments are."""
    name = f".{output.name}.videxplain"
    if len(os.fsencode(name)) > _LONGEST:
        name = f".{hashlib.sha256(os.fsencode(output.name)).hexdigest()[:32]}.videxplain"
    return output.with_name(name)


def _under_a_free_name(whole: Path, output: Path) -> Path:
    """Moves a file to a name that tells what the output would have been, and that nobody has."""
    number = 1
    while True:
        place = output.with_suffix(f".partial{'' if number == 1 else f'-{number}'}{output.suffix}")
        number += 1
        if os.path.lexists(place):
            continue
        try:
            os.link(whole, place)  # fails where there is a file by now
        except FileExistsError:
            continue
        except OSError:  # a disk that has no links
            os.rename(whole, place)
        return place


def _identity(path: Path) -> list[int]:
    status = path.lstat()
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _sum(journal: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(journal, sort_keys=True).encode()).hexdigest()


def _segment_name(number: int) -> str:
    return f"segment-{number:05d}.mp4"


def _state_name(number: int) -> str:
    return f"state-{number:05d}.npz"
