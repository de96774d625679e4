"""What explanations over the same supervoxels have in common."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from videxplain.explanations.as_json import to_json
from videxplain.explanations.explanation import Explanation

Key = tuple[str, str]
"""A method's title and a class's name."""


@dataclass(frozen=True)
class Agreement:
    """How far two explanations agree.

    Attributes
    ----------
    one, other
        Which, as (method, class).
    rank_correlation
        Spearman's, of all scores; NaN where one of them scores all alike.
    overlap
        Which share of the best supervoxels are the best of both.
    """

    one: Key
    other: Key
    rank_correlation: float
    overlap: float


class Comparison(dict[Key, Explanation]):
    """Explanations of one clip over the same supervoxels, by (method, class)."""

    def agreements(self, top_k: int = 5) -> list[Agreement]:
        """Of each pair; the overlap is of the best `top_k`."""
        return [
            Agreement(one, other, rank_correlation(a.scores, b.scores), _overlap(a, b, top_k))
            for (one, a), (other, b) in combinations(self.items(), 2)
        ]

    def picture(self) -> npt.NDArray[np.uint8]:
        """A row of frames for each explanation, and a line for each pair: (H, W, 3) uint8."""
        from videxplain.explanations.pictures import comparison_picture

        return comparison_picture(self)

    def to_json(self) -> str:
        """Scores and settings of each explanation and how far each pair agrees, as one JSON object."""
        names = ("target", "target_name", "probability", "predictions", "method", "settings", "scores")
        parts: list[dict[str, Any]] = [
            {"title": title, **{name: getattr(explanation, name) for name in names}}
            for (title, _), explanation in self.items()
        ]
        return to_json({"explanations": parts, "agreements": [asdict(pair) for pair in self.agreements()]})

    def _repr_png_(self) -> bytes:
        from videxplain.explanations.pictures import png

        return png(self.picture())

    def __repr__(self) -> str:
        return f"Comparison({', '.join(f'{method} for {name}' for method, name in self)})"


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; NaN where one of them has no order at all."""
    from scipy.stats import rankdata

    ranks = [rankdata(scores) for scores in (one, other)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


def _overlap(one: Explanation, other: Explanation, top_k: int) -> float:
    best = [set(each.top_ids(top_k).tolist()) for each in (one, other)]
    return len(best[0] & best[1]) / len(best[0])
