"""Forward passes that compute anew only what a change of the input can reach.

A clip that differs from another in one supervoxel differs in a box. So does what convolutions, poolings and elementwise
layers make of the two, in a box that grows by their kernels; everything around it is known from the other's pass.
Nakandala et al. ("Incremental and approximate inference for faster occlusion-based deep CNN explanations", SIGMOD 2019)
have this for a square that is moved over an image. Here nothing is approximate.

A recording sees the calls of torch functions, and not what happens inside scripted functions, in NumPy, or through
`.data`. So that such a network is never explained wrongly, what stands in for a whole tensor has no values: whatever
touches it outside of a replayed call raises (`_StandIn`). Tensors that are overwritten by a call which is not followed
are seen by their version, and constants that were computed from the input by their change.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from videxplain.passes.boxes.elementwise import ARITHMETIC
from videxplain.passes.boxes.step import Box, Size, Spans, Step
from videxplain.passes.boxes.steps import steps_of
from videxplain.passes.boxes.windows import CONVOLUTIONS
from videxplain.passes.calls import Call, constants_of, memory_of, results_of, tensors_of, version_of

Rows = slice | list[int]
"""Which clips of a batch."""

_SHAPES = frozenset(
    {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.__len__, torch.Tensor.numel, torch.Tensor.stride}
    | {torch.Tensor.is_contiguous, torch.Tensor.is_floating_point, torch.is_floating_point}
)
"""What asks for no values; nor does a property that is not a tensor."""
_ESCAPES = (
    torch.Tensor.data.__get__,  # type: ignore[attr-defined]
    torch.Tensor.numpy,
    torch.Tensor.__array__,
    torch.Tensor.__dlpack__,
    torch.Tensor.data_ptr,
    torch.Tensor.untyped_storage,
    torch.Tensor.storage,
    torch.Tensor.set_,
)
"""What gives access to a tensor's values behind the back of its version."""
_FOLLOWING = 6_000_000
"""Multiplications in the time that it takes to follow a layer: some 350 microseconds of a core that makes 8 to 37
thousand million of them a second in small to large layers."""


