"""Which step a call of a torch function is.

What it is called with may have no values (`incremental`): sizes are all that is asked for until a `Step` is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from videxplain.passes.boxes.elementwise import elementwise
from videxplain.passes.boxes.layouts import DIVIDING, Join, arranging, dividing
from videxplain.passes.boxes.step import Size, Step, argument_of
from videxplain.passes.boxes.windows import window
from videxplain.passes.secants import named

_JOINING = named("cat", "concat", "concatenate", "stack")


def steps_of(
    func: Callable[..., Any],
    args: Any,
    kwargs: dict[str, Any],
    inputs: Sequence[torch.Tensor],
    sizes: Sequence[Size],
) -> list[Step] | None:
    """What makes each of the results, of these sizes, from inputs; None where changes do not stay in boxes.

    No other argument may depend on the network's input.
    """
    if func in _JOINING:
        joined = list(args[0] if args else kwargs.get("tensors", ()))
        dim = argument_of(args, kwargs, 1, "dim", 0)
        if len(joined) != len(inputs) or "out" in kwargs or dim % (len(sizes[0]) + 1) == 0:
            return None
        axis = dim % (len(sizes[0]) + 1) - 1
        return [Join(func, axis, [tuple(x.shape[1:]) for x in inputs], func in named("stack"))]
    if len(inputs) == 1 and args and inputs[0] is args[0]:
        x = inputs[0]
        if func in DIVIDING:
            return dividing(func, args, kwargs, sizes)
        if len(sizes) != 1:
            return None
        step = window(func, args, kwargs, sizes[0]) or arranging(func, x, args, kwargs, sizes[0])
        if step is not None:
            return [step]
    if len(sizes) != 1:
        return None
    found = elementwise(func, args, kwargs, inputs, sizes[0])
    return None if found is None else [found]
