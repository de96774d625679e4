"""Forward passes that compute anew only what a change of the input can reach.

A clip that differs from another in one supervoxel differs in a box. So does what convolutions, poolings and elementwise
layers make of the two, in a box that grows by their kernels; everything around it is known from the other's pass.
Nakandala et al. ("Incremental and approximate inference for faster occlusion-based deep CNN explanations", SIGMOD 2019)
have this for a square that is moved over an image. Here nothing is approximate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from videxplain.attribution.secants import ELEMENTWISE, MAX_POOLS, pool_settings
from videxplain.models.onednn import Convolution, lone_conv3d

Box = tuple[slice, ...]
"""Where something is: a slice for each axis behind the channels."""
Rows = slice | list[int]
"""Which clips of a batch."""

_CONVOLUTIONS = frozenset({F.conv2d, F.conv3d, lone_conv3d})
_POINTWISE = ELEMENTWISE | {F.dropout, F.dropout2d, F.dropout3d}
_SUMS = frozenset({torch.add, torch.Tensor.add, torch.Tensor.add_})
_ARITHMETIC = _SUMS | {torch.Tensor.sub, torch.Tensor.sub_, torch.Tensor.mul, torch.Tensor.mul_}
_ARITHMETIC |= {torch.Tensor.div, torch.Tensor.div_}
_SHAPES = frozenset(
    {torch.Tensor.size, torch.Tensor.dim, torch.Tensor.__len__, torch.Tensor.numel, torch.Tensor.stride}
    | {torch.Tensor.is_contiguous, torch.Tensor.is_floating_point, torch.is_floating_point}
)
"""What asks for no values; nor does a property that is not a tensor."""


class Recording(TorchFunctionMode):
    """Context manager around a forward pass, which `replay` goes through again for inputs that differ in a box.

    It keeps what convolutions and max pools read, as a backward pass does, and copies of what is added up. Of several
    modes it has to be the innermost.

    Attributes
    ----------
    replayed
        How much has been computed again, in forward passes of one clip each, by their multiplications.
    """

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[_Call] = []
        self._followed = WeakTensorKeyDictionary()
        self._clips, self._size = 0, [0]
        self._multiplications = {True: 0, False: 0}  # in layers that have boxes, and in all others
        self.replayed = 0.0

    def follow(self, x: torch.Tensor) -> torch.Tensor:
        """Takes x (m, C, ...) for the input of the pass, and returns it."""
        self._followed[x] = None
        self._clips, *self._size = x.shape
        return x

    def of(self, rows: slice) -> Recording:
        """Of these clips of the batch only."""
        part = copy(self)
        part._calls = [replace(call, inputs=[x[rows] for x in call.inputs]) for call in self._calls]
        return part

    @property
    def is_local(self) -> bool:
        """Whether `replay` is right, and spares work in layers with more than half of the multiplications."""
        intact = all(call.is_intact for call in self._calls)
        return intact and self._multiplications[True] > self._multiplications[False]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = _among(self._followed, args, kwargs)
        call = _Call.of(func, args, kwargs, inputs)
        result = func(*args, **kwargs)
        self._multiplications[call.kind == "window"] += _multiplications(func, args, kwargs, result)
        if not inputs or (call.kind == "shape" and not isinstance(result, torch.Tensor)):
            return result
        if call.kind in ("window", "pointwise", "sum"):
            self._followed[result] = None
            call.size = tuple(result.shape[1:])
        elif any(result is x for x in inputs):
            call = _Call("same")
        self._calls.append(call)
        return result

    @torch.no_grad()
    def replay(
        self, forward: Callable[[torch.Tensor], torch.Tensor], rows: Rows, part: torch.Tensor, box: Box
    ) -> torch.Tensor:
        """What `forward`, which was recorded, makes of those rows of its input with `part` (m, C, ...) in the box.

        `part` may be overwritten.

        Raises
        ------
        LookupError
            Where the network calls something else than when it was recorded.
        """
        mode = _Replay(iter(self._calls), rows)
        x = mode.hold(part, box, self._size)
        with mode, torch.compiler.set_stance("force_eager"):
            result = forward(x)
        self.replayed += mode.multiplications * self._clips / sum(self._multiplications.values())
        return result


class _Replay(TorchFunctionMode):
    """Goes through recorded calls again with what is in a box; an empty tensor stands in for the whole."""

    def __init__(self, calls: Iterator[_Call], rows: Rows) -> None:
        super().__init__()
        self._calls, self._rows = calls, rows
        self.multiplications = 0
        self._held = WeakTensorKeyDictionary()  # the part and the box of each that stands in

    def hold(self, part: torch.Tensor, box: Box, size: Sequence[int]) -> torch.Tensor:
        """What stands in for a whole (m, *size) of which the part in the box is known."""
        whole = part.new_empty(()).expand(len(part), *size)
        self._held[whole] = part, box
        return whole

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = _among(self._held, args, kwargs)
        if not inputs:
            return self._whole(func, args, kwargs)
        kind = _kind(func, args, kwargs, inputs)
        if kind == "shape" and not isinstance(answer := func(*args, **kwargs), torch.Tensor):
            return answer
        call = next(self._calls, _Call("end"))
        if call.kind not in (kind, "same"):
            raise LookupError(f"{func} was not called here when the pass was recorded")
        if call.kind == "same":
            return inputs[0]
        parts = [self._held[x] for x in inputs]
        part, box = parts[0]
        window = _Window.of(func, args, kwargs) if kind == "window" else None
        if window is not None:
            box = window.reached(box, call.size[1:])
            seen, padding = window.seen(box, call.inputs[0].shape[2:])
            result = window.run(self._around(seen, parts[0], call.inputs[0], window.beyond), padding)
            self.multiplications += result.numel() * window.multiplications
        elif kind == "pointwise":
            result = func(part, *args[1:], **kwargs)
        elif kind == "sum":
            box = around([place for _, place in parts])
            part, other = (self._around(box, own, x) for own, x in zip(parts, call.inputs, strict=True))
            result = func(part, other)
        else:
            wholes = {
                id(x): self._around(tuple(slice(0, n) for n in known.shape[2:]), own, known)
                for x, own, known in zip(inputs, parts, call.inputs, strict=True)
            }
            return self._whole(func, *tree_map(lambda leaf: wholes.get(id(leaf), leaf), (args, kwargs)))
        if result is part:  # in place
            self._held[inputs[0]] = part, box
            return inputs[0]
        return self.hold(result, box, call.size)

    def _whole(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self.multiplications += _multiplications(func, args, kwargs, result)
        return result

    def _around(
        self, box: Box, own: tuple[torch.Tensor, Box], known: torch.Tensor, beyond: float = 0
    ) -> torch.Tensor:
        """What is in the box: a part in its place, around it what is known of the rows, and `beyond` the edges."""
        part, place = own
        channels, *sizes = known.shape[1:]
        inside = tuple(slice(max(0, of.start), min(n, of.stop)) for of, n in zip(box, sizes, strict=True))
        make = known.new_empty if inside == box else partial(known.new_full, fill_value=beyond)
        shape = [of.stop - of.start for of in box]
        if known.movedim(1, -1).is_contiguous():
            result = make((len(part), *shape, channels)).movedim(-1, 1)
        else:
            result = make((len(part), channels, *shape))
        shared = tuple(  # steps can leave out the rim of a place, or all of it
            slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
            for a, b in zip(inside, place, strict=True)
        )
        if shared != inside:
            result[_at(inside, box)] = known[_at(inside)][self._rows]
        result[_at(shared, box)] = part[_at(shared, place)]
        return result


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that has all of these in it."""
    return tuple(
        slice(min(of.start for of in axis), max(of.stop for of in axis)) for axis in zip(*boxes, strict=True)
    )


