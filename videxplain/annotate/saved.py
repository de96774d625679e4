"""The data beside an explained video: what was found in each window, and of each supervoxel, to be read lazily.

A folder with `manifest.json`, `windows.parquet`, `supervoxels.parquet` and `labels.zip`, which holds one compressed
array a window. While a video is being explained there is a folder of parts instead, one for each finished segment of
the output, so that a run that goes on behind them finds their data too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videxplain import __version__
from videxplain.clip import Geometry
from videxplain.errors import VidexplainError
from videxplain.own_folder import OwnFolder, checksum, sync
from videxplain.reading import ALWAYS_FIT, MOST_EXPANSION, check_format, open_file, read_array, read_json

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

FORMAT, FORMAT_VERSION = "videxplain.explanations", 1
_MANIFEST, _WINDOWS, _SUPERVOXELS, _LABELS = (
    "manifest.json",
    "windows.parquet",
    "supervoxels.parquet",
    "labels.zip",
)
_TABLES = (_WINDOWS, _SUPERVOXELS)
_SCHEMAS: tuple[dict[str, str], ...] = (
    {
        "window": "whole",
        "times": "reals",
        "held": "whole",
        "target": "whole",
        "target_name": "text",
        "probability": "real",
        "classes": "texts",
        "probabilities": "reals",
    },
    {
        **dict.fromkeys(("window", "id", "number"), "whole"),
        **dict.fromkeys(("score", "share"), "real"),
        "voxels": "whole",
        **dict.fromkeys(("t", "y", "x"), "real"),
        **dict.fromkeys(("t0", "y0", "x0", "t1", "y1", "x1"), "whole"),
        **dict.fromkeys(("start", "end"), "real"),
    },
)
_MOST_LABELS = 1 << 30  # bytes of a window's
_ALWAYS_ROWS = 1 << 22  # of a table, however small its file
_FILES = (*_TABLES, _LABELS, _MANIFEST)
_PARTS, _SUMS = ".parts", "sums.json"


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
        own = {_MANIFEST, *_TABLES, _LABELS, _PARTS}
        if self.folder.exists() and (
            not self.folder.is_dir() or {p.name for p in self.folder.iterdir()} - own
        ):
            raise VidexplainError(f"{self.folder} holds other files; give --save a folder of its own.")
        self._job = hashlib.sha256(json.dumps(job, sort_keys=True, default=str).encode()).hexdigest()
        self._parts = self.folder / _PARTS
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
            }
        )
        for region in explanation.top(explanation.num_segments):
            low, high = region.box
            self._supervoxels.append(
                {
                    "window": start,
                    "id": region.id,
                    "number": int(numbers[region.id]),
                    "score": region.score,
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
            with zipfile.ZipFile(part / _LABELS, "w", zipfile.ZIP_DEFLATED) as archive:
                for window, labels in zip(self._windows, self._labels, strict=True):
                    _append(archive, window["window"], labels)
            (part / _MANIFEST).write_text(json.dumps(self._manifest))
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
            for table_name in _TABLES:
                writer = None
                for part in parts:
                    table = parquet.read_table(part / table_name, memory_map=False)
                    windows += table.num_rows if table_name == _WINDOWS else 0
                    writer = writer or parquet.ParquetWriter(scratch / table_name, table.schema)
                    writer.write_table(table)
                if writer is not None:
                    writer.close()
            with zipfile.ZipFile(scratch / _LABELS, "w", zipfile.ZIP_DEFLATED) as joined:
                for part in parts:
                    with zipfile.ZipFile(part / _LABELS) as archive:
                        for info in archive.infolist():
                            joined.writestr(info, archive.read(info))
            own = [found for part in parts if (found := read_json(part / _MANIFEST))]
            whole = {
                "format": FORMAT,
                "version": FORMAT_VERSION,
                "videxplain": __version__,
                "windows": windows,
                **manifest,
                **(own[0] if own else {}),
            }
            (scratch / _MANIFEST).write_text(json.dumps(whole, indent=1) + "\n")
            for file in _FILES:
                sync(scratch / file)
            # without a manifest there is nothing to be read: never the files of two videos together
            (self.folder / _MANIFEST).unlink(missing_ok=True)
            for file in (*_TABLES, _LABELS, _MANIFEST):
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
    for name, own, columns in zip(_TABLES, rows, _SCHEMAS, strict=True):
        schema = arrow.schema({column: types[kind] for column, kind in columns.items()})
        parquet.write_table(arrow.Table.from_pylist(own, schema=schema), folder / name)


@dataclass(frozen=True)
class SavedWindow:
    """One window of a saved video; labels and supervoxels are read when they are asked for.

    Attributes
    ----------
    start
        Number of its first frame in the video.
    times
        Seconds, of the frames that the network saw.
    held
        How many frames at the end only repeat the last one.
    target, target_name, probability
        The class explained, and the probability that the network gave it.
    predictions
        The most probable classes, best first, as (name, probability).
    """

    saved: SavedExplanations
    start: int
    times: tuple[float, ...]
    held: int
    target: int
    target_name: str
    probability: float
    predictions: list[tuple[str, float]]

    @property
    def labels(self) -> np.ndarray:
        """(T, h, w) int32, ids 0..K-1, at the network's input size or, with a finer grid, so many times as fine."""
        return self.saved.labels(self.start)

    @property
    def supervoxels(self) -> list[dict[str, Any]]:
        """Rows of the table of supervoxels, best first."""
        return self.saved.supervoxels(self.start)

    @property
    def scores(self) -> np.ndarray:
        """(K,) float32, one per id."""
        rows = self.supervoxels
        scores = np.zeros(len(rows), np.float32)
        for row in rows:
            scores[row["id"]] = row["score"]
        return scores


