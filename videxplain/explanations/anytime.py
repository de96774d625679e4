"""Explanations that get better while one waits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from videxplain.attribution.methods import RegionGradient
from videxplain.attribution.perturbation import masked_clips
from videxplain.attribution.query import Query
from videxplain.attribution.region_gradient import estimates
from videxplain.errors import VidexplainError
from videxplain.explanations.explain import Request, against, as_numpy, asked, decided, provenance
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.inputs import ClipLike
from videxplain.settings import Question, Segmentation, Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import ClipOptions


@dataclass(frozen=True)
class RunningExplanation:
    """An explanation that is not finished.

    Attributes
    ----------
    explanation
        As from `explain`, with the scores so far; its settings say after how many passes.
    standard_error
        (K,) float32, of the scores; infinite where a single pass or ring has told all.
    passes
        How many forward and backward passes it took so far.
    precision
        The largest standard error in units of the largest score.
    """

    explanation: Explanation
    standard_error: np.ndarray
    passes: int
    precision: float


def explain_anytime(
    model: Classifier,
    clip: ClipLike,
    target: Target | Question = None,
    *,
    method: RegionGradient | None = None,
    segmentation: str | Segmentation | None = None,
    labels: np.ndarray | None = None,
    **options: Unpack[ClipOptions],
) -> Iterator[RunningExplanation]:
    """Explains by `region-gradient`, yielding what is known after each batch of passes; stop when it is enough.

    Parameters
    ----------
    model, clip, target
        As for `explain`.
    method
        By default `RegionGradient(passes=64)`: at most so many passes. Another `mask_sampling` than "secants" is laid
        out for this many, so that stopping early costs some of its evenness. Its `batch_size` is passes from one result
        to the next; by default as many as go through the network at once, of secants at least 4.
    segmentation, labels, **options
        As for `explain`.

    Yields
    ------
    RunningExplanation
        What is known so far, with its standard error.

    Raises
    ------
    VidexplainError
        As `explain`, on the first result.

    Examples
    --------
    >>> for running in vx.explain_anytime(model, clip, passes=64):  # doctest: +SKIP
    ...     if running.precision < 0.05:
    ...         break
    >>> running.explanation.top(5)  # doctest: +SKIP
    """
    method = RegionGradient(passes=64) if method is None else method
    if not isinstance(method, RegionGradient):
        raise VidexplainError(
            f"explain_anytime() works with region-gradient (RegionGradient(...)) only, not with {method!r}"
        )
    request = Request.of([method], target, segmentation, False, dict(options))
    if request.nesting.coarse_to_fine:
        raise VidexplainError(
            "explain_anytime() scores all supervoxels in every pass; leave coarse_to_fine out"
        )
    (picked,) = request.methods
    assert isinstance(picked, RegionGradient)
    inputs = request.inputs(model, [clip], None if labels is None else [labels])
    regions = inputs.regions()
    query = Query(model, inputs.x, regions, int(regions.max()) + 1, request.question)
    decision = decided(query, 0)
    (masked,) = masked_clips(query, picked)
    for estimate in estimates(masked, picked, query.score_of(picked)):
        query.record(picked, 0, refine_top=estimate.refined)
        done = asked(replace(picked, passes=estimate.passes), query) | query.used(picked, 0)
        error = as_numpy(estimate.standard_error)
        explanation = inputs.explanation(
            0,
            scores=as_numpy(estimate.scores),
            standard_error=error,
            method=picked.name,
            settings={
                **inputs.recorded(0),
                **provenance(model, inputs.x, picked),
                **done,
                **against(query, 0),
            },
            **decision,
        )
        yield RunningExplanation(explanation, error, estimate.passes, estimate.precision)
        if picked.until is not None and estimate.precision <= picked.until:
            return
