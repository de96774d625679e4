"""Volumes for napari: labels and scores as NumPy files that are mapped into memory, and a table of regions."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np

from videxplain.errors import VidexplainError
from videxplain.explanations.tables import COLUMNS
from videxplain.exports.csv import WINDOW_COLUMNS, window_rows
from videxplain.exports.explained import Explained
from videxplain.exports.formats import exports_to
from videxplain.view.scene import ClipScene


@exports_to("napari")
def write(explained: Explained, path: Path, top_k: int) -> None:
    """`labels.npy` and `scores.npy` (T, H, W), and `regions.csv`.

    Labels are a region's number and 1, for 0 is what napari leaves clear. Of a video T are all its frames, of a clip
    its own.
    """
    is_clip = isinstance(explained.scene, ClipScene)
    length = len(explained.summary["windows"][0]["times"]) if is_clip else explained.length
    shape = (length, *explained.size)
    needed, free = 8 * int(np.prod(shape, dtype=np.int64)), shutil.disk_usage(path).free
    if needed > free:
        raise VidexplainError(
            f"volumes of {length} frames of {shape[2]}x{shape[1]} take {needed / 1e9:,.1f} GB, and there are "
            f"{free / 1e9:,.1f} GB free; export to coco or rerun, which are compressed, or a shorter video"
        )
    labels = np.lib.format.open_memmap(path / "labels.npy", "w+", np.int32, shape)
    scores = np.lib.format.open_memmap(path / "scores.npy", "w+", np.float32, shape)
    with open(path / "regions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["index", *WINDOW_COLUMNS, *COLUMNS])
        table.writeheader()
        for window in explained.windows():
            number_of = np.append(window.numbers + 1, 0).astype(np.int32)  # the last entry answers label -1
            score_of = np.append(window.explanation.scores, 0).astype(np.float32)
            for frame in window.shown:
                ids = window.source_labels(frame.index)
                place = frame.index if is_clip else frame.number
                labels[place], scores[place] = number_of[ids], score_of[ids]
            table.writerows({"index": row["number"] + 1, **row} for row in window_rows(window))
    labels.flush()
    scores.flush()
