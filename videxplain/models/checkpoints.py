"""The weights in a checkpoint: which of its dicts they are, and the prefixes that wrappers put before their names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any

import torch

from videxplain.errors import VidexplainError, VidexplainWarning

_USUAL = {
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights"),
    *(
        "state_dict_ema",
        "model_state_dict_ema",
        "model_state_ema",
        "model_ema",
        "ema_state_dict",
        "ema_model",
        "ema",
    ),
}
_OTHERS = ("optim", "sched", "scaler", "loss", "metric", "callback", "loops", "hyper", "config", "args")
"""Parts of the names of what is no network."""
_DEEPEST = 20  # checkpoints within checkpoints
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")


def split_part(path: str) -> tuple[str, str | None]:
    """A file, and which of its state dicts is meant: "file.pt#state_dict_ema"."""
    file, mark, part = path.rpartition("#")
    return (file, part) if mark and file and part else (path, None)


def state_in(content: Any, origin: str, part: str | None = None) -> dict[str, torch.Tensor]:
    """The state dict in a checkpoint, without the prefixes that wrappers add.

    Parameters
    ----------
    origin
        The file, for sentences.
    part
        The name of the one that is meant, or the prefix of its names.

    Raises
    ------
    VidexplainError
        If there is none, or more than one and none is named.
    """
    if not isinstance(content, Mapping):
        raise VidexplainError(f"{origin} holds a {type(content).__name__}, not a state dict of weights.")
    dicts = dict(_state_dicts(content, origin))
    if not dicts:
        raise VidexplainError(f"{origin} holds no weights.")
    if part in dicts:
        return _plain(dicts[part], origin)
    if part is not None:
        behind = {name: state for name, state in dicts.items() if any(_under(key, part) for key in state)}
        if len(behind) != 1:
            there = _quoted(name for name in dicts if name) or "one by itself"
            raise VidexplainError(f"{origin} holds no weights called {part!r}, only {there}.")
        (state,) = behind.values()
        inner = {key.removeprefix(f"{part}."): value for key, value in state.items() if _under(key, part)}
        return _plain(inner, origin)
    usual = {name: state for name, state in dicts.items() if name.split(".")[0] in _USUAL} or dicts
    if len(usual) > 1:
        raise several(origin, usual)
    return _plain(next(iter(usual.values())), origin)


def several(origin: str, names: Iterable[str]) -> VidexplainError:
    listed = list(names)
    one = f"{origin}#{listed[-1]}"
    return VidexplainError(
        f"{origin} holds several networks' weights: {_quoted(listed)}; name one, such as weights={one!r}."
    )


def _under(key: str, part: str) -> bool:
    return key.startswith(f"{part}.")


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))


def _state_dicts(content: Mapping[Any, Any], origin: str) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """The dicts of tensors in it by their dotted names, each once; "" for itself."""
    seen: set[int] = set()
    known: list[set[int]] = []

    def inside(
        mapping: Mapping[Any, Any], name: str, depth: int
    ) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
        if id(mapping) in seen:
            return
        seen.add(id(mapping))
        if depth > _DEEPEST:
            raise VidexplainError(f"{origin} holds no weights: its dicts are nested without end.")
        tensors = {str(key): value for key, value in mapping.items() if isinstance(value, torch.Tensor)}
        nested = {
            key: value
            for key, value in mapping.items()
            if isinstance(key, str)
            and isinstance(value, Mapping)
            and not any(word in key.lower() for word in _OTHERS)
        }
        # tensors beside a checkpoint's state dict are no weights
        if tensors and not nested.keys() & _USUAL:
            storages = {id(value) for value in tensors.values()}
            if storages not in known:
                known.append(storages)
                yield name, tensors
            return
        for key, value in nested.items():
            yield from inside(value, f"{name}.{key}" if name else key, depth + 1)

    yield from inside(content, "", 0)


def _plain(state: dict[str, torch.Tensor], origin: str) -> dict[str, torch.Tensor]:
    for name, tensor in state.items():
        if not _is_plain(tensor):
            raise VidexplainError(
                f"{name} in {origin} is not plain numbers: it is sparse, quantised, complex, or of more values "
                "than the file holds."
            )
    return without_prefixes(state)


def without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the prefixes of wrappers that all names share."""
    while prefix := next((p for p in _PREFIXES if state and all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether every value of a tensor is there, in memory of its own."""
    return (
        tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
    )


def named_as(
    wanted: Iterable[str], state: Mapping[str, torch.Tensor], origin: str
) -> dict[str, torch.Tensor]:
    """A state under the names that a network wants, where they differ by a prefix; else as it is.

    Parameters
    ----------
    wanted
        The names of all that the network needs.

    Raises
    ------
    VidexplainError
        If two prefixes lead to a whole network each, as those of a student and a teacher.
    """
    names = list(wanted)
    if not names or set(names) == set(state):
        return dict(state)
    parents = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = "".join(f"{level[0]}." for level in takewhile(lambda level: len(set(level)) == 1, parents))
    inner = [name.removeprefix(shared) for name in names]
    first = inner[0]
    prefixes = [name.removesuffix(first) for name in state if name == first or name.endswith(f".{first}")]
    whole = [prefix for prefix in prefixes if all(f"{prefix}{name}" in state for name in inner)]
    if not whole or (len(whole) > 1 and "" in whole):  # what else is there is refused
        return dict(state)
    if len(whole) > 1:
        raise several(origin, [prefix.rstrip(".") for prefix in whole])
    prefix = whole[0]
    others = [name for name in state if not name.startswith(prefix)]
    if others:
        warnings.warn(
            f"of {origin} what begins with {prefix!r} is taken, and not {len(others)} others, such as {others[0]}.",
            VidexplainWarning,
            stacklevel=2,
        )
    taken = {name: value for name, value in state.items() if name.startswith(prefix)}
    return {shared + name.removeprefix(prefix): value for name, value in taken.items()}
