"""Turns an experiment's table.csv into Markdown (on standard output).

python benchmarks/experiment_table.py benchmarks/results/localization.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

FRACTIONS = ("worst", "best", "top1", "top5", "centre", "pointing", "energy", "iou")


def table(rows: list[dict[str, str]]) -> str:
    """Means with half the width of their 95% bootstrap intervals; percentages where they are shares."""
    names = [name for name in rows[0] if f"{name}_low" in rows[0]]
    keys = [name for name in ("segments", "method", "layer") if len({row.get(name, "") for row in rows}) > 1]
    lines = ["| " + " | ".join(keys + names) + " |", "|" + "---|" * (len(keys) + len(names))]
    for row in rows:
        cells = [row[key] for key in keys]
        for name in names:
            mean, low, high = (float(row[key]) for key in (name, f"{name}_low", f"{name}_high"))
            if name in FRACTIONS:
                cells.append(f"{mean:.1%} ±{(high - low) / 2:.1%}")
            else:
                cells.append(f"{mean:.3f} ±{(high - low) / 2:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        print(table(list(csv.DictReader(file))))
