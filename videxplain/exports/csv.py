"""Comma-separated values: a row for each region of each window."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from videxplain.explanations.tables import COLUMNS, rows
from videxplain.exports.explained import Explained, ExplainedWindow
from videxplain.exports.formats import exports_to

WINDOW_COLUMNS = ("window", "begin", "end", "method", "class", "probability", "number")
"""Before a region's own: the window's first frame, what it explains, and the number that the region keeps."""


def window_rows(window: ExplainedWindow) -> list[dict[str, Any]]:
    """The rows of a window, best first."""
    explanation = window.explanation
    about = {
        "window": explanation.settings["start"],
        "begin": window.begin,
        "end": window.end,
        "method": explanation.method,
        "class": explanation.target_name,
        "probability": explanation.probability,
    }
    return [about | {"number": int(window.numbers[row["region"]])} | row for row in rows(explanation)]


@exports_to("csv", suffix=".csv")
def write(explained: Explained, path: Path, top_k: int) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*WINDOW_COLUMNS, *COLUMNS])
        writer.writeheader()
        for window in explained.windows():
            writer.writerows(window_rows(window))
