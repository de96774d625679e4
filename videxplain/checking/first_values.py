"""What reaches a network's first layer: its input, after what the network does to normalise it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from videxplain.checking.subject import tensors_of
from videxplain.models import Classifier
from videxplain.models.layer_trial import is_compiled_whole

_SHIFTS = frozenset({"add", "sub", "rsub", "subtract", "radd"})
_SCALES = frozenset({"mul", "div", "truediv", "rmul", "multiply", "true_divide", "divide"})
_REARRANGED = frozenset(
    {
        "to",
        "float",
        "half",
        "bfloat16",
        "double",
        "type",
        "clone",
        "contiguous",
        "detach",
        "alias",
        "neg",
        "flip",
    }
    | {"permute", "transpose", "movedim", "reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze"}
    | {
        "getitem",
        "select",
        "narrow",
        "unbind",
        "split",
        "chunk",
        "stack",
        "cat",
        "concat",
        "expand",
        "repeat",
    }
    | {"interpolate", "pad", "swapaxes", "index_select"}
)
"""What leaves values as they are, or nearly so."""


@dataclass
class FirstValues:
    """What the first layer is given.

    Attributes
    ----------
    values
        All of it; channels are the second axis, if they ever were.
    where
        What was called with it.
    centres, scales
        Whether the network has shifted and scaled channels of its input on the way, each by its own value.
    expected
        Mean and standard deviation of each channel, where it is a batch norm that was trained.
    """

    values: torch.Tensor
    where: str
    centres: bool
    scales: bool
    expected: tuple[torch.Tensor, torch.Tensor] | None = None


class _Follow(TorchFunctionMode):
    """Follows a network's arguments as far as they are only rearranged, shifted and scaled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.followed: list[torch.Tensor] = []
        self.found: FirstValues | None = None
        self._centres = self._scales = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        values = tensors_of(args, kwargs) if self.followed and self.found is None else []
        inputs = [x for x in values if any(x is other for other in self.followed)]
        name = getattr(func, "__name__", "").strip("_")
        before = inputs[0].detach().clone() if inputs and name not in ("get", "len", "size", "dim") else None
        result = func(*args, **kwargs)
        made = tensors_of(result)
        if before is None or not made:
            return result
        others = [x for x in values if not any(x is one for one in inputs)]
        if (name in _SHIFTS | _SCALES and _is_constant(others)) or name in _REARRANGED:
            by_channel = self.channels > 1 and any(x.numel() == self.channels for x in others)
            self._centres |= by_channel and name in _SHIFTS
            self._scales |= by_channel and name in _SCALES
            self.followed += made
        else:
            is_norm = name == "batch_norm"
            self.found = FirstValues(
                before.float(),
                f"its first {name}",
                self._centres,
                self._scales,
                _expected(args) if is_norm else None,
            )
        return result


def _is_constant(others: list[torch.Tensor]) -> bool:
    """Whether they are few numbers that do not follow the clip, as far as their number tells."""
    return all(x.numel() <= 64 for x in others)


def _expected(args: Any) -> tuple[torch.Tensor, torch.Tensor] | None:
    mean, variance = (args[1], args[2]) if len(args) > 2 else (None, None)
    if mean is None or variance is None or (not bool(mean.any()) and bool((variance == 1).all())):
        return None
    return mean.detach().float(), variance.detach().float().sqrt().clamp(min=1e-12)


@torch.no_grad()
def first_values(model: Classifier, clip: torch.Tensor) -> FirstValues | None:
    """What reaches the first layer; None where that is not seen, as in scripted networks."""
    follow = _Follow(model.channels)

    def start(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        follow.followed = follow.followed or [x for x in tensors_of(args, kwargs) if x.is_floating_point()]

    if is_compiled_whole(model.net):
        return None
    handle = model.net.register_forward_pre_hook(start, with_kwargs=True)
    try:
        with torch.compiler.set_stance("force_eager"), follow:
            model.raw_answers(clip)
    finally:
        handle.remove()
    return follow.found
