"""Checkpoints as trainers write them: the weights in them, prefixes, and what is never guessed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import videxplain as vx
from videxplain.models.weights import fit_weights, read_weights


def net(seed: int = 0, **inside: nn.Module) -> nn.Sequential:
    torch.manual_seed(seed)
    parts = {"conv": nn.Conv3d(3, 4, 3), "norm": nn.BatchNorm3d(4), "fc": nn.Linear(4, 5)}
    module = nn.Sequential()
    for name, part in (parts | inside).items():
        module.add_module(name, part)
    return module


class Wrapped(nn.Module):
    """A network whose own names begin like a wrapper's."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.model = net(seed)


STATE = net(1).state_dict()
OTHER = net(2).state_dict()


def prefixed(prefix: str, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value for name, value in (STATE if state is None else state).items()}


def check(path: str | Path, state: dict[str, torch.Tensor] = STATE, into: nn.Module | None = None) -> None:
    target = net(3) if into is None else into
    found, _ = read_weights(path)
    fit_weights(target, found, name="net", origin=str(path))
    inner = target if into is None else target.model
    assert all(torch.equal(inner.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"model_state": STATE, "optimizer_state": {"state": {0: {"exp_avg": torch.ones(3)}}}, "epoch": 3},
        {"state_dict": STATE, "optimizer": {"exp_avg": torch.ones(3)}},
        {"state_dict_ema": STATE},
        {"model": {"state_dict": STATE}, "arch": "net", "mean": torch.ones(3)},
        {"model": STATE, "discriminator": OTHER},
        {"state_dict": STATE, "model": STATE},
        {"encoder_weights": STATE, "epoch": 1},
        {"state_dict": prefixed("model.") | {"loss.weight": torch.ones(5)}},
        prefixed("module."),
        prefixed("module.model."),
        prefixed("backbone."),
        prefixed("_orig_mod.module."),
        prefixed("student."),
    ],
    ids=lambda content: next(iter(content)),
)
@pytest.mark.parametrize("into", [net, Wrapped])
def test_weights_are_found(content: dict[str, Any], into: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vx.VidexplainWarning)
        check(tmp_path / "w.pt", into=into(3) if into is Wrapped else None)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.model.", "student."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_prefixes_in_safetensors_as_in_pt(prefix: str, wrapped: bool, tmp_path: Path) -> None:
    save_file(prefixed(prefix), tmp_path / "w.safetensors")
    check(tmp_path / "w.safetensors", into=Wrapped(3) if wrapped else None)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ({"state_dict": STATE, "state_dict_ema": OTHER}, ("state_dict", "state_dict_ema")),
        ({"model": {"model": STATE, "ema": OTHER}}, ("model.model", "model.ema")),
        ({"one": STATE, "two": OTHER, "epoch": 3}, ("one", "two")),
        (prefixed("student.") | prefixed("teacher.", OTHER), ("student", "teacher")),
        (
            {"state_dict": prefixed("model.") | prefixed("ema_model.module.", OTHER)},
            ("model", "ema_model.module"),
        ),
    ],
)
@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_of_two_none_is_guessed_and_one_can_be_named(
    content: dict[str, Any], parts: tuple[str, str], kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"w.{kind}"
    if kind == "pt":
        torch.save(content, path)
    elif all(isinstance(value, torch.Tensor) for value in content.values()):
        save_file(content, path)
    else:
        return
    with pytest.raises(vx.VidexplainError, match=f"'{parts[0]}', '{parts[1]}'.*weights='.*#{parts[1]}'"):
        check(path)
    check(f"{path}#{parts[0]}")
    check(f"{path}#{parts[1]}", OTHER)
    with pytest.raises(vx.VidexplainError, match="no weights called 'third'"):
        check(f"{path}#third")
    with pytest.raises(vx.VidexplainError, match="no weights file"):
        check(f"{path}x#third")


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    torch.save(prefixed("model.") | {"loss.weight": torch.ones(5)}, tmp_path / "w.pt")
    with pytest.warns(vx.VidexplainWarning, match=r"begins with 'model\.'.*1 others, such as loss\.weight"):
        check(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "optimizer": {"exp_avg": torch.ones(3)}}, "holds no weights"),
        ([STATE], "holds a list"),
        (prefixed("student.", {"conv.weight": torch.ones(1)}), "lacks"),
    ],
)
def test_what_is_no_network_is_refused(content: Any, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(vx.VidexplainError, match=message):
        check(tmp_path / "w.pt")


def test_dicts_that_hold_themselves_end() -> None:
    from videxplain.models.checkpoints import state_in

    endless: dict[str, Any] = {"model": {}}
    endless["model"]["model"] = endless
    with pytest.raises(vx.VidexplainError, match="holds no weights"):
        state_in(endless, "file")
