"""Supervoxels from window to window: what stays keeps its number and its place, a cut or a gap starts afresh."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from skimage.color import rgb2lab

import videxplain as vx
from videxplain.annotate.carrying import PREFERENCE, Past, moved_on
from videxplain.annotate.supervoxels import Supervoxels, matched, overlaps
from videxplain.clip import Clip, Geometry
from videxplain.settings import Segmentation

SLIC = Segmentation(name="slic", n_segments=40, compactness=10.0)


def shot(frames: int, seed: int = 0, shift: float = 0.5) -> np.ndarray:
    """Smooth coloured blobs that drift to the right: (frames, 48, 48, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48]
    waves = rng.uniform(0.1, 0.3, (3, 2)), rng.uniform(0, 6, 3), rng.uniform(60, 190, 3)
    pictures = [
        np.stack(
            [
                base + 60 * np.sin(f[0] * y + f[1] * (x - shift * t) + p)
                for f, p, base in zip(*waves, strict=True)
            ],
            axis=-1,
        )
        for t in range(frames)
    ]
    return np.clip(np.stack(pictures), 0, 255).astype(np.uint8)


def clip(frames: np.ndarray, start: int) -> Clip:
    return Clip(frames, tuple(Fraction(start + t, 25) for t in range(len(frames))), start=start)


def new() -> Supervoxels:
    return Supervoxels(SLIC)


def persistence(last: np.ndarray, own: np.ndarray, first: np.ndarray, numbers: np.ndarray) -> float:
    union = overlaps(last, first)
    same = own[: len(union), None] == numbers[None, : union.shape[1]]
    return float((union * same).max(axis=1)[np.unique(last)].mean())


def test_a_still_scene_keeps_numbers_and_places() -> None:
    frames = shot(16, shift=0.0)
    supervoxels = new()
    before, own = supervoxels(clip(frames[:8], 0))
    after, numbers = supervoxels(clip(frames[8:], 8))
    assert persistence(before[-1], own, after[0], numbers) > 0.8


def test_the_warm_start_persists_better_than_a_cold_one() -> None:
    kept = {}
    for warm in (False, True):
        values = []
        for seed in range(4):
            frames = shot(32, seed)
            supervoxels = Supervoxels(SLIC, warm=warm)
            before, own = supervoxels(clip(frames[:8], 0))
            for start in (8, 16, 24):
                after, numbers = supervoxels(clip(frames[start : start + 8], start))
                values.append(persistence(before[-1], own, after[0], numbers))
                before, own = after, numbers
        kept[warm] = np.mean(values)
    assert kept[True] > kept[False]


