"""Slopes of chords instead of tangents: how a network's nonlinearities differ between two inputs, not at one.

Where clips of a batch stand in rings, a backward pass from each follows, at every nonlinearity, the slope between its
own input and that of the next clip in its ring: the rescale rule of DeepLIFT (Shrikumar et al. 2017) with the next clip
as the reference. In a network of linear layers, rectifiers and max pools the derivatives so changed, times what the two
clips differ by, sum to the difference of their logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

Slope = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(inputs, other inputs) -> (f(inputs) - f(other)) / (inputs - other), elementwise."""

_RELU = frozenset({F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_})
_IN_PLACE = frozenset({torch.relu_, torch.Tensor.relu_})
_SMOOTH = frozenset(
    {F.gelu, F.silu, F.elu, F.celu, F.selu, F.mish, F.softplus, F.hardswish, F.leaky_relu}
    | {torch.sigmoid, torch.Tensor.sigmoid, F.sigmoid, torch.tanh, torch.Tensor.tanh, F.tanh}
)
_POOLS = {
    F.max_pool2d: (F.max_pool2d_with_indices, torch.ops.aten.max_pool2d_with_indices_backward),
    F.max_pool3d: (F.max_pool3d_with_indices, torch.ops.aten.max_pool3d_with_indices_backward),
}
_NEAR = 1e-3
"""Inputs nearer to each other than this have the derivative between them, for a quotient would be rounding."""

_PIECE = 1 << 18
"""Values that are worked on at a time: what passes between the steps then stays in a cache."""


