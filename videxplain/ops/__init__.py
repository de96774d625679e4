"""The operations that the toolkit is made of: colours, supervoxels, and the sum of voxel scores over them.

Thin faces of `torch.ops.videxplain`: they check arguments and name the wrong one. `reference` specifies what each does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from operator import index
from typing import SupportsFloat

import numpy as np
import torch

from videxplain.errors import VidexplainError, unknown_name
from videxplain.ops import _checks, _library
from videxplain.ops.reference import distance_weights

__all__ = [
    "CONNECT_POLICIES",
    "REDUCTIONS",
    "backends",
    "connect_segments",
    "rgb_to_lab",
    "segment_reduce",
    "slic",
    "supervoxels",
]

REDUCTIONS = {"sum": _library.SUM, "mean": _library.MEAN, "max": _library.MAX}
CONNECT_POLICIES = ("nearest", "scikit-image")
_LARGEST = _checks.MOST_VOXELS


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """CIELAB (D65) of sRGB clips.

    Parameters
    ----------
    rgb
        (B, 3, T, H, W) uint8, or floating point in [0, 1].

    Returns
    -------
    (B, 3, T, H, W) float32
    """
    _check_clip("rgb", rgb)
    if rgb.is_floating_point():
        rgb = rgb.float()
    elif rgb.dtype != torch.uint8:
        raise VidexplainError(f"rgb must be uint8, or floating point in [0, 1], not {rgb.dtype}")
    return torch.ops.videxplain.rgb_to_lab(rgb)


def slic(
    lab: torch.Tensor,
    grid: Sequence[int],
    compactness: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    iterations: int = 10,
    centres: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Simple linear iterative clustering (Achanta et al. 2012) in space, time and colour.

    Parameters
    ----------
    lab
        (B, 3, T, H, W) float32.
    grid
        Clusters along t, y, x, at most as many as voxels; K is their product. T = 1 is the 2-D case.
    compactness
        Weight of shape against colour, positive.
    spacing
        Distance between neighbouring voxels along t, y, x.
    iterations
        At most how many, up to 10,000; it stops early when nothing changes.
    centres
        (B, K, 6) float32 to start from (L, a, b, t, y, x), as an earlier call returned them.

    Returns
    -------
    labels, centres
        (B, T, H, W) int32 in 0..K-1 and (B, K, 6) float32.

    Raises
    ------
    VidexplainError
        Names the argument that is wrong.
    """
    _check_clip("lab", lab, torch.float32)
    arguments = _slic_arguments(lab, tuple(lab.shape[2:]), grid, compactness, spacing, iterations, centres)
    return torch.ops.videxplain.slic(lab, *arguments, iterations, centres)


