"""Runs of places in a row that stand out of a curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def outstanding(
    size: npt.NDArray[np.floating], lengths: npt.NDArray[np.integer], level: float
) -> list[tuple[int, int]]:
    """First and last place of each run that stands out, the one that does most first; runs do not touch.

    Each is the run whose sizes, less `level` of the largest, have the highest sum, weighted by length; then the next of
    what is left, down to a tenth of the first one's sum.
    """
    gains = (size - level * size.max()) * lengths
    runs: list[tuple[int, int]] = []
    most = None
    while size.max() > 0 and (run := _best_run(gains)) is not None:
        first, last, gain = run
        most = most or gain
        if gain < 0.1 * most:
            break
        runs.append((first, last))
        gains[max(0, first - 1) : last + 2] = -np.inf
    return runs


def _best_run(gains: npt.NDArray[np.floating]) -> tuple[int, int, float] | None:
    """First and last place and sum of the run with the highest sum; None where nothing is above 0."""
    best: tuple[int, int, float] | None = None
    total, start = 0.0, 0
    for place, gain in enumerate(gains.tolist()):
        if total <= 0:
            total, start = 0.0, place
        total += gain
        if total > (best[2] if best else 0.0):
            best = start, place, total
    return best
