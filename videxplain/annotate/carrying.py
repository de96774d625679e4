"""What one window's supervoxels leave to the next: where clusters start, what voxels prefer, who has whose number."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

RECENT = 2
"""Frames before a window that its regions are continued from."""
PREFERENCE = 150.0
"""How much farther a region may be, as a squared distance in CIELAB, for a voxel to stay with it.

That is a difference of 12 in colour, or of 1.2 steps of the grid in place at a compactness of 10.
"""
FADING = 8
"""Frames of a window over which the preference fades."""


@dataclass(frozen=True)
class Past:
    """A window's regions as the next one sees them.

    Attributes
    ----------
    labels
        (T, h, w) int32 of the window before.
    place
        Which of its frames is the next window's first; T if that begins right behind it.
    room
        How many clusters there are for regions.
    """

    labels: np.ndarray
    place: int
    room: int

    @property
    def shared(self) -> int:
        """How many frames both windows have."""
        return len(self.labels) - self.place

    @property
    def before(self) -> slice:
        """The last frames that the next window does not have."""
        return slice(max(0, self.place - RECENT), self.place)

    @property
    def seen(self) -> slice:
        """The frames that the next window's regions are continued from: those shared, a few at least."""
        return slice(min(self.place, max(0, len(self.labels) - RECENT)), None)

    @cached_property
    def regions(self) -> np.ndarray:
        """Ids, ascending, of the regions that go on: the largest in the frames shared or the last one."""
        edge = self.labels[min(self.place, len(self.labels) - 1) :]
        size = np.bincount(edge.ravel())
        largest = np.argsort(-size, kind="stable")[: self.room]
        return np.sort(largest[size[largest] > 0])

    @cached_property
    def cluster_of(self) -> np.ndarray:
        """(K,) the cluster of each region, -1 for one that ends."""
        clusters = np.full(int(self.labels.max()) + 1, -1, np.int32)
        clusters[self.regions] = np.arange(len(self.regions))
        return clusters

    def centres(self, lab: np.ndarray) -> np.ndarray:
        """(R, 6) float32, where the clusters of the regions start; `lab` (3, t, h, w) is of the frames `seen`."""
        ids = self.cluster_of[self.labels[self.seen]]
        count = len(self.regions)
        ids[ids < 0] = count  # those that end, to be left out
        ids = ids.ravel()
        t, y, x = np.indices(lab.shape[1:], np.int32)
        t = np.maximum(t + self.seen.start - self.place, 0)
        sums = [np.bincount(ids, value.ravel(), minlength=count + 1)[:count] for value in (*lab, t, y, x)]
        return (np.stack(sums, axis=1) / np.bincount(ids, minlength=count + 1)[:count, None]).astype(
            np.float32
        )

    def hold(self, labels: np.ndarray, lab: np.ndarray, centres: np.ndarray, weight: np.ndarray) -> None:
        """Voxels of the next window's labels (T, h, w) stay with the regions they had, where these are near enough.

        Frames in both windows prefer the regions they had, the others those of the frame before them, ever less.

        Parameters
        ----------
        lab, centres, weight
            (3, T, h, w), (K, 6) and (3,), from which SLIC's distances are.
        """
        width = labels.shape[2]
        axes = np.ascontiguousarray(centres.T)  # by coordinate
        earlier = self.cluster_of[self.labels[-1]].ravel()
        for t in range(min(len(labels), self.shared + FADING)):
            if t < self.shared:
                earlier = self.cluster_of[self.labels[self.place + t]].ravel()
            frame = labels[t].reshape(-1)
            places = np.flatnonzero((earlier >= 0) & (earlier != frame))
            had, has = earlier[places], frame[places]
            y, x = np.divmod(places.astype(np.int32), width)
            colours = (channel[t].ravel()[places] for channel in lab)
            voxels = [*colours, np.full(len(y), t, np.float32), y.astype(np.float32), x.astype(np.float32)]
            farther = _distance(voxels, axes, had, weight) - _distance(voxels, axes, has, weight)
            stays = farther < PREFERENCE * (1 - max(0, t - self.shared) / FADING)
            frame[places[stays]] = had[stays]
            earlier = np.where(frame < len(self.regions), frame, -1)

    def joined(self, labels: np.ndarray) -> np.ndarray:
        """The frames before the next window, by cluster, and behind them its own labels; what ended has other ids."""
        before = self.labels[self.before]
        clusters = self.cluster_of[before]
        return np.concatenate([np.where(clusters >= 0, clusters, self.room + before), labels]).astype(
            np.int32
        )

    def heirs(self, components: np.ndarray) -> list[tuple[int, int]]:
        """Pairs of a region and the component that goes on as it: each has most of its voxels in the other.

        `components` are of the frames that `joined` gave; only those shared, and the one before them, are counted.
        """
        first = len(self.labels[self.before])
        old = self.labels[self.place - 1 :].ravel().astype(np.int64)
        new = components[first - 1 : first + self.shared].ravel()
        rows, columns = int(self.labels.max()) + 1, int(components.max()) + 1
        both = np.bincount(old * columns + new, minlength=rows * columns).reshape(rows, columns)
        to, back = both.argmax(axis=1), both.argmax(axis=0)
        return [(k, int(to[k])) for k in self.regions.tolist() if back[to[k]] == k and both[k, to[k]]]


def _distance(
    voxels: list[np.ndarray], axes: np.ndarray, clusters: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """SLIC's squared distance of each voxel from a cluster's centre, added up in one order: the same bits everywhere.

    `voxels` are the coordinates L, a, b, t, y, x, an array each; `axes` (6, K) those of the centres.
    """
    total = np.zeros(len(clusters), np.float32)
    for value, axis, factor in zip(voxels, axes, (*np.ones(3, np.float32), *weight), strict=True):
        apart = value - axis[clusters]
        total += apart * apart * factor
    return total


def moved_on(centres: np.ndarray, place: int, length: int) -> np.ndarray:
    """SLIC centres (K, 6) for a window of `length` frames that begins at frame `place` of the one they come from.

    Those in the frames that both share stay with them. The others would be in the past: they fill the new frames,
    mirrored in time, so that the latest of them come first.
    """
    centres = centres.copy()
    t = centres[:, 3]
    centres[:, 3] = np.clip(np.where(t >= place, t - place, length - 1 - t), 0, length - 1)
    return centres
