"""`vx.check`: each planted fault is told, in the row where it belongs; of networks that are right none is."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import torch
from planted import FAULTS, Small
from torch import nn

import videxplain as vx
from videxplain.checking.check import _QUESTIONS
from videxplain.models import MODELS

SIZE = {"clip_length": 8, "size": (32, 32)}


def checked(net: nn.Module, **settings: object) -> vx.Check:
    return vx.check(vx.Classifier(net, **(SIZE | settings)))  # type: ignore[arg-type]


@cache
def of_fault(name: str) -> vx.Check:
    make, settings, *_ = FAULTS[name]
    return checked(make(), **settings)


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_told(name: str) -> None:
    _, _, question, verdict, word = FAULTS[name]
    check = of_fault(name)
    row = check[question]
    assert (row.verdict, word in f"{row.seen} {row.remedy}") == (verdict, True), str(check)
    assert check.ok == all(one.verdict != "failed" for one in check.rows)
    assert word in " ".join(str(check).split()) or len(word.split()) > 1


def test_a_network_that_is_right_has_no_fault() -> None:
    check = checked(Small())
    assert check.ok and check.verdict == "ok", str(check)
    assert [row.question for row in check.rows] == list(_QUESTIONS)


def test_figures_are_what_was_measured() -> None:
    """The deviation of answers in a batch, by hand."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 32 * 32, 4))
    torch.manual_seed(0)
    scale = vx.Classifier(net, **SIZE)  # type: ignore[arg-type]
    assert vx.check(scale)["same answer in a batch"].figures["largest deviation"] < 1e-5
    check = of_fault("statistics of the batch by hand")
    assert check["same answer in a batch"].figures["largest deviation"] > 1e-3
    part = of_fault("wrong backward pass")["gradients"].figures["deviation"]
    assert part == pytest.approx(0.7, abs=0.1), "the gradient is 0.3 of what it should be"


def test_the_network_and_its_classifier_are_left_as_they_were() -> None:
    net = Small().train()
    model = vx.Classifier(net, **SIZE)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    vx.check(model)
    assert net.training and not model.answers_are_known and not net._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_checked_may_be_a_module_a_name_or_a_question() -> None:
    net = Small()
    assert vx.check(net).ok
    clip = np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3)).astype(np.uint8)
    model = vx.Classifier(net, **SIZE)  # type: ignore[arg-type]
    assert vx.check(model, clip, 1, against=2).ok
    with pytest.raises(vx.VidexplainError, match="no-such-network"):
        vx.check("no-such-network")
    meta = vx.check(nn.Conv3d(3, 4, 3).to("meta"))
    assert not meta.ok and "no weights yet" in str(meta)


def test_as_json() -> None:
    check = of_fault("constant")
    read = json.loads(check.to_json())
    assert read["ok"] is False and read["verdict"] == "failed"
    assert [row["question"] for row in read["rows"]] == [row.question for row in check.rows]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_clip_is_generated_on_the_scale_that_is_taken(channels: int) -> None:
    net = nn.Sequential(
        nn.Conv3d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    assert checked(net, channels=channels, value_range=(-20, 20)).ok


QUIET = {"modules", "guided rule", "CAM layers", "region slopes", "methods", "class names"}
"""Rows that may note something of a network that is right: random weights, GELU, attention, classes of one name."""


def no_false_alarm(name: str) -> None:
    weights = None if name in ("c3d-motion", "efficientnet-lite0", "transnetv2") else "random"
    check = vx.check(vx.load_model(name, weights=weights))
    assert check.verdict in ("ok", "note"), str(check)
    assert {row.question for row in check.rows if row.verdict == "note"} <= QUIET, str(check)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c3d-motion", "efficientnet-lite0", "mobilenet_v3_small"])
def test_no_false_alarm(name: str) -> None:
    no_false_alarm(name)


@pytest.mark.large
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MODELS)
def test_no_false_alarm_on_a_registered_network(name: str) -> None:
    no_false_alarm(name)
