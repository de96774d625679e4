"""Linear layers whose backward pass reads only the weights that a lone sample's gradient meets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_LARGE = 1 << 20
"""Weights from which on a layer's time is that of reading them."""
_BAGS = 32


class SparseLinear(TorchFunctionMode):
    """Context manager around a forward pass; it changes how long backward passes through it take, not their values.

    The weights of a fully connected layer are too many for a cache, and for one sample each is used once, so that
    reading them is what the layer costs, there and back. Where a ReLU follows, half of the outputs or more have no
    gradient, and the rows of weights that belong to them need not be read on the way back.

    Only for one sample on a CPU; every other call is left alone.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.linear and not kwargs and _is_worth_it(*args):
            return _Linear.apply(*args)
        return func(*args, **(kwargs or {}))


def _is_worth_it(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> bool:
    return (
        x.ndim == 2
        and len(x) == 1
        and x.requires_grad
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and weight.numel() >= _LARGE
        and weight.is_contiguous()
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