def supervoxels(
    frames: torch.Tensor,
    grid: Sequence[int],
    compactness: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    iterations: int = 10,
    min_size: int | None = None,
    centres: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`rgb_to_lab`, `slic` and `connect_segments` in one call, without copies in between.

    Parameters
    ----------
    frames
        (B, T, H, W, 3) uint8 RGB.
    min_size
        By default half the mean size of a segment.

    Returns
    -------
    labels, centres
        (B, T, H, W) int32, connected, and SLIC's (B, K, 6) float32.
    """
    if (
        not isinstance(frames, torch.Tensor)
        or frames.ndim != 5
        or frames.shape[4] != 3
        or 0 in frames.shape[1:]
    ):
        found = tuple(frames.shape) if isinstance(frames, torch.Tensor) else type(frames).__name__
        raise VidexplainError(f"frames must be a tensor (B, T, H, W, 3), not {found}")
    if frames.dtype != torch.uint8:
        raise VidexplainError(f"frames must be uint8, not {frames.dtype}")
    shape = tuple(frames.shape[1:4])
    if math.prod(shape) > _LARGEST:
        raise VidexplainError("frames have clips of more than 2^31 voxels; cut them")
    arguments = _slic_arguments(frames, shape, grid, compactness, spacing, iterations, centres)
    if min_size is not None:
        _check_integer("min_size", min_size)
    else:
        min_size = max(1, math.prod(shape) // math.prod(grid) // 2)
    return torch.ops.videxplain.supervoxels(frames, *arguments, iterations, min_size, centres)


def _slic_arguments(
    clips: torch.Tensor,
    shape: tuple[int, ...],
    grid: Sequence[int],
    compactness: float,
    spacing: Sequence[float],
    iterations: int,
    centres: torch.Tensor | None,
) -> tuple[list[int], list[float], list[float]]:
    """Grid, weights and reaches as the operations take them, all checked."""
    for cells in grid:
        _check_integer("grid", cells)
    if len(grid) != 3 or not all(1 <= g <= size for g, size in zip(grid, shape, strict=True)):
        raise VidexplainError(
            f"grid must be three numbers between 1 and the clip's {shape}, not {tuple(grid)}"
        )
    _check_positive("compactness", compactness)
    if len(spacing) != 3:
        raise VidexplainError(f"spacing must be three positive numbers, not {tuple(spacing)}")
    for step in spacing:
        _check_positive("spacing", step)
    _check_integer("iterations", iterations, 1, _checks.MOST_ITERATIONS)
    if centres is not None:
        if not isinstance(centres, torch.Tensor):
            raise VidexplainError(f"centres must be a tensor, not {type(centres).__name__}")
        expected = (len(clips), math.prod(grid), 6)
        if centres.shape != expected or centres.dtype != torch.float32 or centres.device != clips.device:
            raise VidexplainError(
                f"centres must be float32 {expected} on {clips.device}, "
                f"not {centres.dtype} {tuple(centres.shape)} on {centres.device}"
            )
        if not bool(torch.isfinite(centres).all()):
            raise VidexplainError("centres hold NaN or infinite values")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weight, reach = distance_weights(shape, tuple(grid), compactness, tuple(spacing))
    if not np.isfinite(weight).all():
        raise VidexplainError(f"compactness {compactness} with spacing {tuple(spacing)} is out of range")
    return list(grid), weight.tolist(), reach.tolist()


def connect_segments(
    labels: torch.Tensor,
    lab: torch.Tensor | None,
    min_size: int,
    policy: str = "nearest",
    max_size: int | None = None,
) -> torch.Tensor:
    """Makes every segment one face-connected component of at least `min_size` voxels.

    Parameters
    ----------
    labels
        (B, T, H, W) int32.
    lab
        (B, 3, T, H, W) float32; "scikit-image" does not look at it.
    policy
        Whom smaller components join: "nearest", the neighbour nearest in mean colour, all at once, until none is
        left; or "scikit-image", the neighbour seen last, voxel for voxel as `skimage.segmentation.slic` has it.
    max_size
        For "scikit-image": components end at so many voxels; by default at 6 times `min_size`, as there.

    Returns
    -------
    (B, T, H, W) int32, ids 0..K_b-1 without holes in the order of their first voxels

    Raises
    ------
    VidexplainError
        Names the argument that is wrong.
    """
    labels = _check_labels(labels)
    if policy not in CONNECT_POLICIES:
        raise unknown_name("policy", policy, CONNECT_POLICIES)
    _check_integer("min_size", min_size)
    if policy == "scikit-image":
        if max_size is None:
            max_size = min(max(1, 6 * min_size), _checks.INTEGERS - 1)
        _check_integer("max_size", max_size, max(1, min_size))
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < _LARGEST:
            raise VidexplainError("labels must not be negative, nor 2^31 - 1")
        return torch.ops.videxplain.connect_exact(labels, min_size, max_size)
    if max_size is not None:
        raise VidexplainError("max_size means something to the policy 'scikit-image' only")
    _check_clip("lab", lab, torch.float32)
    assert lab is not None
    if lab.shape[2:] != labels.shape[1:] or len(lab) != len(labels):
        raise VidexplainError(f"lab {tuple(lab.shape)} is not of the labels' size {tuple(labels.shape)}")
    return torch.ops.videxplain.connect_segments(labels, lab, min_size)


def segment_reduce(
    labels: torch.Tensor,
    dense: torch.Tensor | None,
    cam: torch.Tensor | None,
    num_segments: int,
    reduction: str = "sum",
    signed: bool = False,
) -> torch.Tensor:
    """Voxel scores over supervoxels: score[k] = sum over the voxels v of k of |up(cam)(v) * dense(v)|.

    Differentiable in `dense` and `cam`.

    Parameters
    ----------
    labels
        (B, T, H, W) integers in 0..num_segments-1.
    dense
        (B, C, T, H, W), whose channels combine as the sum of their absolute values; None stands for 1.
    cam
        (B, t, h, w), upsampled trilinearly with half-pixel centres on the fly; None stands for 1.
    reduction
        "sum", "mean" or "max" over a supervoxel's voxels; one without voxels scores 0.
    signed
        Take no absolute values.

    Returns
    -------
    (B, num_segments) float32

    Raises
    ------
    VidexplainError
        Names the argument that is wrong.
    """
    if _library.NATIVE is not None and not torch.compiler.is_compiling():
        # Native code checks all of this itself and faster; what it refuses is converted, or named, below.
        with suppress(RuntimeError, TypeError, AttributeError, KeyError):
            return _library.segment_reduce(labels, dense, cam, num_segments, REDUCTIONS[reduction], signed)
    labels = _check_labels(labels)
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    most = max(_checks.ALWAYS_SEGMENTS, math.prod(labels.shape[1:]))
    _check_integer("num_segments", num_segments, 1, most)
    for name, maps, ndim in (("dense", dense, 5), ("cam", cam, 4)):
        if maps is None:
            continue
        if not isinstance(maps, torch.Tensor):
            raise VidexplainError(f"{name} must be a tensor or None, not {type(maps).__name__}")
        if not maps.is_floating_point() or maps.ndim != ndim or len(maps) != len(labels):
            raise VidexplainError(
                f"{name} must be floating point of {ndim} axes for {len(labels)} clips, "
                f"not {maps.dtype} {tuple(maps.shape)}"
            )
        if maps.device != labels.device:
            raise VidexplainError(f"{name} is on {maps.device} and labels on {labels.device}")
    if dense is not None and dense.shape[2:] != labels.shape[1:]:
        raise VidexplainError(f"dense {tuple(dense.shape)} is not of the labels' size {tuple(labels.shape)}")
    if dense is not None and not dense.shape[1]:
        raise VidexplainError(f"dense {tuple(dense.shape)} is empty")
    if cam is not None and 0 in cam.shape[1:]:
        raise VidexplainError(f"cam {tuple(cam.shape)} is empty")
    if dense is not None and dense.dtype != torch.float32:
        dense = dense.float()
    if cam is not None and cam.dtype != torch.float32:
        cam = cam.float()
    try:
        return _library.segment_reduce(labels, dense, cam, num_segments, REDUCTIONS[reduction], signed)
    except RuntimeError as error:
        if "labels must lie" not in str(error):
            raise
        raise VidexplainError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, outside 0..{num_segments - 1}"
        ) from None


def backends() -> dict[str, tuple[str, str]]:
    """For each operation the backend that serves it here, and why."""
    if _library.NATIVE is None:
        return dict.fromkeys(_library.SCHEMAS, ("Numba", _library.WHY_NOT))
    found = {}
    for name in _library.SCHEMAS:
        cuda = name in _library.CUDA_OPS
        kernels = (
            f"CUDA kernels for {_library.CUDA_ARCHITECTURES}" if cuda else "GPU tensors go through the CPU"
        )
        found[name] = (
            "C++, CUDA" if cuda else "C++",
            f"native library, {_library.INSTRUCTION_SET}; {kernels}",
        )
    return found


def _check_clip(name: str, clip: torch.Tensor | None, dtype: torch.dtype | None = None) -> None:
    if not isinstance(clip, torch.Tensor) or clip.ndim != 5 or clip.shape[1] != 3 or 0 in clip.shape[2:]:
        found = tuple(clip.shape) if isinstance(clip, torch.Tensor) else type(clip).__name__
        raise VidexplainError(f"{name} must be a tensor (B, 3, T, H, W), not {found}")
    if dtype is not None and clip.dtype != dtype:
        raise VidexplainError(f"{name} must be {dtype}, not {clip.dtype}")
    if math.prod(clip.shape[2:]) > _LARGEST:
        raise VidexplainError(f"{name} has clips of more than 2^31 voxels; cut them")


def _check_labels(labels: torch.Tensor) -> torch.Tensor:
    if not isinstance(labels, torch.Tensor) or labels.ndim != 4 or 0 in labels.shape[1:]:
        found = tuple(labels.shape) if isinstance(labels, torch.Tensor) else type(labels).__name__
        raise VidexplainError(f"labels must be a tensor (B, T, H, W), not {found}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise VidexplainError(f"labels must be integers, not {labels.dtype}")
    if math.prod(labels.shape[1:]) > _LARGEST:
        raise VidexplainError("labels have clips of more than 2^31 voxels; cut them")
    return labels if labels.dtype == torch.int32 else labels.int()


def _check_integer(
    name: str, value: int, least: int = -_checks.INTEGERS, most: int = _checks.INTEGERS - 1
) -> None:
    try:
        index(value)
    except TypeError:
        raise VidexplainError(f"{name} must be an integer, not {value!r}") from None
    if value < least:
        raise VidexplainError(f"{name} must be at least {least}, not {value}")
    if value > most:
        raise VidexplainError(f"{name} must be at most {most}, not {value}")


def _check_positive(name: str, value: float) -> None:
    if not isinstance(value, SupportsFloat) or not (float(value) > 0 and math.isfinite(value)):
        raise VidexplainError(f"{name} must be positive, not {value}")
