"""The tensors in whatever a module returns: tuples, lists, dicts, named tuples, dataclasses and model outputs."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch


def tensors_in(output: Any, where: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Its tensors, each with where it is, as Python would reach it: "[0]", "['slow']", ".logits"."""
    if isinstance(output, torch.Tensor):
        yield where, output
    elif isinstance(output, Mapping):
        for key, value in output.items():
            yield from tensors_in(value, f"{where}[{key!r}]")
    elif isinstance(output, list | tuple):
        for index, value in enumerate(output):
            yield from tensors_in(value, f"{where}[{index}]")
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        for part in dataclasses.fields(output):
            yield from tensors_in(getattr(output, part.name), f"{where}.{part.name}")


def with_replaced(output: Any, old: torch.Tensor, new: torch.Tensor) -> Any:
    """The same with another tensor wherever `old` stands; what a module keeps of it is left alone."""
    if isinstance(output, torch.Tensor):
        return new if output is old else output
    if isinstance(output, Mapping):
        changed = copy.copy(output)
        for key, value in output.items():
            changed[key] = with_replaced(value, old, new)  # type: ignore[index]
        return changed
    if isinstance(output, list | tuple):
        parts = [with_replaced(value, old, new) for value in output]
        return type(output)._make(parts) if hasattr(output, "_make") else type(output)(parts)
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        whole = copy.copy(output)
        for part in dataclasses.fields(output):
            value = with_replaced(getattr(output, part.name), old, new)
            object.__setattr__(whole, part.name, value)  # frozen ones too
        return whole
    return output
