"""Keeping the data of a video while it is explained, so that a run that goes on behind a fault finds it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videxplain import __version__
from videxplain.annotate.saved import (
    FORMAT,
    FORMAT_VERSION,
    LABELS,
    MANIFEST,
    PARTS,
    SCHEMAS,
    TABLES,
    WINDOWS,
)
from videxplain.errors import VidexplainError
from videxplain.own_folder import OwnFolder, checksum, sync
from videxplain.reading import read_json

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

_FILES = (*TABLES, LABELS, MANIFEST)
_SUMS = "sums.json"


class Saver:
    """Keeps the explanations of one video.

    Parameters
    ----------
    folder
        Made if it is not there. One that holds other files than an earlier video's data is refused.
    job
        Everything that decides what the explanations are. Parts of another job are thrown away.

    Raises
    ------
    VidexplainError
        If the folder cannot be used, somebody is writing into it, or pyarrow is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], job: dict[str, Any]) -> None:
        self.folder = Path(folder)
        if find_spec("pyarrow") is None:
            raise VidexplainError(
                "saving explanations needs pyarrow; install it with pip install 'videxplain[save]'."
            )
        names = {MANIFEST, *TABLES, LABELS, PARTS}
        if self.folder.exists() and (
            not self.folder.is_dir() or {p.name for p in self.folder.iterdir()} - names
        ):
            raise VidexplainError(f"{self.folder} holds other files; give --save a folder of its own.")
        self._job = hashlib.sha256(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()
        self._parts = self.folder / PARTS
        self._made = not self.folder.exists()
        with self._told():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._own = OwnFolder(self._parts, r"\d{10}", f"the data in {str(self.folder)!r}")
        self._ends: list[int] = []
        self._windows: list[dict[str, Any]] = []
        self._supervoxels: list[dict[str, Any]] = []
        self._labels: list[np.ndarray] = []
        self._manifest: dict[str, Any] = {}

    def covers(self, ends: Sequence[int]) -> bool:
        """Whether there are whole parts of this very job for the frames up to each of these numbers."""
        before = 0
        for end in ends:
            if not self._is_whole(end, before):
                return False
            before = end
        return True

    def _is_whole(self, end: int, before: int) -> bool:
        part = self._parts / f"{end:010d}"
        try:
            known = read_json(part / _SUMS)
            return (known["job"], known["end"], known["before"]) == (self._job, end, before) and all(
                checksum(part / name) == known["files"][name] for name in _FILES
            )
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def go_on(self, ends: Sequence[int]) -> None:
        """Begin behind the frames up to these numbers; data of later ones are dropped, and all others."""
        self._ends = list(ends)
        with self._told():
            self._own.clean({f"{end:010d}" for end in ends})

    def add(self, start: int, explanation: Explanation, numbers: np.ndarray) -> None:
        """A window's explanation, `start` its first frame's number, and (K,) numbers that outlast the window."""
        times = [float(time) for time in explanation.times]
        self._windows.append(
            {
                "window": start,
                "times": times,
                "held": explanation.held,
                "target": explanation.target,
                "target_name": explanation.target_name,
                "probability": explanation.probability,
                "classes": [name for name, _ in explanation.predictions],
                "probabilities": [float(p) for _, p in explanation.predictions],
                "when": explanation.when().tolist(),
            }
        )
        errors = explanation.standard_error
        for region in explanation.top(explanation.num_segments):
            low, high = region.box
            self._supervoxels.append(
                {
                    "window": start,
                    "id": region.id,
                    "number": int(numbers[region.id]),
                    "score": region.score,
                    "error": None if errors is None else float(errors[region.id]),
                    "share": region.share,
                    "voxels": region.voxels,
                    **dict(zip(("t", "y", "x"), region.centre, strict=True)),
                    **dict(zip(("t0", "y0", "x0"), low, strict=True)),
                    **dict(zip(("t1", "y1", "x1"), high, strict=True)),
                    "start": times[low[0]],
                    "end": times[high[0] - 1],
                }
            )
        self._labels.append(explanation.labels)
        self._manifest = {
            "method": explanation.method,
            "settings": explanation.settings,
            "geometry": explanation.geometry.to_dict(),
        }

    def commit(self, end: int) -> None:
        """Keeps what was added since the last time, for the frames up to number `end`."""
        with self._told(), self._own.scratch() as name:
            part = Path(name) / "part"
            part.mkdir()
            _write_tables(part, (self._windows, self._supervoxels))
            with zipfile.ZipFile(part / LABELS, "w", zipfile.ZIP_DEFLATED) as archive:
                for window, labels in zip(self._windows, self._labels, strict=True):
                    _append(archive, window["window"], labels)
            (part / MANIFEST).write_text(json.dumps(self._manifest))
            sums = {
                "job": self._job,
                "before": self._ends[-1] if self._ends else 0,
                "end": end,
                "files": {file: checksum(part / file) for file in _FILES},
            }
            (part / _SUMS).write_text(json.dumps(sums))
            for file in (*_FILES, _SUMS, ""):
                sync(part / file)
            part.rename(self._parts / f"{end:010d}")
            sync(self._parts)
        self._ends.append(end)
        self._windows, self._supervoxels, self._labels = [], [], []

    def finish(self, manifest: dict[str, Any]) -> None:
        """Joins the parts. `manifest` is what else is known of the video."""
        import pyarrow.parquet as parquet

        if not self.covers(self._ends):
            raise VidexplainError(f"parts of the data in {str(self.folder)!r} are gone, or were changed.")
        parts = [self._parts / f"{end:010d}" for end in self._ends]
        windows = 0
        with self._told(), self._own.scratch() as name:
            scratch = Path(name)
            for table_name in TABLES:
                writer = None
                for part in parts:
                    table = parquet.read_table(part / table_name, memory_map=False)
                    windows += table.num_rows if table_name == WINDOWS else 0
                    writer = writer or parquet.ParquetWriter(scratch / table_name, table.schema)
                    writer.write_table(table)
                if writer is not None:
                    writer.close()
            with zipfile.ZipFile(scratch / LABELS, "w", zipfile.ZIP_DEFLATED) as joined:
                for part in parts:
                    with zipfile.ZipFile(part / LABELS) as archive:
                        for info in archive.infolist():
                            joined.writestr(info, archive.read(info))
            manifests = [told for part in parts if (told := read_json(part / MANIFEST))]
            whole = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "videxplain": __version__,
                "windows": windows,
                **manifest,
                **(manifests[0] if manifests else {}),
            }
            (scratch / MANIFEST).write_text(json.dumps(whole, indent=1) + "\n")
            for file in _FILES:
                sync(scratch / file)
            # without a manifest there is nothing to be read: never the files of two videos together
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for file in (*TABLES, LABELS, MANIFEST):
                os.replace(scratch / file, self.folder / file)
            sync(self.folder)

    def discard_parts(self) -> None:
        """When the video is whole as well, nothing will go on behind the parts."""
        self._own.discard()

    def close(self) -> None:
        """Let go of the folder; a later run goes on behind the parts that are whole, if there are any."""
        if self._ends:
            self._own.close()
            return
        self._own.discard()
        if self._made:
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise VidexplainError(
                f"cannot write to {str(self.folder)!r}: {error.strerror or error}"
            ) from error


def _append(archive: zipfile.ZipFile, window: int, labels: np.ndarray) -> None:
    with archive.open(f"{window:010d}.npy", "w") as file:
        np.save(file, labels.astype(np.min_scalar_type(int(labels.max()))), allow_pickle=False)


def _write_tables(folder: Path, rows: Sequence[list[dict[str, Any]]]) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    types = {"whole": arrow.int64(), "real": arrow.float64(), "text": arrow.string()}
    types |= {f"{name}s": arrow.list_(kind) for name, kind in types.items()}
    for name, table, columns in zip(TABLES, rows, SCHEMAS, strict=True):
        schema = arrow.schema({column: types[kind] for column, kind in columns.items()})
        parquet.write_table(arrow.Table.from_pylist(table, schema=schema), folder / name)
