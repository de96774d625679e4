"""The operations that the toolkit is made of: colours, supervoxels, and the sum of voxel scores over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from videxplain.errors import VidexplainError, unknown_name

__all__ = ["REDUCTIONS", "backends", "connect_segments", "rgb_to_lab", "segment_reduce", "slic"]

REDUCTIONS = ("sum", "mean", "max")


def rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    """CIELAB (D65) of sRGB clips: (B, 3, T, H, W) uint8, or floating point in [0, 1], to float32 of the same shape."""
    _check("rgb", rgb, 5)
    from videxplain.ops import _numba

    return _each(_numba.rgb_to_lab, rgb)


def slic(
    lab: torch.Tensor,
    grid: Sequence[int],
    compactness: float,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    iterations: int = 10,
    centres: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clusters voxels by colour and place; parameters as in `videxplain.ops.reference.slic`.

    Parameters
    ----------
    lab
        (B, 3, T, H, W) float32.
    centres
        (B, K, 6) float32 to start from, as an earlier call returned them.

    Returns
    -------
    labels, centres
        (B, T, H, W) int32 and (B, K, 6) float32.
    """
    _check("lab", lab, 5, torch.float32)
    from videxplain.ops import _numba

    shape = (int(grid[0]), int(grid[1]), int(grid[2]))
    steps = (float(spacing[0]), float(spacing[1]), float(spacing[2]))
    starts = [None] * len(lab) if centres is None else [c.detach().cpu().numpy() for c in centres]
    found = [
        _numba.slic(
            np.ascontiguousarray(one.detach().cpu().numpy()), shape, compactness, steps, iterations, start
        )
        for one, start in zip(lab, starts, strict=True)
    ]
    labels = torch.from_numpy(np.stack([one for one, _ in found]))
    return labels.to(lab.device), torch.from_numpy(np.stack([one for _, one in found])).to(lab.device)


def connect_segments(labels: torch.Tensor, lab: torch.Tensor, min_size: int) -> torch.Tensor:
    """One face-connected component per id, small ones merged: (B, T, H, W) int32 to ids 0..K_b-1 without holes."""
    _check("labels", labels, 4, torch.int32)
    _check("lab", lab, 5, torch.float32)
    from videxplain.ops import _numba

    return _each(lambda one, colours: _numba.connect_segments(one, colours, min_size), labels, lab)


def segment_reduce(
    labels: torch.Tensor,
    dense: torch.Tensor | None,
    cam: torch.Tensor | None,
    num_segments: int,
    reduction: str = "sum",
    signed: bool = False,
) -> torch.Tensor:
    """Voxel scores over supervoxels; parameters as in `videxplain.ops.reference.segment_reduce`.

    Parameters
    ----------
    labels
        (B, T, H, W) int32 in 0..num_segments-1.
    dense, cam
        (B, C, T, H, W) and (B, t, h, w) floating point; either may be None.

    Returns
    -------
    (B, num_segments) float32
    """
    _check("labels", labels, 4, torch.int32)
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_segments:
        raise VidexplainError(f"labels must lie in 0..{num_segments - 1}")
    from videxplain.ops import _numba

    rows = [
        _numba.segment_reduce(
            labels[b].cpu().numpy(),
            None if dense is None else dense[b].detach().float().cpu().numpy(),
            None if cam is None else cam[b].detach().float().cpu().numpy(),
            num_segments,
            reduction,
            signed,
        )
        for b in range(len(labels))
    ]
    return torch.from_numpy(np.stack(rows)).to(labels.device)


def backends() -> dict[str, tuple[str, str]]:
    """For each operation the backend that serves it here, and why."""
    reason = "the native library is not built"
    return dict.fromkeys(("rgb_to_lab", "slic", "connect_segments", "segment_reduce"), ("Numba", reason))


def _check(name: str, tensor: torch.Tensor, ndim: int, dtype: torch.dtype | None = None) -> None:
    if not isinstance(tensor, torch.Tensor) or tensor.ndim != ndim or (dtype and tensor.dtype != dtype):
        found = (
            f"{tensor.dtype} {tuple(tensor.shape)}"
            if isinstance(tensor, torch.Tensor)
            else type(tensor).__name__
        )
        raise VidexplainError(
            f"{name} must be a {dtype or 'uint8 or float'} tensor of {ndim} axes, not {found}"
        )


def _each(function: Callable[..., np.ndarray], *batches: torch.Tensor) -> torch.Tensor:
    """A function of one clip's arrays, over the batch."""
    arrays = [np.ascontiguousarray(batch.detach().cpu().numpy()) for batch in batches]
    return torch.from_numpy(np.stack([function(*one) for one in zip(*arrays, strict=True)])).to(
        batches[0].device
    )
