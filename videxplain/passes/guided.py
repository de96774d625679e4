"""The guided rule of Springenberg et al. (2015), for every way in which a network may call its rectifier."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from videxplain.passes.secants import ELEMENTWISE, is_in_place


def _is_zero(bound: torch.Tensor | None) -> bool:
    return bound is not None and not bool(bound.any())


_RECTIFIERS: dict[str, Callable[[Any], bool]] = {
    "ReluBackward0": lambda node: True,
    "HardtanhBackward0": lambda node: node._saved_min_val == 0,
    "ThresholdBackward0": lambda node: node._saved_threshold == 0,
    "ClampBackward1": lambda node: node._saved_min == 0,
    "ClampMinBackward0": lambda node: node._saved_min == 0,
    "ClampBackward0": lambda node: _is_zero(node._saved_min),
    "ClampMinBackward1": lambda node: _is_zero(node._saved_min),
    "MaximumBackward0": lambda node: _has_constant(node) and _is_zero(_constant(node)),
    "LeakyReluBackward0": lambda node: node._saved_negative_slope == 0,
}
"""Nodes of rectifiers, where their settings make them one: a derivative of 0 or 1, by the sign of their one input."""
_RELATIVES = {
    "GeluBackward0": "GELU",
    "SiluBackward0": "SiLU",
    "EluBackward0": "ELU",
    "CeluBackward0": "CELU",
    "MishBackward0": "Mish",
    "SoftplusBackward0": "softplus",
    "HardswishBackward0": "hard-swish",
    "LeakyReluBackward0": "leaky ReLU",
    "RreluWithNoiseBackward0": "randomised leaky ReLU",
    "PreluKernelBackward0": "PReLU",
}
_DATA = torch.Tensor.data.__get__  # type: ignore[attr-defined]
_LINEAR_IN_DISGUISE = "videxplain."
"""The module of functions that stand for layers which are linear."""


class GuidedRule(TorchFunctionMode):
    """Context manager around a forward pass; while `active`, backward passes through it obey the guided rule.

    A rectifier's node in the graph of a forward pass gets a hook that drops negative gradients, so that with the
    rectifier's own derivative, 0 or 1, a value passes back only where both the gradient and the input were positive.
    The hooks belong to the graph, not to the model: they vanish with it, whatever happens.

    The graph shows every rectifier however it was called: as a module, a function or a method, in place, as a clamp or
    a threshold at 0, inside scripted functions. What may be a rectifier and cannot be told is named in `unguided`.

    Parameters
    ----------
    smooth
        Extend the rule to GELU, SiLU and other smooth relatives of ReLU.

    Attributes
    ----------
    active
        Whether backward passes obey the rule; off, they give the plain gradient of the same graph.
    guided
        What the rule is applied to, by torch's names, and how often each was met.
    unguided
        Likewise what was met that the rule left alone although it is, or may be, a relative of ReLU.
    """

    def __init__(self, *, smooth: bool = False) -> None:
        super().__init__()
        self.smooth = smooth
        self.active = False
        self.guided: Counter[str] = Counter()
        self.unguided: Counter[str] = Counter()
        self._overwritten_parts: list[torch.Tensor] = []
        self._before: set[Any] = set()

    @property
    def rectifiers(self) -> int:
        """How many nodes of rectifiers were met."""
        return self.guided.total()

    @contextmanager
    def within(self, net: nn.Module) -> Iterator[None]:
        """Inside, what is done before calls of `net` is not the network's: the rule leaves it alone."""

        def note(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            self._before |= {x.grad_fn for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}

        handle = net.register_forward_pre_hook(note, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        # what the graph hides
        if (
            func in ELEMENTWISE
            and is_in_place(func, kwargs or {})
            and result._is_view()
            and result.requires_grad
        ):
            self._overwritten_parts.append(result)
        if func == _DATA and args[0].grad_fn is not None:
            self.unguided["operations through .data"] += 1
        return result

    def attach(self, result: torch.Tensor) -> None:
        """Hooks the rectifiers in the graph behind the result of a forward pass."""
        nodes = set(_graph(result, self._before))
        for part in self._overwritten_parts:
            if part.grad_fn in nodes:
                self.guided["in place on a part"] += 1
                part.register_hook(self._drop_negative)
            else:  # the network goes on with the whole tensor
                self.unguided["a rectifier in place on a part of a tensor"] += 1
        self._overwritten_parts.clear()
        for node in nodes:
            name = node.name()
            if name in _RECTIFIERS and _RECTIFIERS[name](node):
                self._guide(node, re.sub(r"Backward\d*$", "", name))
            elif relative := _relative(node):
                if self.smooth:
                    self._guide(node, relative)
                else:
                    self.unguided[relative] += 1

    def _guide(self, node: Any, name: str) -> None:
        self.guided[name] += 1
        node.register_hook(self._drop_negative_after)

    def _drop_negative(self, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.clamp(min=0) if self.active else gradient

    def _drop_negative_after(
        self, results: tuple[torch.Tensor | None, ...], _: Any
    ) -> tuple[Any, ...] | None:
        """After the node's own backward pass: a derivative that is never negative may as well come first."""
        return tuple(None if x is None else x.clamp(min=0) for x in results) if self.active else None


def _graph(result: torch.Tensor, before: Set[Any]) -> Iterator[Any]:
    """Every node behind a tensor, once, as far as those that are `before` what is of interest."""
    waiting: list[Any] = [result.grad_fn]
    seen: set[Any] = set(before)
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting += [before for before, _ in node.next_functions]


def _has_constant(node: Any) -> bool:
    """Whether one of the two arguments of an operation does not depend on the input."""
    return [before is not None for before, _ in node.next_functions].count(True) == 1


def _constant(node: Any) -> torch.Tensor:
    """That argument of a maximum."""
    return node._saved_other if node.next_functions[1][0] is None else node._saved_self


def _relative(node: Any) -> str | None:
    """The name of a node that is a relative of ReLU, or of which it cannot be told; None for all others."""
    name = node.name()
    if name in _RELATIVES:
        return _RELATIVES[name]
    if name == "MaximumBackward0" and _has_constant(node):
        return "maximum"
    if name == "WhereBackward0" and _has_constant(node):
        return "where"  # this and what follows may be rectifiers made by hand
    if name == "IndexPutBackward0" and node.next_functions[-1][0] is None:
        return "an assignment to an index"
    if name == "MaskedFillBackward0" and _is_mask(node, node._saved_mask):
        return "a masked fill"
    if name == "MulBackward0" and _has_constant(node):
        constant = node._saved_other if node.next_functions[1][0] is None else node._saved_self
        if _is_mask(node, constant):
            return "a product with a mask"
    if "DifferentiableGraph" in name:
        return "a scripted function"
    function = getattr(node, "_forward_cls", None)
    if function is not None and not function.__module__.startswith(_LINEAR_IN_DISGUISE):
        return f"a function of its own ({function.__name__})"
    return None


def _is_mask(node: Any, values: torch.Tensor | None) -> bool:
    """Whether values hide some places of what a node makes, each on its own, and keep the others."""
    if values is None or tuple(values.shape) != tuple(node._input_metadata[0].shape) or values.numel() == 1:
        return False
    hidden = values == 0
    return bool((hidden | (values == 1)).all()) and 0 < int(hidden.sum()) < hidden.numel()
