"""Tensors that are joined, divided, cut and put into another order or shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from videxplain.passes.boxes.step import Box, Size, Spans, Step, all_of, argument_of, around
from videxplain.passes.secants import named

DIVIDING = named("split", "split_with_sizes", "chunk", "tensor_split", "unbind")
_ORDERING = named("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis")
SHAPING = named("reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze")
"""What may be told the number of clips."""


@dataclass(frozen=True)
class Join(Step):
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
            of = all_of(1) if self.is_new else box[self.axis]
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
                reached.append(all_of(1))
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


def dividing(
    func: Callable[..., Any], args: Any, kwargs: dict[str, Any], sizes: Sequence[Size]
) -> list[Step] | None:
    """Of functions that give the pieces of a tensor along an axis."""
    x, is_unbind = args[0], func in named("unbind")
    dim = argument_of(args, kwargs, 1 if is_unbind else 2, "dim", 0) % x.ndim
    if dim == 0:
        return None
    steps, end = [], 0
    for n, size in enumerate(sizes):
        start, end = end, end + (0 if is_unbind else size[dim - 1])
        along = n if is_unbind else slice(start, end)
        steps.append(_pick(x.shape[1:], (*[slice(None)] * dim, along)))
    return [step for step in steps if step is not None] if None not in steps else None


def arranging(
    func: Callable[..., Any], x: torch.Tensor, args: Any, kwargs: dict[str, Any], size: Size
) -> Step | None:
    """Of functions whose result is the input's values in another order or shape, or some of them."""
    if func is torch.Tensor.__getitem__:
        return _pick(x.shape[1:], args[1])
    if func in named("narrow", "select"):
        dim = argument_of(args, kwargs, 1, "dim") % x.ndim
        start = argument_of(args, kwargs, 2, "start" if func in named("narrow") else "index")
        length = argument_of(args, kwargs, 3, "length")
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
        return tuple(kept.get(axis, all_of(n)) for axis, n in enumerate(self.after))

    def seen(self, box: Box) -> Sequence[Box]:
        kept = {before: box[after] for before, after in self.kept}
        return [tuple(kept.get(axis, all_of(n)) for axis, n in enumerate(self.before))]

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        return parts[0].reshape(len(parts[0]), *(of.stop - of.start for of in box))

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        kept = {after: inputs[0][before] for before, after in self.kept}
        return tuple(kept.get(axis, True) for axis in range(len(self.after)))

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        kept = [before for before, _ in self.kept]
        return any(not spans and axis not in kept for axis, spans in enumerate(inputs[0]))