class Recording(TorchFunctionMode):
    """Context manager around a forward pass, which `replay` goes through again for inputs that differ in a box.

    It keeps what is read around boxes, as convolutions and pools do, and copies of what is added up. Of several
    modes it has to be the innermost.

    Attributes
    ----------
    logits
        What the network answered; whoever makes the pass puts it here.
    replayed
        How much has been computed again, in forward passes of one clip each, by their multiplications.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[Call] = []
        self._versions = WeakTensorKeyDictionary()  # of all that depends on the input, when it was last seen
        # of these that are known to change in boxes only, their `Spans` and numbers
        self._followed = WeakTensorKeyDictionary()
        self._numbers = itertools.count()
        self._written: set[int] = set()  # memory that was the network's own until something was written to it
        self._is_followed_wholly = True
        self._clips, self._size, self._strides = 0, [0], [0]
        self._multiplications = {True: 0, False: 0}  # in layers that have boxes, and in all others
        self.logits: torch.Tensor = torch.empty(0)
        self.replayed = 0.0

    def follow(self, x: torch.Tensor) -> torch.Tensor:
        """Takes x (m, C, ...) for the input of the pass, and returns it."""
        self._clips, *self._size = x.shape
        self._followed[x] = (True, *(n == 1 for n in x.shape[2:])), next(self._numbers)
        self._versions[x] = version_of(x)
        self._strides = list(x.stride())
        return x

    def of(self, rows: slice) -> Recording:
        """Of these clips of the batch only."""
        part = copy(self)
        part.logits = self.logits[rows]
        part._calls = [replace(call, inputs=[x[rows] for x in call.inputs]) for call in self._calls]
        return part

    @property
    def is_local(self) -> bool:
        """Whether a change stays in a box in layers with more than half of the multiplications."""
        return self._multiplications[True] > self._multiplications[False]

    def share(self, box: Box) -> float:
        """How much of a forward pass `replay` takes for a change in a box (of places), by multiplications."""
        boxes = {0: (slice(0, self._size[0]), *box)}
        work = self._multiplications[False] / self._clips
        for call in self._calls:
            for step, number in zip(call.steps, call.results, strict=True):
                boxes[number] = step.reached([boxes[n] for n in call.numbers])
                values = math.prod(of.stop - of.start for of in boxes[number])
                work += values * step.multiplications
        return work * self._clips / max(1, sum(self._multiplications.values()))

    def overhead(self, rows: int) -> float:
        """The time in which a `replay` follows all layers, as a share of that of forward passes of so many rows."""
        whole = rows * sum(self._multiplications.values()) / max(1, self._clips)
        return _FOLLOWING * len(self._calls) / max(1, whole)

    @property
    def is_whole(self) -> bool:
        """Whether all that `replay` will want is there: nothing was done unseen, and what was kept is as it was."""
        return self._is_followed_wholly and all(call.is_intact for call in self._calls)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = tensors_of(args, kwargs)
        dependent = [x for x in tensors if self._depends(x)]
        if not dependent:
            result = func(*args, **kwargs)
            self._multiplications[False] += _multiplications(func, args, kwargs, result)
            return result
        if any(version_of(x) != self._versions[x] or x.is_inference() for x in dependent):
            self._is_followed_wholly = False  # something overwrote it unseen, or may have
        inputs = [x for x in dependent if x in self._followed]
        before = [version_of(x) for x in tensors]
        # what arithmetic in place adds to is overwritten by it
        keep = torch.Tensor.clone if func in ARITHMETIC else torch.Tensor.detach
        kept = [keep(x.detach()) for x in inputs]
        result = func(*args, **kwargs)
        overwritten = [x for x, was in zip(tensors, before, strict=True) if version_of(x) != was]
        steps, sizes = None, [tuple(x.shape[1:]) for x in results_of(result)]
        if len(inputs) == len(dependent) and sizes and all(x is result for x in overwritten):
            steps = _known_steps(func, args, kwargs, inputs, sizes)
        spans = self._spans(steps or [], inputs, sizes)
        if all(map(all, spans)):  # it changes everywhere
            steps = None
        self._multiplications[steps is not None] += _multiplications(func, args, kwargs, result)
        if not isinstance(result, torch.Tensor) and _asks_for_no_values(func):
            return result
        in_place = next((n for n, x in enumerate(inputs) if x is result), None)
        # what is not followed is computed again, and so may be overwritten
        if func in _ESCAPES or any(x in self._followed for x in overwritten if x is not result or not steps):
            self._is_followed_wholly = False
        self._written |= {memory_of(x) for x in overwritten if not self._depends(x)}
        for x in (*overwritten, *(x for x in tree_leaves(result) if isinstance(x, torch.Tensor))):
            self._versions[x] = version_of(x)
        if not inputs:
            return result
        call = Call(func, constants_of(args, kwargs), in_place=in_place)
        if in_place is not None and not overwritten:
            call.is_same = True
        elif steps is None:
            call.keep(kept)
        else:
            owns = self._spans_of(inputs)
            call.sizes, call.strides = sizes, [x.stride() for x in results_of(result)]
            call.is_single = isinstance(result, torch.Tensor)
            if any(step.sees_more(owns) for step in steps):
                call.keep(kept)
            call.steps, call.numbers = [step.without_values() for step in steps], self._numbers_of(inputs)
            for x, own in zip(results_of(result), spans, strict=True):
                number = self._followed[x][1] if in_place is not None else next(self._numbers)
                self._followed[x] = own, number
            call.results = self._numbers_of(results_of(result))
        self._calls.append(call)
        return result

    def _depends(self, x: torch.Tensor) -> bool:
        """Whether it depends on the input, as far as that was seen."""
        if x not in self._versions and self._written and memory_of(x) in self._written:
            self._versions[x] = version_of(x)
        return x in self._versions

    def _spans_of(self, inputs: Sequence[torch.Tensor]) -> list[Spans]:
        return [self._followed[x][0] for x in inputs]

    def _numbers_of(self, tensors: Sequence[torch.Tensor]) -> list[int]:
        return [self._followed[x][1] for x in tensors]

    def _spans(
        self, steps: Sequence[Step], inputs: Sequence[torch.Tensor], sizes: Sequence[Size]
    ) -> list[Spans]:
        owns = self._spans_of(inputs)
        return [
            tuple(own or n == 1 for own, n in zip(step.spans(owns), size, strict=True))
            for step, size in zip(steps, sizes, strict=False)
        ]

    @torch.no_grad()
    def replay(
        self, forward: Callable[[torch.Tensor], torch.Tensor], rows: Rows, part: torch.Tensor, box: Box
    ) -> torch.Tensor:
        """What `forward`, which was recorded, makes of those rows of its input with `part` (m, C, ...) in the box.

        `part` may be overwritten.

        Raises
        ------
        LookupError
            Where the network calls something else than when it was recorded, or does something unseen.
        """
        mode = _Replay(iter(self._calls), rows)
        x = mode.hold(part, (slice(0, self._size[0]), *box), self._size, self._strides)
        with mode, torch.compiler.set_stance("force_eager"):
            result = forward(x)
        self.replayed += mode.multiplications * self._clips / sum(self._multiplications.values())
        return result


class _StandIn(torch.Tensor):
    """A tensor of a whole's size without values: what is not a replayed call cannot compute with it unnoticed."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, size: Size, strides: Sequence[int], like: torch.Tensor) -> _StandIn:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, size, strides=strides, dtype=like.dtype, device=like.device
        )

    def __init__(self, *_: Any) -> None:
        super().__init__()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise LookupError(f"{func} was called where no call was seen when the pass was recorded")


