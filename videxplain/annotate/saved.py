"""The data beside an explained video: the explanation of each window, and of each supervoxel, to be read lazily.

A folder with `manifest.json`, `windows.parquet`, `supervoxels.parquet` and `labels.zip`, which holds one compressed
array a window. While a video is being explained there is a folder of parts instead, one for each finished segment of
the output, so that a run that goes on behind them finds their data too.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from videxplain.clip import Geometry, span_of
from videxplain.errors import VidexplainError
from videxplain.files import file_state
from videxplain.reading import ALWAYS_FIT, MOST_EXPANSION, check_format, open_file, read_array, read_json

FORMAT, FORMAT_VERSION = "videxplain.explanations", 2
MANIFEST, WINDOWS, SUPERVOXELS, LABELS = (
    "manifest.json",
    "windows.parquet",
    "supervoxels.parquet",
    "labels.zip",
)
TABLES = (WINDOWS, SUPERVOXELS)
SCHEMAS: tuple[dict[str, str], ...] = (
    {
        "window": "whole",
        "times": "reals",
        "held": "whole",
        "target": "whole",
        "target_name": "text",
        "probability": "real",
        "classes": "texts",
        "probabilities": "reals",
        "when": "reals",
    },
    {
        **dict.fromkeys(("window", "id", "number"), "whole"),
        **dict.fromkeys(("score", "error", "share"), "real"),
        "voxels": "whole",
        **dict.fromkeys(("t", "y", "x"), "real"),
        **dict.fromkeys(("t0", "y0", "x0", "t1", "y1", "x1"), "whole"),
        **dict.fromkeys(("start", "end"), "real"),
    },
)
_SINCE_VERSION_2 = {"error"}
_NOT_ALWAYS = {"when"}
_MOST_LABELS = 1 << 30  # bytes of a window's
_ALWAYS_ROWS = 1 << 22  # of a table, however small its file
PARTS = ".parts"


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
    when
        What each of the frames counts for, as `Explanation.when` has it; None in folders that do not tell.
    """

    saved: SavedExplanations
    start: int
    times: tuple[float, ...]
    held: int
    target: int
    target_name: str
    probability: float
    predictions: list[tuple[str, float]]
    when: tuple[float, ...] | None = None

    def __repr__(self) -> str:
        return f"SavedWindow(frame {self.start}, {span_of(self.times)}, {self.target_name!r}, p={self.probability:.3f})"

    @property
    def labels(self) -> np.ndarray:
        """(T, h, w) int32, ids 0..K-1, at the network's input size or, with a finer grid, so many times as fine."""
        return self.saved.labels(self.start)

    @property
    def supervoxels(self) -> list[dict[str, Any]]:
        """Rows of the table of supervoxels, best first; `error` is the score's standard error, or None."""
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
        self._opened: tuple[list[str | int], zipfile.ZipFile] | None = None
        try:
            self.manifest = read_json(self.folder / MANIFEST)
            check_format(self.manifest, FORMAT, FORMAT_VERSION)
            if not isinstance(self.manifest["windows"], int) or self.manifest["windows"] < 0:
                raise ValueError("it does not tell how many windows there are")
            # a video without windows has no geometry
            geometry = self.manifest.get("geometry")
            self.geometry = None if geometry is None else Geometry.from_dict(geometry)
            if self.geometry is None and self.manifest["windows"]:
                raise ValueError("its manifest has no geometry")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, VidexplainError) as error:
            unfinished = " (the video is not finished)" if (self.folder / PARTS).is_dir() else ""
            raise VidexplainError(
                f"{self.folder} holds no explanations that can be read{unfinished}: {error}"
            ) from error

    def __repr__(self) -> str:
        return (
            f"SavedExplanations({str(self.folder)!r}, {len(self)} windows of "
            f"{str(self.manifest.get('input', 'a video'))!r}, method={str(self.manifest.get('method', ''))!r})"
        )

    def table(
        self,
        name: str,
        *,
        columns: list[str] | None = None,
        filters: list[tuple[str, str, Any]] | None = None,
    ) -> Any:
        """The pyarrow table "windows" or "supervoxels", whole or as much of it as is asked for."""
        if name not in ("windows", "supervoxels"):
            raise VidexplainError(f"there is no table {name!r}; there are 'windows' and 'supervoxels'.")
        return self._read(f"{name}.parquet", columns=columns, filters=filters)

    def labels_checksums(self) -> dict[str, tuple[int, int]]:
        """Of each window's labels the checksum and the size, without reading them."""
        try:
            return {info.filename: (info.CRC, info.file_size) for info in self._archive().infolist()}
        except (OSError, zipfile.BadZipFile) as error:
            raise VidexplainError(f"{self.folder} has no labels that can be read: {error}") from error

    def labels(self, start: int) -> np.ndarray:
        """Labels (T, h, w) int32 of the window that begins at frame `start`."""
        try:
            labels = read_array(self._archive(), f"{start:010d}.npy", _MOST_LABELS)
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

    def _archive(self) -> zipfile.ZipFile:
        """The labels' archive, kept open: the list of its many files takes longer to read than one of them."""
        state = file_state(self.folder / LABELS)
        if self._opened is None or self._opened[0] != state:
            self._opened = state, zipfile.ZipFile(open_file(self.folder / LABELS))
        return self._opened[1]

    def supervoxels(self, start: int) -> list[dict[str, Any]]:
        """Rows of the window that begins at frame `start`, best first."""
        rows: list[dict[str, Any]] = self._read(SUPERVOXELS, filters=[("window", "==", start)]).to_pylist()
        ids = sorted(row["id"] for row in rows if row["id"] is not None)
        scores = [row["score"] for row in rows]
        if ids != list(range(len(rows))) or not all(s is not None and math.isfinite(s) for s in scores):
            raise VidexplainError(
                f"{self.folder / SUPERVOXELS} does not have one finite score for each supervoxel of the "
                f"window at frame {start}."
            )
        for row in rows:
            row.setdefault("error", None)
        names = self.manifest.get("regions")
        if isinstance(names, list):
            for row in rows:
                row["name"] = names[row["number"]]
        return rows

    def _read(self, name: str, **options: Any) -> Any:
        try:
            import pyarrow.parquet as parquet

            with open_file(self.folder / name) as file:
                size = os.fstat(file.fileno()).st_size
                table = parquet.ParquetFile(file)
                wanted = set(dict(zip(TABLES, SCHEMAS, strict=True))[name])
                wanted -= _NOT_ALWAYS
                if self.manifest["version"] < 2:
                    wanted -= _SINCE_VERSION_2
                if not wanted <= set(table.schema_arrow.names):
                    raise ValueError(f"it lacks columns of {', '.join(sorted(wanted))}")
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
        rows: list[dict[str, Any]] = self._read(WINDOWS).to_pylist()
        if len(rows) != len(self):
            raise VidexplainError(
                f"{self.folder / WINDOWS} has {len(rows)} windows, and its manifest tells of {len(self)}."
            )
        return rows

    def __len__(self) -> int:
        return int(self.manifest["windows"])

    @overload
    def __getitem__(self, index: int) -> SavedWindow: ...

    @overload
    def __getitem__(self, index: slice) -> list[SavedWindow]: ...

    def __getitem__(self, index: int | slice) -> SavedWindow | list[SavedWindow]:
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
                _curve(row),
            )
        except (TypeError, ValueError) as error:
            raise VidexplainError(f"{self.folder / WINDOWS} is damaged: {error}.") from error

    def __iter__(self) -> Iterator[SavedWindow]:
        return (self[i] for i in range(len(self)))


def _curve(row: dict[str, Any]) -> tuple[float, ...] | None:
    told = row.get("when")
    if told is None:
        return None
    if len(told) != len(row["times"]) or not all(map(math.isfinite, told)):
        raise ValueError("a window does not have one finite value for each of its frames")
    return tuple(told)


def open_explanations(folder: str | os.PathLike[str]) -> SavedExplanations:
    """What `annotate(..., save=folder)` kept of a video, read lazily.

    Parameters
    ----------
    folder
        Where they are.

    Returns
    -------
    SavedExplanations
        A sequence of windows; each is read when it is asked for.

    Raises
    ------
    VidexplainError
        If there is nothing of the kind, or it is damaged.
    """
    return SavedExplanations(folder)
