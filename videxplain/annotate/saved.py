"""The data beside an explained video: what was found in each window, and of each supervoxel, to be read lazily.

A folder with `manifest.json`, `windows.parquet`, `supervoxels.parquet` and `labels.zip`, which holds one compressed
array a window. While a video is being explained there is a folder of parts instead, one for each finished segment of
the output, so that a run that goes on behind them finds their data too.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
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
from videxplain.files import whole_file

if TYPE_CHECKING:
    from videxplain.explanation import Explanation

FORMAT, FORMAT_VERSION = "videxplain.explanations", 1
_MANIFEST, _WINDOWS, _SUPERVOXELS, _LABELS = (
    "manifest.json",
    "windows.parquet",
    "supervoxels.parquet",
    "labels.zip",
)
_TABLES = (_WINDOWS, _SUPERVOXELS)
_PARTS = ".parts"


class Saver:
    """Keeps the explanations of one video.

    Parameters
    ----------
    folder
        Made if it is not there. One that holds other files than an earlier video's data is refused.
    done
        How many frames an earlier run had written; data of later ones are dropped.

    Raises
    ------
    VidexplainError
        If the folder cannot be used, or pyarrow is missing.
    """

    def __init__(self, folder: str | os.PathLike[str], done: int) -> None:
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
        self._parts = self.folder / _PARTS
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
            for path in self._parts.iterdir():
                if not path.name.isdigit() or int(path.name) > done:
                    shutil.rmtree(path)
        except OSError as error:
            raise VidexplainError(f"cannot write to {self.folder}: {error.strerror or error}") from error
        self._windows: list[dict[str, Any]] = []
        self._supervoxels: list[dict[str, Any]] = []
        self._labels: list[np.ndarray] = []
        self._manifest: dict[str, Any] = {}

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
        if not self._windows:
            return
        path = self._parts / f"{end:010d}"
        scratch = path.with_suffix(".new")
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            _write_tables(scratch, (self._windows, self._supervoxels))
            with zipfile.ZipFile(scratch / _LABELS, "w", zipfile.ZIP_DEFLATED) as archive:
                for window, labels in zip(self._windows, self._labels, strict=True):
                    _append(archive, window["window"], labels)
            (scratch / _MANIFEST).write_text(json.dumps(self._manifest))
            scratch.rename(path)
        except OSError as error:
            raise VidexplainError(f"cannot write to {self.folder}: {error.strerror or error}") from error
        self._windows, self._supervoxels, self._labels = [], [], []

    def finish(self, manifest: dict[str, Any]) -> None:
        """Joins the parts. `manifest` is what else is known of the video."""
        import pyarrow.parquet as parquet

        parts = sorted(self._parts.iterdir())
        windows = 0
        for name in _TABLES:
            with whole_file(self.folder / name) as scratch:
                writer = None
                for part in parts:
                    table = parquet.read_table(part / name, memory_map=False)
                    windows += table.num_rows if name == _WINDOWS else 0
                    writer = writer or parquet.ParquetWriter(scratch, table.schema)
                    writer.write_table(table)
                if writer is not None:
                    writer.close()
        with (
            whole_file(self.folder / _LABELS) as scratch,
            zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as joined,
        ):
            for part in parts:
                with zipfile.ZipFile(part / _LABELS) as archive:
                    for info in archive.infolist():
                        joined.writestr(info, archive.read(info))
        own = json.loads((parts[0] / _MANIFEST).read_text()) if parts else {}
        whole = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "videxplain": __version__,
            "windows": windows,
            **manifest,
            **own,
        }
        with whole_file(self.folder / _MANIFEST) as scratch:
            scratch.write_text(json.dumps(whole, indent=1) + "\n")

    def discard_parts(self) -> None:
        """When the video is whole as well, nothing will go on behind the parts."""
        shutil.rmtree(self._parts, ignore_errors=True)


def _append(archive: zipfile.ZipFile, window: int, labels: np.ndarray) -> None:
    with archive.open(f"{window:010d}.npy", "w") as file:
        np.save(file, labels.astype(np.min_scalar_type(int(labels.max()))), allow_pickle=False)


def _write_tables(folder: Path, rows: Sequence[list[dict[str, Any]]]) -> None:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    whole, real, text = arrow.int64(), arrow.float64(), arrow.string()
    schemas = (
        {
            "window": whole,
            "times": arrow.list_(real),
            "held": whole,
            "target": whole,
            "target_name": text,
            "probability": real,
            "classes": arrow.list_(text),
            "probabilities": arrow.list_(real),
        },
        {
            **dict.fromkeys(("window", "id", "number"), whole),
            **dict.fromkeys(("score", "share"), real),
            "voxels": whole,
            **dict.fromkeys(("t", "y", "x"), real),
            **dict.fromkeys(("t0", "y0", "x0", "t1", "y1", "x1"), whole),
            **dict.fromkeys(("start", "end"), real),
        },
    )
    for name, own, schema in zip(_TABLES, rows, schemas, strict=True):
        parquet.write_table(arrow.Table.from_pylist(own, schema=arrow.schema(schema)), folder / name)


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
        """(T, h, w) int32, ids 0..K-1, at the network's input size or, with a segment_scale, so many times as fine."""
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
        Maps source frames to the labels' grid and back.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.manifest = json.loads((self.folder / _MANIFEST).read_text())
            if self.manifest.get("format") != FORMAT:
                raise ValueError("its manifest is of another kind")
            if self.manifest["version"] > FORMAT_VERSION:
                raise ValueError(
                    f"it has format version {self.manifest['version']}, newer than this videxplain reads"
                )
            self.geometry = Geometry.from_dict(self.manifest["geometry"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
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
            with zipfile.ZipFile(self.folder / _LABELS) as archive, archive.open(f"{start:010d}.npy") as file:
                return np.lib.format.read_array(file, allow_pickle=False).astype(np.int32)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise VidexplainError(
                f"{self.folder} has no labels of a window at frame {start}: {error}"
            ) from error

    def supervoxels(self, start: int) -> list[dict[str, Any]]:
        """Rows of the window that begins at frame `start`, best first."""
        return self._read(_SUPERVOXELS, filters=[("window", "==", start)]).to_pylist()

    def _read(self, name: str, **options: Any) -> Any:
        try:
            import pyarrow.parquet as parquet

            return parquet.read_table(self.folder / name, memory_map=False, **options)
        except ImportError as error:
            raise VidexplainError(
                "reading explanations needs pyarrow; install it with pip install 'videxplain[save]'."
            ) from error
        except (OSError, ValueError) as error:
            raise VidexplainError(f"{self.folder / name} cannot be read: {error}") from error

    @cached_property
    def _windows(self) -> list[dict[str, Any]]:
        return self._read(_WINDOWS).to_pylist()

    def __len__(self) -> int:
        return int(self.manifest["windows"])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._windows[index]
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
