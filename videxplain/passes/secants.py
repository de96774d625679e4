"""Slopes of chords instead of tangents: how a network's nonlinearities differ between two inputs, not at one.

Where clips of a batch stand in rings, a backward pass from each follows, at every nonlinearity, the slope between its
own input and that of the next clip in its ring: the rescale rule of DeepLIFT (Shrikumar et al. 2017) with the next clip
as the reference. A product of two tensors is followed at the mean of both ends, as gates multiply features
("squeeze and excitation"). In a network of linear layers, rectifiers, max pools and gates the derivatives so changed,
times what the two clips differ by, sum to the difference of their logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from videxplain.ops import _library

Slope = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(inputs, other inputs) -> (f(inputs) - f(other)) / (inputs - other), elementwise."""

Shape = tuple[int, int, int]
"""How rows lie in a batch: rings, clips in a ring, rows of a clip."""


def named(*names: str) -> frozenset[Callable[..., Any]]:
    """Every form in which torch has functions of these names, in place too: `F.relu`, `torch.relu_`, `Tensor.relu`."""
    places = (torch, torch.Tensor, F, torch._C._nn)
    return frozenset(
        getattr(place, name + end)
        for place in places
        for name in names
        for end in ("", "_")
        if hasattr(place, name + end)
    )


def is_checkpointed() -> bool:
    """Whether what is done now will be done again on the way back (`torch.utils.checkpoint`), where no mode sees it."""
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return hooks is not None and hooks(True) is not None


def is_in_place(func: Callable[..., Any], settings: dict[str, Any]) -> bool:
    """Whether a call overwrites its argument, as torch's names tell."""
    return func.__name__.endswith("_") or bool(settings.get("inplace"))


_BOUNDS: dict[str, Callable[..., tuple[Any, Any]]] = {
    "relu": lambda inplace=False: (0.0, None),
    "relu6": lambda inplace=False: (0.0, 6.0),
    "hardtanh": lambda min_val=-1.0, max_val=1.0, inplace=False: (min_val, max_val),
    "clamp": lambda min=None, max=None: (min, max),
    "clip": lambda min=None, max=None: (min, max),
    "clamp_min": lambda min: (min, None),
    "clamp_max": lambda max: (None, max),
    "threshold": lambda threshold, value, inplace=False: (threshold if value == threshold else None, None),
}
"""Functions that keep values between two bounds, with torch's own arguments behind their input."""
_SMOOTH = named(
    *("gelu", "silu", "elu", "celu", "selu", "mish", "softplus", "hardswish", "leaky_relu", "prelu", "rrelu"),
    *("sigmoid", "tanh", "hardsigmoid", "logsigmoid", "log_sigmoid", "softsign", "tanhshrink", "softshrink"),
)
MAX_POOLS = {
    F.max_pool2d: (F.max_pool2d_with_indices, torch.ops.aten.max_pool2d_with_indices_backward),
    F.max_pool3d: (F.max_pool3d_with_indices, torch.ops.aten.max_pool3d_with_indices_backward),
}
_OTHER_POOLS: dict[Callable[..., Any], Callable[..., Any]] = {
    F.max_pool1d: F.max_pool1d_with_indices,
    F.adaptive_max_pool1d: F.adaptive_max_pool1d_with_indices,
    F.adaptive_max_pool2d: F.adaptive_max_pool2d_with_indices,
    F.adaptive_max_pool3d: F.adaptive_max_pool3d_with_indices,
}
"""Of which torch's backward passes differ from those of `MAX_POOLS` in what they take."""
ELEMENTWISE = named(*_BOUNDS) | _SMOOTH
"""The nonlinearities that this module knows, but for max pools."""
_PRODUCTS = named("mul", "multiply")
_CHANGED = ELEMENTWISE | set(MAX_POOLS) | set(_OTHER_POOLS) | _PRODUCTS
_NEAR = 1e-3
"""Inputs nearer to each other than this have the derivative between them, for a quotient would be rounding."""


