"""What a network answers: the logits in whatever it returns, and the class that a target means."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videxplain.errors import VidexplainError, unknown_name

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier


def logits_of(output: Any, rows: int, name: str) -> torch.Tensor:
    """The (rows, num_classes) tensor in whatever a network returns; two that might be it are never guessed between."""
    found = _named_logits(output)
    if found is None:
        candidates = {where: x for where, x in _tensors_in(output) if _is_logits(x, rows)}
        if len(candidates) > 1:
            listed = ", ".join(f"{where} {tuple(x.shape)}" for where, x in candidates.items())
            raise VidexplainError(
                f"{name} returns {_kind(output)}, in which several tensors may be the logits: {listed}; wrap it in a "
                "module that returns the logits only."
            )
        found = next(iter(candidates.values()), None)
    elif not _is_logits(found, rows):
        found = None
    if found is None:
        others = {len(x) for _, x in _tensors_in(output) if x.ndim and _is_logits(x, len(x))}
        if len(others) == 1:
            raise VidexplainError(
                f"{name} answered {rows} inputs with {others.pop()} rows; check its layout."
            )
        raise VidexplainError(
            f"{name} returns {_kind(output)}, in which no logits ({rows}, classes) are found; wrap it in a module that "
            "returns them."
        )
    return found.flatten(1)


def _kind(output: Any) -> str:
    """What a network returned, in words."""
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}"
    return f"a {type(output).__name__}"


def _named_logits(output: Any) -> Any:
    """What an output calls its logits, or None."""
    return output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)


def _tensors_in(output: Any, where: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of tuples, lists, dicts and dataclasses, each with where it is."""
    if isinstance(output, torch.Tensor):
        yield where, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from _tensors_in(value, f"{where}[{key!r}]")
    elif isinstance(output, list | tuple):
        for index, value in enumerate(output):
            yield from _tensors_in(value, f"{where}[{index}]")
    elif dataclasses.is_dataclass(output):
        for part in dataclasses.fields(output):
            yield from _tensors_in(getattr(output, part.name), f"{where}.{part.name}")


def _is_logits(x: Any, rows: int) -> bool:
    """Whether a tensor can be (rows, classes), with nothing but axes of length 1 behind them."""
    return (
        isinstance(x, torch.Tensor)
        and x.is_floating_point()
        and x.ndim >= 2
        and len(x) == rows
        and x[0].numel() == x.shape[1]
    )


def class_index(model: Classifier, target: Any, probabilities: torch.Tensor) -> int:
    """The class that one target means.

    Parameters
    ----------
    target
        Index, class name, "#k" for the k-th most probable class (from 1), None for the most probable.
    probabilities
        (num_classes,)

    Raises
    ------
    VidexplainError
        There is no such class.
    """
    count = len(probabilities)
    if target is None:
        return int(probabilities.argmax())
    if isinstance(target, str):
        if target in model.class_names:
            return model.class_names.index(target)
        if target.startswith("#") and target[1:].isdigit():
            rank = int(target[1:])
            if not 1 <= rank <= count:
                raise VidexplainError(f"target {target!r} is out of range; there are {count} classes.")
            return int(probabilities.argsort(descending=True, stable=True)[rank - 1])
        folded = [class_name.casefold() for class_name in model.class_names]
        if target.casefold() in folded:
            return folded.index(target.casefold())
        if not target.lstrip("-").isdigit():
            raise unknown_name("class", target, model.class_names)
        target = int(target)
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise VidexplainError(f"a class is an index, a name or '#k', not {target!r}.")
    if not 0 <= target < count:
        raise VidexplainError(f"class {target} is out of range; {model.name} has classes 0 to {count - 1}.")
    return int(target)
