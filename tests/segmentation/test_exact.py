"""segment(exact=True): scikit-image's labels, voxel for voxel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut, chelsea, coffee
from skimage.segmentation import slic

import videxplain as vx
from videxplain.evaluation import moving_objects
from videxplain.segmentation import exact


def assert_same(frames: np.ndarray, n: int, compactness: float, spacing=(1.0, 1.0, 1.0)) -> None:
    image = frames if len(frames) > 1 else frames[0]
    own = spacing if len(frames) > 1 else spacing[1:]
    for connect in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of divisions by the size of empty clusters
            theirs = slic(
                image,
                n_segments=n,
                compactness=compactness,
                spacing=own,
                channel_axis=-1,
                start_label=0,
                enforce_connectivity=connect,
            )
        ours = exact.slic(frames, n, compactness, spacing, connect=connect)
        assert np.array_equal(ours, theirs.reshape(ours.shape)), f"connect={connect}"


@pytest.mark.parametrize("n", [1, 20, 100, 400])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clips(seed: int, n: int) -> None:
    assert_same(moving_objects.generate(seed, size=56, frames=8).frames, n, 10.0)


@pytest.mark.parametrize("n", [5, 60, 250])
@pytest.mark.parametrize("photo", [astronaut, chelsea, coffee])
def test_photographs(photo, n: int) -> None:
    assert_same(np.ascontiguousarray(photo()[:90:1, :120])[None], n, 5.0)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(2, 16), st.integers(2, 18)),
    n=st.integers(1, 400),
    compactness=st.floats(0.1, 100),
    spacing=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3), st.floats(0.3, 3)),
    colours=st.sampled_from([2, 4, 256]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=100, deadline=None)
def test_anything(shape, n, compactness, spacing, colours, seed) -> None:
    """Noise, and few colours, which make ties and empty clusters."""
    frames = np.random.default_rng(seed).integers(0, colours, (*shape, 3)) * (255 // (colours - 1))
    assert_same(frames.astype(np.uint8), n, compactness, spacing)


def test_through_segment() -> None:
    clip = moving_objects.generate(3, size=48, frames=4).frames
    labels = vx.segment(clip, n_segments=30, exact=True)
    expected = slic(clip, n_segments=30, compactness=10.0, channel_axis=-1, start_label=0)
    assert labels.dtype == np.int32 and np.array_equal(labels, expected)
    with pytest.raises(vx.VidexplainError, match="exact"):
        vx.segment(clip, "grid", exact=True)