class Secants(TorchFunctionMode):
    """Context manager around a forward pass of `clips` clips, each `ring` of which form a ring.

    Backward passes through it follow chords at rectifiers, max pools, smooth relatives of rectifiers and products,
    whichever way they are called; everything else keeps its derivative.
    """

    def __init__(self, clips: int, ring: int) -> None:
        super().__init__()
        self.clips, self.ring = clips, ring

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CHANGED or is_checkpointed():
            return func(*args, **kwargs)
        x = args[0] if args else kwargs["input"]
        if not isinstance(x, torch.Tensor) or not x.requires_grad or not x.ndim or len(x) % self.clips:
            return func(*args, **kwargs)
        shape = (self.clips // self.ring, self.ring, len(x) // self.clips)
        if func in _PRODUCTS:
            if kwargs or not _are_factors(*args):
                return func(*args, **kwargs)
            return _Product.apply(*args, shape, is_in_place(func, {}))
        if func in MAX_POOLS and not kwargs.get("return_indices"):
            return _MaxPool.apply(x, shape, *MAX_POOLS[func], pool_settings(*args, **kwargs))
        settings = {name: value for name, value in kwargs.items() if name != "input"}
        if func in _OTHER_POOLS:
            if settings.pop("return_indices", False) or x.ndim < 3:
                return func(*args, **kwargs)
            pool = partial(_OTHER_POOLS[func], **settings)
            return _MaxPool.apply(x, shape, pool, _scattered, args[1:])
        slope = _slope_of(func, args[1:], settings)
        if slope is None:
            return func(*args, **kwargs)
        in_place = is_in_place(func, settings)
        return _Elementwise.apply(x, shape, slope, lambda x: func(x, *args[1:], **settings), in_place)


def _slope_of(func: Callable[..., Any], rest: tuple[Any, ...], settings: dict[str, Any]) -> Slope | None:
    """Of the function called with these behind its input, or None where this module does not know it."""
    others = [x for x in (*rest, *settings.values()) if isinstance(x, torch.Tensor)]
    # parameters that the input decides, or that differ between clips, have no place in what follows
    if "out" in settings or any(not x.is_leaf or (x.ndim > 1 and len(x) > 1) for x in others):
        return None
    bounds = _BOUNDS.get(func.__name__.strip("_"))
    if bounds is not None:
        low, high = bounds(*rest, **settings)
        high = math.inf if high is None else high
        if isinstance(low, float | int) and isinstance(high, float | int) and low > -math.inf:
            return ClampSlope(float(low), float(high))
    aside = settings | ({"inplace": False} if "inplace" in settings else {})
    return partial(_smooth_slope, lambda x: func(x.clone(), *rest, **aside))


@dataclass(frozen=True)
class ClampSlope:
    """The `Slope` of a value kept between two bounds, of a ReLU where there is no upper one.

    The share of the way between the inputs that lies between the bounds, of positive terms for each bound, so that
    nothing cancels.
    """

    low: float
    high: float = math.inf

    def __call__(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        slope = _share_above(x - self.low, other - self.low)
        return slope if self.high == math.inf else slope.sub_(_share_above(x - self.high, other - self.high))


def _share_above(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """How much of the way between two values is above 0."""
    size = x.abs().add_(other.abs()).clamp_(min=torch.finfo(x.dtype).tiny)
    return x.relu().add_(other.relu()).div_(size)


def _smooth_slope(
    function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, other: torch.Tensor
) -> torch.Tensor:
    with torch.enable_grad():
        middle = ((x + other) / 2).requires_grad_()
        (tangent,) = torch.autograd.grad(function(middle).sum(), middle)
    step = x - other
    near = step.abs() < _NEAR * (1 + x.abs())
    return torch.where(near, tangent, (function(x) - function(other)) / step)


def _following(x: torch.Tensor, shape: Shape) -> torch.Tensor:
    """The rows of the next clip in each clip's ring."""
    return x.unflatten(0, shape).roll(-1, dims=1).flatten(0, 2)


def _native(
    operation: str, shape: Shape, given: Sequence[torch.Tensor], *settings: float
) -> torch.Tensor | None:
    """What one of `_library.CHORD_SCHEMAS` makes of tensors and settings: a tensor like the first of them, x.

    None where it does not apply: without the native library, not on a CPU, not in float32, or where the channels of x
    are neither first in memory nor last.
    """
    x = given[0]
    if _library.NATIVE is None or x.device.type != "cpu" or x.dtype != torch.float32 or x.ndim < 3:
        return None
    last = not x.is_contiguous()
    if last and not x.movedim(1, -1).is_contiguous():
        return None

    def rows(t: torch.Tensor) -> torch.Tensor:
        """(rows, places, channels) as they lie in memory; channels that come first are rows of their own."""
        if last:
            return t.movedim(1, -1).contiguous().flatten(1, -2)
        return t.contiguous().flatten(2).flatten(0, 1)[..., None]

    result = torch.empty_like(x)
    _, ring, step = shape
    step *= 1 if last else x.shape[1]
    getattr(torch.ops.videxplain, operation)(*map(rows, (*given, result)), ring, step, *settings)
    return result


class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        shape: Shape,
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
        result, slope = None, context.slope
        if isinstance(slope, ClampSlope):
            result = _native("clamp_chords", context.shape, (x, gradient), slope.low, slope.high)
        if result is None:
            result = gradient * slope(x, _following(x, context.shape))
        return result, None, None, None, None


def _are_factors(x: torch.Tensor, other: Any) -> bool:
    """Whether two factors both have a row for each row of the network's input and may depend on it."""
    return (
        isinstance(other, torch.Tensor)
        and other.requires_grad
        and other.ndim == x.ndim
        and len(other) == len(x)
        and x.is_floating_point()
    )


class _Product(torch.autograd.Function):
    """x y - x' y' = (x - x') (y + y') / 2 + (y - y') (x + x') / 2."""

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, other: torch.Tensor, shape: Shape, in_place: bool
    ) -> torch.Tensor:
        context.save_for_backward(x.clone() if in_place else x, other)
        context.shape = shape
        if in_place:
            context.mark_dirty(x)
        return x.mul_(other) if in_place else x * other

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, other = context.saved_tensors
        to_x, to_other = (
            (gradient * (y + _following(y, context.shape)) / 2).sum_to_size(like.shape)
            for y, like in ((other, x), (x, other))
        )
        return to_x, to_other, None, None


def _scattered(gradient: torch.Tensor, x: torch.Tensor, *settings: Any) -> torch.Tensor:
    """A max pool's gradient (n, C, ...) at the places of the maxima, which are the last of the settings."""
    *_, places = settings
    result = torch.zeros_like(x, memory_format=torch.contiguous_format).flatten(2)
    return result.scatter_add_(2, places.flatten(2), gradient.flatten(2)).view(x.shape)


class _MaxPool(torch.autograd.Function):
    """Max pooling whose larger maximum's place gets the gradient, by how much of its change reaches the maximum."""

    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        shape: Shape,
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
        result = _native("max_pool_chords", context.shape, (x, y, indices, gradient))
        if result is None:
            y1 = _following(y, context.shape)
            places = torch.where(y >= y1, indices, _following(indices, context.shape))
            slope = (y - y1) / (_taken(x, places) - _taken(_following(x, context.shape), places))
            slope.nan_to_num_(nan=1.0, posinf=torch.inf, neginf=-torch.inf)  # 0 / 0 where nothing changes
            result = context.pool_backward(slope * gradient, x, *context.settings, places)
        return result, None, None, None, None


def pool_settings(
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
