"""Supervoxels that outlast a window: each starts from what the window before ended with, and keeps its number."""

from __future__ import annotations

import math

import numpy as np
import torch

from videxplain import ops
from videxplain.annotate.carrying import Past, moved_on
from videxplain.clip import Clip
from videxplain.ops.reference import distance_weights
from videxplain.segmentation import grid_for, segment, to_segment
from videxplain.settings import Segmentation

SAME_REGION = 0.3
"""Intersection over union from which a region is the one of the frame before."""
SCENE_CUT = 0.6
"""Share of a picture's pixels whose colours the next one does not have, from which it is another scene."""
WARM_ITERATIONS = 4
"""Of SLIC from the last window's centres: fewer than a new start's explain as much and move supervoxels less."""
SMALLEST_KEPT = 1 / 4
"""Least size of a supervoxel in a window that begins with the last one's centres, relative to the mean.

Those that move on grow unlike in size. At a new start's half, too many are merged, and the fewer that are left explain
less of the colours.
"""
_HISTORY = ("centres", "labels", "numbers", "frames", "place")


class Supervoxels:
    """Segments the windows of one video, in order.

    SLIC goes on with the last window's regions, unless there is a gap or a scene cut in between: a cluster for each
    starts where it ended, the first voxels stay with it where they can, and what hangs together with it has its
    number. Other segmentations start afresh; numbers carry over to regions that cover the same place.

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
        centres = np.zeros((0, 6), np.float32)
        if self._segmentation.name != "slic":
            labels = segment(clip.frames, self._segmentation, spacing=self._spacing)  # type: ignore[arg-type]
            pairs = self._covering(labels, clip) if follows else []
        elif follows and self._warm:
            labels, centres, pairs = self._continued(clip)
        else:
            grid = self._grid(clip)
            frames = to_segment(clip.frames, self._device)
            found, ends = ops.supervoxels(frames, grid, self._segmentation.compactness, self._spacing)
            labels, centres = found[0].cpu().numpy(), ends[0].cpu().numpy()
            pairs = self._covering(labels, clip) if follows else []
        numbers = self._number(int(labels.max()) + 1, pairs)
        self._last = {
            "centres": centres,
            "labels": labels,
            "numbers": numbers,
            "frames": clip.frames,
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
        labels, numbers, centres, frames, place = (
            last[name] for name in ("labels", "numbers", "centres", "frames", "place")
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
            and frames.shape == (*labels.shape, 3)
            and frames.dtype == np.uint8
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
        return place < len(clip) or _unlike(self._last["frames"][-1], clip.frames[0]) < SCENE_CUT

    def _grid(self, clip: Clip) -> tuple[int, int, int]:
        return grid_for(clip.frames.shape[:3], self._segmentation.n_segments, self._spacing)  # type: ignore[arg-type]

    def _continued(self, clip: Clip) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
        """Labels that go on with the last window's, the centres, and which region has which one's number."""
        grid, compactness, shape = self._grid(clip), self._segmentation.compactness, clip.frames.shape[:3]
        past = Past(self._last["labels"], self._place_in_last(clip), math.prod(grid))
        lab = self._lab(clip.frames)
        earlier = self._lab(self._last["frames"][past.before.start :])
        starts = past.centres(earlier[0, :, past.seen.start - past.before.start :].cpu().numpy())
        fresh = moved_on(self._last["centres"], past.place, len(clip))
        latest = np.argsort(-fresh[:, 3], kind="stable")[: len(fresh) - len(starts)]
        begun = torch.from_numpy(np.concatenate([starts, fresh[np.sort(latest)]]))[None].to(lab.device)
        found, ends = ops.slic(lab, grid, compactness, self._spacing, WARM_ITERATIONS, begun)
        labels, centres = found[0].cpu().numpy(), ends[0].cpu().numpy()
        weight, _ = distance_weights(shape, grid, compactness, self._spacing)
        past.hold(labels, lab[0].cpu().numpy(), centres, weight)
        smallest = max(1, int(SMALLEST_KEPT * math.prod(shape) / math.prod(grid)))
        before = earlier[:, :, : past.before.stop - past.before.start]
        joined = torch.from_numpy(past.joined(labels))[None].to(lab.device)
        components = ops.connect_segments(joined, torch.cat([before, lab], dim=2), smallest)[0].cpu().numpy()
        here = components[-len(labels) :]
        present = np.bincount(here.ravel(), minlength=int(components.max()) + 1) > 0
        ids = np.cumsum(present, dtype=np.int32) - 1  # of the components in this window
        pairs = [(old, int(ids[new])) for old, new in past.heirs(components) if present[new]]
        return ids[here], centres, pairs

    def _lab(self, frames: np.ndarray) -> torch.Tensor:
        return ops.rgb_to_lab(to_segment(frames, self._device).permute(0, 4, 1, 2, 3))

    def _covering(self, labels: np.ndarray, clip: Clip) -> list[tuple[int, int]]:
        """Regions of the last window, and those that cover the same place in the first frame."""
        before = self._last["labels"][min(self._place_in_last(clip), len(labels) - 1)]
        return matched(before, labels[0])

    def _number(self, count: int, pairs: list[tuple[int, int]]) -> np.ndarray:
        """(K,) numbers of the regions: that of the last window's which each goes on as, or a new one."""
        numbers = np.full(count, -1, np.int64)
        for old, new in pairs:
            numbers[new] = self._last["numbers"][old]
        born = numbers < 0
        numbers[born] = self._next + np.arange(born.sum())
        self._next += int(born.sum())
        return numbers


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
