"""Coarse regions first, then the parts of those that count: methods that hide regions, over unions of supervoxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from videxplain.attribution.methods import AdditiveMasking, Method, RegionGradient, effort_option, with_effort
from videxplain.attribution.nesting import efforts
from videxplain.attribution.perturbation import masked_clips
from videxplain.attribution.region_gradient import estimates
from videxplain.segmentation.hierarchy import Hierarchy, renumbered

if TYPE_CHECKING:
    from videxplain.attribution.query import Query

OPENED = 8
"""Regions that are opened at a time: the five that are shown by default, and three that may belong there."""


def coarse_to_fine(
    query: Query, method: Method, hierarchies: Sequence[Hierarchy], levels: Sequence[int]
) -> torch.Tensor:
    """Scores of the finest supervoxels (B, K), where masks hide coarse regions as a whole but for the best ones.

    The first level's regions are scored; the best of them give way to their parts of the next level; and so on, with a
    share of the method's passes or samples for each level. What hides a region is what hides its parts.

    Region gradients get a slope for each of the finest supervoxels from each pass, whatever it hides: their scores are
    the means over all levels' passes. Other methods tell those parts apart that were opened. The score of a region
    that was not is shared among its supervoxels by their size; their standard error is then at least the region's
    score, which any of them may have.
    """
    assert isinstance(method, AdditiveMasking)
    if isinstance(method, RegionGradient):
        return _slopes(query, method, hierarchies, levels)
    scores = torch.zeros(len(query.x), query.num_segments)
    for b, tree in enumerate(hierarchies):
        of_sample, errors = _scored(query, b, method, tree, levels)
        scores[b, : tree.count] = torch.from_numpy(of_sample)
        if errors is not None:
            padded = torch.zeros(query.num_segments, dtype=torch.float64)
            padded[: tree.count] = torch.from_numpy(errors)
            query.standard_errors[method, b] = padded
    return scores.to(query.x.device)


def _opened(
    union: npt.NDArray[np.int32], scores: npt.NDArray[np.float64], finer: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """The unions (n,) with the best of them, by their `scores`, in parts as in a `finer` cut."""
    best = np.argsort(-scores, kind="stable")[:OPENED]
    # ids of the finer cut come after those that stay
    return renumbered(np.where(np.isin(union, best), len(scores) + finer, union))


def _slopes(
    query: Query, method: RegionGradient, hierarchies: Sequence[Hierarchy], levels: Sequence[int]
) -> torch.Tensor:
    """Of region gradients: the mean over all levels' passes."""
    rows = []
    for b, (clip, tree) in enumerate(zip(masked_clips(query, method), hierarchies, strict=True)):
        counts = [min(level, tree.count) for level in levels[:-1]] + [tree.count]
        shares = efforts(method.passes, len(levels))
        union = tree.labels(counts[0])
        total, variance = torch.zeros(2, query.num_segments, dtype=torch.float64)
        rounds, measured = [], 0
        for place, (count, effort) in enumerate(zip([*counts[1:], 0], shares, strict=True)):
            regions = int(union.max()) + 1
            elsewhere = np.arange(query.num_segments - tree.count)  # supervoxels of other clips
            clip.unions = torch.from_numpy(np.append(union, regions + elsewhere)).long()
            *_, estimate = estimates(
                clip, replace(method, passes=effort, seed=method.seed + place), query.score_of(method)
            )
            rounds.append({"regions": regions, "passes": estimate.passes})
            weight = effort / method.passes
            total = total + weight * estimate.scores
            variance = variance + (weight * estimate.standard_error) ** 2
            measured = max(measured, estimate.refined)
            if count:
                scores = total[: tree.count].numpy()
                by_union = np.bincount(union, scores).astype(np.float64)
                union = _opened(union, by_union, tree.labels(count))
        passes = sum(part["passes"] for part in rounds)
        query.record(method, b, refine_top=measured, passes=passes, coarse_to_fine=rounds)
        query.standard_errors[method, b] = variance.sqrt()
        rows.append(total)
    return torch.stack(rows).float().to(query.x.device)


def _scored(
    query: Query, b: int, method: AdditiveMasking, tree: Hierarchy, levels: Sequence[int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
    """Scores (n,) of the finest supervoxels of sample `b`, and their standard errors, if the method tells them."""
    counts = [min(level, tree.count) for level in levels[:-1]] + [tree.count]
    name, shares = effort_option(method), efforts(getattr(method, effort_option(method)), len(levels))
    union, rounds, used = tree.labels(counts[0]), [], {}
    for count, effort in zip([*counts[1:], 0], shares, strict=True):
        part = with_effort(method, effort)
        over = query.over_unions(b, torch.from_numpy(union).long(), part)
        scores = part.score(over)[0].double().cpu().numpy()
        told = over.standard_errors.get((part, 0))
        errors = None if told is None else told.double().cpu().numpy()
        used = over.used(part, 0)
        rounds.append({"regions": len(scores), name: used.get(name, effort)})
        if count:
            bound = scores if errors is None else scores + np.where(np.isfinite(errors), errors, 0)
            union = _opened(union, bound, tree.labels(count))
    total = sum(step[name] for step in rounds)
    query.record(method, b, **{**used, name: total, "coarse_to_fine": rounds})
    labels = query.labels[b].cpu().numpy().ravel()
    size = np.bincount(labels, minlength=tree.count).astype(np.float64)
    whole = np.bincount(union, size)[union]
    spread = scores[union] * size / whole
    if errors is None:
        return spread, None
    return spread, np.where(whole > size, np.hypot(errors, np.abs(scores))[union], errors[union])