class Secants(TorchFunctionMode):
    """Context manager around a forward pass of `clips` clips, each `ring` of which form a ring.

    Backward passes through it follow chords at rectifiers, max pools and smooth relatives of rectifiers, whichever way
    they are called; everything else keeps its derivative.
    """

    def __init__(self, clips: int, ring: int) -> None:
        super().__init__()
        self.clips, self.ring = clips, ring

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        if not isinstance(x, torch.Tensor) or not x.requires_grad or len(x) % self.clips:
            return func(*args, **kwargs)
        shape = (self.clips // self.ring, self.ring, len(x) // self.clips)
        if func in _POOLS and not kwargs.get("return_indices"):
            return _MaxPool.apply(x, shape, *_POOLS[func], _pool_settings(*args, **kwargs))
        settings = {name: value for name, value in kwargs.items() if name != "input"}
        slope = _slope_of(func, args[1:], settings)
        if slope is None:
            return func(*args, **kwargs)
        in_place = func in _IN_PLACE or bool(settings.get("inplace"))
        return _Elementwise.apply(x, shape, slope, lambda x: func(x, *args[1:], **settings), in_place)


def _slope_of(func: Callable[..., Any], rest: tuple[Any, ...], settings: dict[str, Any]) -> Slope | None:
    """Of the function called with these behind its input, or None where this module does not know it."""
    if func in _RELU:
        return relu_slope
    if func is F.relu6:
        return partial(_clamp_slope, 0.0, 6.0)
    if func is F.hardtanh:
        bounds = dict(zip(("min_val", "max_val"), rest, strict=False)) | settings
        return partial(_clamp_slope, bounds.get("min_val", -1.0), bounds.get("max_val", 1.0))
    if func in _SMOOTH:
        aside = settings | ({"inplace": False} if settings.get("inplace") else {})
        return partial(_smooth_slope, lambda x: func(x, *rest, **aside))
    return None


def relu_slope(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """1 where both are positive, 0 where neither is, and in between the share of the chord that is: no cancellation."""
    size = x.abs().add_(other.abs()).clamp_(min=torch.finfo(x.dtype).tiny)
    return x.relu().add_(other.relu()).div_(size)


def _clamp_slope(low: float, high: float, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return relu_slope(x - low, other - low).sub_(relu_slope(x - high, other - high))


def _smooth_slope(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    with torch.enable_grad():
        middle = ((x + other) / 2).requires_grad_()
        (tangent,) = torch.autograd.grad(function(middle).sum(), middle)
    step = x - other
    near = step.abs() < _NEAR * (1 + x.abs())
    return torch.where(near, tangent, (function(x) - function(other)) / step)


def _neighbours(shape: tuple[int, int, int], *tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Views of each clip's rows in each tensor, one clip after the other, and of the rows of the next in its ring."""
    parts = [tensor.unflatten(0, shape) for tensor in tensors]
    for number in range(shape[0]):
        for place in range(shape[1]):
            following = (place + 1) % shape[1]
            yield tuple(part[number, at] for part in parts for at in (place, following))


def _pieces(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Parts of about `_PIECE` values of tensors of one shape, cut along the first axis behind the channels."""
    first = tensors[0]
    if first.ndim < 4:
        yield tensors
        return
    rows = max(1, first.shape[2] * _PIECE // first.numel())
    yield from zip(*(tensor.split(rows, dim=2) for tensor in tensors), strict=True)


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        shape: tuple[int, int, int],
        slope: Slope,
        function: Callable[[torch.Tensor], torch.Tensor],
        in_place: bool,
    ) -> torch.Tensor:
        context.save_for_backward(x.clone() if in_place else x)
        context.shape, context.slope = shape, slope
        result = function(x)
        if in_place:
            context.mark_dirty(x)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = context.saved_tensors
        result = torch.empty_like(gradient)
        for own, other, arriving, _, leaving, _ in _neighbours(context.shape, x, gradient, result):
            for x0, x1, gradient0, result0 in _pieces(own, other, arriving, leaving):
                torch.mul(context.slope(x0, x1), gradient0, out=result0)
        return result, None, None, None, None


class _MaxPool(torch.autograd.Function):
    """Max pooling whose larger maximum's place gets the gradient, by how much of its change reaches the maximum."""

    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        shape: tuple[int, int, int],
        pool: Callable[..., tuple[torch.Tensor, torch.Tensor]],
        pool_backward: Callable[..., torch.Tensor],
        settings: tuple[Any, ...],
    ) -> torch.Tensor:
        y, indices = pool(x, *settings)
        context.save_for_backward(x, y, indices)
        context.shape, context.pool_backward, context.settings = shape, pool_backward, settings
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, y, indices = context.saved_tensors
        scaled, places = torch.empty_like(gradient), torch.empty_like(indices)
        rows = _neighbours(context.shape, x, y, indices, gradient, scaled, places)
        for x0, x1, *rest in rows:
            for y0, y1, at0, at1, arriving, _, leaving, _, place, _ in _pieces(*rest):
                torch.sub(at0, at1, out=place)
                place.mul_((y0 >= y1).long()).add_(at1)  # as `torch.where`, in two thirds of its time
                slope = (y0 - y1).div_(_taken(x0, place).sub_(_taken(x1, place)))
                slope.nan_to_num_(nan=1.0, posinf=torch.inf, neginf=-torch.inf)  # 0 / 0 where nothing changes
                torch.mul(slope, arriving, out=leaving)
        return context.pool_backward(scaled, x, *context.settings, places), None, None, None, None


def _pool_settings(
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> tuple[Any, ...]:
    """Kernel, stride, padding, dilation and rounding, each size a list of one per axis."""
    axes = input.ndim - 2
    sizes = (kernel_size, kernel_size if stride is None else stride, padding, dilation)
    lists = [[size] * axes if isinstance(size, int) else list(size) for size in sizes]
    return (*lists, ceil_mode)


def _taken(x: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Values of x (n, C, ...) at a max pool's indices (n, C, ...), which count through the axes behind C."""
    last = x.movedim(1, -1)
    if last.is_contiguous():
        chosen = places.movedim(1, -1)
        found = last.flatten(1, -2).gather(1, chosen.flatten(1, -2))
        return found.view(chosen.shape).movedim(-1, 1)
    return x.flatten(2).gather(2, places.flatten(2)).view(places.shape)
