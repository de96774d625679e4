"""Convolutions, pools and padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from videxplain.ops.onednn import Convolution, lone_conv3d
from videxplain.passes.boxes.step import Box, Size, Spans, Step, all_of, argument_of
from videxplain.passes.secants import MAX_POOLS, pool_settings

CONVOLUTIONS = frozenset({F.conv2d, F.conv3d, lone_conv3d})
_AVERAGE_POOLS = frozenset({F.avg_pool2d, F.avg_pool3d})


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
                reached.append(all_of(number))
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
                seen.append((all_of(size), 0))
                continue
            kernel, stride, padding, dilation = axis
            reach = dilation * (kernel - 1) + 1
            if self.pads and (of.start, of.stop) == (0, (size + 2 * padding - reach) // stride + 1):
                seen.append((all_of(size), padding))
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
        reached = self.reached([tuple(map(all_of, self.inputs))])
        return tuple(
            axis is None or (own and of == all_of(n))
            for own, axis, of, n in zip(inputs[0], self.axes, reached, self.outputs, strict=True)
        )


def window(func: Callable[..., Any], args: Any, kwargs: dict[str, Any], size: Size) -> _Window | None:
    x = args[0]
    inputs = tuple(x.shape[1:])
    if func in CONVOLUTIONS:
        return _convolution(func, Convolution(*args, **kwargs), size)
    if func is F.pad:
        pad, mode, value = (
            argument_of(args, kwargs, n, name) for n, name in ((1, "pad"), (2, "mode"), (3, "value"))
        )
        if mode not in (None, "constant") or len(pad) > 2 * len(size):
            return None
        before = [0] * (len(size) - len(pad) // 2) + list(pad[-2::-2])
        axes = [(1, 1, amount, 1) for amount in before]
        return _Window(lambda x, _: x, axes, inputs, size, beyond=float(value or 0), pads=False)
    if func in MAX_POOLS and _pools_places(func, x) and not argument_of(args, kwargs, 6, "return_indices"):
        kernel, stride, padding, dilation, _ = pool_settings(*args, **kwargs)

        def pool(x: torch.Tensor, padding: Sequence[int]) -> torch.Tensor:
            return func(x, kernel, stride, list(padding), dilation)

        axes = list(zip(kernel, stride, padding, dilation, strict=True))
        return _Window(pool, [(1, 1, 0, 1), *axes], inputs, size, beyond=-torch.inf)
    if func in _AVERAGE_POOLS and _pools_places(func, x):
        return _average_pool(func, _AveragePool(*args, **kwargs), size)
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


class _AveragePool(NamedTuple):
    """The arguments of `F.avg_pool2d` and `F.avg_pool3d`, by the names that they have there."""

    input: torch.Tensor
    kernel_size: Any
    stride: Any = None
    padding: Any = 0
    ceil_mode: bool = False
    count_include_pad: bool = True
    divisor_override: int | None = None


def _average_pool(func: Callable[..., Any], call: _AveragePool, size: Size) -> _Window | None:
    kernel, stride, padding, _, _ = pool_settings(
        call.input, call.kernel_size, call.stride or None, call.padding
    )
    axes = [(k, s, p, 1) for k, s, p in zip(kernel, stride, padding, strict=True)]
    inputs = tuple(call.input.shape[1:])
    counts = call.divisor_override is None and not (call.count_include_pad and any(padding))
    if not counts and any(
        (number - 1) * s + k > n + 2 * p
        for (k, s, p, _), n, number in zip(axes, inputs[1:], size[1:], strict=True)
    ):
        return None  # a window that ends beyond the padding

    divisor = call.divisor_override  # alone, for the input need not be kept

    def pool(x: torch.Tensor, _: Sequence[int]) -> torch.Tensor:
        return func(x, kernel, stride, 0, False, True, divisor)

    return _Window(pool, [(1, 1, 0, 1), *axes], inputs, size, pads=False, counts=counts)
