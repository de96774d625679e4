"""Calls of torch functions, as a recorded pass remembers them (`incremental`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves

from videxplain.ops.onednn import lone_conv3d
from videxplain.passes.boxes.layouts import SHAPING
from videxplain.passes.boxes.step import Size, Step


@dataclass
class Call:
    """A call with followed tensors.

    Attributes
    ----------
    func, constants
        What was called, and with which arguments that are no tensors.
    in_place
        Which of the followed tensors came back, if one did.
    is_same
        Whether it came back as it was.
    inputs
        The followed tensors, where their values around a box will be wanted.
    versions
        Theirs, which tell whether they were overwritten later.
    sizes, strides
        Of the results, the sizes without the batch, where only boxes of them will be computed.
    is_single
        Whether the result is a tensor, not several.
    steps, numbers, results
        What makes boxes of boxes, and the numbers of the tensors that it makes them of and that it makes.
    """

    func: Callable[..., Any]
    constants: list[Any]
    in_place: int | None = None
    is_same: bool = False
    inputs: Sequence[torch.Tensor] = ()
    versions: Sequence[int | None] = ()
    sizes: Sequence[Size] = ()
    strides: Sequence[Sequence[int]] = ()
    is_single: bool = True
    steps: Sequence[Step] = ()
    numbers: Sequence[int] = ()
    results: Sequence[int] = ()

    def keep(self, inputs: Sequence[torch.Tensor]) -> None:
        self.inputs, self.versions = inputs, [version_of(x) for x in inputs]

    def is_of(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
        """Whether a call is this one. What is computed anew wholly may be asked for with another batch size."""
        lone = {F.conv3d, lone_conv3d}  # a lone clip's has its own name
        if self.func != func and not {self.func, func} <= lone:
            return False
        free = func in SHAPING if self.sizes else not self.is_same
        return free or self.constants == constants_of(args, kwargs)

    @property
    def is_intact(self) -> bool:
        """Whether nothing that was kept has been overwritten since."""
        return all(version_of(x) == was for x, was in zip(self.inputs, self.versions, strict=True))


def version_of(x: torch.Tensor) -> int | None:
    """Counts how often a tensor was overwritten; None, which is no version, where torch does not count."""
    return None if x.is_inference() else x._version


def constants_of(args: Any, kwargs: dict[str, Any]) -> list[Any]:
    """The arguments of a call that are no tensors."""
    return [leaf for leaf in tree_leaves((args, kwargs)) if not isinstance(leaf, torch.Tensor)]


def tensors_of(args: Any, kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The arguments, or members of arguments that are lists, that are tensors."""
    values = (
        x
        for value in (*args, *kwargs.values())
        for x in (value if isinstance(value, list | tuple) else (value,))
    )
    return [x for x in values if isinstance(x, torch.Tensor)]


def results_of(result: Any) -> list[torch.Tensor]:
    """A tensor, or several; none where it is something else."""
    values = result if isinstance(result, list | tuple) else (result,)
    return list(values) if all(isinstance(x, torch.Tensor) for x in values) else []


def memory_of(x: torch.Tensor) -> int:
    """Tells whether two tensors share memory."""
    return x.untyped_storage()._cdata if x.layout is torch.strided else id(x)
