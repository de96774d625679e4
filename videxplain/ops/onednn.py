"""Convolutions by oneDNN where torch's own rule would choose something slower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

SMALL = 20480
"""Values of a sample, columns left out, up to which torch's conv3d does not use oneDNN for a lone sample on a CPU."""


class Convolution(NamedTuple):
    """The arguments of `F.conv2d` and `F.conv3d`, by the names that they have there."""

    input: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None = None
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1


def is_plain(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether both are float32 on a CPU and will be taken as they are."""
    return (
        not torch.is_autocast_enabled("cpu")
        and x.device.type == weight.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
    )


def serves(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether oneDNN is there for these."""
    return (
        is_plain(x, weight) and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)
    )


def convolution(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    """The arguments of `F.conv3d`, in its order; without gradients."""
    return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)


def lone_conv3d(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> torch.Tensor:
    """`F.conv3d` of a lone `SMALL` sample (1, C, T, H, W), without torch's slow path.

    torch takes oneDNN for two samples or more, but for a lone one another method, which for few channels is several
    times slower. Where gradients are wanted the sample goes in twice; without, oneDNN is called. A mode for torch
    functions sees this one under its own name.
    """
    if torch.compiler.is_compiling():  # which does not know oneDNN's convolution by name
        return F.conv3d(x, weight, *rest)
    if has_torch_function_unary(x):
        return handle_torch_function(lone_conv3d, (x,), x, weight, *rest)
    if torch.is_grad_enabled() or not serves(x, weight):
        return F.conv3d(x.expand(2, *x.shape[1:]), weight, *rest)[:1]
    return convolution(x, weight, *rest)
