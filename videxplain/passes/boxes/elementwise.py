"""Functions of each place by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves, tree_map

from videxplain.passes.boxes.step import Box, Size, Spans, Step, all_of, argument_of, around
from videxplain.passes.secants import ELEMENTWISE, named

ARITHMETIC = named("add", "sub", "mul", "div", "rsub", "maximum", "minimum") | {torch.Tensor.__rsub__}
_POINTWISE = ELEMENTWISE | named(
    *("dropout", "dropout2d", "dropout3d", "clone", "contiguous", "abs", "neg", "exp", "sqrt", "square")
)
_CHANNELS = {F.batch_norm, F.local_response_norm} | named("prelu")
"""Functions that need all channels of a place."""


@dataclass(frozen=True)
class _Elementwise(Step):
    """A function of each place by itself, with inputs and constants that may be alike along some axes.

    Attributes
    ----------
    sizes, size
        Of the inputs and of the result.
    whole
        Axes along which it needs everything, as a normalisation over channels does; the result may differ there in
        size, as that of a linear layer does. Then constants are parameters, which belong to no places.
    """

    func: Callable[..., Any]
    args: Any
    kwargs: dict[str, Any]
    inputs: Sequence[torch.Tensor]
    sizes: Sequence[Size]
    size: Size
    whole: frozenset[int] = frozenset()
    multiplications: int = 0

    def _is_alike(self, own: Size, axis: int) -> bool:
        return axis in self.whole or own[axis] != self.size[axis]

    def reached(self, boxes: Sequence[Box]) -> Box:
        return around(
            [
                tuple(all_of(n) if self._is_alike(own, a) else box[a] for a, n in enumerate(self.size))
                for own, box in zip(self.sizes, boxes, strict=True)
            ]
        )

    def seen(self, box: Box) -> Sequence[Box]:
        return [
            tuple(all_of(n) if self._is_alike(own, a) else box[a] for a, n in enumerate(own))
            for own in self.sizes
        ]

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        taken = {id(x): part for x, part in zip(self.inputs, parts, strict=True)}

        def part_of(leaf: Any) -> Any:
            if id(leaf) in taken or self.whole or not isinstance(leaf, torch.Tensor):
                return taken.get(id(leaf), leaf)
            places = (slice(None), *box)[len(box) + 1 - leaf.ndim :]
            return leaf[
                tuple(slice(None) if n == 1 else of for n, of in zip(leaf.shape, places, strict=True))
            ]

        args, kwargs = tree_map(part_of, (self.args, self.kwargs))
        return self.func(*args, **kwargs)

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        return tuple(
            any(spans[a] or self._is_alike(own, a) for own, spans in zip(self.sizes, inputs, strict=True))
            for a in range(len(self.size))
        )

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        return len(inputs) > 1 or not all(inputs[0][a] for a in self.whole)

    def without_values(self) -> Step:
        return replace(self, args=(), kwargs={}, inputs=())


def elementwise(
    func: Callable[..., Any], args: Any, kwargs: dict[str, Any], inputs: Sequence[torch.Tensor], size: Size
) -> _Elementwise | None:
    rank = len(size)
    if not args or (not any(args[0] is x for x in inputs) and func not in ARITHMETIC):
        return None
    if any(x.ndim != rank + 1 for x in inputs):
        return None
    sizes = [tuple(x.shape[1:]) for x in inputs]
    whole = _needed_wholly(func, args, kwargs)
    if whole is not None:
        weight = argument_of(args, kwargs, 1, "weight") if func is F.linear else None
        multiplications = 0 if weight is None else weight[0].numel()
        return (
            _Elementwise(func, args, kwargs, inputs, sizes, size, whole, multiplications)
            if len(inputs) == 1
            else None
        )
    if func not in _POINTWISE and (func not in ARITHMETIC or kwargs.keys() - {"alpha"}):
        return None
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    constants = [x for x in tensors if not any(x is own for own in inputs)]
    if not all(_is_alike_in_clips(x, rank) for x in constants):
        return None
    shapes = [x.shape[1:] for x in inputs] + [x.shape[max(0, x.ndim - rank) :] for x in constants]
    if tuple(torch.broadcast_shapes(*shapes)) != tuple(size):
        return None
    return _Elementwise(func, args, kwargs, inputs, sizes, size)


def _needed_wholly(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> frozenset[int] | None:
    """The axes along which a function needs everything, if it is known to need some and works alike elsewhere."""
    last = args[0].ndim - 2
    if func in _CHANNELS:
        training = argument_of(args, kwargs, 5, "training", False) if func is F.batch_norm else False
        return None if training else frozenset({0})
    if func is F.linear and last > 0:
        return frozenset({last})
    if func is F.layer_norm:
        count = len(argument_of(args, kwargs, 1, "normalized_shape"))
        return frozenset(range(last + 1 - count, last + 1)) if count <= last else None
    return None


def _is_alike_in_clips(x: torch.Tensor, rank: int) -> bool:
    """Whether a constant has one value for all clips of a batch, and comes from no computation that was not seen."""
    if x.ndim > rank + 1 or (x.ndim == rank + 1 and len(x) != 1):
        return False
    return x.is_leaf or not x.requires_grad or all(n == 1 for n in x.shape[max(0, x.ndim - rank + 1) :])
