"""segment(exact=True): scikit-image's labels, voxel for voxel."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2lab
from skimage.data import astronaut, cat, chelsea, coffee, rocket
from skimage.segmentation import slic
from skimage.segmentation._slic import _enforce_label_connectivity_cython
from skimage.util import img_as_float

import videxplain as vx
from videxplain import ops
from videxplain.ops import _library, _numba_exact
from videxplain.segmentation import exact
from videxplain.synthetic import moving_objects


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


def test_connectivity_alone() -> None:
    """Our labels connected by scikit-image's rule, against its own function for that."""
    frames = torch.from_numpy(moving_objects.generate(3, size=56, frames=8).frames)[None]
    labels, _ = ops.slic(ops.rgb_to_lab(frames.permute(0, 4, 1, 2, 3)), (2, 5, 5), 10.0)
    found = ops.connect_segments(labels, None, 40, policy="scikit-image")
    expected = _enforce_label_connectivity_cython(labels[0].numpy().astype(np.intp), 40, 240, start_label=0)
    assert np.array_equal(found[0].numpy(), expected)


@pytest.mark.parametrize("n", [1, 20, 100, 400])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clips(seed: int, n: int) -> None:
    assert_same(moving_objects.generate(seed, size=56, frames=8).frames, n, 10.0)


@pytest.mark.parametrize("n", [5, 60, 250])
@pytest.mark.parametrize("photo", [astronaut, chelsea, coffee])
def test_photographs(photo, n: int) -> None:
    assert_same(np.ascontiguousarray(photo()[:90:1, :120])[None], n, 5.0)


@pytest.mark.parametrize("compactness", [0.3, 10.0, 40.0])
@pytest.mark.parametrize("photo", [astronaut, cat, chelsea, rocket])
def test_pans(photo, compactness: float) -> None:
    """Clips of real colours: a window that moves over a photograph; widths that tiles do not divide."""
    picture = photo()
    clip = np.stack([picture[2 * t : 2 * t + 60, 3 * t : 3 * t + 75] for t in range(6)])
    assert_same(clip, 40, compactness, (2.0, 1.0, 0.7))


@pytest.mark.parametrize(("low", "high"), [(0, 256), (3, 250), (100, 108), (0, 30)])
def test_colours(low: int, high: int) -> None:
    """Every bit of what scikit-image makes of bytes."""
    frames = np.random.default_rng(low).integers(low, high, (3, 90, 101, 3)).astype(np.uint8)
    image = img_as_float(frames)
    image -= image.min()
    image /= image.max()
    expected = rgb2lab(image) * (1 / 7.3)
    assert np.array_equal(np.moveaxis(expected, -1, 0), exact.lab(frames, 1 / 7.3))


@pytest.mark.parametrize("compactness", [0.1, 100.0])
@pytest.mark.parametrize("frames", [1, 3])
def test_more_segments_than_voxels(frames: int, compactness: float) -> None:
    clip = np.stack([chelsea()[100 + t : 109 + t, 120:131] for t in range(frames)])
    for n in (1, clip[..., 0].size, clip[..., 0].size + 1, 10 * clip[..., 0].size):
        assert_same(clip, n, compactness, (2.0, 1.0, 0.7))


@pytest.mark.parametrize("value", [0, 7, 255])
def test_one_colour(value: int) -> None:
    assert_same(np.full((4, 20, 33, 3), value, np.uint8), 12, 10.0)


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


@pytest.mark.slow
@pytest.mark.skipif(_library.NATIVE is None, reason=f"no native library: {_library.WHY_NOT}")
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 40)),
    clusters=st.integers(1, 60),
    middle=st.sampled_from([0.0, 50.0, -1e9, 1e30]),
    contrast=st.sampled_from([0.0, 1e-12, 1e-3, 1.0, 100.0, 1e12, 1e25]),
    levels=st.sampled_from([2, 5, 1000]),
    weight=st.sampled_from([1e-42, 1e-30, 0.01, 1.0, 1e30]),
    threads=st.sampled_from([1, 2]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=150, deadline=None)
def test_native_against_numba(shape, clusters, middle, contrast, levels, weight, threads, seed) -> None:
    """Any numbers: distances that float32 cannot tell apart or hold, seeds anywhere, windows that leave voxels out."""
    rng = np.random.default_rng(seed)
    lab = middle + contrast * rng.integers(0, levels, (2, 3, *shape)) / levels
    seeds = rng.integers(0, shape, (clusters, 3)).astype(np.float64)
    spacing, reach = rng.uniform(0.3, 3, 3).tolist(), (2.0 * rng.integers(1, 9, 3)).tolist()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        labels = torch.ops.videxplain.slic_exact(
            torch.from_numpy(lab), torch.from_numpy(seeds), weight, spacing, reach, 5
        )
        connected = torch.ops.videxplain.connect_exact(labels, 4, 30)
    finally:
        torch.set_num_threads(before)
    for b in range(2):
        expected = _numba_exact.slic(lab[b], seeds, weight, tuple(spacing), tuple(reach), 5)
        assert np.array_equal(labels[b].numpy(), expected)
        assert np.array_equal(connected[b].numpy(), _numba_exact.connect_segments(expected, 4, 30))


def test_as_torch_operations() -> None:
    lab, seeds = torch.rand(2, 3, 3, 8, 9, dtype=torch.float64), torch.rand(5, 3, dtype=torch.float64) * 3
    operation = torch.ops.videxplain.slic_exact.default
    torch.library.opcheck(operation, (lab, seeds, 0.1, [1.0, 1.0, 1.0], [4.0, 4.0, 4.0], 3))
    labels = torch.randint(0, 3, (2, 3, 8, 9), dtype=torch.int32)
    torch.library.opcheck(torch.ops.videxplain.connect_exact.default, (labels, 3, 20))


def test_through_segment() -> None:
    clip = moving_objects.generate(3, size=48, frames=4).frames
    labels = vx.segment(clip, n_segments=30, exact=True)
    expected = slic(clip, n_segments=30, compactness=10.0, channel_axis=-1, start_label=0)
    assert labels.dtype == np.int32 and np.array_equal(labels, expected)
    with pytest.raises(vx.VidexplainError, match="exact"):
        vx.segment(clip, "grid", exact=True)
