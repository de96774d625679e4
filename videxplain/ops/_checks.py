"""What the operations refuse, for the Numba implementations: the checks of csrc/ops.cpp in the same words."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

MOST_VOXELS = 2**31 - 1
"""Voxels of a clip are numbered by 32-bit integers."""
MOST_ITERATIONS = 10_000
"""Some clips go round in circles."""
ALWAYS_SEGMENTS = 2**20
"""So many segments may be asked for, whatever the clip; more need as many voxels."""
INTEGERS = 2**63
"""Bound of the integers that an operation can be given."""


def require(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(what)


def volume(tensor: torch.Tensor, axis: int) -> tuple[int, int, int]:
    """The three axes from `axis` on, none empty, so few voxels that they can be numbered."""
    frames, height, width = tensor.shape[axis : axis + 3]
    require(frames > 0 and height > 0 and width > 0, "no axis but the first may be empty")
    require(frames * height * width <= MOST_VOXELS, "clips must have less than 2^31 voxels")
    return frames, height, width


def clips(name: str, tensor: torch.Tensor, dtypes: Sequence[torch.dtype]) -> tuple[int, int, int]:
    """Shape of clips (B, 3, T, H, W) of one of the types."""
    wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(
        tensor.ndim == 5 and tensor.shape[1] == 3 and tensor.dtype in dtypes,
        f"{name} must be {wanted} (B, 3, T, H, W)",
    )
    return volume(tensor, 2)


def labels(tensor: torch.Tensor) -> tuple[int, int, int]:
    require(tensor.ndim == 4 and tensor.dtype == torch.int32, "labels must be int32 (B, T, H, W)")
    return volume(tensor, 1)


def iterations(count: int) -> None:
    require(1 <= count <= MOST_ITERATIONS, "iterations must lie between 1 and 10,000")


def slic(
    shape: Sequence[int],
    batch: int,
    grid: Sequence[int],
    weight: Sequence[float],
    reach: Sequence[float],
    count: int,
    centres: torch.Tensor | None,
) -> None:
    require(len(grid) == len(weight) == len(reach) == 3, "grid, weight and reach must have 3 values")
    require(
        all(1 <= cells <= size for cells, size in zip(grid, shape, strict=True)),
        "grid must lie between 1 and the size of its axis",
    )
    require(
        all(0 <= value <= torch.finfo(torch.float32).max for value in (*weight, *reach)),
        "weight and reach must be finite and not negative",
    )
    iterations(count)
    if centres is not None:
        expected = (batch, math.prod(grid), 6)
        require(
            tuple(centres.shape) == expected and centres.dtype == torch.float32,
            "centres must be float32 (B, K, 6)",
        )
        require(bool(torch.isfinite(centres).all()), "centres must be finite")


def colours(lab: torch.Tensor, batch: int, shape: Sequence[int]) -> None:
    require(
        tuple(lab.shape) == (batch, 3, *shape) and lab.dtype == torch.float32,
        "lab must be float32 (B, 3, T, H, W) of the labels' size, on their device",
    )


def slic_exact(
    lab: torch.Tensor,
    seeds: torch.Tensor,
    weight: float,
    spacing: Sequence[float],
    reach: Sequence[float],
    count: int,
) -> None:
    shape = clips("lab", lab, (torch.float64,))
    require(
        seeds.ndim == 2 and seeds.shape[1] == 3 and seeds.dtype == torch.float64,
        "seeds must be float64 (K, 3)",
    )
    most = max(ALWAYS_SEGMENTS, math.prod(shape))
    require(0 < len(seeds) <= most, "there must be a seed, and at most as many as voxels, or 2^20")
    require(len(spacing) == len(reach) == 3, "spacing and reach must have 3 values")
    require(0 <= weight < math.inf, "weight must be finite and not negative")
    iterations(count)
    require(bool(torch.isfinite(seeds).all()), "seeds must be finite")
    require(
        all(0 < value < math.inf for value in (*spacing, *reach)),
        "spacing and reach must be finite and positive",
    )


def segment_reduce(
    ids: torch.Tensor,
    dense: torch.Tensor | None,
    cam: torch.Tensor | None,
    num_segments: int,
    reduction: int,
) -> None:
    shape = labels(ids)
    require(
        0 < num_segments <= max(ALWAYS_SEGMENTS, math.prod(shape)),
        "num_segments must be positive, and at most as many as voxels, or 2^20",
    )
    require(0 <= reduction <= 2, "reduction must be 0, 1 or 2")
    if dense is not None:
        right = dense.ndim == 5 and len(dense) == len(ids) and dense.shape[1] > 0
        require(
            right and tuple(dense.shape[2:]) == shape and dense.dtype == torch.float32,
            "dense must be float32 (B, C, T, H, W) of the labels' size, on their device",
        )
    if cam is not None:
        require(
            cam.ndim == 4 and len(cam) == len(ids) and cam.dtype == torch.float32,
            "cam must be float32 (B, t, h, w), not empty, on the labels' device",
        )
        volume(cam, 1)
