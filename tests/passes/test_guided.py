"""The guided rule for every way of calling a rectifier, against a hand-written backward pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import videxplain as vx
from videxplain.passes.guided import GuidedRule

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
    "clamp": lambda x: x.clamp(min=0),
    "clamp in place": lambda x: x.clamp_(min=0),
    "clamp by a tensor": lambda x: x.clamp(min=torch.zeros(())),
    "clip to 6": lambda x: torch.clip(x, 0, 6),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "F.threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "maximum": lambda x: torch.maximum(torch.zeros(()), x),
    "leaky ReLU without a leak": lambda x: F.leaky_relu(x, 0.0),
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
    rule.attach(score)
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
    rule.attach(y)
    assert rule.rectifiers == 3
    rule.active = True
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, torch.zeros(5)), "every path passes a negative gradient somewhere"


def test_hardtanh_with_a_negative_bound_is_left_alone() -> None:
    x = torch.randn(10, requires_grad=True)
    with GuidedRule() as rule:
        y = F.hardtanh(x)
    rule.attach(y)
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
    with pytest.raises(vx.VidexplainError, match=r"has SiLU beside its ReLUs; .*guide_smooth"):
        vx.pixel_scores(model, torch.randn(1, 3, 1, 16, 16), "guided", 0)


def test_network_without_relu_is_refused_with_advice_or_extended() -> None:
    model, x = smooth_network(), torch.randn(1, 3, 1, 16, 16)
    with pytest.raises(vx.VidexplainError, match=r"has SiLU; .*guide_smooth"):
        vx.pixel_scores(model, x, "guided", 0)
    extended = vx.pixel_scores(model, x, "guided", 0, guide_smooth=True)
    plain = vx.pixel_scores(model, x, "vanilla", 0)
    assert not torch.equal(extended.dense, plain.dense)


@torch.jit.script
def scripted_relu(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * 1.0


class OwnFunction(torch.autograd.Function):
    @staticmethod
    def forward(context, x: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (context.saved_tensors[0] > 0)


def in_part(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[:, :2].relu_()
    x[:, 2:].relu_()
    return x


def by_assignment(x: torch.Tensor) -> torch.Tensor:
    x = x * 1
    x[x < 0] = 0
    return x


HIDDEN = {
    r"a function of its own \(OwnFunction\)": OwnFunction.apply,
    "a rectifier in place on a part of a tensor": in_part,
    "a product with a mask": lambda x: x * (x > 0),
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "a masked fill": lambda x: x.masked_fill(x < 0, 0.0),
    "an assignment to an index": by_assignment,
    "operations through .data": lambda x: (x.data.clamp_(min=0), x)[1],
    "PReLU": nn.PReLU(),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_rectifier_that_cannot_be_guided_is_named_and_refused(name: str) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(HIDDEN[name](self.second(self.first(x).relu())).mean((2, 3)))

    model = vx.Classifier(Net(), layout="BCHW", size=(16, 16))
    x = torch.randn(1, 3, 1, 16, 16)
    with pytest.raises(vx.VidexplainError, match=f"{name} beside its ReLUs"):
        vx.pixel_scores(model, x, "guided", 0)


def test_a_scripted_rectifier_is_guided_or_refused() -> None:
    """torch optimises scripted functions after their first calls, and then hides what they do."""

    def model(activation: Callable[[torch.Tensor], torch.Tensor]) -> vx.Classifier:
        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(0)
                self.first, self.second, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(activation(self.second(self.first(x).relu())).mean((2, 3)))

        return vx.Classifier(Net(), layout="BCHW", size=(16, 16))

    x = torch.randn(1, 3, 1, 16, 16)
    expected = vx.pixel_scores(model(F.relu), x, "guided", 0).dense
    scripted = model(scripted_relu)
    for _ in range(4):
        try:
            torch.testing.assert_close(vx.pixel_scores(scripted, x, "guided", 0).dense, expected)
        except vx.VidexplainError as error:
            assert "a scripted function beside its ReLUs" in str(error)
