"""segment(): shapes, numbers of supervoxels, quality beside scikit-image's SLIC, clear errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.color import rgb2lab
from skimage.data import astronaut, chelsea
from skimage.segmentation import quickshift, slic

import videxplain as vx
from videxplain.segmentation import SEGMENTATIONS, grid_for
from videxplain.synthetic import moving_objects


def explained_variation(frames: np.ndarray, labels: np.ndarray) -> float:
    """Share of the Lab variance that lies between segments (Moore et al. 2008)."""
    lab = rgb2lab(frames).reshape(-1, 3)
    flat = labels.ravel()
    count = np.maximum(np.bincount(flat), 1)
    means = np.stack([np.bincount(flat, lab[:, c]) / count for c in range(3)], axis=1)
    return float(((means[flat] - lab.mean(0)) ** 2).sum() / ((lab - lab.mean(0)) ** 2).sum())


@pytest.mark.parametrize("method", list(SEGMENTATIONS))
def test_labels_are_consecutive_whatever_the_method(method: str) -> None:
    image = chelsea()[:90, :120]
    options = {} if method == "quickshift" else {"n_segments": 30}
    labels = vx.segment(image, method, **options)
    assert labels.shape == (1, 90, 120) and labels.dtype == np.int32
    assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
    assert np.array_equal(labels, vx.segment(image, method, **options))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            "quickshift",
            {"n_segments": 30},
            "n_segments means nothing to the segmentation 'quickshift'.* slic or grid",
        ),
        ("quickshift", {"compactness": 5.0}, "compactness means nothing .*'quickshift'.* slic"),
        ("grid", {"compactness": 5.0}, "compactness means nothing .*'grid'"),
        ("slic", {"n_segments": 2.5}, "n_segments has to be a whole number, not 2.5"),
        ("slic", {"compactness": "much"}, "compactness has to be a number, not 'much'"),
        ("slic", {"compactness": math.inf}, "compactness must be positive, not inf"),
    ],
)
def test_options_are_used_or_refused(method: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.segment(chelsea()[:20, :20], method, **options)


@pytest.mark.parametrize("n", [1, 10, 100, 400])
def test_number_of_supervoxels_is_about_what_was_asked(n: int) -> None:
    clip = moving_objects.generate(2).frames
    assert 0.5 * n <= vx.segment(clip, n_segments=n).max() + 1 <= 1.5 * n + 1
    assert 0.6 * n <= vx.segment(clip, "grid", n_segments=n).max() + 1 <= 1.4 * n + 1


def test_more_segments_than_voxels() -> None:
    assert vx.segment(np.zeros((2, 3, 4, 3), np.uint8), n_segments=10**6).shape == (2, 3, 4)


@pytest.mark.parametrize("n", [100, 400])
def test_explained_variation_is_above_scikit_images(n: int) -> None:
    ours, theirs = [], []
    for seed in range(4):
        clip = moving_objects.generate(seed).frames
        labels = vx.segment(clip, n_segments=n)
        other = slic(clip, n_segments=n, compactness=10.0, channel_axis=-1, start_label=0)
        ours.append(explained_variation(clip, labels))
        theirs.append(explained_variation(clip, other))
    print(f"n={n}: ours {np.mean(ours):.3f}, scikit-image {np.mean(theirs):.3f}")
    assert np.mean(ours) > np.mean(theirs)


def test_quickshift_is_scikit_images() -> None:
    image = astronaut()[:64, :80]
    expected = quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    ours = vx.segment(image, "quickshift")[0]
    assert len(set(zip(ours.ravel().tolist(), expected.ravel().tolist(), strict=True))) == expected.max() + 1


def test_grid_spreads_cells_over_the_axes() -> None:
    assert grid_for((16, 112, 112), 98) == (1, 10, 10)
    assert grid_for((16, 112, 112), 400) == (2, 14, 14)
    assert grid_for((1, 100, 100), 100) == (1, 10, 10)
    assert grid_for((2, 200, 200), 100) == (1, 10, 10)
    assert grid_for((16, 112, 112), 98, (0.25, 1, 1))[0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": np.zeros((2, 4, 4, 3))}, "frames"),
        ({"frames": np.zeros((2, 4, 4), np.uint8)}, "frames"),
        ({"frames": np.zeros((0, 4, 4, 3), np.uint8)}, "frames"),
        ({"segmentation": "slick"}, "did you mean 'slic'"),
        ({"n_segments": 0}, "n_segments"),
        ({"compactness": 0}, "compactness"),
        ({"compactness": float("inf")}, "compactness"),
        ({"spacing": (1, 1)}, "spacing"),
        ({"segmentation": "quickshift"}, "images"),
    ],
)
def test_wrong_arguments_get_one_sentence(arguments: dict, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.segment(**{"frames": np.zeros((2, 8, 8, 3), np.uint8), **arguments})
