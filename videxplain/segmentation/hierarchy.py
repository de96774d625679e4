"""Nested supervoxels: a tree of merges over the finest ones, whose cuts have any number of regions."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError

POSITION_WEIGHT = 20.0
"""What a whole side of the clip counts for beside a unit of CIELAB: without it regions of one colour wind about."""


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """A binary tree over the finest regions of a clip.

    Cuts of one tree are nested: a region of a coarse cut is a union of regions of each finer one.

    Attributes
    ----------
    parents
        (2n - 1,) int32. Node i < n is the finest region i, node n + m is what merge m made. Each entry is the node that
        a node was merged into; that of the root, the last node, is -1.
    """

    parents: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        check_parents(self.parents)

    @property
    def count(self) -> int:
        """How many finest regions there are."""
        return (len(self.parents) + 1) // 2

    def labels(self, k: int) -> npt.NDArray[np.int32]:
        """The region of the cut with exactly `k` regions that each finest one belongs to: (n,) in 0..k-1.

        Regions are numbered in the order of their first finest one.
        """
        if not 1 <= k <= self.count:
            raise VidexplainError(f"a cut has 1 to {self.count} regions, not {k}")
        made = 2 * self.count - k  # nodes that exist after n - k merges
        node = np.arange(made)
        for i in range(made - 1, -1, -1):  # a parent comes after its parts
            if 0 <= self.parents[i] < made:
                node[i] = node[self.parents[i]]
        return renumbered(node[: self.count])

    def parts(self, region: int, k: int, finer: int | None = None) -> npt.NDArray[np.int64]:
        """The regions of the cut with `finer` regions, by default of the finest, that one of the cut with `k` is of."""
        coarse = self.labels(k)
        if not 0 <= region < k:
            raise VidexplainError(f"a cut of {k} regions has region 0 to {k - 1}, not {region}")
        return np.unique(self.labels(self.count if finer is None else finer)[coarse == region])

    def above(self, k: int) -> Hierarchy:
        """The tree over the regions of the cut with `k` regions."""
        n, made = self.count, 2 * self.count - k
        first = self.labels(k)
        rank = np.full(2 * n - 1, -1)
        for leaf in range(n):
            node = leaf
            while 0 <= self.parents[node] < made:
                node = int(self.parents[node])
            rank[node] = first[leaf]
        rank[made:] = np.arange(k, 2 * k - 1)
        parents = np.full(2 * k - 1, -1, dtype=np.int32)
        for node in np.flatnonzero(rank >= 0).tolist():
            if self.parents[node] >= 0:
                parents[rank[node]] = rank[self.parents[node]]
        return Hierarchy(parents)


def check_parents(parents: np.ndarray) -> None:
    """Raises ValueError unless these are a tree's, each of whose merges joins two nodes that were there."""
    if parents.ndim != 1 or not len(parents) % 2 or parents.dtype.kind != "i":
        raise ValueError(f"parents of {parents.dtype} {parents.shape} are no tree's")
    n = (len(parents) + 1) // 2
    children = np.bincount(parents[:-1], minlength=2 * n - 1) if (parents[:-1] >= 0).all() else np.zeros(1)
    later = parents[:-1] > np.arange(2 * n - 2)
    if parents[-1] != -1 or not later.all() or len(children) != 2 * n - 1 or (children[n:] != 2).any():
        raise ValueError("its parents are no tree's")


def renumbered(ids: np.ndarray) -> npt.NDArray[np.int32]:
    """The same parts with ids 0..K-1, in the order in which they first come."""
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first)).astype(np.int32)[inverse.reshape(ids.shape)]


def adjacent(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Pairs of regions with a common face, in space or time: (m, 2), the lower id first, sorted."""
    count = int(labels.max()) + 1
    pairs = []
    for axis in range(labels.ndim):
        moved = np.moveaxis(labels, axis, 0).astype(np.int64)
        one, other = moved[:-1].ravel(), moved[1:].ravel()
        differ = one != other
        one, other = one[differ], other[differ]
        pairs.append(np.unique(np.minimum(one, other) * count + np.maximum(one, other)))
    keys = np.unique(np.concatenate(pairs))
    return np.stack([keys // count, keys % count], axis=1)


def merge_tree(labels: npt.NDArray[np.integer], frames: npt.NDArray[np.uint8]) -> Hierarchy:
    """Merges neighbouring regions until one is left, each time the two that are most alike.

    Ward's criterion over voxels: a merge costs what it adds to the sum of squared distances of voxels to the mean of
    their region, in CIELAB and, less so, in place and time. Of equal costs the pair with the lower ids goes first. Sums
    are float64 in the order of voxels, on the CPU, so that all backends find the same tree.

    Parameters
    ----------
    labels
        (T, H, W), ids 0..n-1 without holes.
    frames
        (T, H, W, 3) uint8.
    """
    import torch

    from videxplain import ops

    count, flat = int(labels.max()) + 1, labels.ravel()
    sizes = np.bincount(flat, minlength=count).astype(np.float64)
    side = max(labels.shape[1:])
    places = np.indices(labels.shape).astype(np.float64)
    scales = [1 / max(labels.shape[0], 1), 1 / side, 1 / side]
    rgb = torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, 0)))
    features = [*ops.rgb_to_lab(rgb[None])[0].double().numpy()]
    features += [POSITION_WEIGHT * scale * place for place, scale in zip(places, scales, strict=True)]
    sums = np.stack([np.bincount(flat, feature.ravel(), count) for feature in features], axis=1)
    return Hierarchy(_merged(sizes, sums / sizes[:, None], adjacent(labels)))


def _merged(
    sizes: npt.NDArray[np.float64], means: npt.NDArray[np.float64], pairs: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """Parents of the tree of merges: of regions with these sizes (n,) and mean features (n, F), and of neighbours."""
    count = len(sizes)
    size = [*sizes.tolist(), *[0.0] * (count - 1)]
    mean = np.concatenate([means, np.zeros((count - 1, means.shape[1]))])
    near: list[set[int]] = [set() for _ in range(2 * count - 1)]
    for one, other in pairs.tolist():
        near[one].add(other)
        near[other].add(one)
    parents = np.full(2 * count - 1, -1, dtype=np.int32)

    def entry(one: int, other: int) -> tuple[float, int, int]:
        apart = mean[one] - mean[other]
        return size[one] * size[other] / (size[one] + size[other]) * float(np.square(apart).sum()), one, other

    queue = [entry(one, other) for one, other in pairs.tolist()]
    heapq.heapify(queue)
    made = count
    while made < 2 * count - 1:
        _, one, other = heapq.heappop(queue)
        if parents[one] >= 0 or parents[other] >= 0:  # it has gone into another merge
            continue
        parents[[one, other]] = made
        size[made] = size[one] + size[other]
        mean[made] = (size[one] * mean[one] + size[other] * mean[other]) / size[made]
        near[made] = {node for node in near[one] | near[other] if parents[node] < 0}
        for node in near[made]:
            near[node].add(made)
            heapq.heappush(queue, entry(node, made))
        made += 1
    return parents
