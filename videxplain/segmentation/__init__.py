"""Clip to labels: which voxel belongs to which supervoxel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from videxplain import ops
from videxplain.errors import VidexplainError
from videxplain.registry import Registry
from videxplain.settings import segmentation_for

__all__ = ["SEGMENTATIONS", "grid_for", "segment", "to_segment"]

Segmentation = Callable[..., np.ndarray]
SEGMENTATIONS: Registry[Segmentation] = Registry("segmentation")


def segment(
    frames: np.ndarray,
    method: str = "slic",
    *,
    n_segments: int | None = None,
    compactness: float | None = None,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    exact: bool = False,
    device: torch.device | str | None = None,
) -> np.ndarray:
    """Cuts a clip into supervoxels, an image into superpixels.

    Parameters
    ----------
    frames
        (T, H, W, 3) uint8; an image (H, W, 3) is a clip of one frame.
    method
        "slic" (3-D), "quickshift" (scikit-image's, frame by frame is not asked: images only) or "grid" (boxes).
    n_segments
        About how many, 200 by default; quickshift finds its own number.
    compactness
        SLIC's weight of shape against colour, 10 by default.
    spacing
        Distance between neighbouring voxels along t, y, x; below 1 along t makes longer supervoxels.
    exact
        SLIC with scikit-image's labels, voxel for voxel (`skimage.segmentation.slic(..., start_label=0)`); slower.
    device
        A CUDA device for "slic", which finds the same labels as the CPU; all else is done on the CPU.

    Returns
    -------
    (T, H, W) int32, ids 0..K-1 without holes

    Raises
    ------
    VidexplainError
        For frames of another kind, an unknown method, numbers that are not positive, and options that the method
        does not have.
    """
    array = np.asarray(frames)
    array = array[None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or array.size == 0:
        raise VidexplainError(f"frames must be uint8 (T, H, W, 3), not {array.dtype} {array.shape}")
    options = segmentation_for(method, n_segments=n_segments, compactness=compactness)
    if len(spacing) != 3 or not all(s > 0 and math.isfinite(s) for s in spacing):
        raise VidexplainError(f"spacing must be three positive numbers, not {spacing}")
    if exact:
        if method != "slic":
            raise VidexplainError(f"exact means SLIC as scikit-image does it; {method!r} has no such form")
        from videxplain.segmentation import exact as like_scikit_image

        return like_scikit_image.slic(array, spacing=spacing, **options)
    return SEGMENTATIONS[method](array, spacing=spacing, device=device, **options)


def to_segment(frames: np.ndarray, device: torch.device | str | None) -> torch.Tensor:
    """A clip (T, H, W, 3) as a batch of one, on the device if SLIC has kernels for it, else on the CPU."""
    batch = torch.from_numpy(np.ascontiguousarray(frames))[None]
    return batch.to(device) if device is not None and torch.device(device).type == "cuda" else batch


def grid_for(
    shape: tuple[int, int, int], n_segments: int, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[int, int, int]:
    """Cells along t, y, x whose product is about `n_segments` and which are about as long as they are wide and high."""
    extent = [size * step for size, step in zip(shape, spacing, strict=True)]
    cells = [1, 1, 1]
    wanted = float(n_segments)
    # the shortest axis first: what rounding takes from it or gives it, the others make good
    axes = sorted(range(3), key=extent.__getitem__)
    for i, axis in enumerate(axes):
        rest = [extent[a] for a in axes[i:]]
        side = (math.prod(rest) / wanted) ** (1 / len(rest))
        cells[axis] = min(max(round(extent[axis] / side), 1), shape[axis])
        wanted = max(1.0, wanted / cells[axis])
    return cells[0], cells[1], cells[2]


@SEGMENTATIONS.register("slic")
def _slic(
    frames: np.ndarray,
    *,
    n_segments: int,
    compactness: float,
    spacing: tuple[float, ...],
    device: torch.device | str | None,
) -> np.ndarray:
    """3-D SLIC in CIELAB; components below half the mean size join the neighbour nearest in colour."""
    grid = grid_for(frames.shape[:3], n_segments, spacing)  # type: ignore[arg-type]
    labels, _ = ops.supervoxels(to_segment(frames, device), grid, compactness, spacing)
    return labels[0].cpu().numpy()


@SEGMENTATIONS.register("quickshift")
def _quickshift(frames: np.ndarray, *, spacing: tuple[float, ...], **_device: object) -> np.ndarray:
    """scikit-image's quickshift with the settings of the `lime` package, seeded; for images."""
    from skimage.segmentation import quickshift

    if len(frames) > 1:
        raise VidexplainError("quickshift segments images; use slic for clips")
    if tuple(spacing) != (1, 1, 1):
        raise VidexplainError("quickshift knows no other spacing, and no finer grid, than its own; use slic")
    labels = quickshift(frames[0], kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    _, consecutive = np.unique(labels, return_inverse=True)
    return consecutive.reshape(frames.shape[:3]).astype(np.int32)


@SEGMENTATIONS.register("grid")
def _grid(
    frames: np.ndarray, *, n_segments: int, spacing: tuple[float, ...], **_device: object
) -> np.ndarray:
    """Boxes, as alike as whole voxels allow."""
    shape = frames.shape[:3]
    cells = grid_for(shape, n_segments, spacing)  # type: ignore[arg-type]
    t, y, x = (axis * n // size for axis, n, size in zip(np.indices(shape), cells, shape, strict=True))
    return np.ascontiguousarray((t * cells[1] + y) * cells[2] + x, dtype=np.int32)
