"""What a network gives out: tasks, outputs, parts of what it returns, answers for frames; against autograd by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.attribution.methods import METHODS, Lime, Occlusion, PixelMethod, RegionGradient

T, SIZE = 8, (24, 24)
FRAMES = np.random.default_rng(0).integers(0, 256, (T, *SIZE, 3)).astype(np.uint8)
LABELS = (
    np.arange(T)[:, None, None] // 4 * 4 + np.indices(SIZE)[0] // 12 * 2 + np.indices(SIZE)[1] // 12
).astype(int)
Head = Callable[[torch.Tensor], Any]


class Answer(NamedTuple):
    features: torch.Tensor
    scores: torch.Tensor


class Net(nn.Module):
    """Features (B, 6, T), and what a head makes of their mean, or of the features themselves."""

    def __init__(self, head: Head, outputs: int = 5, *, by_frame: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv3d(3, 6, 3, (1, 2, 2), 1)
        self.fc = nn.Linear(6, outputs)
        self.head, self.by_frame = head, by_frame

    def forward(self, x: torch.Tensor) -> Any:
        features = self.conv(x).relu().mean((3, 4)).transpose(1, 2)  # (B, T, 6)
        return self.head(4 * self.fc(features if self.by_frame else features.mean(1)))


def made(head: Head, outputs: int = 5, *, by_frame: bool = False, **settings: Any) -> vx.Classifier:
    return vx.Classifier(Net(head, outputs, by_frame=by_frame), clip_length=T, size=SIZE, **settings)


def by_hand(model: vx.Classifier, value: Callable[[Any], torch.Tensor]) -> torch.Tensor:
    """Gradient of a value of what the network returns, at the clip."""
    x = model.prepare(FRAMES).requires_grad_()
    return torch.autograd.grad(value(model.net.eval()(x)).sum(), x)[0]


def check_gradient(model: vx.Classifier, expected: torch.Tensor, target: Any = None, **options: Any) -> None:
    """Vanilla, input times gradient, and the sums over supervoxels."""
    x = model.prepare(FRAMES)
    for method, wanted in (("vanilla", expected), ("input-x-gradient", expected * x)):
        dense = vx.pixel_scores(model, x, method, target, **options).dense
        assert (dense - wanted).abs().max() < 1e-5 * wanted.abs().max(), method
    scores = vx.explain(model, FRAMES, "vanilla", target, labels=LABELS, **options).scores
    sums = np.bincount(LABELS.ravel(), expected[0].abs().sum(0).double().numpy().ravel())
    np.testing.assert_allclose(scores, sums, rtol=1e-4)


def test_several_labels() -> None:
    model = made(lambda y: y, task="multi-label")
    x = model.prepare(FRAMES)
    torch.testing.assert_close(model.predict(x), model.net.eval()(x).sigmoid())
    check_gradient(model, by_hand(model, lambda y: y.sigmoid()[:, 3]), 3)
    check_gradient(model, by_hand(model, lambda y: y[:, 3]), 3, score="logit")
    explanation = vx.explain(model, FRAMES, Occlusion(fill="black"), 3, labels=LABELS, score="probability")
    hidden = []
    for k in range(8):
        clip = x.clone()
        clip[0, :, torch.from_numpy(k == LABELS)] = -(torch.tensor(model.mean) / torch.tensor(model.std))[
            :, None
        ]
        hidden.append(float(model.net(clip).sigmoid()[0, 3]))
    whole = float(model.net(x).sigmoid()[0, 3])
    np.testing.assert_allclose(explanation.scores, whole - np.array(hidden), atol=1e-6)
    assert explanation.settings["task"] == "multi-label"


@pytest.mark.parametrize("head", [lambda y: y, lambda y: y[:, 0]], ids=["(B, 1)", "(B,)"])
def test_one_output_is_a_sigmoid_s(head: Head) -> None:
    model = made(head, 1)
    with pytest.warns(vx.VidexplainWarning, match="one output, .* sigmoid; task='regression'"):
        probability = float(model.predict(model.prepare(FRAMES)))
    assert probability == pytest.approx(float(model.net.eval()(model.prepare(FRAMES)).sigmoid()))
    check_gradient(model, by_hand(model, lambda y: y.flatten().sigmoid()))


def test_one_output_for_two_names() -> None:
    model = made(lambda y: y, 1, class_names=["no", "yes"])
    p = float(model.net.eval()(model.prepare(FRAMES)).sigmoid())
    torch.testing.assert_close(model.predict(model.prepare(FRAMES)), torch.tensor([[1 - p, p]]))
    check_gradient(model, by_hand(model, lambda y: 1 - y.flatten().sigmoid()), "no")
    no, yes = (
        vx.explain(model, FRAMES, Lime(samples=60), name, labels=LABELS, score="log-odds").scores
        for name in ("no", "yes")
    )
    np.testing.assert_allclose(no, -yes, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("head", [lambda y: y, lambda y: y[:, 0], lambda y: {"ef": y, "x": y[:0]}])
def test_a_value(head: Head) -> None:
    model = made(head, 1, task="regression", class_names=["ejection fraction"])
    value = lambda y: (y["ef"] if isinstance(y, dict) else y).flatten()  # noqa: E731
    x = model.prepare(FRAMES)
    torch.testing.assert_close(model.predict(x), value(model.net.eval()(x))[:, None])
    check_gradient(model, by_hand(model, value))
    path = vx.explain(
        model, FRAMES, "region-gradient", labels=LABELS, fill="black", mask_sampling="path", passes=32
    )
    black = torch.zeros_like(x) - (torch.tensor(model.mean) / torch.tensor(model.std)).view(3, 1, 1, 1)
    change = float(value(model.net(x)) - value(model.net(black)))
    assert path.scores.sum() == pytest.approx(change, rel=0.01)
    dense = vx.pixel_scores(model, x, "integrated-gradients", steps=64).dense
    assert float(dense.sum()) == pytest.approx(change, rel=0.01)
    assert path.probability == pytest.approx(float(value(model.net(x))))
    assert path.target_name == "ejection fraction"
    with pytest.raises(vx.VidexplainError, match="score means nothing to a regression"):
        vx.explain(model, FRAMES, "vanilla", score="probability")


def test_of_several_values_one_is_named() -> None:
    model = made(lambda y: y, 3, task="regression", class_names=["x", "y", "z"])
    with pytest.raises(vx.VidexplainError, match="gives 3 values; say with target which one"):
        vx.explain(model, FRAMES, "vanilla")
    check_gradient(model, by_hand(model, lambda y: y[:, 1]), "y")


@pytest.mark.parametrize(
    ("head", "select", "part"),
    [
        (lambda y: (y[:, :2], y), 1, lambda out: out[1]),
        (lambda y: {"verb": y[:, :2], "noun": y}, "noun", lambda out: out["noun"]),
        (lambda y: Answer(y[:, :2], y), "scores", lambda out: out.scores),
        (lambda y: [y[:, :2], {"deep": y}], lambda out: out[1]["deep"], lambda out: out[1]["deep"]),
        (lambda y: {"logits": y, "hidden": y[:, :2]}, None, lambda out: out["logits"]),
        (lambda y: (y, y[:0]), None, lambda out: out[0]),
    ],
)
def test_a_part_of_what_is_returned(head: Head, select: Any, part: Callable[[Any], torch.Tensor]) -> None:
    model = made(head, select=select)
    check_gradient(model, by_hand(model, lambda out: part(out).softmax(1)[:, 4]), 4)


@pytest.mark.parametrize(
    ("head", "select", "message"),
    [
        (
            lambda y: (y, y),
            None,
            r"several tensors may be the answer: \[0\] \(1, 5\), \[1\] .*; say which with select",
        ),
        (lambda y: (y, y), 2, "a tuple, which has no part 2"),
        (lambda y: {"a": y}, "b", "a dict with 'a', which has no part 'b'"),
        (lambda y: {"a": "b"}, "a", "what select gives is a str, not a tensor"),
        (lambda y: (y, y[0, 0]), 1, "has the shape"),
    ],
)
def test_what_cannot_be_selected(head: Head, select: Any, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        made(head, select=select).predict(torch.zeros(1, 3, T, *SIZE))


@pytest.mark.parametrize(
    ("head", "outputs", "probability"),
    [
        (lambda y: y, 4, lambda y: y.softmax(-1)[..., 2]),
        (lambda y: y, 1, lambda y: y.sigmoid()[..., 0]),
        (lambda y: y[..., 0], 1, lambda y: y.sigmoid()),
        (lambda y: (y,), 4, lambda y: y[0].softmax(-1)[..., 2]),
    ],
    ids=["(B, T, C)", "(B, T, 1)", "(B, T)", "tuple"],
)
def test_an_answer_for_each_frame(
    head: Head, outputs: int, probability: Callable[[Any], torch.Tensor]
) -> None:
    model = made(head, outputs, by_frame=True)
    target = min(2, outputs - 1)
    with pytest.warns(vx.VidexplainWarning, match="an answer for each frame, so that the mean"):
        check_gradient(model, by_hand(model, lambda y: probability(y).mean(1)), target)
    for frame in (0, 5):
        check_gradient(model, by_hand(model, lambda y, t=frame: probability(y)[:, t]), target, frame=frame)
        explanation = vx.explain(model, FRAMES, "guided", target, labels=LABELS, frame=frame)
        shown = probability(model.net(model.prepare(FRAMES)))[0, frame]
        assert explanation.probability == pytest.approx(float(shown), rel=1e-5)
        assert explanation.settings["frame"] == frame
    with pytest.raises(vx.VidexplainError, match="has answers for 8 frames, 0 to 7, and none for 8"):
        vx.explain(model, FRAMES, "vanilla", target, frame=8)


def test_a_frame_of_a_network_with_one_answer() -> None:
    with pytest.raises(
        vx.VidexplainError, match="frame means nothing to 'Net', which has one answer for a clip"
    ):
        vx.explain(made(lambda y: y), FRAMES, frame=3)


def test_any_number_of_what_is_returned() -> None:
    model = made(lambda y: {"logits": y, "norm": y.norm(dim=1)})

    def norm(output: Any) -> torch.Tensor:
        return output["norm"]

    check_gradient(model, by_hand(model, norm), objective=norm)
    explanation = vx.explain(model, FRAMES, "lime", labels=LABELS, objective=norm, samples=40, fill="grey")
    assert explanation.target_name == "norm" and explanation.settings["objective"].endswith("norm")
    assert explanation.probability == pytest.approx(float(norm(model.net.eval()(model.prepare(FRAMES)))))
    assert "objective" not in vx.explain(model, FRAMES, "vanilla").settings


@pytest.mark.parametrize(
    "method", [name for name in METHODS if not name.startswith("lrp") and name != "random"]
)
def test_one_class_against_another_is_minus_the_other_way_round(method: str) -> None:
    model = made(lambda y: y, cam_layer="conv")
    few = {
        name: n
        for name, n in (("samples", 40), ("passes", 8), ("steps", 4))
        if name in METHODS[method].options()
    }
    scores = [
        vx.explain(model, FRAMES, method, one, against=other, labels=LABELS, **few).scores
        for one, other in ((1, 4), (4, 1))
    ]
    assert np.abs(scores[0] + scores[1]).max() <= 1e-5 * max(np.abs(scores[0]).max(), 1e-12)
    if issubclass(METHODS[method], PixelMethod) and method in ("vanilla", "integrated-gradients"):
        model_x = model.prepare(FRAMES)
        if method == "vanilla":
            gradient = by_hand(model, lambda y: y[:, 1] - y[:, 4])
            sums = np.bincount(LABELS.ravel(), gradient[0].sum(0).double().numpy().ravel())
            np.testing.assert_allclose(scores[0], sums, rtol=1e-3, atol=1e-5 * np.abs(sums).max())
        assert model_x.shape[2] == T


def test_contrasts_sum_to_the_difference_of_log_odds() -> None:
    model = made(lambda y: y)
    method = RegionGradient(passes=64, fill="black", refine_top=0, mask_sampling="path")
    explanation = vx.explain(model, FRAMES, method, 1, against=4, labels=LABELS)
    x = model.prepare(FRAMES)
    black = torch.zeros_like(x) - (torch.tensor(model.mean) / torch.tensor(model.std)).view(3, 1, 1, 1)
    ends = model.net.eval()(torch.cat([x, black])).softmax(1).log()
    change = ends[0, 1] - ends[0, 4] - (ends[1, 1] - ends[1, 4])
    assert explanation.scores.sum() == pytest.approx(float(change), rel=1e-3)
    assert explanation.settings["against"] == "class 4" and explanation.settings["score"] == "log-odds"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": 1, "against": 1}, "'class 1' cannot be explained against itself"),
        ({"against": 2, "score": "probability"}, "means nothing to one class against another"),
        ({"against": 2, "keep_maps": True}, "keep_maps means nothing with against"),
        ({"against": "nobody"}, "unknown class 'nobody'"),
        ({"method": "lime", "batched": False, "against": 2}, "the lime package explains probabilities"),
    ],
)
def test_contrasts_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.explain(made(lambda y: y), FRAMES, labels=LABELS, **options)