class SavedExplanations(Sequence[SavedWindow]):
    """The windows of an explained video, in order; only what is asked for is read.

    Attributes
    ----------
    folder
        Where they are.
    manifest
        Input, model, method, settings, geometry and versions.
    geometry
        Maps source frames to the labels' grid and back; None where nothing was explained.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = read_json(self.folder / _MANIFEST)
            check_format(self.manifest, FORMAT, FORMAT_VERSION)
            if not isinstance(self.manifest["windows"], int) or self.manifest["windows"] < 0:
                raise ValueError("it does not tell how many windows there are")
            # a video without windows has no geometry
            found = self.manifest.get("geometry")
            self.geometry = None if found is None else Geometry.from_dict(found)
            if self.geometry is None and self.manifest["windows"]:
                raise ValueError("its manifest has no geometry")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, VidexplainError) as error:
            unfinished = " (the video is not finished)" if (self.folder / _PARTS).is_dir() else ""
            raise VidexplainError(
                f"{self.folder} holds no explanations that can be read{unfinished}: {error}"
            ) from error

    def table(self, name: str) -> Any:
        """The pyarrow table "windows" or "supervoxels", whole."""
        if name not in ("windows", "supervoxels"):
            raise VidexplainError(f"there is no table {name!r}; there are 'windows' and 'supervoxels'.")
        return self._read(f"{name}.parquet")

    def labels(self, start: int) -> np.ndarray:
        """Labels (T, h, w) int32 of the window that begins at frame `start`."""
        try:
            with open_file(self.folder / _LABELS) as file, zipfile.ZipFile(file) as archive:
                labels = read_array(archive, f"{start:010d}.npy", _MOST_LABELS)
            size = None if self.geometry is None else tuple(self.geometry.network)
            whole = labels.dtype.kind in "iu" and labels.ndim == 3 and labels.size
            if not whole or labels.shape[1:] != size or not 0 <= labels.min() <= labels.max() < 2**31:
                raise ValueError("they are no ids of supervoxels on the grid of the manifest")
            return labels.astype(np.int32)
        except (
            OSError,
            KeyError,
            ValueError,
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
            EOFError,
        ) as error:
            raise VidexplainError(
                f"{self.folder} has no labels of a window at frame {start}: {error}"
            ) from error

    def supervoxels(self, start: int) -> list[dict[str, Any]]:
        """Rows of the window that begins at frame `start`, best first."""
        rows: list[dict[str, Any]] = self._read(_SUPERVOXELS, filters=[("window", "==", start)]).to_pylist()
        ids = sorted(row["id"] for row in rows if row["id"] is not None)
        scores = [row["score"] for row in rows]
        if ids != list(range(len(rows))) or not all(s is not None and math.isfinite(s) for s in scores):
            raise VidexplainError(
                f"{self.folder / _SUPERVOXELS} does not have one finite score for each supervoxel of the "
                f"window at frame {start}."
            )
        return rows

    def _read(self, name: str, **options: Any) -> Any:
        try:
            import pyarrow.parquet as parquet

            with open_file(self.folder / name) as file:
                size = os.fstat(file.fileno()).st_size
                table = parquet.ParquetFile(file)
                wanted = dict(zip(_TABLES, _SCHEMAS, strict=True))[name]
                if not set(wanted) <= set(table.schema_arrow.names):
                    raise ValueError(f"it lacks columns of {', '.join(wanted)}")
                about = table.metadata
                needed = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
                rows = about.num_rows
                if needed > max(ALWAYS_FIT, MOST_EXPANSION * size) or rows > max(_ALWAYS_ROWS, size):
                    raise ValueError(f"its {size} bytes would become {rows} rows")
                file.seek(0)
                return parquet.read_table(file, **options)
        except ImportError as error:
            raise VidexplainError(
                "reading explanations needs pyarrow; install it with pip install 'videxplain[save]'."
            ) from error
        except (OSError, ValueError, RuntimeError) as error:  # pyarrow's own are of these kinds
            raise VidexplainError(f"{self.folder / name} cannot be read: {error}") from error

    @cached_property
    def _windows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._read(_WINDOWS).to_pylist()
        if len(rows) != len(self):
            raise VidexplainError(
                f"{self.folder / _WINDOWS} has {len(rows)} windows, and its manifest tells of {len(self)}."
            )
        return rows

    def __len__(self) -> int:
        return int(self.manifest["windows"])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._windows[index]
        try:
            return SavedWindow(
                self,
                row["window"],
                tuple(row["times"]),
                row["held"],
                row["target"],
                row["target_name"],
                row["probability"],
                list(zip(row["classes"], row["probabilities"], strict=True)),
            )
        except (TypeError, ValueError) as error:
            raise VidexplainError(f"{self.folder / _WINDOWS} is damaged: {error}.") from error

    def __iter__(self) -> Iterator[SavedWindow]:
        return (self[i] for i in range(len(self)))


def open_explanations(folder: str | os.PathLike[str]) -> SavedExplanations:
    """What `annotate(..., save=folder)` kept of a video, read lazily.

    Raises
    ------
    VidexplainError
        If there is nothing of the kind, or it is damaged.
    """
    return SavedExplanations(folder)
