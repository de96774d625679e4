"""`vx.check`: each planted fault is told, in the row where it belongs; of networks that are right none is."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from planted import FAULTS, Small
from torch import nn

import videxplain as vx
from videxplain.checking import check as checking
from videxplain.checking.check import _QUESTIONS
from videxplain.models import MODELS

SIZE = {"clip_length": 8, "size": (32, 32)}


def checked(net: nn.Module, **settings: object) -> vx.Check:
    return vx.check(vx.Classifier(net, **(SIZE | settings)))  # type: ignore[arg-type]


def of_fault(name: str) -> vx.Check:
    make, settings, *_ = FAULTS[name]
    return checked(make(), **settings)


@pytest.fixture
def ask_only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves the other questions out, which take longer."""

    def leave(*questions: str) -> None:
        monkeypatch.setattr(
            checking, "_QUESTIONS", {name: _QUESTIONS[name] for name in ("input", *questions)}
        )

    return leave


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_told(name: str, ask_only: Callable[..., None]) -> None:
    _, _, question, verdict, word = FAULTS[name]
    ask_only(question)
    check = of_fault(name)
    row = check[question]
    assert (row.verdict, word in f"{row.seen} {row.remedy}") == (verdict, True), str(check)


@pytest.mark.slow
def test_all_questions_are_answered_whatever_is_wrong() -> None:
    for name, (_, _, question, verdict, word) in FAULTS.items():
        check = of_fault(name)
        row = check[question]
        assert (row.verdict, word in f"{row.seen} {row.remedy}") == (verdict, True), str(check)
        wanted = ["input", "modules"] if check["input"].verdict == "failed" else list(_QUESTIONS)
        assert [row.question for row in check.rows] == wanted
        if name != "a KeyError":
            assert "it cannot be told, for the network fails" not in str(check), str(check)


SAID_AT_ONCE = {
    "dropout on": "different answers",
    "batch norm without statistics": "beside other clips",
    "statistics of the batch by hand": "beside other clips",
    "answers the first clip only": "beside other clips",
    "detached": "gradient",
    "no_grad": "no gradient flows",
    "two outputs": "several tensors",
    "softmax inside": "ends in softmax",
    "sigmoid inside": "ends in sigmoid",
    "logits said to be probabilities": "lie between",
    "frames, found": "answer for each frame",
    "NaN": "NaN",
    "a KeyError": "weights",
    "too few class names": "class names",
}
"""What `explain` says of a fault, or refuses it with."""


@pytest.mark.parametrize("name", SAID_AT_ONCE)
def test_cheap_ones_are_told_by_explain(name: str) -> None:
    make, settings, *_ = FAULTS[name]
    clip = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    labels = np.zeros((8, 32, 32), np.int32)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            vx.explain(vx.Classifier(make(), **(SIZE | settings)), clip, "vanilla", labels=labels)
        except vx.VidexplainError as error:
            refused = str(error)
        else:
            refused = ""
    assert SAID_AT_ONCE[name] in refused + "".join(str(warning.message) for warning in said)


def test_a_network_that_is_right_has_no_fault() -> None:
    check = checked(Small())
    assert check.ok and check.verdict == "ok", str(check)
    assert [row.question for row in check.rows] == list(_QUESTIONS)


def test_figures_are_what_was_measured(ask_only: Callable[..., None]) -> None:
    """The deviation of answers in a batch, and of a gradient."""
    ask_only("same answer in a batch", "gradients")
    model = vx.Classifier(FAULTS["statistics of the batch by hand"][0](), **SIZE)
    x = model.prepare(checking.generated_clip(model))
    both = torch.cat([x, 1.5 * x.flip(-1)])
    with torch.no_grad():
        together, alone = model.net(both), torch.cat([model.net(clip[None]) for clip in both])
    by_hand = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(alone, together, strict=True))
    check = of_fault("statistics of the batch by hand")
    assert check["same answer in a batch"].figures["largest deviation"] == pytest.approx(by_hand, rel=1e-3)
    part = of_fault("wrong backward pass")["gradients"].figures["deviation"]
    assert part == pytest.approx(0.7, abs=0.1), "the gradient is 0.3 of what it should be"


def test_the_network_and_its_classifier_are_left_as_they_were() -> None:
    net = Small().train()
    model = vx.Classifier(net, **SIZE)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    vx.check(model)
    assert net.training and not model.answers_are_known and not net._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_is_checked_may_be_a_module_a_name_or_a_question(ask_only: Callable[..., None]) -> None:
    ask_only("class names")
    net = Small()
    assert vx.check(net).ok and vx.check("c3d-motion").ok
    clip = np.random.default_rng(0).integers(0, 256, (8, 40, 50, 3)).astype(np.uint8)
    model = vx.Classifier(net, **SIZE)  # type: ignore[arg-type]
    assert vx.check(model, clip, 1, against=2).ok
    with pytest.raises(vx.VidexplainError, match="no-such-network"):
        vx.check("no-such-network")
    meta = vx.check(nn.Conv3d(3, 4, 3).to("meta"))
    assert not meta.ok and "no weights yet" in str(meta)


def test_as_json(ask_only: Callable[..., None]) -> None:
    ask_only("depends on the clip")
    check = of_fault("constant")
    read = json.loads(check.to_json())
    assert read["ok"] is False and read["verdict"] == "failed"
    assert [row["question"] for row in read["rows"]] == [row.question for row in check.rows]


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_clip_is_generated_on_the_scale_that_is_taken(channels: int, ask_only: Callable[..., None]) -> None:
    ask_only("normalisation")
    net = nn.Sequential(
        nn.Conv3d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    assert checked(net, channels=channels, value_range=(-20, 20)).ok


QUIET = {"modules", "answers", "guided rule", "CAM layers", "region slopes", "methods", "class names"}
"""Rows that may note something of a network that is right: random weights, GELU, attention, two classes of one name."""


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
