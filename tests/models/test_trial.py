"""What a network's first passes show: probabilities for logits, an answer a frame, and what it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

import videxplain as vx

Head = Callable[[torch.Tensor], Any]


class Headed(nn.Module):
    """One convolution and a linear layer, with a head behind them."""

    def __init__(self, head: Head, outputs: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.head = nn.Conv3d(3, 8, 3, 2, 1), nn.Linear(8, outputs), head

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu()

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.fc(self.features(x).mean((2, 3, 4))))


def classifier(net: nn.Module, **settings: Any) -> vx.Classifier:
    return vx.Classifier(net, **({"clip_length": 8, "size": (32, 32)} | settings))


CLIPS = torch.randn(2, 3, 8, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "head",
    [
        lambda y: (9 * y).softmax(1),
        lambda y: (9 * y).sigmoid(),
        lambda y: (9 * y).log_softmax(1).exp(),
        lambda y: nn.functional.softmax(9 * y, dim=-1)[:, :, None, None],
        lambda y: (9 * y).softmax(1).double(),
        lambda y: (9 * y).softmax(1).detach(),
        lambda y: {"logits": (9 * y).softmax(1)},
        lambda y: (9 * y).exp() / (9 * y).exp().sum(1, keepdim=True),
    ],
    ids=["softmax", "sigmoid", "exp", "trailing axes", "double", "detached", "dict", "by hand"],
)
def test_probabilities_are_taken_for_what_they_are_and_that_is_said(head: Head) -> None:
    """What is shown is what the network says, and the gradient is that of it by hand."""
    model, net = classifier(Headed(head)), Headed(head).eval()
    with pytest.warns(vx.VidexplainWarning, match="taken for probabilities") as said:
        shown = model.predict(CLIPS)
    assert len(said) == 1
    answer = net(CLIPS)
    wanted = (answer["logits"] if isinstance(answer, dict) else answer).flatten(1).float()
    torch.testing.assert_close(shown, wanted, rtol=1e-5, atol=1e-6)
    if wanted.requires_grad:
        x = CLIPS.clone().requires_grad_()
        answer = net(x)
        probability = (answer["logits"] if isinstance(answer, dict) else answer).flatten(1)[:, 2].sum()
        (by_hand,) = torch.autograd.grad(probability, x)
        ours = vx.pixel_scores(model, CLIPS, "vanilla", 2).dense
        assert (ours - by_hand).abs().max() < 1e-5 * by_hand.abs().max()


@pytest.mark.parametrize(
    "head", [lambda y: y, lambda y: y.log_softmax(1), lambda y: y.abs() / 9, lambda y: y.relu()]
)
def test_logits_that_may_look_like_probabilities_are_taken(head: Head) -> None:
    model, net = classifier(Headed(head)), Headed(head).eval()
    torch.testing.assert_close(model.predict(CLIPS), net(CLIPS).softmax(1))


class EachFrame(Headed):
    """As many answers as frames, in one of several shapes."""

    def __init__(self, head: Head) -> None:
        super().__init__(head, outputs=1)
        self.conv = nn.Conv3d(3, 8, 3, (1, 2, 2), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.fc(self.features(x).mean((3, 4)).transpose(1, 2)))


@pytest.mark.parametrize("head", [lambda y: y, lambda y: y[:, :, 0]], ids=["(B, T, 1)", "(B, T)"])
def test_an_answer_a_frame_is_no_answer_a_class(head: Head) -> None:
    model, net = classifier(EachFrame(head)), EachFrame(head).eval()
    with pytest.warns(vx.VidexplainWarning, match="gives an answer for each frame"):
        assert model.num_classes == 1
    answers = net(CLIPS).view(2, 8)
    torch.testing.assert_close(model.predict(CLIPS)[:, 0], answers.sigmoid().mean(1))
    named = classifier(EachFrame(head), class_names=[f"class {n}" for n in range(8)])
    assert named.num_classes == 8


def test_as_many_classes_as_frames() -> None:
    assert classifier(Headed(lambda y: y, outputs=8)).num_classes == 8


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (lambda y: (y, 2 * y), r"a tuple, in which several .*: \[0\] \(2, 5\), \[1\] \(2, 5\)"),
        (lambda y: {"verb": y, "noun": y[:, :3]}, r"\['verb'\] \(2, 5\), \['noun'\] \(2, 3\)"),
        (lambda y: [y, [y]], r"\[0\] \(2, 5\), \[1\]\[0\] \(2, 5\)"),
    ],
)
def test_what_has_several_meanings_is_not_guessed(head: Head, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        classifier(Headed(head)).predict(CLIPS)


@pytest.mark.parametrize("head", [lambda y: (y, None), lambda y: (y, y.sum()), lambda y: [y]])
def test_one_candidate_is_taken(head: Head) -> None:
    assert classifier(Headed(head)).num_classes == 5


class InTime(nn.Module):
    """A 2-D network on each frame, then layers over as many steps in time as a picture might have places."""

    def __init__(self, over_time: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frame, self.time, self.fc = nn.Conv2d(3, 16, 4, 4), over_time, nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, _, frames = x.shape[:3]
        y = self.frame(x.transpose(1, 2).flatten(0, 1)).relu().mean((2, 3)).view(batch, frames, 16)
        y = self.time(y)
        return self.fc((y[0] if isinstance(y, tuple) else y).mean(1))


@pytest.mark.parametrize(
    "over_time",
    [
        nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16)),
        nn.GRU(16, 16, batch_first=True),
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
    ],
    ids=["layers", "GRU", "transformer"],
)
def test_steps_in_time_are_no_picture(over_time: nn.Module) -> None:
    """The last layer with places is the one that sees frames on their own; layers over time have none."""
    model = classifier(InTime(over_time), clip_length=16)
    assert (model.cam_layer, model.cam_layers[0].layout) == ("frame", "(bt)chw")
    whole = vx.Classifier(nn.Sequential(Transposed(), over_time, Last()), clip_length=16, size=(4, 4))
    with pytest.raises(
        vx.VidexplainError, match=r"no layer whose output is a grid.*over time, and gives a curve"
    ):
        _ = whole.cam_layer


class Transposed(nn.Module):
    """Clips (B, 3, T, 4, 4) as (B, T, 16)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1).flatten(2)


