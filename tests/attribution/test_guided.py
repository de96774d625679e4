"""The guided rule for every way of calling a rectifier, against a hand-written backward pass."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import videxplain as vx
from videxplain.attribution import GuidedRule

FORMS = {
    "nn.ReLU": lambda x: nn.ReLU()(x),
    "nn.ReLU in place": lambda x: nn.ReLU(inplace=True)(x),
    "nn.ReLU6": lambda x: nn.ReLU6()(x),
    "nn.ReLU6 in place": lambda x: nn.ReLU6(inplace=True)(x),
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "F.relu6": F.relu6,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "Tensor.relu_ by its effect": lambda x: (x.relu_(), x)[1],
    "clamped hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
}


def by_hand(x: torch.Tensor, w1: torch.Tensor, w2: torch.Tensor, ceiling: float) -> torch.Tensor:
    """Guided gradient of sum(w2 * relu(w1 * relu(x))) written out."""
    inner = x.clamp(0, ceiling)
    middle = w1 * inner
    gradient = w2.clamp(min=0) * ((middle > 0) & (middle < ceiling))
    gradient = (gradient * w1).clamp(min=0)
    return gradient * ((x > 0) & (x < ceiling))


@pytest.mark.parametrize("form", FORMS)
def test_rule_equals_the_formula(form: str) -> None:
    relu = FORMS[form]
    generator = torch.Generator().manual_seed(1)
    x, w1, w2 = (3 * torch.randn(1000, generator=generator) for _ in range(3))
    ceiling = 6.0 if "6" in form or "hardtanh" in form else float("inf")
    leaf = x.clone().requires_grad_()
    with GuidedRule() as rule:
        score = (w2 * relu(w1 * relu(leaf * 1))).sum()
    rule.active = True
    (guided,) = torch.autograd.grad(score, leaf, retain_graph=True)
    torch.testing.assert_close(guided, by_hand(x, w1, w2, ceiling), rtol=0, atol=0)
    assert rule.rectifiers == 2
    rule.active = False
    (plain,) = torch.autograd.grad(score, leaf)
    assert not torch.equal(plain, guided), "the plain gradient must differ, or the test shows nothing"


def test_one_module_used_twice_and_relus_built_inside_forward() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(-nn.ReLU()(self.relu(x) - 1) + 2)

    x = torch.tensor([0.5, 1.5, 2.5, 4.0, -1.0], requires_grad=True)
    with GuidedRule() as rule:
        y = Net()(x)
    assert rule.rectifiers == 3
    rule.active = True
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.zeros(5)), "every path passes a negative gradient somewhere"


def test_hardtanh_with_a_negative_bound_is_left_alone() -> None:
    x = torch.randn(10, requires_grad=True)
    with GuidedRule() as rule:
        F.hardtanh(x)
    assert rule.rectifiers == 0


def smooth_network() -> vx.Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    return vx.Classifier(net, layout="BCHW", clip_length=1, size=(16, 16), cam_layer="1", name="smooth")


def test_relu_beside_a_smooth_rectifier_is_refused_too() -> None:
    """As in Swin v2, whose one ReLU is that of a position bias, or MobileNet v3."""
    model = smooth_network()
    model.net[0] = nn.Sequential(model.net[0], nn.ReLU())
    with pytest.raises(vx.VidexplainError, match=r"has SiLU beside its ReLUs; .*guided_any"):
        vx.pixel_scores(model, torch.randn(1, 3, 1, 16, 16), "guided", 0)


def test_network_without_relu_is_refused_with_advice_or_extended() -> None:
    model, x = smooth_network(), torch.randn(1, 3, 1, 16, 16)
    with pytest.raises(vx.VidexplainError, match=r"has SiLU; .*guided_any"):
        vx.pixel_scores(model, x, "guided", 0)
    extended = vx.pixel_scores(model, x, "guided", 0, guided_any=True)
    plain = vx.pixel_scores(model, x, "vanilla", 0)
    assert not torch.equal(extended.dense, plain.dense)
