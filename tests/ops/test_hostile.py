"""What the operations cannot serve they refuse, wherever it would have crashed or never ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from videxplain import ops
from videxplain.errors import VidexplainError
from videxplain.ops import _library, reference

CALLS = 450
GRID: tuple[Any, ...] = ([1, 2, 2], [1.0, 1.0, 1.0], [4.0, 4.0, 4.0])
zeros, native = torch.zeros, _library.NATIVE is not None
LAB = torch.rand(1, 3, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 50
IDS = zeros(1, 2, 8, 8, dtype=torch.int32)
HUGE = zeros(1, 1, 1, 1).expand(1, 2**11, 2**10, 2**10)  # 2^31 voxels in four bytes


def implementations(name: str) -> list[Callable[..., Any]]:
    return [getattr(torch.ops.videxplain, name), _library._NUMBA[name]]


def refused(name: str, message: str, *arguments: Any) -> None:
    for function in implementations(name):
        with pytest.raises(RuntimeError, match=message):
            function(*arguments)


@pytest.mark.slow
def test_random_calls() -> None:
    """In a process of its own, which forks: see there."""
    program = Path(__file__).with_name("hostile.py")
    done = subprocess.run(
        [sys.executable, str(program), str(CALLS)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert int(done.stdout.split(" results")[0]) > CALLS / 4, "the right ones are reached too"


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_empty_axes(axis: int) -> None:
    shape = [1, 2, 8, 8]
    shape[axis] = 0
    ids, lab = zeros(shape, dtype=torch.int32), zeros(1, 3, *shape[1:])
    refused("connect_segments", "empty", ids, lab, 1)
    refused("connect_exact", "empty", ids, 1, 4)
    refused("segment_reduce", "empty", ids, None, None, 1, 0, False)
    refused("slic", "empty", lab, *GRID, 3, None)
    refused("slic_exact", "empty", lab.double(), zeros(1, 3).double(), 1.0, [1.0] * 3, [4.0] * 3, 2)
    refused("rgb_to_lab", "empty", lab)
    refused("supervoxels", "empty", zeros(*shape, 3, dtype=torch.uint8), *GRID, 3, 1, None)
    for dense, cam in ((zeros(1, 0, 2, 8, 8), None), (None, zeros(1, 0, 1, 1))):
        refused("segment_reduce", "dense must|empty", IDS, dense, cam, 1, 0, False)
        with pytest.raises(VidexplainError, match="is empty"):
            ops.segment_reduce(IDS, dense, cam, 1)


@pytest.mark.parametrize("count", [0, -1, -(2**63), 10_001, 2**63 - 1])
def test_iterations(count: int) -> None:
    refused("slic", "iterations", LAB, *GRID, count, None)
    refused("slic_exact", "iterations", LAB.double(), zeros(1, 3).double(), 1.0, [1.0] * 3, [4.0] * 3, count)
    with pytest.raises(VidexplainError, match="iterations must be at"):
        ops.slic(LAB, GRID[0], 10.0, iterations=count)


@pytest.mark.parametrize("place", [1e30, -1e30, 3e9])
def test_centres_far_outside(place: float) -> None:
    """They reach nothing; the reference says what the others find."""
    centres = np.full((4, 6), place, np.float32)
    centres[0] = (20, 0, 0, 1, 4, 4)
    lab = LAB[0].numpy()
    spacing, compactness = (1.0, 1.0, 1.0), 10.0
    weight, reach = reference.distance_weights((2, 8, 8), (1, 2, 2), compactness, spacing)
    expected = reference.slic(lab, (1, 2, 2), compactness, spacing, 3, centres)
    for function in implementations("slic"):
        found = function(LAB, [1, 2, 2], weight.tolist(), reach.tolist(), 3, torch.from_numpy(centres)[None])
        assert all(np.array_equal(own[0].numpy(), right) for own, right in zip(found, expected, strict=True))


@pytest.mark.parametrize("function", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["native", "numba"])
def test_seeds_far_outside(function: int) -> None:
    """One that is far away gets no voxel. Numba takes long to compile."""
    run = implementations("slic_exact")[function]
    for place in (1e30, -1e30, 3e9):
        seeds = torch.tensor([[1.0, 4, 4], [place] * 3], dtype=torch.float64)
        assert not run(LAB.double(), seeds, 1.0, [1.0] * 3, [4.0] * 3, 2).any()


@pytest.mark.parametrize("place", [float("nan"), float("inf")])
def test_centres_that_are_no_places(place: float) -> None:
    refused("slic", "centres must be finite", LAB, *GRID, 3, torch.full((1, 4, 6), place))
    seeds = torch.full((1, 3), place).double()
    refused("slic_exact", "seeds must be finite", LAB.double(), seeds, 1.0, [1.0] * 3, [4.0] * 3, 2)
    for values in ([place, 1.0, 1.0], [-1.0, 1.0, 1.0]):
        refused("slic", "weight and reach", LAB, GRID[0], values, GRID[2], 3, None)
        refused("slic", "weight and reach", LAB, *GRID[:2], values, 3, None)


def test_more_voxels_than_can_be_numbered() -> None:
    lab = HUGE[:, None].expand(1, 3, *HUGE.shape[1:])
    ids = zeros(1, 1, 1, 1, dtype=torch.int32).expand(HUGE.shape)
    refused("connect_segments", "2\\^31", ids, lab, 1)
    refused("connect_exact", "2\\^31", ids, 1, 4)
    refused("segment_reduce", "2\\^31", ids, None, None, 1, 0, False)
    refused("slic", "2\\^31", lab, *GRID, 3, None)
    refused("rgb_to_lab", "2\\^31", lab)
    with pytest.raises(VidexplainError, match=r"2\^31"):
        ops.connect_segments(ids, lab, 1)


def test_numbers_of_segments() -> None:
    for count in (0, -1, 2**20 + 1, 2**62):
        refused("segment_reduce", "num_segments", IDS, None, None, count, 0, False)
        with pytest.raises(VidexplainError, match="num_segments"):
            ops.segment_reduce(IDS, None, None, count)
    assert ops.segment_reduce(IDS, None, None, 2**20).sum() == IDS.numel()


@pytest.mark.skipif(not native, reason="no native library")
@pytest.mark.parametrize("place", [10**6, 4, -1, -(2**63)])
def test_places_outside_a_pooling(place: int) -> None:
    places = torch.full((1, 1, 2), place)
    with pytest.raises(RuntimeError, match="places must lie"):
        torch.ops.videxplain.max_pool_chords(
            zeros(1, 4, 2), zeros(1, 1, 2), places, zeros(1, 1, 2), zeros(1, 4, 2), 1, 1
        )


@pytest.mark.skipif(not native, reason="no native library")
@pytest.mark.parametrize(("ring", "step"), [(2**32, 2**32), (0, 1), (2, -1), (3, 1), (2**62, 4)])
def test_rings_that_are_none(ring: int, step: int) -> None:
    x = zeros(4, 4, 2)
    with pytest.raises(RuntimeError, match="whole rings"):
        torch.ops.videxplain.clamp_chords(x, x, x.clone(), ring, step, 0.0, 6.0)
