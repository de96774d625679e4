"""Overlapping windows: a frame that several have seen is drawn with what all of them say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from videxplain.explanations.explanation import Explanation


@dataclass(frozen=True)
class _Seen:
    """A window's place in the video, the class it explains, labels (T, h, w) and scores (K,)."""

    start: int
    target: int
    labels: np.ndarray
    scores: np.ndarray


class Blender:
    """Blends the scores of each window with those of the windows before it that overlap it.

    A voxel's score is the mean of its supervoxels' scores in all windows that hold it, weighted by how far it is from
    the window's nearer end in time, where the network saw less of what comes before or after. A supervoxel's score is
    the mean over its voxels. Windows that explain another class are left out.

    Later windows do not matter: each frame is drawn by the last window that begins before it.

    Parameters
    ----------
    stride
        Frames of the video from one of the window's to the next.
    """

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._seen: list[_Seen] = []

    def __call__(self, start: int, explanation: Explanation) -> Explanation:
        """The explanation of the window that begins at frame `start`, with blended scores."""
        labels, scores = explanation.labels, explanation.scores
        length = len(labels)
        self._seen = [seen for seen in self._seen if seen.start + length * self._stride > start]
        shared = [seen for seen in self._seen if seen.target == explanation.target]
        small = labels.astype(np.min_scalar_type(int(labels.max())))
        self._seen.append(_Seen(start, explanation.target, small, scores))
        if not shared:
            return explanation
        rising = np.arange(1, length + 1, dtype=np.float64)
        weights = np.minimum(rising, rising[::-1])
        total = scores[labels] * weights[:, None, None]
        weight = weights.copy()
        for seen in shared:
            here, there = self._overlap(start - seen.start, length)
            total[here] += seen.scores[seen.labels[there]] * weights[there, None, None]
            weight[here] += weights[there]
        total /= weight[:, None, None]
        voxels = np.bincount(labels.ravel(), minlength=len(scores))
        sums = np.bincount(labels.ravel(), total.ravel(), minlength=len(scores))
        return replace(explanation, scores=(sums / np.maximum(voxels, 1)).astype(np.float32))

    def _overlap(self, later: int, length: int) -> tuple[slice, slice]:
        """Which of this window's frames another holds that began `later` frames of the video before, and where."""
        place = round(later / self._stride)
        return slice(0, length - place), slice(place, length)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next window depends on."""
        state: dict[str, np.ndarray] = {"seen": np.array([[s.start, s.target] for s in self._seen])}
        for n, seen in enumerate(self._seen):
            state |= {f"seen{n}.labels": seen.labels, f"seen{n}.scores": seen.scores}
        return state

    @staticmethod
    def fits(state: dict[str, np.ndarray], size: tuple[int, int]) -> bool:
        """Whether another one, of windows of that size, can have given this state."""
        seen = state.get("seen", np.zeros((0, 2), int))
        if seen.dtype.kind not in "iuf" or (seen.size and (seen.ndim != 2 or seen.shape[1] != 2)):
            return False
        for n in range(len(seen)):
            labels, scores = state.get(f"seen{n}.labels"), state.get(f"seen{n}.scores")
            if labels is None or scores is None or labels.ndim != 3 or labels.shape[1:] != tuple(size):
                return False
            if labels.dtype.kind not in "iu" or not labels.size or int(labels.min()) < 0:
                return False
            if scores.dtype != np.float32 or scores.shape != (int(labels.max()) + 1,):
                return False
        return True

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on where another one was when `state` was asked for."""
        self._seen = list(_restored(state))


def _restored(state: dict[str, np.ndarray]) -> Iterator[_Seen]:
    for n, (start, target) in enumerate(state.get("seen", np.zeros((0, 2), int)).tolist()):
        yield _Seen(start, target, state[f"seen{n}.labels"], state[f"seen{n}.scores"])
