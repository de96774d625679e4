"""Volumes for napari: labels and scores as NumPy files that can be mapped into memory, and a table of regions."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.explanations.tables import COLUMNS
from videxplain.exports.csv import WINDOW_COLUMNS, window_rows
from videxplain.exports.explained import Explained
from videxplain.exports.formats import exports_to
from videxplain.view.clip_scene import ClipScene


@exports_to("napari")
def write(explained: Explained, path: Path, top_k: int) -> None:
    """`labels.npy` and `scores.npy` (T, H, W), and `regions.csv`.

    Labels are a region's number and 1, for 0 is what napari leaves clear. Of a video T are all its frames, of a clip
    its own.
    """
    is_clip = isinstance(explained.scene, ClipScene)
    length = len(explained.summary["windows"][0]["times"]) if is_clip else explained.length
    shape = (length, *explained.size)
    needed, free = 8 * math.prod(shape), shutil.disk_usage(path).free
    if needed > free:
        raise VidexplainError(
            f"volumes of {length} frames of {shape[2]}x{shape[1]} take {needed / 1e9:,.1f} GB, and there are "
            f"{free / 1e9:,.1f} GB free; export to coco or rerun, which are compressed, or a shorter video"
        )
    with (
        open(path / "labels.npy", "wb") as labels_file,
        open(path / "scores.npy", "wb") as scores_file,
        open(path / "regions.csv", "w", newline="", encoding="utf-8") as file,
    ):
        labels, scores = _Volume(labels_file, np.int32, shape), _Volume(scores_file, np.float32, shape)
        table = csv.DictWriter(file, ["index", *WINDOW_COLUMNS, *COLUMNS])
        table.writeheader()
        for window in explained.windows():
            number_of = np.append(window.numbers + 1, 0)  # the last entry answers label -1
            score_of = np.append(window.explanation.scores, 0)
            for frame in window.shown:
                ids = window.source_labels(frame.index)
                place = frame.index if is_clip else frame.number
                labels.write(place, number_of[ids])
                scores.write(place, score_of[ids])
            table.writerows({"index": row["number"] + 1, **row} for row in window_rows(window))


class _Volume:
    """A NumPy file of a shape (T, H, W), written frame by frame; other frames are zero.

    Pages of a mapped file would count as memory of this process.
    """

    def __init__(self, file: BinaryIO, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        self._file, self._dtype = file, np.dtype(dtype).newbyteorder("<")
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        self._begin = file.tell()
        self._frame = self._dtype.itemsize * math.prod(shape[1:])
        file.truncate(self._begin + self._frame * shape[0])

    def write(self, t: int, values: npt.NDArray[Any]) -> None:
        self._file.seek(self._begin + self._frame * t)
        self._file.write(values.astype(self._dtype).tobytes())
