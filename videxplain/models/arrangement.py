"""A network's arguments: what `NetworkSettings.arrange` makes of a clip, and whether that can be explained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves, tree_map

from videxplain.errors import VidexplainError

_STEP, _DRAWS, _TOLERANCE = 1e-3, 8, 0.1
"""By how much a clip is changed to see what follows, how many sums of that are compared with gradients, and how far
apart they may be: more than rounding and the kinks of a clamp make of it."""
_SHIFT = 61


class Arguments(NamedTuple):
    """What a network is called with."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @classmethod
    def of(cls, value: Any) -> Arguments:
        """From what `arrange` may return.

        Raises
        ------
        VidexplainError
            Where that can be meant in two ways.
        """
        if isinstance(value, dict):
            return cls((), value)
        if not isinstance(value, tuple):
            return cls((value,), {})
        if len(value) == 2 and isinstance(value[1], dict) and all(isinstance(key, str) for key in value[1]):
            if isinstance(value[0], tuple):
                return cls(*value)
            raise VidexplainError(
                "arrange returns two values of which the second is a dict, which may be two arguments or an argument "
                "and keywords; write ((first,), {...}) for keywords or ((first, {...}), {}) for two arguments."
            )
        return cls(value, {})

    def tensors(self) -> list[torch.Tensor]:
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, torch.Tensor)]

    def each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Arguments:
        """The same with every tensor changed."""
        return Arguments(
            *tree_map(lambda leaf: change(leaf) if isinstance(leaf, torch.Tensor) else leaf, tuple(self))
        )

    def __str__(self) -> str:
        shapes = [str(tuple(x.shape)) for x in self.tensors()]
        return ", ".join(shapes)


def arranged(arrange: Callable[[Any], Any], x: torch.Tensor) -> Arguments:
    """What `arrange` makes of x. Each tensor is one of its own: a network may overwrite one, and others share it."""
    arguments = Arguments.of(arrange(x))
    return arguments.each(torch.clone) if len(arguments.tensors()) > 1 else arguments


def check_arrangement(arrange: Callable[[Any], Any], shape: Sequence[int], like: torch.Tensor) -> str | None:
    """What keeps gradients from flowing through an arrangement of clips of one shape, in words; None if nothing does.

    Raises
    ------
    VidexplainError
        If it fails, or returns no tensor.
    """
    x, step = (_noise(shape, like, seed) for seed in (0, 1))
    # the caller may be anywhere, also where gradients are off
    with torch.inference_mode(False), torch.enable_grad():
        x.requires_grad_()
        try:
            made, up, down = (
                Arguments.of(arrange(x + size * step)).tensors() for size in (0.0, _STEP, -_STEP)
            )
            faults = [
                _gradient_fault(y, (a - b) / (2 * _STEP), x, step)
                for y, a, b in zip(made, up, down, strict=True)
            ]
        except (VidexplainError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of whatever kind a user's function raises
            text = " ".join(str(error).split())[:160]
            raise VidexplainError(
                f"arrange fails on a clip of {tuple(shape)}: {type(error).__name__}: {text}; it is given normalised "
                "clips (B, C, T, h, w), of image models images (B, C, h, w)."
            ) from error
    if not made:
        raise VidexplainError("arrange returns no tensor; it has to return what the network is called with.")
    for n, (tensor, is_wrong) in enumerate(zip(made, faults, strict=True)):
        if is_wrong:
            shape = tuple(tensor.shape)
            return f"tensor {n} of what arrange makes, {shape}, follows the clip otherwise than its gradients say"
    if not any(tensor.requires_grad for tensor in made):
        return "arrange makes no tensor through which gradients flow to the clip"
    return None


def _gradient_fault(y: torch.Tensor, slope: torch.Tensor, x: torch.Tensor, step: torch.Tensor) -> bool:
    """Whether gradients of y at x are others than its `slope` along a `step`, found by differences.

    They are where a part of it was detached, rounded, or taken through NumPy.
    """
    slope = slope.detach()
    size = float(slope.norm())
    if x.dtype not in (torch.float32, torch.float64) or not y.is_floating_point() or not 0 < size < math.inf:
        return False
    noise = _noise((y.numel() + _DRAWS * _SHIFT,), y, 2)  # drawn once, for drawing is what takes long
    for draw in range(_DRAWS):
        weights = noise[draw * _SHIFT :][: y.numel()].view(y.shape)
        along = 0.0
        if y.requires_grad:
            (gradient,) = torch.autograd.grad(y, x, weights, retain_graph=True, allow_unused=True)
            along = 0.0 if gradient is None else float((gradient * step).sum(dtype=torch.float64))
        if abs(along - float((slope * weights).sum(dtype=torch.float64))) > _TOLERANCE * size:
            return True
    return False


def arrangement_digest(arrange: Callable[[Any], Any], shape: Sequence[int], like: torch.Tensor) -> str:
    """Hash of what `arrange` makes of a clip of one shape: the same in every process, however it is written."""
    with torch.no_grad():
        arguments = Arguments.of(arrange(_noise(shape, like, 0)))
    digest = hashlib.sha256(repr(sorted(arguments.kwargs)).encode())
    for leaf in tree_leaves(tuple(arguments)):
        if isinstance(leaf, torch.Tensor):
            digest.update(repr((leaf.shape, leaf.dtype)).encode())
            digest.update(leaf.detach().cpu().double().contiguous().numpy().data)
        else:
            plain = isinstance(leaf, str | int | float | None)
            digest.update((repr(leaf) if plain else type(leaf).__name__).encode())
    return digest.hexdigest()


def _noise(shape: Sequence[int], like: torch.Tensor, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(like)
