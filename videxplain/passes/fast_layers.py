"""Layers that torch serves slowly on a CPU where only the gradient of the input is wanted, done faster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from videxplain.ops.onednn import Convolution, convolution, is_plain, lone_conv3d, serves
from videxplain.passes.secants import is_checkpointed

_LARGE = 1 << 20
"""Weights from which on a linear layer's time is that of reading them."""
_BAGS = 32
_FEW_CHANNELS = 4
"""Input channels up to which a convolution's backward pass fills less than half of a vector."""


class _Normalisation(NamedTuple):
    """The arguments of `F.batch_norm`, by the names that they have there."""

    input: torch.Tensor
    running_mean: torch.Tensor | None
    running_var: torch.Tensor | None
    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    training: bool = False
    momentum: float = 0.1
    eps: float = 1e-5


class FastLayers(TorchFunctionMode):
    """Context manager around a forward pass; it changes how long passes through it take, not their values.

    **Large linear layers, one sample.** The weights are too many for a cache, and each is used once, so that reading
    them is what the layer costs, there and back. Where a ReLU follows, half of the outputs or more have no gradient,
    and the rows of weights that belong to them need not be read on the way back.

    **The first 3-D convolution.** Its gradient has three channels, a fifth of a vector. Done as a 2-D convolution of
    all frames at once, with the kernel's steps in time for further channels, it has nine.

    **3-D convolutions of a lone small clip** (`lone_conv3d`). oneDNN is called there and back.

    **Batch normalisation by running statistics.** On the way back it is a scale for each channel. torch keeps its input
    and reads it once more, for gradients of the weights.

    Only in float32 on a CPU; every other call is left alone.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if is_checkpointed() or any(
            isinstance(x, torch.Tensor) and not x.is_leaf for x in (*args[1:], *(kwargs or {}).values())
        ):
            return func(
                *args, **(kwargs or {})
            )  # weights that the input may have made, whose gradient is wanted
        if func is F.linear and not kwargs and _is_large_linear(*args):
            return _Linear.apply(*args)
        if func in (F.conv3d, lone_conv3d) and not kwargs and _is_first_convolution(*args):
            return _FirstConvolution.apply(*args) if _is_differentiated(args[0]) else convolution(*args)
        if func is lone_conv3d and _is_undone_by_its_mirror(*args):
            return _LoneConvolution.apply(*args)
        if func is F.batch_norm:
            call = _Normalisation(*args, **(kwargs or {}))
            if _is_by_running_statistics(call):
                return _BatchNorm.apply(*call)  # older versions of torch take no names there
        return func(*args, **(kwargs or {}))


def fast_layers(x: torch.Tensor) -> AbstractContextManager[Any]:
    """`FastLayers` for a forward pass of x, nothing where they would not serve."""
    return FastLayers() if x.device.type == "cpu" else nullcontext()


def _is_differentiated(x: torch.Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _is_large_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    return (
        x.ndim == 2
        and len(x) == 1
        and is_plain(x, weight)
        and _is_differentiated(x)
        and weight.numel() >= _LARGE
        and weight.is_contiguous()
    )


def _is_first_convolution(*args: Any) -> bool:
    x, weight, _, stride, padding, dilation, groups = Convolution(*args)
    return (
        x.ndim == 5
        and serves(x, weight)
        and weight.shape[1] <= _FEW_CHANNELS
        and weight.shape[2] > 1
        and groups == 1
        and all(isinstance(value, tuple) for value in (stride, padding, dilation))
        and dilation == (1, 1, 1)
    )


def _is_undone_by_its_mirror(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *settings: Any
) -> bool:
    stride, padding, dilation, groups = settings
    return (
        _is_differentiated(x)
        and serves(x, weight)
        and groups == 1
        and (*stride, *dilation) == (1,) * 6
        and all(pad < size for pad, size in zip(padding, weight.shape[2:], strict=True))
    )


def _is_by_running_statistics(call: _Normalisation) -> bool:
    return (
        not call.training
        and call.running_var is not None
        and is_plain(call.input, call.running_var)
        and _is_differentiated(call.input)
    )


class _Linear(torch.autograd.Function):
    """`F.linear` without gradients for its weights, which explanations never ask for."""

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        context.save_for_backward(weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (weight,) = context.saved_tensors
        rows = gradient[0].nonzero()[:, 0]
        if len(rows) > 0.75 * len(weight):
            return gradient @ weight, None, None
        # An embedding bag is a weighted sum of rows that copies none; bags are what its threads share.
        starts = torch.arange(_BAGS) * len(rows) // _BAGS
        bags = F.embedding_bag(rows, weight, starts, mode="sum", per_sample_weights=gradient[0, rows])
        return bags.sum(dim=0, keepdim=True), None, None


class _FirstConvolution(torch.autograd.Function):
    """`F.conv3d` without gradients for its weights."""

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *settings: Any
    ) -> torch.Tensor:
        context.save_for_backward(weight)
        context.input_size = x.shape
        context.stride, context.padding, *_ = settings
        return convolution(x, weight, bias, *settings)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = context.saved_tensors
        batch, channels, frames, *size = context.input_size
        (step, *stride), (before, *padding) = context.stride, context.padding
        taps = weight.shape[2]
        # What a transposed convolution cannot tell from its own sizes: rows and columns that no stride reached.
        rest = [
            (full + 2 * pad - kernel) % each
            for full, pad, kernel, each in zip(size, padding, weight.shape[3:], stride, strict=True)
        ]
        by_tap = weight.transpose(1, 2).flatten(1, 2)
        last = (gradient.shape[2] - 1) * step + 1
        total = gradient.new_zeros(batch, frames + 2 * before, *size, channels).movedim(-1, 2)
        for own, pictures in zip(total, gradient.transpose(1, 2), strict=True):  # one's steps stay in a cache
            each_tap = F.conv_transpose2d(
                pictures.contiguous(memory_format=torch.channels_last),  # several times faster so
                by_tap,
                stride=stride,
                padding=padding,
                output_padding=rest,
            )
            for tap, part in enumerate(each_tap.unflatten(1, (taps, channels)).unbind(1)):
                own[tap : tap + last : step] += part
        return total[:, before : before + frames].transpose(1, 2), *[None] * 6


class _LoneConvolution(torch.autograd.Function):
    """`F.conv3d` in steps of one, without gradients for its weights: back by the same with the kernel mirrored."""

    @staticmethod
    def forward(
        context: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *settings: Any
    ) -> torch.Tensor:
        context.save_for_backward(weight)
        stride, padding, *others = settings
        full = [size - 1 - pad for size, pad in zip(weight.shape[2:], padding, strict=True)]
        context.settings = (stride, full, *others)
        return convolution(x, weight, bias, *settings)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (weight,) = context.saved_tensors
        mirrored = weight.flip(2, 3, 4).transpose(0, 1)
        return convolution(gradient, mirrored, None, *context.settings), *[None] * 6


class _BatchNorm(torch.autograd.Function):
    """`F.batch_norm` by running statistics, without gradients for its weights."""

    @staticmethod
    def forward(context: Any, *arguments: Any) -> torch.Tensor:
        call = _Normalisation(*arguments)
        assert call.running_var is not None
        scale = (call.running_var + call.eps).rsqrt()
        scale = scale if call.weight is None else scale * call.weight
        context.save_for_backward(scale.view(-1, *[1] * (call.input.ndim - 2)))
        return F.batch_norm(*call)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (scale,) = context.saved_tensors
        return gradient * scale, *[None] * 7
