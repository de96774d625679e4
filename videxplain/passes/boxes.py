"""Operations that make of a change in a box of their inputs a change in a box of their result.

`steps_of` knows them by the torch function that is called. What they are called with may have no values
(`incremental`): sizes are all that is asked for until a `Step` is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves, tree_map

from videxplain.ops.onednn import Convolution, lone_conv3d
from videxplain.passes.secants import ELEMENTWISE, MAX_POOLS, named, pool_settings

Box = tuple[slice, ...]
"""Where something is: a slice for each axis behind the clips."""
Spans = tuple[bool, ...]
"""For each axis behind the clips, whether changes go all along it, wherever they are."""
Size = Sequence[int]
"""Of a tensor, without its clips."""

CONVOLUTIONS = frozenset({F.conv2d, F.conv3d, lone_conv3d})
ARITHMETIC = named("add", "sub", "mul", "div", "rsub", "maximum", "minimum") | {torch.Tensor.__rsub__}
_POINTWISE = ELEMENTWISE | named(
    *("dropout", "dropout2d", "dropout3d", "clone", "contiguous", "abs", "neg", "exp", "sqrt", "square")
)
_CHANNELS = {F.batch_norm, F.local_response_norm} | named("prelu")
"""Functions that need all channels of a place."""
_AVERAGE_POOLS = frozenset({F.avg_pool2d, F.avg_pool3d})
_JOINING = named("cat", "concat", "concatenate", "stack")
_DIVIDING = named("split", "split_with_sizes", "chunk", "tensor_split", "unbind")
_ORDERING = named("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis")
SHAPING = named("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze")
"""What may be told the number of clips."""


class Step:
    """One result of an operation with inputs that change in boxes.

    Attributes
    ----------
    beyond
        What lies beyond the edges of the inputs.
    multiplications
        For a value of the result.
    """

    beyond: float = 0.0
    multiplications: int = 0

    def reached(self, boxes: Sequence[Box]) -> Box:
        """The box of the result that these boxes of the inputs change; of one place at least."""
        raise NotImplementedError

    def seen(self, box: Box) -> Sequence[Box]:
        """The boxes of the inputs that a box of the result is made of; they may begin and end beyond the edges."""
        raise NotImplementedError

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        """The box of the result, of what it is made of."""
        raise NotImplementedError

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        """As those of the inputs make those of the result."""
        raise NotImplementedError

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        """Whether the result may be made of more than what changes."""
        return True

    def without_values(self) -> Step:
        """The same where it will not be run, so that the tensors that it was called with need not be kept."""
        return self


def steps_of(
    func: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    inputs: Sequence[torch.Tensor],
    sizes: Sequence[Size],
) -> list[Step] | None:
    """What makes each of the results, of these sizes, from inputs; None where changes do not stay in boxes.

    No other argument may depend on the network's input.
    """
    if func in _JOINING:
        joined = list(args[0] if args else kwargs.get("tensors", ()))
        dim = _argument(args, kwargs, 1, "dim", 0)
        if len(joined) != len(inputs) or "out" in kwargs or dim % (len(sizes[0]) + 1) == 0:
            return None
        axis = dim % (len(sizes[0]) + 1) - 1
        return [_Join(func, axis, [tuple(x.shape[1:]) for x in inputs], func in named("stack"))]
    if len(inputs) == 1 and args and inputs[0] is args[0]:
        x = inputs[0]
        if func in _DIVIDING:
            return _dividing(func, args, kwargs, sizes)
        if len(sizes) != 1:
            return None
        step = _window(func, args, kwargs, sizes[0]) or _arranging(func, x, args, kwargs, sizes[0])
        if step is not None:
            return [step]
    if len(sizes) != 1:
        return None
    elementwise = _elementwise(func, args, kwargs, inputs, sizes[0])
    return None if elementwise is None else [elementwise]


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that has all of these in it."""
    return tuple(
        slice(min(of.start for of in axis), max(of.stop for of in axis)) for axis in zip(*boxes, strict=True)
    )


