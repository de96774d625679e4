"""Turns the result file of bench_lime.py into the README's table (Markdown, on standard output)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

NAMES = {"vgg16": "VGG16", "resnet50": "ResNet50", "c3d": "C3D"}


def cell(times: list[float], fastest: float | None = None) -> str:
    """Median, quartiles where there are enough rounds, and how many times the fastest."""
    median = float(np.median(times))
    low, high = np.quantile(times, (0.25, 0.75))
    spread = f" ({low:.3g}-{high:.3g})" if len(times) >= 3 else ""
    return f"{median:.3g} s{spread}" + (f", **{median / fastest:.1f}x**" if fastest else "")


def table(result: dict) -> str:
    rows = {bench["extra_info"]["network"]: bench["extra_info"] for bench in result["benchmarks"]}
    lines = ["| | " + " | ".join(NAMES[name] for name in rows) + " |", "|---|" + "---|" * len(rows)]
    for work in next(iter(rows.values()))["seconds"]:
        cells = []
        for info in rows.values():
            guided = float(np.median(info["seconds"]["guided"]))
            cells.append(cell(info["seconds"][work], None if work == "guided" else guided))
        lines.append(f"| {work} | " + " | ".join(cells) + " |")
    info = next(iter(rows.values()))
    machine = result["machine_info"]
    rounds = len(info["seconds"]["guided"])
    loads = ", ".join(f"{row['load']:.1f}" for row in rows.values())
    lines += [
        "",
        f"Seconds per explanation, segmentation included (median of {rounds} interleaved rounds, quartiles in "
        f"brackets), and how many times guided's. {machine['cpu'].get('brand_raw', machine['machine'])}, "
        f"{info['threads']} threads, torch {info['torch']}, load while measuring {loads}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
