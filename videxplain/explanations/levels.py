"""Explanations over coarser supervoxels, whose scores are sums."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from videxplain.attribution.methods import METHODS, Method
from videxplain.errors import VidexplainError

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation


def made_by(explanation: Explanation) -> Method:
    """The method that made an explanation, with its options."""
    settings = explanation.settings
    kind = METHODS[str(settings.get("became", explanation.method))]
    return kind(**{name: settings[name] for name in kind.options() if name in settings})


def coarser(explanation: Explanation, k: int) -> Explanation:
    """See `Explanation.at`."""
    tree = explanation.hierarchy
    if tree is None:
        raise VidexplainError(
            "this explanation has no coarser supervoxels; ask for them, for example explain(levels=(20, 80, 320))"
        )
    method = made_by(explanation)
    if not method.is_additive:
        raise VidexplainError(
            f"scores by {method.title()} are not sums of their parts' scores; explain the coarser supervoxels "
            f"themselves: explain(labels=...), or n_segments={k}"
        )
    if not hasattr(k, "__index__") or k < 1:
        raise VidexplainError(f"a level has 1 or more supervoxels, not {k!r}")
    if k >= tree.count:
        return explanation
    union = tree.labels(k)

    def summed(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.bincount(union, scores.astype(np.float64)).astype(np.float32)

    return replace(
        explanation,
        labels=union[explanation.labels],
        scores=summed(explanation.scores),
        input_scores={name: summed(scores) for name, scores in explanation.input_scores.items()},
        standard_error=None,
        hierarchy=tree.above(k),
        settings={**explanation.settings, "level": k},
    )