def _at(box: Box, whole: Box | None = None) -> tuple[slice, ...]:
    """The index of a box in a batch, of which a larger box is what there is."""
    if whole is not None:
        box = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, whole, strict=True))
    return slice(None), slice(None), *box


@dataclass
class _Call:
    """A call with tensors that depend on the input.

    Attributes
    ----------
    kind
        As `_kind` has it, or "same" where one of these tensors came back.
    inputs
        These tensors, where their values around a box will be wanted.
    versions
        Theirs, which tell whether they were overwritten later.
    size
        Of the result without its batch, where only a box of it will be computed.
    """

    kind: str
    inputs: Sequence[torch.Tensor] = ()
    versions: Sequence[int] = ()
    size: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, func: Callable[..., Any], args: Any, kwargs: dict[str, Any], inputs: list[torch.Tensor]
    ) -> _Call:
        kind = _kind(func, args, kwargs, inputs)
        if kind == "pointwise":
            return cls(kind)
        # what a sum in place adds to is overwritten by it
        kept = [x.detach().clone() if kind == "sum" else x.detach() for x in inputs]
        return cls(kind, kept, [x._version for x in kept])

    @property
    def is_intact(self) -> bool:
        """Whether nothing that was kept has been overwritten since."""
        return all(x._version == was for x, was in zip(self.inputs, self.versions, strict=True))


