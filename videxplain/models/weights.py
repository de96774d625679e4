"""Weights from files: tensors only, never code, and a plain answer when they do not fit."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videxplain.errors import VidexplainError

_NESTED = ("state_dict", "model_state_dict", "model", "net", "module", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors by name, and the settings that this package wrote beside them.

    Parameters
    ----------
    path : a safetensors file, or one that `torch.save` wrote (read with `weights_only=True`).

    Returns
    -------
    (state, settings); settings is empty for files that others wrote.

    Raises
    ------
    VidexplainError : no such file, not weights, or a pickle that asks for code to be run.
    """
    path = Path(path)
    if not path.is_file():
        raise VidexplainError(f"there is no weights file {str(path)!r}.")
    settings: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (SafetensorError, OSError) as error:
            raise VidexplainError(f"{str(path)!r} is not a readable safetensors file: {error}") from error
        try:
            settings = json.loads(metadata.get("videxplain", "{}"))
        except ValueError as error:
            raise VidexplainError(f"the settings inside {str(path)!r} are damaged: {error}") from error
        return state, settings
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VidexplainError(
            f"{str(path)!r} is refused: it is damaged, or it is not weights alone and loading it would run "
            "code that it brings along; save the network's state_dict, or use "
            "python -m videxplain.models.convert."
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise VidexplainError(f"{str(path)!r} is not a readable weights file: {error}") from error
    return flatten_state(content, str(path)), settings


def flatten_state(content: Any, origin: str) -> dict[str, torch.Tensor]:
    """The state dict inside a checkpoint, without the prefixes that wrappers add."""
    while isinstance(content, Mapping):
        nested = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), None)
        if nested is None:
            break
        content = nested
    if not isinstance(content, Mapping):
        raise VidexplainError(f"{origin} holds a {type(content).__name__}, not a state dict of weights.")
    state = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    if not state:
        raise VidexplainError(f"{origin} holds no weights.")
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                stripped = True
    return state


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def fit_weights(net: nn.Module, state: Mapping[str, torch.Tensor], *, name: str, origin: str) -> None:
    """Copy weights into a network; all of them or none.

    Raises
    ------
    VidexplainError : names or shapes differ; the sentence lists which.
    """
    own = net.state_dict()
    optional = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(set(own) - set(state) - optional)
    surplus = sorted(set(state) - set(own) - {k for k in state if k.endswith("num_batches_tracked")})
    unequal = [key for key in own if key in state and own[key].shape != state[key].shape]
    problems = []
    if unequal:
        key = unequal[-1]
        there, here = tuple(state[key].shape), tuple(own[key].shape)
        problems.append(f"{key} is {there} there and {here} here ({len(unequal)} of other shape)")
    if missing:
        problems.append(f"it lacks {_names(missing)}")
    if surplus:
        problems.append(f"it has {_names(surplus)} besides")
    if problems:
        advice = ""
        if not missing and not surplus and all(own[k].shape[1:] == state[k].shape[1:] for k in unequal):
            advice = f"; pass num_classes={state[unequal[-1]].shape[0]}"
        raise VidexplainError(f"the weights in {origin!r} do not fit {name}: {'; '.join(problems)}{advice}.")
    net.load_state_dict(dict(state), strict=False)
