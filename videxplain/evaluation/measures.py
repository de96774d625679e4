"""The numbers: removal, insertion and deletion, localization, agreement. Pure functions of one item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata

if TYPE_CHECKING:
    from videxplain.passes.masked_clip import MaskedClip


def best_first(scores: np.ndarray) -> np.ndarray:
    """Supervoxel ids from the highest score to the lowest; ties go to the lower id."""
    return np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")


def _removed(order: np.ndarray, counts: np.ndarray, num_segments: int) -> torch.Tensor:
    """Masks (len(counts), K) of 0 and 1 in which the first counts[i] supervoxels of `order` are hidden."""
    rank = np.empty(num_segments, dtype=np.int64)
    rank[order] = np.arange(len(order))
    return torch.from_numpy((rank[None] >= counts[:, None]).astype(np.float32))


def removed_until_change(clip: MaskedClip, order: np.ndarray) -> float:
    """Share of supervoxels hidden, in this order, when the class changes (section 4.1 of the paper).

    Parameters
    ----------
    clip : the clip; its target is the class that has to stay on top.
    order : ids, the first to be hidden first.

    Returns
    -------
    n / K for the smallest n at which the target is no longer the most probable class; 1 where it always is.
    """
    total = len(order)
    for first in range(1, total + 1, clip.batch_size):
        counts = np.arange(first, min(first + clip.batch_size, total + 1))
        masks = _removed(order, counts, clip.num_segments).to(clip.x)
        changed = (~clip.model.answers.decides(clip.probabilities(masks), clip.target)).cpu().numpy()
        if changed.any():
            return float(counts[changed.argmax()]) / total
    return 1.0


def area_under_curve(clip: MaskedClip, order: np.ndarray, *, insertion: bool, steps: int = 20) -> float:
    """Area under the target's probability while supervoxels are shown (or hidden) best first (Petsiuk et al. 2018).

    Parameters
    ----------
    order : ids, best first.
    insertion : show them one after another on the bare fill, instead of hiding them one after another.
    steps : at how many evenly spaced shares, besides none, the probability is taken; each supervoxel where
        there are fewer.

    Returns
    -------
    Trapezoidal area over the share of supervoxels, in [0, 1].
    """
    total = len(order)
    counts = np.unique(np.rint(np.linspace(0, total, min(steps, total) + 1)).astype(np.int64))
    masks = _removed(order, counts, clip.num_segments)
    if insertion:
        masks = 1 - masks
    values = clip.probability(masks.to(clip.x)).double().cpu().numpy()
    return float(np.trapezoid(values, counts / total))


def overlap(labels: np.ndarray, mask: np.ndarray, num_segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Voxels of each supervoxel inside the mask, and in all: two (K,) int64."""
    inside = np.bincount(labels[mask], minlength=num_segments)
    return inside, np.bincount(labels.ravel(), minlength=num_segments)


def localization(labels: np.ndarray, scores: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """How well the scores point at a mask.

    Parameters
    ----------
    labels : int (T, H, W), ids 0..K-1.
    scores : (K,).
    mask : bool (T, H, W), true on the object.

    Returns
    -------
    centre : 1 if the centre of mass of the top supervoxel lies in the mask, else 0.
    pointing : share of the top supervoxel inside the mask, which is the chance that the pointing game (Zhang et
        al. 2018) is won by a point drawn from the voxels of the highest score.
    energy : share of the positive score inside the mask, each supervoxel's spread evenly over its voxels.
    iou : intersection over union of the mask and the top supervoxels that first cover as many voxels as it has.
    """
    inside, size = overlap(labels, mask, len(scores))
    order = best_first(scores)
    top = order[0]
    place = tuple(int(np.floor(axis.mean() + 0.5)) for axis in np.nonzero(labels == top))
    positive = np.maximum(np.asarray(scores, dtype=np.float64), 0)
    total = positive.sum()
    energy = float((positive * inside / np.maximum(size, 1)).sum() / total) if total > 0 else 0.0
    covered = np.cumsum(size[order])
    chosen = order[: int(np.searchsorted(covered, mask.sum())) + 1]
    common = inside[chosen].sum()
    return {
        "centre": float(mask[place]),
        "pointing": float(inside[top] / size[top]),
        "energy": energy,
        "iou": float(common / (mask.sum() + size[chosen].sum() - common)),
    }


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's coefficient; 0 where one of them has no order at all."""
    a, b = (rankdata(np.asarray(values, dtype=np.float64)) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else 0.0


def shared_first(first: np.ndarray, second: np.ndarray, k: int = 5) -> float:
    """Share of the `k` highest of one that are among the `k` highest of the other."""
    k = min(k, len(first))
    return len(np.intersect1d(best_first(first)[:k], best_first(second)[:k])) / k


def agreement(scores: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Whether the top supervoxel is among the reference's top 1 and top 5 (section 4.2), and the rank correlation."""
    top = best_first(scores)[0]
    wanted = best_first(reference)
    return {
        "top1": float(top == wanted[0]),
        "top5": float(top in wanted[:5]),
        "rank": rank_correlation(scores, reference),
    }