def explained_variation(frames: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance of the colours, in scikit-image's CIELAB, that lies between supervoxels."""
    colours, ids = rgb2lab(frames).reshape(-1, 3), labels.ravel()
    means = np.stack([np.bincount(ids, channel) for channel in colours.T], axis=1) / np.bincount(ids)[:, None]
    within, whole = colours - means[ids], colours - colours.mean(axis=0)
    return float(1 - (within**2).sum() / (whole**2).sum())


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny"])
def test_the_warm_start_explains_as_much_of_the_colours(name: str, request: pytest.FixtureRequest) -> None:
    path: Path = request.getfixturevalue(name)
    with vx.open_video(path) as video:
        geometry = Geometry.fit((video.height, video.width), (112, 112), "crop")
        clips = [
            replace(window, frames=geometry.apply(window.frames))
            for window in video.clips(16, 2)
            if not window.held
        ]
    explained, kept = {}, {}
    for warm in (False, True):
        supervoxels = Supervoxels(replace(SLIC, n_segments=200), warm=warm)
        found = [supervoxels(window) for window in clips]
        explained[warm] = np.mean(
            [
                explained_variation(window.frames, labels)
                for window, (labels, _) in zip(clips, found, strict=True)
            ]
        )
        kept[warm] = np.mean(
            [persistence(a[-1], own, b[0], numbers) for (a, own), (b, numbers) in pairwise(found)]
        )
    assert explained[True] >= explained[False]
    assert kept[True] > kept[False] + 0.2


@pytest.mark.parametrize(("seed", "start"), [(7, 8), (0, 9)])
def test_a_cut_or_a_gap_starts_afresh(seed: int, start: int) -> None:
    first, second = shot(8), shot(17)[start : start + 8] if seed == 0 else 255 - shot(8, seed)
    supervoxels = new()
    _, own = supervoxels(clip(first, 0))
    after, numbers = supervoxels(clip(second, start))
    assert np.array_equal(after, new()(clip(second, start))[0]), "as if nothing had been before"
    assert not set(own) & set(numbers)


def test_windows_that_overlap_agree_where_they_do() -> None:
    frames = shot(12)
    supervoxels = new()
    before, own = supervoxels(clip(frames[:8], 0))
    after, numbers = supervoxels(clip(frames[4:], 4))
    assert persistence(before[4], own, after[0], numbers) > 0.5


def test_a_restored_one_goes_on_alike() -> None:
    frames = shot(24)
    first = new()
    first(clip(frames[:8], 0))
    second = new()
    second.restore({name: values.copy() for name, values in first.state().items()})
    for start in (8, 16):
        part = clip(frames[start : start + 8], start)
        for own, other in zip(first(part), second(part), strict=True):
            assert np.array_equal(own, other)


def test_numbers_are_never_used_twice() -> None:
    supervoxels = new()
    seen: set[int] = set()
    for n in range(4):
        _, numbers = supervoxels(clip(shot(8, seed=n) if n % 2 else 255 - shot(8, seed=n), 8 * n))
        assert len(set(numbers.tolist())) == len(numbers)
        assert n == 0 or not (set(numbers.tolist()) - seen and min(set(numbers.tolist()) - seen) <= max(seen))
        seen |= set(numbers.tolist())


def test_moved_on_shifts_what_is_shared_and_mirrors_the_rest() -> None:
    centres = np.zeros((4, 6), np.float32)
    centres[:, 3] = [1.0, 3.5, 4.0, 7.0]
    assert moved_on(centres, 4, 8)[:, 3].tolist() == [6.0, 3.5, 0.0, 3.0]
    assert moved_on(centres, 8, 8)[:, 3].tolist() == [6.0, 3.5, 3.0, 0.0]
    assert centres[0, 3] == 1.0, "the argument is left alone"


def test_regions_start_where_they_ended() -> None:
    labels = np.zeros((4, 2, 4), np.int32)
    labels[:, :, 2:] = 1
    labels[-1, 0, 3] = 2  # the smallest of three where there is room for two
    past = Past(labels, 4, 2)
    lab = np.arange(3 * 2 * 2 * 4, dtype=np.float32).reshape(3, 2, 2, 4)
    expected = [
        [*(channel[where].mean() for channel in lab), 0, *np.argwhere(where)[:, 1:].mean(axis=0)]
        for where in (labels[2:] == 0, labels[2:] == 1)
    ]
    assert past.regions.tolist() == [0, 1]
    assert np.allclose(past.centres(lab), expected)


@pytest.mark.parametrize(("colour", "stays"), [(0.9, True), (1.1, False)])
def test_voxels_stay_with_their_region_where_it_is_near_enough(colour: float, stays: bool) -> None:
    past = Past(np.zeros((2, 1, 1), np.int32), 2, 2)
    centres = np.zeros((2, 6), np.float32)
    centres[0, 0] = colour * PREFERENCE**0.5
    labels = np.ones((2, 1, 1), np.int32)
    past.hold(labels, np.zeros((3, 2, 1, 1), np.float32), centres, np.zeros(3, np.float32))
    assert (int(labels[0, 0, 0]) == 0) == stays
    assert labels[1, 0, 0] == (0 if stays and colour**2 < 7 / 8 else 1), "which fades"


def test_who_hangs_together_with_a_region_is_its_heir() -> None:
    past = Past(np.array([[[0, 0, 0, 1, 1]]], np.int32), 1, 2)
    joined = past.joined(np.array([[[0, 0, 1, 1, 1]]], np.int32))
    assert joined.tolist() == [[[0, 0, 0, 1, 1]], [[0, 0, 1, 1, 1]]]
    assert past.heirs(joined) == [(0, 0), (1, 1)]
    assert past.heirs(np.zeros((2, 1, 5), np.int32)) == [(0, 0)], (
        "merged: the larger one goes on, the other ends"
    )


def test_a_region_without_a_cluster_ends() -> None:
    past = Past(np.array([[[0, 0, 0, 1, 1]]], np.int32), 1, 1)
    assert past.joined(np.zeros((1, 1, 5), np.int32)).tolist() == [[[0, 0, 0, 2, 2]], [[0] * 5]]


def test_overlaps_and_matches_by_hand() -> None:
    before = np.array([[0, 0, 1, 1]])
    after = np.array([[1, 1, 1, 0]])
    assert np.allclose(overlaps(before, after), [[0, 2 / 3], [1 / 2, 1 / 4]])
    assert matched(before, after) == [(0, 1), (1, 0)]
    assert matched(np.array([[0, 0, 0, 1]]), np.array([[0, 1, 2, 3]])) == [(0, 0), (1, 3)]


def test_other_segmentations_keep_numbers_too() -> None:
    supervoxels = Supervoxels(Segmentation(name="grid", n_segments=27))
    frames = shot(16)
    _, own = supervoxels(clip(frames[:8], 0))
    labels, numbers = supervoxels(replace(clip(frames[8:], 8)))
    assert np.array_equal(labels, vx.segment(frames[8:], "grid", n_segments=27))
    assert len(set(own) & set(numbers)) == len(np.unique(labels[0]))
