"""Labels, bit for bit the same from the readable reference, Numba and the native library."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from videxplain import ops
from videxplain.ops import _library, _numba, reference

native = pytest.mark.skipif(_library.NATIVE is None, reason=f"no native library: {_library.WHY_NOT}")


def volume(kind: str, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Lab colours (3, T, H, W)."""
    rng = np.random.default_rng(seed)
    if kind == "constant":
        return np.full((3, *shape), 7, np.float32)
    if kind == "random":
        return (rng.random((3, *shape)) * 100 - 30).astype(np.float32)
    if kind == "ties":  # few colours, so that distances are equal again and again
        return rng.integers(0, 3, (3, *shape)).astype(np.float32) * 8
    from skimage.data import astronaut

    t, y, x = np.indices(shape)
    photo = astronaut()[(y * 3 + t) % 512, (x * 3 + 2 * t) % 512]
    return reference.rgb_to_lab(np.ascontiguousarray(photo.transpose(3, 0, 1, 2)))


def of_reference(lab: np.ndarray, grid, compactness, spacing, min_size, centres=None):
    labels, ends = reference.slic(lab, grid, compactness, spacing, centres=centres)
    return labels, ends, reference.connect_segments(labels, lab, min_size)


def of_numba(lab: np.ndarray, grid, compactness, spacing, min_size, centres=None):
    weight, reach = reference.distance_weights(lab.shape[1:], grid, compactness, spacing)
    labels, ends = _numba.slic(lab, grid, weight, reach, 10, centres)
    return labels, ends, _numba.connect_segments(labels, lab, min_size)


def of_library(lab: np.ndarray, grid, compactness, spacing, min_size, centres=None):
    colours = torch.from_numpy(lab)[None]
    start = None if centres is None else torch.from_numpy(centres)[None]
    labels, ends = ops.slic(colours, grid, compactness, spacing, centres=start)
    connected = ops.connect_segments(labels, colours, min_size)
    return labels[0].numpy(), ends[0].numpy(), connected[0].numpy()


def assert_same(
    lab: np.ndarray, grid, compactness=10.0, spacing=(1.0, 1.0, 1.0), min_size=8, centres=None
) -> None:
    expected = of_reference(lab, grid, compactness, spacing, min_size, centres)
    for implementation in (of_numba, of_library):
        found = implementation(lab, grid, compactness, spacing, min_size, centres)
        for name, ours, theirs in zip(("labels", "centres", "connected"), found, expected, strict=True):
            assert np.array_equal(ours, theirs), f"{name} of {implementation.__name__}"
    assert_connected(expected[2], min_size)


def assert_connected(labels: np.ndarray, min_size: int) -> None:
    """Every id is one face-connected component, by scipy, of the size asked for, and there are no holes."""
    from scipy.ndimage import label

    ids, count = np.unique(labels, return_counts=True)
    assert np.array_equal(ids, np.arange(len(ids)))
    assert len(ids) == 1 or count.min() >= min_size
    for k in ids:
        assert label(labels == k)[1] == 1


@pytest.mark.parametrize("kind", ["constant", "random", "ties", "real"])
@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((1, 1, 1), (1, 1, 1)),
        ((1, 30, 37), (1, 5, 6)),
        ((4, 20, 33), (2, 3, 4)),
        ((5, 9, 8), (1, 1, 1)),
        ((3, 4, 5), (3, 4, 5)),
        ((1, 1, 40), (1, 1, 7)),
        ((17, 3, 2), (5, 1, 1)),
    ],
)
def test_same_labels_everywhere(kind: str, shape, grid) -> None:
    assert_same(volume(kind, shape), grid)


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 37)),
    cells=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)),
    kind=st.sampled_from(["random", "ties", "real"]),
    compactness=st.floats(0.1, 100),
    spacing=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.2, 3)),
    min_size=st.integers(0, 60),
    warm=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_same_labels_for_any_settings(shape, cells, kind, compactness, spacing, min_size, warm, seed) -> None:
    grid = tuple(min(n, size) for n, size in zip(cells, shape, strict=True))
    centres = None
    if warm:
        rng = np.random.default_rng(seed)
        ends = np.array([100, 60, 60, *shape])
        centres = (rng.random((int(np.prod(grid)), 6)) * ends).astype(np.float32)
    assert_same(volume(kind, shape, seed), grid, compactness, spacing, min_size, centres)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_and_batches_do_not_matter(threads: int) -> None:
    labs = torch.from_numpy(np.stack([volume("real", (6, 40, 50)), volume("random", (6, 40, 50))]))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        labels, centres = ops.slic(labs, (2, 4, 5), 10.0)
        connected = ops.connect_segments(labels, labs, 100)
    finally:
        torch.set_num_threads(before)
    for b in range(2):
        expected = of_reference(labs[b].numpy(), (2, 4, 5), 10.0, (1, 1, 1), 100)
        for ours, theirs in zip((labels[b], centres[b], connected[b]), expected, strict=True):
            assert np.array_equal(ours.numpy(), theirs)


