"""Whether a layer's places are where a layout says: a change that moves in the clip has to move in the grid alike.

As many numbers as a picture might have may just as well be steps in time, channels, or clips of a batch.
"""

from __future__ import annotations

import torch

from videxplain.models.layouts import Grid

_CONTRAST = 1.5
"""How much the place that changes most has to change in units of the median."""
_ROUNDING = 8
"""What is no change, in units of the type's rounding of the largest value."""


def moved_clips(x: torch.Tensor, grid: Grid, change: float = 5) -> torch.Tensor:
    """A clip (1, C, T, H, W), it with a change in its first corner, and with that at the end of each of its axes.

    The change is as large as a place of the grid, and half of an axis that has one place only.
    """
    clips = [x]
    for end in (None, 0, 1, 2):
        changed = x.clone()
        part = changed[0]
        for axis, places in enumerate(grid):
            length = part.shape[axis + 1]
            side = max(1, length // max(places, 2))
            part = part.narrow(axis + 1, length - side if axis == end else 0, side)
        part += change
        clips.append(changed)
    return torch.cat(clips)


def changes(found: torch.Tensor) -> torch.Tensor:
    """How much each place changes, of (5, C, t, h, w), what a layer puts out for `moved_clips`: (4, t, h, w)."""
    rounding = _ROUNDING * torch.finfo(found.dtype).eps * float(found.abs().max())
    change = (found[1:] - found[0]).float().abs()
    return torch.where(change > rounding, change, 0).sum(dim=1)


def change_shows(changed: torch.Tensor) -> bool:
    """Whether some place changes wherever the change is: a rectifier may hide it."""
    return bool(changed.flatten(1).any(dim=1).all())


def change_moves(changed: torch.Tensor) -> bool:
    """Whether the place that changes most is in the first corner, and at the end of the axis along which it was moved.

    Parameters
    ----------
    changed
        (4, t, h, w), see `changes`.
    """
    for end, change in zip((None, 0, 1, 2), changed, strict=True):
        if not change.max() > _CONTRAST * change.median():
            return False
        peak = torch.unravel_index(change.argmax(), change.shape)
        for axis, (at, places) in enumerate(zip(peak, change.shape, strict=True)):
            if places > 1 and (int(at) < places / 2) == (axis == end):
                return False
    return True


def change_follows(changed: torch.Tensor) -> bool:
    """Whether a change lies further on along an axis where it was moved along it, and along others less so.

    A weaker claim than `change_moves`, which holds of layers in which every place sees much of the clip as well.

    Parameters
    ----------
    changed
        (4, t, h, w), see `changes`.
    """
    places = [torch.linspace(0, 1, n) for n in changed.shape[1:]]

    def centre(change: torch.Tensor) -> torch.Tensor:
        weights = (change - change.median()).clamp(min=0) if change.numel() > 2 else change
        weights = weights.cpu()
        total = weights.sum().clamp(min=1e-30)
        rest = [[other for other in range(3) if other != axis] for axis in range(3)]
        return torch.stack(
            [(weights.sum(dim=others) / total * at).sum() for others, at in zip(rest, places, strict=True)]
        )

    start = centre(changed[0])
    for axis, change in enumerate(changed[1:]):
        if change.shape[axis] > 2:  # each of two places may well see all of it
            moved = centre(change) - start
            if not (moved[axis] > 0.05 and moved[axis] >= moved.abs().max()):
                return False
    return True