def _argument(args: Any, kwargs: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    return kwargs.get(name, args[place] if len(args) > place else default)


def _all(size: int) -> slice:
    return slice(0, size)


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
                tuple(_all(n) if self._is_alike(own, a) else box[a] for a, n in enumerate(self.size))
                for own, box in zip(self.sizes, boxes, strict=True)
            ]
        )

    def seen(self, box: Box) -> Sequence[Box]:
        return [
            tuple(_all(n) if self._is_alike(own, a) else box[a] for a, n in enumerate(own))
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


def _elementwise(
    func: Callable[..., Any], args: Any, kwargs: dict[str, Any], inputs: Sequence[torch.Tensor], size: Size
) -> _Elementwise | None:
    rank = len(size)
    if not args or (not any(args[0] is x for x in inputs) and func not in ARITHMETIC):
        return None
    if func in CONVOLUTIONS or any(x.ndim != rank + 1 for x in inputs):
        return None
    sizes = [tuple(x.shape[1:]) for x in inputs]
    whole = _needed_wholly(func, args, kwargs)
    if whole is not None:
        weight = _argument(args, kwargs, 1, "weight") if func is F.linear else None
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
        training = _argument(args, kwargs, 5, "training", False) if func is F.batch_norm else False
        return None if training else frozenset({0})
    if func is F.linear and last > 0:
        return frozenset({last})
    if func is F.layer_norm:
        count = len(_argument(args, kwargs, 1, "normalized_shape"))
        return frozenset(range(last + 1 - count, last + 1)) if count <= last else None
    return None


def _is_alike_in_clips(x: torch.Tensor, rank: int) -> bool:
    """Whether a constant has one value for all clips of a batch, and comes from no computation that was not seen."""
    if x.ndim > rank + 1 or (x.ndim == rank + 1 and len(x) != 1):
        return False
    return x.is_leaf or not x.requires_grad or all(n == 1 for n in x.shape[max(0, x.ndim - rank + 1) :])


@dataclass(frozen=True)
class _Window(Step):
    """Convolutions, pools and padding: a value of the result sees a window of the input.

    Attributes
    ----------
    compute
        The result of what is seen, padded along each axis behind the channels by so much.
    axes
        Kernel, stride, padding and dilation along each axis, or None where everything is seen from everywhere.
    inputs, outputs
        Sizes.
    pads
        Whether `compute` can pad.
    counts
        Whether what lies beyond the edges does not count in a mean.
    """

    compute: Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
    axes: Sequence[tuple[int, int, int, int] | None]
    inputs: Size
    outputs: Size
    beyond: float = 0.0
    pads: bool = True
    counts: bool = False
    multiplications: int = 0

    def reached(self, boxes: Sequence[Box]) -> Box:
        reached = []
        for of, axis, number in zip(boxes[0], self.axes, self.outputs, strict=True):
            if axis is None:
                reached.append(_all(number))
                continue
            kernel, stride, padding, dilation = axis
            first = -((dilation * (kernel - 1) - of.start - padding) // stride)
            first = min(max(first, 0), number - 1)
            reached.append(slice(first, max(first + 1, min(number, (of.stop - 1 + padding) // stride + 1))))
        return tuple(reached)

    def seen(self, box: Box) -> Sequence[Box]:
        return [tuple(of for of, _ in self._seen(box))]

    def _seen(self, outputs: Box) -> list[tuple[slice, int]]:
        """Along each axis what the outputs see, which may begin and end beyond the edges, and what is to be padded.

        Along an axis of which all is seen the padding is left to the layer.
        """
        seen = []
        for of, size, axis in zip(outputs, self.inputs, self.axes, strict=True):
            if axis is None:
                seen.append((_all(size), 0))
                continue
            kernel, stride, padding, dilation = axis
            reach = dilation * (kernel - 1) + 1
            if self.pads and (of.start, of.stop) == (0, (size + 2 * padding - reach) // stride + 1):
                seen.append((_all(size), padding))
            else:
                start = of.start * stride - padding
                seen.append((slice(start, (of.stop - 1) * stride - padding + reach), 0))
        return seen

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        result = self.compute(parts[0], [padding for _, padding in self._seen(box)[1:]])
        for n, (axis, of) in enumerate(zip(self.axes, box, strict=True)):
            if self.counts and axis is not None:
                kernel, stride, padding, _ = axis
                first = torch.arange(of.start, of.stop) * stride - padding
                count = (first + kernel).clamp(max=self.inputs[n]) - first.clamp(min=0)
                if bool((count < kernel).any()):
                    result = result * (kernel / count.to(result)).view(-1, *[1] * (len(box) - 1 - n))
        return result

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        reached = self.reached([tuple(map(_all, self.inputs))])
        return tuple(
            axis is None or (own and of == _all(n))
            for own, axis, of, n in zip(inputs[0], self.axes, reached, self.outputs, strict=True)
        )


def _window(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], size: Size) -> _Window | None:
    x = args[0]
    inputs = tuple(x.shape[1:])
    if func in CONVOLUTIONS:
        return _convolution(func, Convolution(*args, **kwargs), size)
    if func is F.pad:
        pad, mode, value = (
            _argument(args, kwargs, n, name) for n, name in ((1, "pad"), (2, "mode"), (3, "value"))
        )
        if mode not in (None, "constant") or len(pad) > 2 * len(size):
            return None
        before = [0] * (len(size) - len(pad) // 2) + list(pad[-2::-2])
        axes = [(1, 1, amount, 1) for amount in before]
        return _Window(lambda x, _: x, axes, inputs, size, beyond=float(value or 0), pads=False)
    if func in MAX_POOLS and _pools_places(func, x) and not _argument(args, kwargs, 6, "return_indices"):
        kernel, stride, padding, dilation, _ = pool_settings(*args, **kwargs)

        def pool(x: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
            return func(x, kernel, stride, list(padding), dilation)

        axes = list(zip(kernel, stride, padding, dilation, strict=True))
        return _Window(pool, [(1, 1, 0, 1), *axes], inputs, size, beyond=-torch.inf)
    if func in _AVERAGE_POOLS and _pools_places(func, x):
        return _average_pool(func, size, *args, **kwargs)
    return None


def _pools_places(func: Callable[..., Any], x: torch.Tensor) -> bool:
    """Whether it pools behind clips and channels; without clips it would take these for channels."""
    return x.ndim == (4 if func in (F.max_pool2d, F.avg_pool2d) else 5)


def _convolution(func: Callable[..., Any], call: Convolution, size: Size) -> _Window | None:
    x, weight, bias, *settings, groups = call
    kernel = weight.shape[2:]
    if x.ndim != weight.ndim or isinstance(call.padding, str):
        return None
    stride, padding, dilation = ([v] * len(kernel) if isinstance(v, int) else list(v) for v in settings)

    def convolve(x: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
        return func(x, weight, bias, stride, padding, dilation, groups)

    axes = list(zip(kernel, stride, padding, dilation, strict=True))
    return _Window(convolve, [None, *axes], tuple(x.shape[1:]), size, multiplications=weight[0].numel())


def _average_pool(
    func: Callable[..., Any],
    size: Size,
    input: torch.Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> _Window | None:
    """With torch's own arguments behind the size of the result."""
    kernel, stride, padding, _, _ = pool_settings(input, kernel_size, stride or None, padding)
    axes = [(k, s, p, 1) for k, s, p in zip(kernel, stride, padding, strict=True)]
    inputs = tuple(input.shape[1:])
    counts = divisor_override is None and not (count_include_pad and any(padding))
    if not counts and any(
        (number - 1) * s + k > n + 2 * p
        for (k, s, p, _), n, number in zip(axes, inputs[1:], size[1:], strict=True)
    ):
        return None  # a window that ends beyond the padding

    def pool(x: torch.Tensor, _: Sequence[int]) -> torch.Tensor:
        return func(x, kernel, stride, 0, False, True, divisor_override)

    return _Window(pool, [(1, 1, 0, 1), *axes], inputs, size, pads=False, counts=counts)


@dataclass(frozen=True)
class _Join(Step):
    """Tensors one behind the other along an axis, or along a new one."""

    func: Callable[..., Any]
    axis: int
    sizes: Sequence[Size]
    is_new: bool

    def _ranges(self) -> list[slice]:
        """Where each lies along the axis."""
        ranges, end = [], 0
        for size in self.sizes:
            start, end = end, end + (1 if self.is_new else size[self.axis])
            ranges.append(slice(start, end))
        return ranges

    def reached(self, boxes: Sequence[Box]) -> Box:
        placed = []
        for box, within in zip(boxes, self._ranges(), strict=True):
            of = _all(1) if self.is_new else box[self.axis]
            along = slice(within.start + of.start, within.start + of.stop)
            placed.append((*box[: self.axis], along, *box[self.axis + (not self.is_new) :]))
        return around(placed)

    def seen(self, box: Box) -> Sequence[Box]:
        seen, along = [], box[self.axis]
        for within in self._ranges():
            start = min(max(along.start, within.start), within.stop) - within.start
            stop = max(min(along.stop, within.stop), within.start) - within.start
            of = () if self.is_new else (slice(min(start, stop), stop),)
            seen.append((*box[: self.axis], *of, *box[self.axis + 1 :]))
        return seen

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        if self.is_new:
            along = box[self.axis]
            return torch.stack(list(parts[along]), self.axis + 1)
        return torch.cat(list(parts), self.axis + 1)

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        rows = [list(own) for own in inputs]
        for own in rows:
            if self.is_new:
                own.insert(self.axis, True)
        return tuple(
            all(values) if axis == self.axis else any(values)
            for axis, values in enumerate(zip(*rows, strict=True))
        )


@dataclass(frozen=True)
class _Pick(Step):
    """Slices and single places along axes, and new axes.

    Attributes
    ----------
    size
        Of the input.
    index
        For each axis a slice or a place.
    places
        For each axis of the result the axis that it was, or None for a new one.
    """

    size: Size
    index: Sequence[slice | int]
    places: Sequence[int | None]

    def _range(self, axis: int) -> range:
        index = self.index[axis]
        if isinstance(index, slice):
            return range(self.size[axis])[index]
        return range(index % self.size[axis], index % self.size[axis] + 1)

    def reached(self, boxes: Sequence[Box]) -> Box:
        reached = []
        for axis in self.places:
            if axis is None:
                reached.append(_all(1))
                continue
            of, along = boxes[0][axis], self._range(axis)
            first = min(max(-((along.start - of.start) // along.step), 0), len(along) - 1)
            stop = min((of.stop - 1 - along.start) // along.step + 1, len(along))
            reached.append(slice(first, max(first + 1, stop)))
        return tuple(reached)

    def seen(self, box: Box) -> Sequence[Box]:
        wanted = {axis: of for axis, of in zip(self.places, box, strict=True) if axis is not None}
        seen = []
        for axis in range(len(self.size)):
            chosen = self._range(axis)
            if axis in wanted:
                chosen = chosen[wanted[axis]]
            seen.append(slice(chosen[0], chosen[-1] + 1))
        return [tuple(seen)]

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        index: list[Any] = [slice(None), *(0,) * len(self.size)]
        for axis in self.places:
            if axis is not None:
                index[1 + axis] = slice(None, None, self._range(axis).step)
        result = parts[0][tuple(index)]
        for n, axis in enumerate(self.places):
            if axis is None:
                result = result.unsqueeze(1 + n)
        return result

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        return tuple(axis is None or inputs[0][axis] for axis in self.places)

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        return any(
            not spans and self._range(axis) != range(n)
            for axis, (n, spans) in enumerate(zip(self.size, inputs[0], strict=True))
        )


def _pick(size: Size, index: Any) -> _Pick | None:
    """Of an index as `x[index]` has it; None where it picks clips or picks otherwise than by slices and numbers."""
    index = list(index) if isinstance(index, tuple) else [index]
    if any(not (i is None or i is Ellipsis or type(i) in (int, slice)) for i in index):
        return None
    count = sum(i is not None and i is not Ellipsis for i in index)
    rest = [slice(None)] * (len(size) + 1 - count)
    if Ellipsis in index:
        place = index.index(Ellipsis)
        index[place : place + 1] = rest
    else:
        index += rest
    if index[0] != slice(None):
        return None
    chosen = [i for i in index[1:] if i is not None]
    places: list[int | None] = []
    axis = 0
    for i in index[1:]:
        if not isinstance(i, int):
            places.append(None if i is None else axis)
        axis += i is not None
    step = _Pick(tuple(size), chosen, places)
    lengths = [len(step._range(axis)) for axis in range(len(size))]
    return step if all(lengths) else None


def _dividing(
    func: Callable[..., Any], args: Any, kwargs: dict[str, Any], sizes: Sequence[Size]
) -> list[Step] | None:
    """Of functions that give the pieces of a tensor along an axis."""
    x, is_unbind = args[0], func in named("unbind")
    dim = _argument(args, kwargs, 1 if is_unbind else 2, "dim", 0) % x.ndim
    if dim == 0:
        return None
    steps, end = [], 0
    for n, size in enumerate(sizes):
        start, end = end, end + (0 if is_unbind else size[dim - 1])
        along = n if is_unbind else slice(start, end)
        steps.append(_pick(x.shape[1:], (*[slice(None)] * dim, along)))
    return [step for step in steps if step is not None] if None not in steps else None


def _arranging(
    func: Callable[..., Any], x: torch.Tensor, args: Any, kwargs: dict[str, Any], size: Size
) -> Step | None:
    """Of functions whose result is the input's values in another order or shape, or some of them."""
    if func is torch.Tensor.__getitem__:
        return _pick(x.shape[1:], args[1])
    if func in named("narrow", "select"):
        dim = _argument(args, kwargs, 1, "dim") % x.ndim
        start = _argument(args, kwargs, 2, "start" if func in named("narrow") else "index")
        length = _argument(args, kwargs, 3, "length")
        if dim == 0 or type(start) is not int:
            return None
        along = start if length is None else slice(start % x.shape[dim], start % x.shape[dim] + length)
        return _pick(x.shape[1:], (*[slice(None)] * dim, along))
    if func in _ORDERING:
        # strides that tell the axes apart
        probe = torch.empty_strided(x.shape, list(range(1, x.ndim + 1)), device="meta")
        first, *order = (stride - 1 for stride in func(probe, *args[1:], **kwargs).stride())
        return _Order([axis - 1 for axis in order]) if first == 0 else None
    if func in SHAPING and not any(isinstance(value, torch.dtype) for value in args):
        shape = func(torch.empty(x.shape, device="meta"), *args[1:], **kwargs).shape
        if shape[0] == x.shape[0] and tuple(shape[1:]) == tuple(size):
            return _Shape.of(tuple(x.shape[1:]), tuple(size))
    return None


@dataclass(frozen=True)
class _Order(Step):
    """Axes in another order: for each of the result the axis that it was."""

    order: Sequence[int]

    def reached(self, boxes: Sequence[Box]) -> Box:
        return tuple(boxes[0][axis] for axis in self.order)

    def seen(self, box: Box) -> Sequence[Box]:
        return [tuple(box[self.order.index(axis)] for axis in range(len(box)))]

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        return parts[0].permute(0, *(axis + 1 for axis in self.order))

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        return tuple(inputs[0][axis] for axis in self.order)

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        return False


@dataclass(frozen=True)
class _Shape(Step):
    """Axes that are joined or divided; along these changes are taken to be everywhere.

    Attributes
    ----------
    before, after
        Sizes.
    kept
        Pairs of axes before and after that are the same.
    """

    before: Size
    after: Size
    kept: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, before: Size, after: Size) -> _Shape:
        kept, i, j = [], 0, 0
        while i < len(before) and j < len(after):
            if before[i] == after[j]:
                kept.append((i, j))
                i, j = i + 1, j + 1
            elif before[i] == 1:
                i += 1
            elif after[j] == 1:
                j += 1
            else:  # as many axes of both as have the same number of values
                one, other = before[i], after[j]
                i, j = i + 1, j + 1
                while one != other:
                    if one < other:
                        one, i = one * before[i], i + 1
                    else:
                        other, j = other * after[j], j + 1
        return cls(before, after, kept)

    def reached(self, boxes: Sequence[Box]) -> Box:
        kept = {after: boxes[0][before] for before, after in self.kept}
        return tuple(kept.get(axis, _all(n)) for axis, n in enumerate(self.after))

    def seen(self, box: Box) -> Sequence[Box]:
        kept = {before: box[after] for before, after in self.kept}
        return [tuple(kept.get(axis, _all(n)) for axis, n in enumerate(self.before))]

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        return parts[0].reshape(len(parts[0]), *(of.stop - of.start for of in box))

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        kept = {after: inputs[0][before] for before, after in self.kept}
        return tuple(kept.get(axis, True) for axis in range(len(self.after)))

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        kept = [before for before, _ in self.kept]
        return any(not spans and axis not in kept for axis, spans in enumerate(inputs[0]))
