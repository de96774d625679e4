"""Supervoxels that outlast a window: each starts from what the window before ended with, and keeps its number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from videxplain import ops
from videxplain.clip import Clip
from videxplain.segmentation import grid_for, segment, to_segment
from videxplain.settings import Segmentation

SAME_REGION = 0.3
"""Intersection over union from which a region is the one of the frame before."""
SCENE_CUT = 0.6
"""Share of a picture's pixels whose colours the next one does not have, from which it is another scene."""
WARM_ITERATIONS = 5
"""Of SLIC from the last window's centres: half of a new start's explain as much and move supervoxels less."""
SMALLEST_KEPT = 1 / 4
"""Least size of a supervoxel in a window that begins with the last one's centres, relative to the mean.

Those that move on grow unlike in size. At a new start's half, too many are merged, and the fewer that are left explain
less of the colours.
"""
_HISTORY = ("centres", "labels", "numbers", "picture", "place")


class Supervoxels:
    """Segments the windows of one video, in order.

    SLIC starts from the last window's centres, moved on in time, unless there is a gap or a scene cut in between. Other
    segmentations start afresh; numbers carry over all the same.

    Parameters
    ----------
    segmentation
        How, by a name other than "auto"; clips are `scale` times as fine as the network's input.
    warm
        Whether to start from the last window at all.
    device
        As for `segment`.
    """

    def __init__(
        self,
        segmentation: Segmentation,
        *,
        warm: bool = True,
        device: torch.device | str | None = None,
    ) -> None:
        self._segmentation = segmentation
        self._spacing = (float(segmentation.scale), 1.0, 1.0)
        self._warm = warm
        self._device = device
        self._next = 0  # number of the next region that is new
        self._last: dict[str, np.ndarray] = {}

    def __call__(self, clip: Clip) -> tuple[np.ndarray, np.ndarray]:
        """Labels (T, h, w) int32 of a clip of that size, and (K,) int64 numbers that outlast the clip."""
        follows = self._follows(clip)
        if self._segmentation.name == "slic":
            labels, centres = self._slic(clip, follows)
        else:
            labels = segment(clip.frames, self._segmentation, spacing=self._spacing)  # type: ignore[arg-type]
            centres = np.zeros((0, 6), np.float32)
        numbers = self._number(labels, self._place_in_last(clip) if follows else None)
        self._last = {
            "centres": centres,
            "labels": labels,
            "numbers": numbers,
            "picture": clip.frames[-1],
            "place": np.array([clip.start, clip.stride]),
        }
        return labels, numbers

    def state(self) -> dict[str, np.ndarray]:
        """All that the next window depends on."""
        return {**self._last, "next": np.array(self._next)}

    @staticmethod
    def fits(state: dict[str, np.ndarray], size: tuple[int, int]) -> bool:
        """Whether another one, of clips of that size, can have given this state."""
        if "next" not in state:
            return True
        if state["next"].shape or state["next"].dtype.kind not in "iu" or int(state["next"]) < 0:
            return False
        last = {name: state[name] for name in _HISTORY if name in state}
        if not last:
            return True
        if len(last) < len(_HISTORY):
            return False
        labels, numbers, centres, picture, place = (
            last[name] for name in ("labels", "numbers", "centres", "picture", "place")
        )
        return (
            labels.ndim == 3
            and labels.shape[1:] == tuple(size)
            and labels.dtype == np.int32
            and labels.size > 0
            and int(labels.min()) >= 0
            and numbers.shape == (int(labels.max()) + 1,)
            and numbers.dtype == np.int64
            and centres.shape == (len(centres), 6)
            and centres.dtype == np.float32
            and bool(np.isfinite(centres).all() and (np.abs(centres[:, 3:]) <= max(labels.shape)).all())
            and picture.shape == (*size, 3)
            and picture.dtype == np.uint8
            and place.shape == (2,)
            and place.dtype.kind in "iu"
            and int(place[1]) > 0
        )

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on where another one was when `state` was asked for."""
        if "next" in state:
            self._next = int(state["next"])
            self._last = {name: state[name] for name in _HISTORY if name in state}

    def _place_in_last(self, clip: Clip) -> int:
        """Where in the last window's frames this one begins; at its length if right behind it."""
        start, stride = self._last["place"].tolist()
        return round((clip.start - start) / stride)

    def _follows(self, clip: Clip) -> bool:
        """Whether this clip shows the same scene as the last one, without a gap."""
        if not self._last or self._last["labels"].shape != clip.frames.shape[:3]:
            return False
        place = self._place_in_last(clip)
        if place < 1 or place > len(clip):
            return False
        return place < len(clip) or _unlike(self._last["picture"], clip.frames[0]) < SCENE_CUT

    def _slic(self, clip: Clip, follows: bool) -> tuple[np.ndarray, np.ndarray]:
        grid = grid_for(clip.frames.shape[:3], self._segmentation.n_segments, self._spacing)  # type: ignore[arg-type]
        frames = to_segment(clip.frames, self._device)
        begun: dict[str, Any] = {}
        if follows and self._warm:
            centres = moved_on(self._last["centres"], self._place_in_last(clip), len(clip))
            begun = {
                "centres": torch.from_numpy(centres)[None].to(frames.device),
                "iterations": WARM_ITERATIONS,
                "min_size": max(1, int(SMALLEST_KEPT * clip.frames[..., 0].size / math.prod(grid))),
            }
        labels, ends = ops.supervoxels(frames, grid, self._segmentation.compactness, self._spacing, **begun)
        return labels[0].cpu().numpy(), ends[0].cpu().numpy()

    def _number(self, labels: np.ndarray, place: int | None) -> np.ndarray:
        """Numbers of the regions: the last window's where the first frame's region covers the same place, or new."""
        count = int(labels.max()) + 1
        numbers = np.full(count, -1, np.int64)
        if place is not None:
            before = self._last["labels"][min(place, len(labels) - 1)]
            for old, new in matched(before, labels[0]):
                numbers[new] = self._last["numbers"][old]
        fresh = numbers < 0
        numbers[fresh] = self._next + np.arange(fresh.sum())
        self._next += int(fresh.sum())
        return numbers


