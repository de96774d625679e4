"""Coarse regions first, then the parts of those that count: methods that hide regions, over unions of supervoxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from videxplain.attribution.methods import AdditiveMasking, Method, effort_option, with_effort
from videxplain.attribution.nesting import efforts
from videxplain.segmentation.hierarchy import Hierarchy, renumbered

if TYPE_CHECKING:
    from videxplain.attribution.query import Query

OPENED = 8
"""Regions that are opened at a time: the five that are shown by default, and three that may belong there."""


def coarse_to_fine(
    query: Query, method: Method, hierarchies: Sequence[Hierarchy], levels: Sequence[int]
) -> torch.Tensor:
    """Scores of the finest supervoxels (B, K), of which only parts of the best coarse regions are told apart.

    The first level's regions are scored; the best of them, by their score and its standard error, give way to their
    parts of the next level; and so on, with a share of the method's passes or samples for each level. What hides a
    region is what hides its parts. The score of a region that is not opened is shared among its supervoxels by their
    size; their standard error is then at least the region's score, which any of them may have.
    """
    assert isinstance(method, AdditiveMasking)
    scores = torch.zeros(len(query.x), query.num_segments)
    for b, tree in enumerate(hierarchies):
        found, errors = _scored(query, b, method, tree, levels)
        scores[b, : tree.count] = torch.from_numpy(found)
        if errors is not None:
            padded = torch.zeros(query.num_segments, dtype=torch.float64)
            padded[: tree.count] = torch.from_numpy(errors)
            query.standard_errors[method, b] = padded
    return scores.to(query.x.device)


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
            opened = np.argsort(-bound, kind="stable")[:OPENED]
            # ids of the finer level come after those that stay
            union = renumbered(np.where(np.isin(union, opened), len(scores) + tree.labels(count), union))
    total = sum(step[name] for step in rounds)
    query.record(method, b, **{**used, name: total, "coarse_to_fine": rounds})
    labels = query.labels[b].cpu().numpy().ravel()
    size = np.bincount(labels, minlength=tree.count).astype(np.float64)
    whole = np.bincount(union, size)[union]
    spread = scores[union] * size / whole
    if errors is None:
        return spread, None
    return spread, np.where(whole > size, np.hypot(errors, np.abs(scores))[union], errors[union])
