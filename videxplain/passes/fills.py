"""What hides a supervoxel: the voxels that are seen in its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import torch
import torch.nn.functional as F

from videxplain.errors import unknown_name
from videxplain.settings import Fill

if TYPE_CHECKING:
    from videxplain.models import Classifier


KNOWN_FILLS: tuple[Fill, ...] = tuple(fill for fill in get_args(Fill) if fill != "auto")
"""What can be made; "auto" is a choice among them."""
TIME_FILLS: tuple[Fill, ...] = ("still", "frozen", "shuffled", "reversed")
"""Those that change a clip's time only, and so hide nothing of a single frame."""


def sum_by_label(values: torch.Tensor, labels: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Sums of the columns of (m, V) that share a label (V,): (m, K)."""
    return values.new_zeros(len(values), num_segments).index_add_(1, labels, values)


def _means(x: torch.Tensor, labels: torch.Tensor, num_segments: int) -> torch.Tensor:
    """Each supervoxel's mean colour at its voxels: x's shape."""
    flat = labels.flatten()
    sums = sum_by_label(x.flatten(1).double(), flat, num_segments)
    means = sums / torch.bincount(flat, minlength=num_segments).clamp(min=1)
    return means.to(x.dtype)[:, labels]


def make_fill(
    model: Classifier, x: torch.Tensor, labels: torch.Tensor, num_segments: int, kind: Fill, seed: int
) -> torch.Tensor:
    """What hidden voxels look like, normalised like x: (C, T, H, W)."""
    if kind == "mean":
        return _means(x, labels, num_segments)
    if kind in ("grey", "black"):
        return uniform(model, x, 0.5 if kind == "grey" else 0.0)
    if kind == "blur":
        return _blur(x)
    if kind == "still":
        return x.mean(dim=1, keepdim=True).expand_as(x)
    if kind in ("frozen", "shuffled", "reversed"):
        return x[:, _other_order(x.shape[1], kind, seed)]
    if kind == "neighbours":
        return continued(x, labels)
    if kind == "noise":
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
        spread = x.flatten(1).std(dim=1).view(-1, 1, 1, 1)
        return x.flatten(1).mean(dim=1).view(-1, 1, 1, 1) + spread * noise
    raise unknown_name("fill", kind, KNOWN_FILLS)


def uniform(model: Classifier, x: torch.Tensor, level: float) -> torch.Tensor:
    """A clip of one grey `level` in [0, 1], normalised, of the shape of x: (..., C, T, H, W)."""
    mean, std = (
        torch.as_tensor(v, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1) for v in (model.mean, model.std)
    )
    return ((level - mean) / std).expand_as(x)


def _other_order(frames: int, kind: Fill, seed: int) -> torch.Tensor:
    """Frames in reverse; one of them held; or shuffled so that few follow the one that they follow in the clip.

    The frame that is held is the middle one for the seed 0; others are spread evenly over the clip.
    """
    if kind == "frozen":
        place = (0.5 + seed * (math.sqrt(5) - 1) / 2) % 1
        return torch.full((frames,), round(place * (frames - 1)))
    if kind == "reversed":
        return torch.arange(frames - 1, -1, -1)
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(frames, generator=generator) for _ in range(100)])
    kept = (orders[:, 1:] == orders[:, :-1] + 1).sum(dim=1) + (orders == torch.arange(frames)).sum(dim=1)
    return orders[kept.argmin()]


def _blur(x: torch.Tensor) -> torch.Tensor:
    """Gaussian blur within each frame, deviation an eighth of the shorter side."""
    sigma = min(x.shape[-2:]) / 8
    radius = min(int(3 * sigma), min(x.shape[-2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, dtype=x.dtype, device=x.device)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = kernel / kernel.sum()
    frames = x.flatten(0, 1)[:, None]
    frames = F.conv2d(F.pad(frames, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    frames = F.conv2d(F.pad(frames, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))
    return frames[:, 0].view_as(x)


def continued(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Each supervoxel filled with the colours around it, so that its outline does not show: x's shape.

    Along each axis a voxel lies between the nearest voxels of other supervoxels; their colours are interpolated
    linearly, or the one is taken at the clip's border. The three axes count by the inverse of that distance. What has
    nothing around it keeps its mean.
    """
    total, weights = torch.zeros_like(x), torch.zeros_like(labels, dtype=x.dtype)
    for axis in range(3):
        along, runs = x.movedim(1 + axis, -1), labels.movedim(axis, -1)
        length = runs.shape[-1]
        places = torch.arange(length, device=x.device).expand_as(runs)
        changes = runs[..., 1:] != runs[..., :-1]
        first, last = torch.zeros_like(runs), torch.full_like(runs, length - 1)
        first[..., 1:] = torch.where(changes, places[..., 1:], 0)
        last[..., :-1] = torch.where(changes, places[..., :-1], length - 1)
        before = first.cummax(dim=-1).values - 1
        behind = last.flip(-1).cummin(dim=-1).values.flip(-1) + 1
        has_before, has_behind = before >= 0, behind < length
        share = ((places - before) / (behind - before)).to(x.dtype)
        share = torch.where(has_before & has_behind, share, has_behind.to(x.dtype))
        ends = [
            along.gather(-1, place.clamp(0, length - 1).expand(len(x), *runs.shape))
            for place in (before, behind)
        ]
        weight = (has_before | has_behind).to(x.dtype) / (behind - before)
        total += (weight * torch.lerp(ends[0], ends[1], share)).movedim(-1, 1 + axis)
        weights += weight.movedim(-1, axis)
    return torch.where(weights > 0, total / weights, _means(x, labels, int(labels.max()) + 1))