def moved_on(centres: np.ndarray, place: int, length: int) -> np.ndarray:
    """SLIC centres (K, 6) for a window of `length` frames that begins at frame `place` of the one they come from.

    Those in the frames that both share stay with them. The others would be in the past: they fill the new frames,
    mirrored in time, so that the latest of them come first.
    """
    centres = centres.copy()
    t = centres[:, 3]
    centres[:, 3] = np.clip(np.where(t >= place, t - place, length - 1 - t), 0, length - 1)
    return centres


def matched(before: np.ndarray, after: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of ids of two label images (h, w) that are each other's best match, with enough overlap."""
    union = overlaps(before, after)
    best_after, best_before = union.argmax(axis=1), union.argmax(axis=0)
    return [
        (old, new)
        for old, new in enumerate(best_after.tolist())
        if best_before[new] == old and union[old, new] >= SAME_REGION
    ]


def overlaps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Intersection over union of each region of one label image with each of another; (K, L) float."""
    rows, columns = int(before.max()) + 1, int(after.max()) + 1
    pairs = before.ravel().astype(np.int64) * columns + after.ravel()
    both = np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)
    either = both.sum(axis=1)[:, None] + both.sum(axis=0)[None] - both
    return both / np.maximum(either, 1)


def _unlike(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the pixels of one picture whose colours the other lacks: 0 for the same colours, 1 for none."""
    histograms = []
    for picture in (first, second):
        bins = (picture >> 5).reshape(-1, 3).astype(np.int64) @ np.array([64, 8, 1])
        histograms.append(np.bincount(bins, minlength=512) / len(bins))
    return float(1 - np.minimum(*histograms).sum())