EVERYTHING = """
import sys
import numpy as np, torch, torch.nn.functional as F
import videxplain as vx
from videxplain import ops
from videxplain.passes.secants import Secants

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
frames, noise = (torch.from_numpy(np.load(f"{folder}/{name}.npy")) for name in ("frames", "noise"))
lab = ops.rgb_to_lab(frames[None])
labels, centres = ops.slic(lab, (2, 4, 5), 10.0)
connected = ops.connect_segments(labels, lab, 30)
exact = vx.segment(frames.permute(1, 2, 3, 0).numpy(), n_segments=60, exact=True)
steps = {}
for name, function in {"relu6": F.relu6, "pool": lambda x: F.max_pool3d(x, 3, stride=2, padding=1)}.items():
    x = noise.clone().requires_grad_()
    with Secants(4, 4):
        y = function(x)
    y.backward(torch.linspace(-1, 1, y.numel()).view(y.shape))
    steps[name] = x.grad
np.savez(f"{folder}/out.npz", lab=lab, labels=labels, centres=centres, connected=connected, exact=exact, **steps)
"""


@pytest.mark.slow
@native
def test_every_instruction_set_and_number_of_threads_gives_the_same(tmp_path) -> None:
    """In processes of their own, for the choice is made once; a machine without one tests what it falls back to."""
    from skimage.data import astronaut

    t, y, x = np.indices((5, 33, 45))
    frames = np.ascontiguousarray(astronaut()[y * 9 + t, x * 9 + 2 * t].transpose(3, 0, 1, 2))
    np.save(tmp_path / "frames.npy", frames)
    np.save(
        tmp_path / "noise.npy", 4 * np.random.default_rng(0).standard_normal((4, 5, 9, 18, 19), np.float32)
    )
    lab = reference.rgb_to_lab(frames)
    labels, centres = reference.slic(lab, (2, 4, 5), 10.0)
    expected = {
        "lab": lab[None],
        "labels": labels[None],
        "centres": centres[None],
        "connected": reference.connect_segments(labels, lab, 30)[None],
    }
    for isa, threads in (("plain", 1), ("avx2", 2), ("avx512", 3)):
        environment = {**os.environ, "VIDEXPLAIN_ISA": isa}
        command = [sys.executable, "-c", EVERYTHING, str(tmp_path), str(threads)]
        subprocess.run(command, env=environment, check=True)
        with np.load(tmp_path / "out.npz") as found:
            expected = {**found, **expected}  # of the rest, what came first
            for name, values in expected.items():
                assert np.array_equal(found[name], values), f"{name} by {isa} with {threads} threads"


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_lab_is_the_same_everywhere_and_that_of_scikit_image(dtype) -> None:
    from skimage.color import rgb2lab

    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (3, 2, 9, 31)).astype(np.uint8)
    rgb[:, 0, 0, :3] = [[0, 255, 1], [0, 255, 2], [0, 255, 3]]
    if dtype is np.float32:
        rgb = (rgb / 255).astype(np.float32)
    expected = reference.rgb_to_lab(rgb)
    assert np.array_equal(_numba.rgb_to_lab(rgb), expected)
    assert np.array_equal(ops.rgb_to_lab(torch.from_numpy(rgb)[None])[0].numpy(), expected)
    np.testing.assert_allclose(np.moveaxis(expected, 0, -1), rgb2lab(np.moveaxis(rgb, 0, -1)), atol=5e-4)


