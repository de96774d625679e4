"""Where something is, and what a step from one tensor to the next has to tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

Box = tuple[slice, ...]
"""Where something is: a slice for each axis behind the clips."""
Spans = tuple[bool, ...]
"""For each axis behind the clips, whether changes go all along it, wherever they are."""
Size = Sequence[int]
"""Of a tensor, without its clips."""


class Step:
    """One result of an operation with inputs that change in boxes.

    Attributes
    ----------
    beyond
        What lies beyond the edges of the inputs.
    multiplications
        For a value of the result.
    """

    beyond: float = 0.0
    multiplications: int = 0

    def reached(self, boxes: Sequence[Box]) -> Box:
        """The box of the result that these boxes of the inputs change; of one place at least."""
        raise NotImplementedError

    def seen(self, box: Box) -> Sequence[Box]:
        """The boxes of the inputs that a box of the result is made of; they may begin and end beyond the edges."""
        raise NotImplementedError

    def run(self, parts: Sequence[torch.Tensor], box: Box) -> torch.Tensor:
        """The box of the result, of what it is made of."""
        raise NotImplementedError

    def spans(self, inputs: Sequence[Spans]) -> Spans:
        """As those of the inputs make those of the result."""
        raise NotImplementedError

    def sees_more(self, inputs: Sequence[Spans]) -> bool:
        """Whether the result may be made of more than what changes."""
        return True

    def without_values(self) -> Step:
        """The same where it will not be run, so that the tensors that it was called with need not be kept."""
        return self


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that has all of these in it."""
    return tuple(
        slice(min(of.start for of in axis), max(of.stop for of in axis)) for axis in zip(*boxes, strict=True)
    )


def argument_of(args: Any, kwargs: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    """An argument of a call that may be given by its place or by its name."""
    return kwargs.get(name, args[place] if len(args) > place else default)


def all_of(size: int) -> slice:
    """All places of an axis."""
    return slice(0, size)
