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

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakTensorKeyDictionary

from videxplain.ops.onednn import Convolution, lone_conv3d
from videxplain.passes.secants import ELEMENTWISE, MAX_POOLS, named, pool_settings

Box = tuple[slice, ...]
"""Where something is: a slice for each axis behind the channels."""
Rows = slice | list[int]
"""Which clips of a batch."""

_CONVOLUTIONS = frozenset({F.conv2d, F.conv3d, lone_conv3d})
_POINTWISE = ELEMENTWISE | named(
    "dropout", "dropout2d", "dropout3d", "clone", "contiguous", "abs", "neg", "exp", "sqrt", "square"
)
_SUMS = named("add")
_ARITHMETIC = _SUMS | named("sub", "mul", "div")
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


class Recording(TorchFunctionMode):
    """Context manager around a forward pass, which `replay` goes through again for inputs that differ in a box.

    It keeps what convolutions and max pools read, as a backward pass does, and copies of what is added up. Of several
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
        self._calls: list[_Call] = []
        self._versions = WeakTensorKeyDictionary()  # of all that depends on the input, when it was last seen
        self._followed = WeakTensorKeyDictionary()  # of these, what is known to change in boxes only
        self._is_followed_wholly = True
        self._clips, self._size, self._strides = 0, [0], [0]
        self._multiplications = {True: 0, False: 0}  # in layers that have boxes, and in all others
        self.logits: torch.Tensor = torch.empty(0)
        self.replayed = 0.0

    def follow(self, x: torch.Tensor) -> torch.Tensor:
        """Takes x (m, C, ...) for the input of the pass, and returns it."""
        self._followed[x] = None
        self._versions[x] = _version(x)
        self._clips, *self._size = x.shape
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

    @property
    def is_whole(self) -> bool:
        """Whether all that `replay` will want is there: nothing was done unseen, and what was kept is as it was."""
        return self._is_followed_wholly and all(call.is_intact for call in self._calls)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        dependent = _among(self._versions, args, kwargs)
        inputs = [x for x in dependent if x in self._followed]
        if any(_version(x) != self._versions[x] or x.is_inference() for x in dependent):
            self._is_followed_wholly = False  # something overwrote it unseen, or may have
        call = _Call.of(func, args, kwargs, inputs, others=len(dependent) - len(inputs))
        result = func(*args, **kwargs)
        self._multiplications[call.kind == "window"] += _multiplications(func, args, kwargs, result)
        if not dependent or (call.kind == "shape" and not isinstance(result, torch.Tensor)):
            return result
        if func in _ESCAPES or not self._takes_over(call.kind, inputs, dependent, result):
            self._is_followed_wholly = False
        if not inputs:
            return result
        if call.kind in ("window", "pointwise", "sum"):
            self._followed[result] = None
            call.size, call.strides = tuple(result.shape[1:]), result.stride()
        elif any(result is x for x in inputs):
            call.kind, call.inputs, call.versions = "same", (), ()
        self._calls.append(call)
        return result

    def _takes_over(
        self, kind: str, inputs: list[torch.Tensor], dependent: list[torch.Tensor], result: Any
    ) -> bool:
        """Keeps the versions of what a call has made; False where it overwrote what is not followed as its result."""
        in_place = kind in ("pointwise", "sum") and any(result is x for x in inputs)
        overwritten = [x for x in dependent if _version(x) != self._versions[x]]
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self._versions[x] = _version(x)
        return not overwritten or (in_place and all(x is result for x in overwritten))

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
        x = mode.hold(part, box, self._size, self._strides)
        with mode, torch.compiler.set_stance("force_eager"):
            result = forward(x)
        self.replayed += mode.multiplications * self._clips / sum(self._multiplications.values())
        return result


class _StandIn(torch.Tensor):
    """A tensor of a whole's size without values: what is not a replayed call cannot compute with it unnoticed."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, size: Sequence[int], strides: Sequence[int], like: torch.Tensor) -> _StandIn:
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

    def __init__(self, calls: Iterator[_Call], rows: Rows) -> None:
        super().__init__()
        self._calls, self._rows = calls, rows
        self.multiplications = 0
        self._held = WeakTensorKeyDictionary()  # the part and the box of each that stands in

    def hold(self, part: torch.Tensor, box: Box, size: Sequence[int], strides: Sequence[int]) -> torch.Tensor:
        """What stands in for a whole (m, *size) of which the part in the box is known."""
        whole = _StandIn((len(part), *size), strides, part)
        self._held[whole] = part, box
        return whole

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        inputs = _among(self._held, args, kwargs)
        if not inputs:
            return self._whole(func, args, kwargs)
        if _asks_for_no_values(func) and not isinstance(answer := func(*args, **kwargs), torch.Tensor):
            return answer
        call = next(self._calls, None)
        if call is None or not call.is_of(func, args, kwargs):
            raise LookupError(f"{func} was not called here, or not so, when the pass was recorded")
        kind = call.kind
        if kind == "same":
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
        return self.hold(result, box, call.size, call.strides)

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
    func, constants
        What was called, and with which arguments that are no tensors.
    kind
        As `_kind` has it, or "same" where one of these tensors came back.
    inputs
        These tensors, where their values around a box will be wanted.
    versions
        Theirs, which tell whether they were overwritten later.
    size, strides
        Of the result, the size without its batch, where only a box of it will be computed.
    """

    func: Callable[..., Any]
    constants: list[Any]
    kind: str
    inputs: Sequence[torch.Tensor] = ()
    versions: Sequence[int | None] = ()
    size: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        func: Callable[..., Any],
        args: Any,
        kwargs: dict[str, Any],
        inputs: list[torch.Tensor],
        others: int,
    ) -> _Call:
        """Of a call with followed `inputs` and so many `others` that depend on the network's input."""
        kind = _kind(func, args, kwargs, inputs)
        if others and kind != "shape":
            kind = "other"  # weights or scales that depend on the input change everywhere
        call = cls(func, _constants(args, kwargs), kind)
        if kind != "pointwise":
            # what a sum in place adds to is overwritten by it
            call.inputs = [x.detach().clone() if kind == "sum" else x.detach() for x in inputs]
            call.versions = [_version(x) for x in call.inputs]
        return call

    def is_of(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether a call is this one. What is computed anew wholly may be asked for with another batch size."""
        same = {self.func, func} <= {
            F.conv3d,
            lone_conv3d,
        } or self.func == func  # a lone clip's has its own name
        return same and (self.kind == "other" or self.constants == _constants(args, kwargs))

    @property
    def is_intact(self) -> bool:
        """Whether nothing that was kept has been overwritten since."""
        return all(_version(x) == was for x, was in zip(self.inputs, self.versions, strict=True))


def _version(x: torch.Tensor) -> int | None:
    """Counts how often a tensor was overwritten; None, which is no version, where torch does not count."""
    return None if x.is_inference() else x._version


def _constants(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments of a call that are no tensors."""
    return [leaf for leaf in tree_leaves((args, kwargs)) if not isinstance(leaf, torch.Tensor)]


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
    if _asks_for_no_values(func):
        return "shape"
    if len(inputs) == 1 and args and inputs[0] is args[0]:
        training = kwargs.get("training", args[5] if len(args) > 5 else False)
        if func in _POINTWISE or (func is F.batch_norm and not training):
            return "pointwise"
        if func in _ARITHMETIC and len(args) == 2 and not kwargs and _is_alike_everywhere(args[1], args[0]):
            return "pointwise"
        if _Window.of(func, args, kwargs) is not None:
            return "window"
    if func in _SUMS and not kwargs and len(args) == len(inputs) == 2 and args[0].shape == args[1].shape:
        return "sum"
    return "other"


def _is_alike_everywhere(value: Any, x: torch.Tensor) -> bool:
    """Whether arithmetic with x (m, C, ...) uses one value for all places of a channel."""
    if not isinstance(value, torch.Tensor):
        return isinstance(value, float | int)
    batch, _, *places = (1,) * (x.ndim - value.ndim) + value.shape if value.ndim <= x.ndim else (0, 0)
    return batch == 1 and all(size == 1 for size in places)


def _asks_for_no_values(func: Callable[..., Any]) -> bool:
    return func in _SHAPES or getattr(func, "__name__", "") == "__get__"


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
