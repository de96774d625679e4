"""The guided rule of Springenberg et al. (2015), for every way in which a network may call its rectifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_RECTIFIERS: frozenset[Callable[..., Any]] = frozenset(
    {F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, F.relu6}
)
_OWN_RESULT = frozenset({"ReluBackward0", "HardtanhBackward0"})
"""Nodes of rectifiers with a derivative of 0 or 1 and one input, for which dropping may as well come after them."""
_SMOOTH: dict[Callable[..., Any], str] = {
    F.gelu: "GELU",
    F.silu: "SiLU",
    F.elu: "ELU",
    F.celu: "CELU",
    F.selu: "SELU",
    F.mish: "Mish",
    F.softplus: "softplus",
    F.hardswish: "hard-swish",
    F.leaky_relu: "leaky ReLU",
}


class GuidedRule(TorchFunctionMode):
    """Context manager around a forward pass; while `active`, backward passes through it obey the guided rule.

    A rectifier gets a gradient hook that drops negative gradients, so that with the rectifier's own derivative, 0 or
    1, a value passes back only where both the gradient and the input were positive. The hooks belong to the autograd
    graph, not to the model: they vanish with the graph, whatever happens.

    Works on calls, not on modules: `nn.ReLU`, `nn.ReLU6`, `F.relu`, `torch.relu`, `Tensor.relu`, their in-place
    forms, rectifiers built inside `forward`, and one module used many times.

    Parameters
    ----------
    smooth
        Extend the rule to GELU, SiLU and other smooth relatives of ReLU.

    Attributes
    ----------
    active
        Whether backward passes obey the rule; off, they give the plain gradient of the same graph.
    rectifiers
        How many rectifier calls the forward pass made.
    unguided
        Names of the smooth rectifiers met that the rule left alone.
    """

    def __init__(self, *, smooth: bool = False) -> None:
        super().__init__()
        self.smooth = smooth
        self.active = False
        self.rectifiers = 0
        self.unguided: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _RECTIFIERS or _is_relu6(func, args, kwargs):
            self._guide(result)
        elif func in _SMOOTH:
            if self.smooth:
                self._guide(result)
            else:
                self.unguided.add(_SMOOTH[func])
        return result

    def _guide(self, output: torch.Tensor) -> None:
        self.rectifiers += 1
        if not output.requires_grad:
            return
        node = output.grad_fn
        if node is not None and node.name() in _OWN_RESULT:
            node.register_hook(self._drop_negative_after)
        else:
            output.register_hook(self._drop_negative)

    def _drop_negative(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.clamp(min=0) if self.active else gradient

    def _drop_negative_after(self, results: tuple[torch.Tensor, ...], _: Any) -> tuple[torch.Tensor] | None:
        """After the rectifier's own backward pass, whose result is new: it may be changed where it lies."""
        return (results[0].clamp_(min=0),) if self.active else None


def _is_relu6(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> bool:
    """`nn.ReLU6` calls `hardtanh(x, 0, 6)`; with a negative lower bound it is no rectifier."""
    if func is not F.hardtanh:
        return False
    lower = args[1] if len(args) > 1 else (kwargs or {}).get("min_val", -1.0)
    return lower == 0
