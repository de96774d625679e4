"""Networks that are traced, packed or wrapped: explained as the plain one is by hand, or refused in a sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import videxplain as vx

LENGTH, SIDE, TARGET = 8, 16, 1
T, Y, X = np.indices((LENGTH, SIDE, SIDE))
LABELS = ((T // 4) * 4 + (Y // 8) * 2 + X // 8).astype(np.int32)
CLIP = np.random.default_rng(0).integers(0, 256, (LENGTH, SIDE, SIDE, 3)).astype(np.uint8)
SHAPE: Any = {"clip_length": LENGTH, "size": (SIDE, SIDE), "layout": "BCTHW"}


class Plain(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act1 = nn.Conv3d(3, 6, 3, stride=(1, 2, 2), padding=1), nn.ReLU()
        self.last, self.act2 = nn.Conv3d(6, 8, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(8, 4)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(self.last(self.act1(self.first(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3, 4)))


class Checkpointed(Plain):
    """Forgets what is inside and computes it again on the way back."""

    reentrant = False

    def features(self, x: torch.Tensor) -> torch.Tensor:
        y = checkpoint(lambda z: self.act1(self.first(z)), x, use_reentrant=self.reentrant)
        return checkpoint(lambda z: self.act2(self.last(z)), y, use_reentrant=self.reentrant)


class Reentrant(Checkpointed):
    reentrant = True


class NoGrad(Plain):
    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class Inference(Plain):
    @torch.inference_mode()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)


class PartlyNoGrad(Plain):
    def features(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            y = self.act1(self.first(x))
        return self.act2(self.last(y))


def example() -> torch.Tensor:
    return torch.randn(2, 3, LENGTH, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def exported() -> nn.Module:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    return torch.export.export(Plain(), (example(),), dynamic_shapes=shapes).module()


def normalised(parametrise: Callable[[nn.Module], nn.Module]) -> nn.Module:
    net = Plain()
    parametrise(net.last)
    parametrise(net.head)
    return net


SAME: dict[str, Callable[[], nn.Module]] = {
    "fx": lambda: torch.fx.symbolic_trace(Plain()),
    "weight norm": lambda: normalised(nn.utils.parametrizations.weight_norm),
    "weight norm of old": lambda: normalised(nn.utils.weight_norm),
    "DataParallel": lambda: nn.DataParallel(Plain()),
    "channels last": lambda: Plain().to(memory_format=torch.channels_last_3d),  # type: ignore[call-overload]
    "frozen": lambda: Plain().requires_grad_(False),
    "checkpointed": Checkpointed,
    "double": lambda: Plain().double(),
    "wrapped": lambda: nn.Sequential(Plain()),
    "a copy": lambda: copy.deepcopy(Plain().eval()),
}
IN_ONE_PIECE: dict[str, Callable[[], nn.Module]] = {
    "traced": lambda: torch.jit.trace(Plain().eval(), example()),
    "scripted": lambda: torch.jit.script(Plain()),
    "frozen script": lambda: torch.jit.freeze(torch.jit.script(Plain().eval())),
    "exported": exported,
}
WITHOUT_GRADIENTS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no_grad": (NoGrad, "no gradient flows through 'NoGrad'"),
    "inference_mode": (Inference, "no gradient flows through 'Inference'"),
    "reentrant": (Reentrant, "no gradient can be taken through 'Reentrant' .*use_reentrant"),
}


def by_hand(method: str) -> np.ndarray:
    """The scores of the plain network in float64."""
    net = Plain().double()
    model = vx.Classifier(net, **SHAPE)
    x = model.prepare(CLIP).double()
    labels = torch.from_numpy(LABELS).long().flatten()
    count = int(labels.max()) + 1

    def probability(inputs: torch.Tensor) -> torch.Tensor:
        return net(inputs).softmax(1)[:, TARGET]

    if method == "occlusion":
        scores = []
        for k in range(count):
            hidden = x.clone().flatten(2)
            hidden[:, :, labels == k] = hidden[:, :, labels == k].mean(2, keepdim=True)
            scores.append(float((probability(x) - probability(hidden.view_as(x))).detach()))
        return np.array(scores)
    if method == "vanilla":
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(probability(leaf).sum(), leaf)
        voxels = gradient[0].abs().sum(0)
    else:  # Grad-CAM
        grid = net.features(x).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net.head(grid.mean((2, 3, 4)))[:, TARGET].sum(), grid)
        cam = (gradient.mean((2, 3, 4), keepdim=True) * grid.detach()).sum(1, keepdim=True).relu()
        voxels = nn.functional.interpolate(cam, (LENGTH, SIDE, SIDE), mode="trilinear")[0, 0]
    return np.bincount(labels, voxels.detach().flatten().numpy(), minlength=count)


right = cache(by_hand)


def explained(net: nn.Module, method: str, **settings: Any) -> np.ndarray:
    model = vx.Classifier(net, **SHAPE, **settings)
    return vx.explain(model, CLIP, method, TARGET, labels=LABELS).scores


def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("method", ["vanilla", "grad-cam", "occlusion"])
@pytest.mark.parametrize("kind", SAME)
def test_a_wrapped_network_is_the_plain_one(kind: str, method: str) -> None:
    assert_same(explained(SAME[kind](), method), right(method))


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow) if k == "exported" else k for k in IN_ONE_PIECE]
)
def test_a_network_in_one_piece_has_gradients_and_no_layers(kind: str) -> None:
    net = IN_ONE_PIECE[kind]()
    for method in ("vanilla", "occlusion"):
        assert_same(explained(net, method), right(method))
    with pytest.raises(vx.VidexplainError, match="no layer whose output is a grid"):
        explained(net, "grad-cam")
    if kind in ("traced", "scripted"):
        with pytest.raises(vx.VidexplainError, match=r"'act2' .*cannot be seen: it is scripted or traced"):
            explained(net, "grad-cam", cam_layer="act2")


@pytest.mark.parametrize("kind", WITHOUT_GRADIENTS)
def test_a_network_without_gradients_is_refused_where_they_are_asked(kind: str) -> None:
    make, message = WITHOUT_GRADIENTS[kind]
    for method in ("vanilla", "grad-cam", "integrated-gradients"):
        with pytest.raises(vx.VidexplainError, match=f"{message}.*occlusion"):
            explained(make(), method)
    assert_same(explained(make(), "occlusion"), right("occlusion"))


def test_gradients_that_end_behind_a_layer_reach_that_layer() -> None:
    assert_same(explained(PartlyNoGrad(), "grad-cam"), right("grad-cam"))
    with pytest.raises(vx.VidexplainError, match="does not depend on the input"):
        explained(PartlyNoGrad(), "vanilla")


@pytest.mark.parametrize(("kind", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.05)])
def test_half_precision_is_right_to_its_rounding(kind: torch.dtype, tolerance: float) -> None:
    for method in ("vanilla", "grad-cam"):
        found = explained(Plain().to(kind), method)
        assert np.abs(found - right(method)).max() < tolerance * np.abs(right(method)).max()


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Plain().eval(), {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore::FutureWarning")
def test_integers_are_hidden_one_by_one_and_say_nothing_by_gradients() -> None:
    net = quantised()
    model = vx.Classifier(net, **SHAPE)
    x, labels = model.prepare(CLIP), torch.from_numpy(LABELS).long()
    expected = []
    for k in range(int(labels.max()) + 1):
        hidden = x.clone()
        hidden[:, :, labels == k] = hidden[:, :, labels == k].mean(2, keepdim=True)
        expected.append(
            float((net(x).double().softmax(1) - net(hidden).double().softmax(1))[0, TARGET].detach())
        )
    found = vx.explain(model, CLIP, "occlusion", TARGET, labels=LABELS).scores
    # integers step, so that a rounding may move one
    assert np.corrcoef(found, expected)[0, 1] > 0.99
    with pytest.warns(vx.VidexplainWarning, match="gradient of 'Plain' is zero everywhere"):
        vx.explain(model, CLIP, "vanilla", TARGET, labels=LABELS)
    with pytest.raises(vx.VidexplainError, match="class activation maps"):
        vx.explain(model, CLIP, "grad-cam", TARGET, labels=LABELS)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore::FutureWarning")
def test_weights_in_integers_are_part_of_the_fingerprint() -> None:
    prints = {vx.Classifier(net, **SHAPE).fingerprint() for net in (quantised(), quantised(), Plain())}
    other = Plain()
    other.head.weight.data *= 2
    packed = torch.ao.quantization.quantize_dynamic(other, {nn.Linear}, dtype=torch.qint8)
    assert len(prints) == 2 and vx.Classifier(packed, **SHAPE).fingerprint() not in prints


# Frames in the batch that exchange features


class Shifting(nn.Module):
    """Frames in the batch whose features go to the frames before and after (TSM)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.relu, self.head = nn.ReLU(), nn.Linear(8, 4)

    def shifted(self, y: torch.Tensor) -> torch.Tensor:
        y = y.view(-1, LENGTH, *y.shape[1:])
        out = torch.zeros_like(y)
        out[:, :-1, :2], out[:, 1:, 2:4], out[:, :, 4:] = y[:, 1:, :2], y[:, :-1, 2:4], y[:, :, 4:]
        return out.flatten(0, 1)

    def grid(self, x: torch.Tensor) -> torch.Tensor:
        y = x.transpose(1, 2).flatten(0, 1)
        return self.last(self.shifted(self.first(y).relu())).relu()

    def answer(self, grid: torch.Tensor) -> torch.Tensor:
        return self.head(grid.mean((2, 3))).view(-1, LENGTH, 4).mean(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(
            self.relu(self.last(self.shifted(self.first(x.transpose(1, 2).flatten(0, 1)).relu())))
        )


def test_frames_that_exchange_features() -> None:
    model = vx.Classifier(Shifting(), **SHAPE)
    assert (model.cam_layer, model.cam_layers[0].layout) == ("relu", "(bt)chw")
    x = model.prepare(CLIP).double()
    net = Shifting().double()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf).softmax(1)[:, TARGET].sum(), leaf)
    expected = np.bincount(LABELS.ravel(), gradient[0].abs().sum(0).flatten().numpy())
    assert_same(explained(Shifting(), "vanilla"), expected)
    grid = net.grid(x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.answer(grid)[:, TARGET].sum(), grid)
    grid, gradient = (
        part.detach().view(1, LENGTH, *part.shape[1:]).transpose(1, 2) for part in (grid, gradient)
    )
    cam = (gradient.mean((2, 3, 4), keepdim=True) * grid).sum(1, keepdim=True).relu()
    voxels = nn.functional.interpolate(cam, (LENGTH, SIDE, SIDE), mode="trilinear")[0, 0]
    assert_same(explained(Shifting(), "grad-cam"), np.bincount(LABELS.ravel(), voxels.flatten().numpy()))