def test_colours_that_are_no_colours() -> None:
    """What is below 0, above 1 or not a number is black, white or black, everywhere."""
    odd = np.array([np.nan, -1, np.inf, -np.inf, 2, 0.5], np.float32)
    rgb = np.broadcast_to(odd, (3, 1, 1, 6)).copy()
    expected = reference.rgb_to_lab(rgb)
    assert np.isfinite(expected).all()
    assert np.array_equal(_numba.rgb_to_lab(rgb), expected)
    assert np.array_equal(ops.rgb_to_lab(torch.from_numpy(rgb)[None])[0].numpy(), expected)


def test_cube_root() -> None:
    x = np.linspace(0.008, 1.1, 100_001, dtype=np.float32)
    np.testing.assert_allclose(reference.cube_root(x), np.cbrt(x.astype(np.float64)), rtol=3e-7)


def test_slic_finds_blocks_of_colour() -> None:
    """Eight boxes of one colour each, as in scikit-image's own tests: the known answer."""
    lab = np.zeros((3, 8, 24, 32), np.float32)
    t, y, x = np.indices(lab.shape[1:])
    truth = (t // 4) * 4 + (y // 12) * 2 + x // 16
    lab[0] = truth * 12
    lab[1] = (truth % 3) * 20
    labels, _ = ops.slic(torch.from_numpy(lab)[None], (2, 2, 2), 5.0)
    assert np.array_equal(labels[0].numpy(), truth)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lab: ops.slic(lab[0], (1, 1, 1), 10.0), "lab"),
        (lambda lab: ops.slic(lab.double(), (1, 1, 1), 10.0), "lab"),
        (lambda lab: ops.slic(lab, (1, 9, 1), 10.0), "grid"),
        (lambda lab: ops.slic(lab, (1, 1), 10.0), "grid"),
        (lambda lab: ops.slic(lab, (0, 1, 1), 10.0), "grid"),
        (lambda lab: ops.slic(lab, (1, 1, 1), 0.0), "compactness"),
        (lambda lab: ops.slic(lab, (1, 1, 1), float("nan")), "compactness"),
        (lambda lab: ops.slic(lab, (1, 1, 1), 1.0, (1, 1, -1)), "spacing"),
        (lambda lab: ops.slic(lab, (1, 1, 1), 1.0, iterations=0), "iterations"),
        (lambda lab: ops.slic(lab, (1, 1, 1), 1.0, centres=torch.zeros(1, 2, 6)), "centres"),
        (lambda lab: ops.slic(lab, (1, 1, 1), 1.0, centres=torch.full((1, 1, 6), float("nan"))), "centres"),
        (lambda lab: ops.connect_segments(lab[:, 0], lab, 3), "labels"),
        (lambda lab: ops.connect_segments(lab[:, 0, :, :-1].int(), lab, 3), "lab"),
        (lambda lab: ops.rgb_to_lab(lab.int()), "rgb"),
        (lambda lab: ops.rgb_to_lab(lab[:, :2]), "rgb"),
    ],
)
def test_wrong_arguments_are_named(call, message: str) -> None:
    from videxplain.errors import VidexplainError

    with pytest.raises(VidexplainError, match=f"^{message}"):
        call(torch.zeros(1, 3, 2, 8, 8))


def test_empty_batches_and_strided_input() -> None:
    assert ops.rgb_to_lab(torch.zeros(0, 3, 2, 4, 4)).shape == (0, 3, 2, 4, 4)
    labels, centres = ops.slic(torch.zeros(0, 3, 2, 4, 4), (1, 2, 2), 1.0)
    assert labels.shape == (0, 2, 4, 4) and centres.shape == (0, 4, 6)
    lab = torch.from_numpy(volume("real", (4, 20, 30)))[None]
    turned = lab.permute(0, 1, 2, 4, 3).contiguous().permute(0, 1, 2, 4, 3)
    assert not turned.is_contiguous()
    assert torch.equal(ops.slic(turned, (1, 4, 4), 10.0)[0], ops.slic(lab, (1, 4, 4), 10.0)[0])
