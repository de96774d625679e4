"""Networks that do what cannot be seen: their explanations equal those of a twin that does it openly, or it is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import videxplain as vx
from videxplain.errors import VidexplainWarning
from videxplain.passes.masked_clip import MaskedClip

CLIP = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
T, Y, X = np.indices((8, 32, 32))
LABELS = ((T // 4) * 16 + (Y // 8) * 4 + X // 8).astype(np.int32)
GAMMA = torch.linspace(-1, 2, 8).view(1, -1, 1, 1, 1)

Layer = Callable[[torch.Tensor], torch.Tensor]


class Small(nn.Module):
    """Two convolutions and a linear layer, with something done before, between and after."""

    def __init__(
        self, between: Layer = F.relu, before: Layer = lambda x: x, after: Layer = lambda y: y
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.between, self.after = before, between, after
        self.c1 = nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1)
        self.c2 = nn.Conv3d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.c2(self.between(self.c1(self.before(x)))))
        return self.after(self.fc(x.mean((2, 3, 4))))


def explained(net: nn.Module, method: str, **options: Any) -> vx.Explanation:
    model = vx.Classifier(net, clip_length=8, size=(32, 32))
    return vx.explain(model, CLIP, method, labels=LABELS, target=0, **options)


@torch.jit.script
def scripted(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x) * 1.0


traced = torch.jit.trace(lambda x: torch.relu(x) * 1.0, torch.randn(2, 3))


class Own(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * (context.saved_tensors[0] > 0)


def by_data(x: torch.Tensor) -> torch.Tensor:
    x.data.clamp_(min=0)
    return x


def in_numpy(x: torch.Tensor) -> torch.Tensor:
    values = x.detach().numpy()
    np.maximum(values, 0, out=values)
    return x


def through_a_view(x: torch.Tensor) -> torch.Tensor:
    flat = x.view(len(x), -1)
    flat.clamp_(min=0)
    return x


def by_assignment(x: torch.Tensor) -> torch.Tensor:
    x[x < 0] = 0
    return x


def into_a_buffer(x: torch.Tensor) -> torch.Tensor:
    return torch.clamp(x.detach(), min=0, out=torch.empty_like(x)) if not x.requires_grad else x.clamp(min=0)


HIDDEN_RECTIFIERS = {
    "clamp in place": lambda x: x.clamp_(min=0),
    "threshold in place": lambda x: F.threshold(x, 0.0, 0.0, inplace=True),
    "scripted": scripted,
    "traced": traced,
    "function of its own": Own.apply,
    ".data": by_data,
    "numpy": in_numpy,
    "view": through_a_view,
    "assignment": by_assignment,
    "out=": into_a_buffer,
}


@cache
def of_the_open_twin(method: str, **options: Any) -> np.ndarray:
    return explained(Small(), method, **options).scores


def measured(explanation: vx.Explanation) -> dict[str, int]:
    """How many leaders were measured by default: none where replayed passes cannot be trusted."""
    return {name: explanation.settings[name] for name in ("refine_top",) if name in explanation.settings}


@pytest.mark.parametrize("name", HIDDEN_RECTIFIERS)
def test_occlusion_of_what_cannot_be_seen(name: str) -> None:
    """By replayed passes where they are right, else by whole ones: three times, for torch compiles what is scripted."""
    expected, net = of_the_open_twin("occlusion"), Small(HIDDEN_RECTIFIERS[name])
    for _ in range(3):
        found = explained(net, "occlusion").scores
        assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", HIDDEN_RECTIFIERS)
def test_region_gradients_of_what_cannot_be_seen_are_right_or_said_to_be_less_sure(name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explanation = explained(Small(HIDDEN_RECTIFIERS[name]), "region-gradient")
    said = [str(w.message) for w in caught if issubclass(w.category, VidexplainWarning)]
    expected = of_the_open_twin("region-gradient", **measured(explanation))
    if not any("less sure" in sentence for sentence in said):
        assert np.abs(explanation.scores - expected).max() < 1e-4 * np.abs(expected).max()
    else:
        of_the_network = [sentence for sentence in said if "hiding half" not in sentence]
        assert explanation.settings["notes"] == of_the_network


@pytest.mark.parametrize(
    ("hidden", "open_"),
    [
        (lambda x: x.mul_(GAMMA), lambda x: x * GAMMA),
        (lambda x: x.sigmoid_(), lambda x: x.sigmoid()),
        (lambda x: x.sub_(0.5).div_(2.0), lambda x: (x - 0.5) / 2.0),
        (lambda x: torch.mul(x, 3.0, out=x) if not x.requires_grad else x * 3.0, lambda x: x * 3.0),
        (lambda x: x.lerp_(torch.zeros(()), 0.3), lambda x: 0.7 * x),
        (lambda x: x.add_(x.flip(-1)), lambda x: x + x.flip(-1)),
        (lambda x: x.copy_(x * GAMMA), lambda x: x * GAMMA),
    ],
    ids=["mul_", "sigmoid_", "sub_ and div_", "out=", "lerp_", "add_ of its mirror image", "copy_"],
)
@pytest.mark.parametrize("method", ["occlusion", "region-gradient"])
def test_what_is_done_in_place(hidden: Layer, open_: Layer, method: str) -> None:
    found = explained(Small(hidden), method)
    expected = explained(Small(open_), method, **measured(found)).scores
    assert np.abs(found.scores - expected).max() < 2e-5 * np.abs(expected).max()


def by_own_maximum(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([row / float(row.detach().abs().max()) for row in x])


def by_own_scale(x: torch.Tensor) -> torch.Tensor:
    return x * x.mean((2, 3, 4), keepdim=True)


def by_generated_weights(x: torch.Tensor) -> torch.Tensor:
    kernels = x.mean((2, 3, 4))[:, :, None, None, None, None].expand(-1, -1, 8, 1, 1, 1)
    return torch.cat([F.conv3d(row[None], kernel) for row, kernel in zip(x, kernels, strict=True)])


@pytest.mark.parametrize("layer", [by_own_maximum, by_own_scale, by_generated_weights])
def test_scales_and_weights_that_depend_on_the_input(layer: Layer) -> None:
    """Occlusion by hand: a change in one place changes every other."""
    model = vx.Classifier(Small(layer), clip_length=8, size=(32, 32))
    clip = MaskedClip(model, model.prepare(CLIP)[0], torch.from_numpy(LABELS), 32, 0)
    whole, *hidden = clip.probability(torch.cat([torch.ones(1, 32), 1 - torch.eye(32)])).tolist()
    found = vx.explain(model, CLIP, "occlusion", labels=LABELS, target=0, fill="mean").scores
    expected = whole - np.array(hidden)
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "method", ["lime", "kernel-shap", "rise", "occlusion", "vanilla", "guided", "lime-package"]
)
@pytest.mark.parametrize(
    "before",
    [lambda x: x.sub_(0.5).div_(0.25), lambda x: x.mul_(2).sub_(1), by_data],
    ids=["sub_ and div_", "mul_ and sub_", ".data"],
)
def test_a_network_that_overwrites_its_input(before: Layer, method: str) -> None:
    if method == "guided" and before is by_data:
        pytest.skip("refused: rectifiers may hide in .data")
    options = {"samples": 60} if method in ("lime", "lime-package", "kernel-shap", "rise") else {}
    if method == "lime-package":
        method, options = "lime", {"samples": 60, "batched": False}
    expected = explained(Small(before=lambda x: before(x.clone())), method, **options).scores
    model = vx.Classifier(Small(before=before), clip_length=8, size=(32, 32))
    x = model.prepare(CLIP)
    kept = x.clone()
    model.predict(x)
    assert torch.equal(x, kept)
    np.testing.assert_array_equal(explained(model.net, method, **options).scores, expected)


@pytest.mark.parametrize("layout", ["BTCHW", "BCHW"])
def test_other_layouts_are_copied_too(layout: str) -> None:
    class Images(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x.mul_(2)
            return x.flatten(1)[:, :3]

    model = vx.Classifier(Images(), layout=layout, clip_length=1 if layout == "BCHW" else 4, size=(8, 8))
    x = torch.randn(2, 3, 4, 8, 8)
    kept = x.clone()
    model.predict(x)
    assert torch.equal(x, kept)


def told(net: nn.Module, method: str, **options: Any) -> tuple[vx.Explanation, str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explanation = explained(net, method, **options)
    return explanation, " ".join(str(w.message) for w in caught if issubclass(w.category, VidexplainWarning))


@pytest.mark.parametrize("method", ["guided", "lime", "region-gradient"])
@pytest.mark.parametrize(
    "chance", [F.dropout, lambda x: x + 0.1 * torch.randn_like(x)], ids=["dropout", "noise"]
)
def test_a_network_that_answers_by_chance_is_named_once(chance: Layer, method: str) -> None:
    net = Small(lambda x: F.relu(chance(x)))
    options = {"samples": 20} if method == "lime" else {}
    explanation, said = told(net, method, **options)
    assert "'Small' gives the same clip different answers" in said
    assert any("different answers" in note for note in explanation.settings["notes"])


@pytest.mark.parametrize("method", ["guided", "grad-cam", "lime", "kernel-shap", "occlusion"])
@pytest.mark.parametrize(
    "mix",
    [
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: x - x.mean(0, keepdim=True) / 2,
        lambda x: x / x.amax(),
    ],
    ids=["batch norm", "mean of the batch", "maximum of the batch"],
)
def test_clips_of_a_network_that_mixes_them_go_through_it_one_by_one(mix: Layer, method: str) -> None:
    def alone(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([mix(row[None]) for row in x])

    options = {"samples": 40} if method in ("lime", "kernel-shap") else {}
    mixing, separate = Small(lambda x: F.relu(mix(x))), Small(lambda x: F.relu(alone(x)))
    explanation, said = told(mixing, method, **options)
    expected = explained(separate, method, **options).scores
    assert "answers a clip differently beside other clips" in said and explanation.settings["notes"]
    assert np.abs(explanation.scores - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_network_that_takes_one_clip_only() -> None:
    def lone(y: torch.Tensor) -> torch.Tensor:
        if len(y) > 1:
            raise RuntimeError("one clip at a time")
        return y

    expected = explained(Small(), "lime", samples=40, fill="mean").scores
    found, said = told(Small(after=lone), "lime", samples=40, fill="mean")
    assert not said and np.abs(found.scores - expected).max() < 1e-4 * np.abs(expected).max()


def test_batches_of_a_network_that_mixes_clips() -> None:
    """Both clips of a batch as each alone, dense scores and CAM."""
    net = Small(lambda x: F.relu(x - x.mean(0, keepdim=True) / 2))
    model = vx.Classifier(net, clip_length=8, size=(32, 32))
    x = torch.randn(2, 3, 8, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = vx.pixel_scores(model, x, "guided-grad-cam", 1)
        for b in range(2):
            lone = vx.pixel_scores(model, x[b : b + 1], "guided-grad-cam", 1)
            torch.testing.assert_close(both.dense[b], lone.dense[0], rtol=1e-4, atol=1e-9)
            torch.testing.assert_close(both.cam[b], lone.cam[0], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("weight_of", "shape"),
    [
        (lambda x, w: F.conv3d(x, w * x.mean(), padding=1), (4, 3, 3, 3, 3)),
        (lambda x, w: F.batch_norm(x, torch.zeros(3), torch.ones(3), w * x.mean((0, 2, 3, 4))), (3,)),
        (lambda x, w: F.linear(x.flatten(1)[:, :1024], w * x.mean())[:, :4], (1024, 1024)),
    ],
    ids=["convolution", "batch norm", "linear"],
)
def test_gradients_through_weights_that_the_input_makes(weight_of: Any, shape: tuple[int, ...]) -> None:
    """Faster layers do without gradients of weights; where weights are made of the input, they are wanted."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.weight, self.fc = nn.Parameter(torch.randn(shape) / 8), nn.LazyLinear(3)
            self(torch.randn(1, 3, 4, 16, 16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(weight_of(x, self.weight).flatten(1)[:, :4])

    net = Net()
    model = vx.Classifier(net, clip_length=4, size=(16, 16))
    x = torch.randn(1, 3, 4, 16, 16)
    point = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net(point)[0, 1], point)
    found = vx.pixel_scores(model, x, "vanilla", 1, score="logit").dense
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_what_is_noticed_of_an_image_model_is_recorded_for_clips_too() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    net.append(nn.Identity())
    net[-1].forward = lambda y: F.dropout(y, 0.5)
    model = vx.Classifier(net, layout="BCHW", size=(32, 32))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explanation = vx.explain(model, CLIP, "vanilla", n_segments=8)
    assert any("different answers" in note for note in explanation.settings["notes"])