class _Replay(TorchFunctionMode):
    """Goes through recorded calls again with what is in a box; a `_StandIn` takes the place of the whole."""

    def __init__(self, calls: Iterator[Call], rows: Rows) -> None:
        super().__init__()
        self._calls, self._rows = calls, rows
        self.multiplications = 0
        self._held = WeakTensorKeyDictionary()  # the part and the box of each that stands in

    def hold(self, part: torch.Tensor, box: Box, size: Size, strides: Sequence[int]) -> torch.Tensor:
        """What stands in for a whole (m, *size) of which the part in the box is known."""
        whole = _StandIn((len(part), *size), strides, part)
        self._held[whole] = part, box
        return whole

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = [x for x in tensors_of(args, kwargs) if x in self._held]
        if not inputs:
            return self._whole(func, args, kwargs)
        if _asks_for_no_values(func) and not isinstance(answer := func(*args, **kwargs), torch.Tensor):
            return answer
        call = next(self._calls, None)
        if call is None or not call.is_of(func, args, kwargs):
            raise LookupError(f"{func} was not called here, or not so, when the pass was recorded")
        if call.is_same:
            assert call.in_place is not None
            return inputs[call.in_place]
        held = [self._held[x] for x in inputs]
        known: Sequence[torch.Tensor | None] = call.inputs or [None] * len(inputs)
        if not call.sizes:
            wholes = {
                id(x): self._around(tuple(slice(0, n) for n in x.shape[1:]), own, x.shape[1:], values)
                for x, own, values in zip(inputs, held, known, strict=True)
            }
            return self._whole(func, *tree_map(lambda leaf: wholes.get(id(leaf), leaf), (args, kwargs)))
        steps = steps_of(func, args, kwargs, inputs, call.sizes)
        if steps is None:
            raise LookupError(f"{func} was called otherwise when the pass was recorded")
        results = []
        for step, size, strides in zip(steps, call.sizes, call.strides, strict=True):
            box = step.reached([place for _, place in held])
            parts = [
                self._around(wanted, own, x.shape[1:], values, step.beyond)
                for wanted, own, x, values in zip(step.seen(box), held, inputs, known, strict=True)
            ]
            result = step.run(parts, box)
            self.multiplications += result.numel() * step.multiplications
            if call.in_place is not None:
                self._held[inputs[call.in_place]] = result, box
                return inputs[call.in_place]
            if any(memory_of(result) == memory_of(own) for own, _ in held):
                result = result.clone()  # either may be overwritten
            results.append(self.hold(result, box, size, strides))
        return results[0] if call.is_single else tuple(results)

    def _whole(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self.multiplications += _multiplications(func, args, kwargs, result)
        return result

    def _around(
        self,
        box: Box,
        own: tuple[torch.Tensor, Box],
        size: Size,
        known: torch.Tensor | None,
        beyond: float = 0,
    ) -> torch.Tensor:
        """What is in the box: a part in its place, around it what is known of the rows, and `beyond` the edges."""
        part, place = own
        if box == place:
            return part
        inside = tuple(
            slice(min(max(0, of.start), n), max(0, min(n, of.stop))) for of, n in zip(box, size, strict=True)
        )
        shared = tuple(  # steps can leave out the rim of a place, or all of it
            slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
            for a, b in zip(inside, place, strict=True)
        )
        if shared == box:
            return part[_at(shared, place)]
        if shared != inside and known is None:
            raise LookupError("more is needed of a tensor than was kept when the pass was recorded")
        like = part if known is None else known
        make = like.new_empty if inside == box else partial(like.new_full, fill_value=beyond)
        channels, *places = (of.stop - of.start for of in box)
        if like.ndim > 2 and like.movedim(1, -1).is_contiguous():
            result = make((len(part), *places, channels)).movedim(-1, 1)
        else:
            result = make((len(part), channels, *places))
        if shared != inside and known is not None:
            result[_at(inside, box)] = known[_at(inside)][self._rows]
        result[_at(shared, box)] = part[_at(shared, place)]
        return result


def _at(box: Box, whole: Box | None = None) -> tuple[slice, ...]:
    """The index of a box in a batch, of which a larger box is what there is."""
    if whole is not None:
        box = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, whole, strict=True))
    return slice(None), *box


def _known_steps(
    func: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    inputs: Sequence[torch.Tensor],
    sizes: Sequence[Size],
) -> list[Step] | None:
    try:
        return steps_of(func, args, kwargs, inputs, sizes)
    except (TypeError, ValueError, LookupError, RuntimeError):
        return None  # a form of the call that is not known


def _asks_for_no_values(func: Callable[..., Any]) -> bool:
    return func in _SHAPES or getattr(func, "__name__", "") == "__get__"


def _multiplications(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], result: Any) -> int:
    """Of a convolution or linear layer; of others none are counted."""
    if func not in CONVOLUTIONS and func is not F.linear:
        return 0
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    return result.numel() * weight[0].numel()