class Last(nn.Module):
    def forward(self, y: torch.Tensor) -> torch.Tensor:
        return (y[0] if isinstance(y, tuple) else y)[:, :, :5].mean(1)


def first_convolution(dimensions: int, *head: nn.Module) -> nn.Module:
    convolution = {2: nn.Conv2d, 3: nn.Conv3d}[dimensions](3, 4, 3, padding=1)
    return nn.Sequential(convolution, nn.ReLU(), *head)


@pytest.mark.parametrize(
    ("make", "layout", "clip_length", "size"),
    [
        (torchvision.models.resnet18, "BCHW", 1, (224, 224)),
        (torchvision.models.video.r3d_18, "BCTHW", 16, (112, 112)),
        (lambda: first_convolution(2, nn.Flatten(), nn.Linear(4 * 64 * 64, 3)), "BCHW", 1, (64, 64)),
        (lambda: first_convolution(3, nn.Flatten(), nn.Linear(4 * 8 * 32 * 32, 3)), "BCTHW", 8, (32, 32)),
        (lambda: InTime(nn.Linear(16, 16)), "BCTHW", 16, (112, 112)),
    ],
    ids=["resnet18", "r3d_18", "images of 64", "clips of 8 frames of 32", "frames in the batch"],
)
def test_what_a_network_takes_is_found_by_trying(
    make: Callable[[], nn.Module], layout: str, clip_length: int, size: tuple[int, int]
) -> None:
    model = vx.Classifier(make())
    assert (model.layout, model.clip_length, model.size) == (layout, clip_length, size)


def test_frames_before_channels_are_found() -> None:
    class FramesFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = first_convolution(2, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)

    assert vx.Classifier(FramesFirst()).layout == "BTCHW"


def test_a_network_that_runs_with_nothing_usual_says_so_when_used() -> None:
    model = vx.Classifier(first_convolution(2, nn.Flatten(), nn.Linear(7, 3)))
    with pytest.raises(
        vx.VidexplainError, match="give layout, size and clip_length as the network wants them"
    ):
        model.predict(torch.randn(1, 3, 1, 224, 224))
    with pytest.raises(vx.VidexplainError, match="no weights yet"):
        vx.Classifier(first_convolution(2).to("meta"))


def test_a_network_that_uses_view_gets_its_channels_first() -> None:
    class Viewing(Headed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.fc(x.view(len(x), 8, -1).mean(2))

    net = Viewing(lambda y: y)
    model = classifier(net)
    clip = (torch.rand(8, 32, 32, 3) * 255).byte().numpy()
    x = model.prepare(clip)
    torch.testing.assert_close(model.logits(x), net(x.contiguous()))
    assert vx.explain(model, clip, "occlusion", n_segments=8).scores.any()