def _among(known: Mapping[torch.Tensor, Any], args: Any, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The arguments, or members of arguments that are lists, that are known."""
    found = []
    for value in (*args, *kwargs.values()):
        for x in value if isinstance(value, list | tuple) else (value,):
            if isinstance(x, torch.Tensor) and x in known:
                found.append(x)
    return found


def _kind(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], inputs: list[torch.Tensor]) -> str:
    """What a call makes of changes in boxes of its inputs.

    "window" a larger or smaller box, "pointwise" the same one, "sum" one around both, "shape" none, for it does not ask
    for values, "other" changes everywhere.
    """
    if func in _SHAPES or getattr(func, "__name__", "") == "__get__":
        return "shape"
    if len(inputs) == 1 and args and inputs[0] is args[0]:
        training = kwargs.get("training", args[5] if len(args) > 5 else False)
        if func in _POINTWISE or (func is F.batch_norm and not training):
            return "pointwise"
        if func in _ARITHMETIC and len(args) == 2 and isinstance(args[1], float | int):
            return "pointwise"
        if _Window.of(func, args, kwargs) is not None:
            return "window"
    if func in _SUMS and not kwargs and len(args) == len(inputs) == 2 and args[0].shape == args[1].shape:
        return "sum"
    return "other"


def _multiplications(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], result: Any) -> int:
    """Of a convolution or linear layer; of others none are counted."""
    if func not in _CONVOLUTIONS and func is not F.linear:
        return 0
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    return result.numel() * weight[0].numel()


@dataclass(frozen=True)
class _Window:
    """What an output of a convolution or a max pool sees.

    Attributes
    ----------
    run
        The outputs of what they see, padded along each axis by so much.
    beyond
        What lies beyond the edges.
    axes
        Kernel, stride, padding and dilation along each.
    multiplications
        For an output.
    """

    run: Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
    beyond: float
    axes: Sequence[tuple[int, int, int, int]]
    multiplications: int = 0

    @classmethod
    def of(cls, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> _Window | None:
        if func in _CONVOLUTIONS:
            return cls._of_convolution(func, Convolution(*args, **kwargs))
        if func in MAX_POOLS and not kwargs.get("return_indices"):
            kernel, stride, padding, dilation, _ = pool_settings(*args, **kwargs)
            axes = list(zip(kernel, stride, padding, dilation, strict=True))

            def run(x: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
                return func(x, kernel, stride, list(padding), dilation)

            return cls(run, -torch.inf, axes)
        return None

    @classmethod
    def _of_convolution(cls, func: Callable[..., Any], call: Convolution) -> _Window | None:
        x, weight, bias, *settings, groups = call
        kernel = weight.shape[2:]
        if x.ndim != weight.ndim or isinstance(call.padding, str):
            return None
        stride, padding, dilation = ([v] * len(kernel) if isinstance(v, int) else list(v) for v in settings)

        def run(x: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
            return func(x, weight, bias, stride, padding, dilation, groups)

        axes = list(zip(kernel, stride, padding, dilation, strict=True))
        return cls(run, 0.0, axes, weight[0].numel())

    def reached(self, box: Box, outputs: Sequence[int]) -> Box:
        """The outputs that see something of the box; at least one."""
        found = []
        for of, (kernel, stride, padding, dilation), number in zip(box, self.axes, outputs, strict=True):
            first = -((dilation * (kernel - 1) - of.start - padding) // stride)
            first = min(max(first, 0), number - 1)
            found.append(slice(first, max(first + 1, min(number, (of.stop - 1 + padding) // stride + 1))))
        return tuple(found)

    def seen(self, outputs: Box, sizes: Sequence[int]) -> tuple[Box, list[int]]:
        """All that the outputs see of axes of these sizes, and what is to be padded.

        Along an axis of which all is seen the padding is left to the layer; along others what is seen may begin and end
        beyond the edges.
        """
        box, paddings = [], []
        for of, size, (kernel, stride, padding, dilation) in zip(outputs, sizes, self.axes, strict=True):
            reach = dilation * (kernel - 1) + 1
            if (of.start, of.stop) == (0, (size + 2 * padding - reach) // stride + 1):
                box.append(slice(0, size))
                paddings.append(padding)
            else:
                box.append(slice(of.start * stride - padding, (of.stop - 1) * stride - padding + reach))
                paddings.append(0)
        return tuple(box), paddings
