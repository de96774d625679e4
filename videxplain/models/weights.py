"""Weights from files: tensors only, never code, and a plain answer when they do not fit."""

from __future__ import annotations

import math
import os
import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.checkpoints import named_as, split_part, state_in
from videxplain.reading import ALWAYS_FIT, parse_json

_PICKLES = 4  # magic number, protocol, about the system, and the content
_MOST_EXPANSION = 4  # torch does not compress


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors by name, and the settings that this package wrote beside them.

    Parameters
    ----------
    path : a safetensors file, or one that `torch.save` wrote (read with `weights_only=True`). Of a checkpoint with
        several networks' weights, "file.pt#state_dict_ema" means one, by the name of its dict or the prefix of its
        names.

    Returns
    -------
    (state, settings); settings is empty for files that others wrote.

    Raises
    ------
    VidexplainError : no such file, not weights, or a pickle that asks for code to be run.
    """
    part: str | None = None
    if not Path(path).is_file():
        path, part = split_part(os.fspath(path))
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
            settings = parse_json(metadata.get("videxplain", "{}"))
            _check_settings(settings)
        except ValueError as error:
            raise VidexplainError(f"the settings inside {str(path)!r} are damaged: {error}") from error
        return state_in(state, str(path), part), settings
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VidexplainError(
            f"{str(path)!r} is refused: it is damaged, or it is not weights alone and loading it would run "
            "code that it brings along; save the network's state_dict, or use "
            "python -m videxplain.models.convert."
        ) from error
    except Exception as error:  # a damaged file can raise anything
        said = str(error).splitlines()
        reason = said[0] if said else type(error).__name__
        raise VidexplainError(f"{str(path)!r} is not a readable weights file: {reason}") from error
    return state_in(content, str(path), part), settings


def _check_archive(path: Path) -> None:
    """Raises ValueError if a file that `torch.save` wrote would become much more than it is."""
    if not zipfile.is_zipfile(path):  # from before there were archives: pickles, one behind the other
        with path.open("rb") as file:
            for _ in range(_PICKLES):
                _check_pickle(file)
        return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        needed, size = sum(member.file_size for member in members), path.stat().st_size
        if needed > max(ALWAYS_FIT, _MOST_EXPANSION * size):
            raise ValueError(f"its {size} bytes would become {needed}, which no weights do")
        for member in members:
            if member.filename.endswith("data.pkl"):
                with archive.open(member) as content:
                    _check_pickle(content)


def _check_pickle(content: IO[bytes]) -> None:
    """Raises ValueError if a pickle makes something out of nothing: torch lets `bytearray(size)` pass."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "GLOBAL" and str(argument).endswith(" bytearray"):
            raise ValueError("it asks for memory that no weights need")
        if opcode.name == "STACK_GLOBAL":
            raise ValueError("its names are not written as torch writes them")


def _check_settings(settings: dict[str, Any]) -> None:
    labels = settings.get("labels")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(n, str) for n in labels)):
        raise ValueError("labels are no list of names")
    for name in ("mean", "std"):
        values = settings.get(name)
        if (name in settings) != ("mean" in settings):
            raise ValueError("mean and std belong together")
        if name in settings and not _are_channels(values, positive=name == "std"):
            raise ValueError(f"{name} is not three numbers")


def _are_channels(values: Any, *, positive: bool) -> bool:
    return (
        isinstance(values, list)
        and len(values) == 3
        and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
        and not (positive and min(values) <= 0)
    )


def _needed(net: nn.Module) -> list[str]:
    return [key for key in net.state_dict() if not key.endswith("num_batches_tracked")]


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"


def fit_weights(net: nn.Module, state: Mapping[str, torch.Tensor], *, name: str, origin: str) -> None:
    """Copy weights into a network; all of them or none.

    Raises
    ------
    VidexplainError : names or shapes differ; the sentence lists which. Or a value is not a number.
    """
    state = named_as(_needed(net), state, origin)
    check_fit(net, state, name=name, origin=origin)
    for key, tensor in state.items():
        if tensor.is_floating_point() and bool(torch.isnan(tensor).any()):
            raise VidexplainError(f"{key} in {origin!r} holds values that are not numbers (NaN).")
    net.load_state_dict(dict(state), strict=False)


def check_fit(net: nn.Module, state: Mapping[str, torch.Tensor], *, name: str, origin: str) -> None:
    """Raises as `fit_weights` if names or shapes differ; the network may be one without memory (on "meta")."""
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
