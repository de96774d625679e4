"""What the network said along a video, as stretches of one class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Stretch(NamedTuple):
    """A class from `begin` to `end` in seconds, and its highest probability there."""

    begin: float
    end: float
    name: str
    probability: float


class Classes:
    """The classes explained so far: a row (begin, end, class, highest probability) for each stretch of one class."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._rows: list[list[float]] = []

    def add(
        self, begin: float, end: float, target: int, probability: float, *, gap: float = float("inf")
    ) -> None:
        """From `begin` to `end` in seconds, which goes on with the last stretch if that is at most a `gap` before."""
        last = self._rows[-1] if self._rows else None
        if last is not None and last[2] == target and begin - last[1] <= gap:
            last[1], last[3] = end, max(last[3], probability)
        else:
            self._rows.append([begin, end, float(target), probability])

    def named(self, names: Sequence[str]) -> list[Stretch]:
        """The stretches so far, by the names of their classes."""
        return [Stretch(begin, end, names[int(target)], p) for begin, end, target, p in self._rows]

    def state(self) -> np.ndarray:
        """All stretches: (n, 4) float64."""
        return np.array(self._rows, dtype=np.float64).reshape(-1, 4)

    def fits(self, state: np.ndarray | None) -> bool:
        """Whether another one can have given this state."""
        if state is None:
            return True
        if (
            state.dtype != np.float64
            or state.ndim != 2
            or state.shape[1] != 4
            or not np.isfinite(state).all()
        ):
            return False
        target = state[:, 2]
        return bool(((target == target.round()) & (target >= 0) & (target < self._num_classes)).all())

    def restore(self, state: np.ndarray | None) -> None:
        """Goes on where another one was."""
        if state is not None:
            self._rows = state.tolist()
