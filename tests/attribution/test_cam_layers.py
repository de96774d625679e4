"""Class activation maps of every kind of layer, against the formulas by hand in float64, with autograd at the layer."""

from __future__ import annotations

import dataclasses
import warnings
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import relative_error
from torch import nn

import videxplain as vx
from videxplain.attribution.methods import METHODS
from videxplain.attribution.query import Query
from videxplain.settings import Question

FRAMES, SIZE, CLASSES = 8, (32, 32), 5


class Net(nn.Module):
    """What they all end in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(12, CLASSES)


class SlowFast(Net):
    """Two pathways: every fourth frame in many channels, all frames in few."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Sequential(nn.Conv3d(3, 8, 3, stride=(1, 4, 4), padding=1), nn.ReLU())
        self.fast = nn.Sequential(nn.Conv3d(3, 4, 3, stride=(1, 8, 8), padding=1), nn.ReLU())

    def grids(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [self.slow(x[:, :, ::4]), self.fast(x)]

    def head(self, grids: list[torch.Tensor]) -> torch.Tensor:
        return self.fc(torch.cat([grid.square().mean((2, 3, 4)) for grid in grids], 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.grids(x))


class Nested(SlowFast):
    """Two layers of which one comes after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = nn.Sequential(nn.Conv3d(3, 12, 3, stride=2, padding=1), nn.ReLU())
        self.fast = nn.Sequential(nn.Conv3d(12, 12, 3, stride=(1, 2, 2), padding=1), nn.Sigmoid())

    def grids(self, x: torch.Tensor) -> list[torch.Tensor]:
        slow = self.slow(x)
        return [slow, self.fast(slow)]

    def head(self, grids: list[torch.Tensor]) -> torch.Tensor:
        return self.fc(grids[1].square().mean((2, 3, 4)))


class FrameNet(Net):
    """One layer `last`, whose raw output `raw(x)` becomes the grid by `place` and the answer by `head`."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.Conv2d(3, 12, 3, stride=4, padding=1), nn.ReLU())

    def frames_in_batch(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2).flatten(0, 1)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame(self.frames_in_batch(x))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        """(B, T, C) features that the head takes."""
        return raw.square().mean((2, 3)).unflatten(0, (batch, -1))

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.unflatten(0, (batch, -1)).transpose(1, 2)

    def head(self, features: torch.Tensor) -> torch.Tensor:
        weight = torch.linspace(1, 2, features.shape[1]).to(features)
        return self.fc((features * weight[:, None]).mean(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.last(self.raw(x), len(x)))


class FramesBehind(FrameNet):
    """Frames in the batch with the clips' frames side by side: (T * B, C, h, w)."""

    def frames_in_batch(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(2, 0, 1, 3, 4).flatten(0, 1)

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((2, 3)).unflatten(0, (-1, batch)).transpose(0, 1)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.unflatten(0, (-1, batch)).permute(1, 2, 0, 3, 4)


class Segments(FrameNet):
    """A segment network: every second frame."""

    def frames_in_batch(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::2].transpose(1, 2).flatten(0, 1)


class Looped(FrameNet):
    """The network for a frame is called for each of them in turn: one layer, used eight times."""

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.frame(part) for part in x.unbind(2)], 2)

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((3, 4)).transpose(1, 2)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw


class ConvLstm(FrameNet):
    """A recurrent convolution that puts out (B, T, C, h, w) beside its last state."""

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gates = nn.Conv2d(3 + 12, 24, 3, stride=1, padding=1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, None]]:
            x = F.avg_pool3d(x, (1, 4, 4))
            state, states = x.new_zeros(len(x), 12, *x.shape[3:]), []
            for part in x.unbind(2):
                gate, new = self.gates(torch.cat([part, state], 1)).chunk(2, 1)
                state = 0.5 * state + gate.sigmoid() * new.tanh()
                states.append(state)
            return torch.stack(states, 1), (state, None)

    def __init__(self) -> None:
        super().__init__()
        self.frame = self.Cell()

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame(x)[0]

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((3, 4))

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.transpose(1, 2)


class Tokens(FrameNet):
    """Patches of clips, behind a class token, in two layers of a transformer."""

    order = (2, 3, 4)

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv3d(3, 12, (2, 8, 8), (2, 8, 8))
        self.first = nn.Parameter(torch.randn(1, 1, 12))
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(12, 2, 16, batch_first=True) for _ in range(2))
        )
        self.frame = nn.LayerNorm(12)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).permute(0, *self.order, 1).flatten(1, 3)
        tokens = torch.cat([self.first.expand(len(x), -1, -1), tokens], 1)
        return self.frame(self.blocks(tokens))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.sin()

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw[:, 1:].unflatten(1, (4, 4, 4)).permute(0, 4, 1, 2, 3)


class TimeLast(Tokens):
    """Tokens of which the frame changes fastest."""

    order = (3, 4, 2)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw[:, 1:].unflatten(1, (4, 4, 4)).permute(0, 4, 3, 1, 2)


class FrameTokens(Tokens):
    """Tokens of frames in the batch: (B * T, 1 + N, C)."""

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x).permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1)
        return self.frame(self.blocks(tokens))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.sin().unflatten(0, (batch, 4)).mean(2)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw[:, 1:].unflatten(0, (batch, 4)).unflatten(2, (4, 4)).permute(0, 4, 1, 2, 3)


class OverTime(FrameNet):
    """A network for frames and a recurrent layer over time: (B, T, C), or (T, B, C)."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.pictures = nn.Conv2d(3, 16, 4, 4)
        self.frame = nn.GRU(16, 12, batch_first=batch_first)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pictures(self.frames_in_batch(x)).relu().mean((2, 3)).unflatten(0, (len(x), -1))
        return self.frame(y if self.batch_first else y.transpose(0, 1))[0]

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square() if self.batch_first else raw.square().transpose(0, 1)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        raw = raw if self.batch_first else raw.transpose(0, 1)
        return raw.transpose(1, 2)[..., None, None]


class Convolved(OverTime):
    """Convolutions over time: (B, C, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Conv1d(16, 12, 3, padding=1)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        y = self.pictures(self.frames_in_batch(x)).relu().mean((2, 3)).unflatten(0, (len(x), -1))
        return self.frame(y.transpose(1, 2))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.exp().transpose(1, 2)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw[..., None, None]


class NoTime(FrameNet):
    """Frames stacked as channels: (B, C, h, w) without time."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.Conv2d(3 * FRAMES, 12, 3, stride=4, padding=1), nn.ReLU())

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame(x.flatten(1, 2))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((2, 3))[:, None]

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw[:, :, None]


class ChannelsLast(FrameNet):
    """(B, T, h, w, C), as video Swin puts it out, of a block that is no normalisation."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches, self.mlp = nn.Conv3d(3, 12, (2, 8, 8), (2, 8, 8)), nn.Linear(12, 12)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.mlp(self.patches(x).permute(0, 2, 3, 4, 1)).tanh()

    def __init__(self) -> None:
        super().__init__()
        self.frame = self.Block()

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame(x)

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((2, 3))

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.permute(0, 4, 1, 2, 3)


def classifier(net: nn.Module, **settings: Any) -> vx.Classifier:
    return vx.Classifier(net, **{"clip_length": FRAMES, "size": SIZE, "layout": "BCTHW", **settings})


def clips(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, FRAMES, *SIZE, generator=generator)


def grad_cam(grid: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    weights = gradient.mean((2, 3, 4), keepdim=True)
    return (weights * grid).sum(1).relu()


def layer_cam(grid: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return (gradient.relu() * grid).sum(1).relu()


FORMULAS = {"grad-cam": grad_cam, "layer-cam": layer_cam}
LAYERS: dict[str, tuple[Callable[[], FrameNet], str, tuple[int, int, int]]] = {
    "frames in the batch": (FrameNet, "(bt)chw", (8, 8, 8)),
    "frames in the batch, clips fastest": (FramesBehind, "(tb)chw", (8, 8, 8)),
    "segments": (Segments, "(bt)chw", (4, 8, 8)),
    "used once a frame": (Looped, "bchw", (8, 8, 8)),
    "ConvLSTM": (ConvLstm, "btchw", (8, 8, 8)),
    "tokens": (Tokens, "b(thw)c", (4, 4, 4)),
    "tokens of frames": (FrameTokens, "(bt)(hw)c", (4, 4, 4)),
    "GRU": (OverTime, "btc", (8, 1, 1)),
    "GRU with time first": (lambda: OverTime(False), "tbc", (8, 1, 1)),
    "convolutions over time": (Convolved, "bct", (8, 1, 1)),
    "stacked frames": (NoTime, "bchw", (1, 8, 8)),
    "channels last": (ChannelsLast, "bthwc", (4, 4, 4)),
}


def by_hand(net: FrameNet, x: torch.Tensor, target: int, formula: Any) -> torch.Tensor:
    net = net.double().eval()
    raw = net.raw(x.double()).detach().requires_grad_()
    score = net.head(net.last(raw, len(x)))[:, target].sum()
    (gradient,) = torch.autograd.grad(score, raw)
    return formula(net.place(raw.detach(), len(x)), net.place(gradient, len(x)))


@pytest.mark.parametrize("told", [False, True], ids=["found", "told"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_named_layers_map_equals_the_formula(kind: str, told: bool) -> None:
    make, layout, grid = LAYERS[kind]
    settings = {"cam_layout": layout} if told else {}
    model = classifier(make(), cam_layer="frame", **settings)
    x = clips()
    assert model.cam_layers[0].layout == layout
    for method, formula in FORMULAS.items():
        maps = [by_hand(make(), x, target, formula) for target in range(CLASSES)]
        target = max(range(CLASSES), key=lambda target: float(maps[target].abs().max()))
        assert maps[target].abs().max() > 0
        found = vx.pixel_scores(model, x, method, target).cam
        assert found.shape[1:] == grid
        assert relative_error(found, maps[target].float()) < 1e-5


@pytest.mark.parametrize("layout", [None, "b(hwt)c"])
def test_tokens_in_another_order(layout: str | None) -> None:
    model = classifier(TimeLast(), cam_layer="frame", cam_layout=layout)
    x = clips()
    found = vx.pixel_scores(model, x, "grad-cam", 2).cam
    assert relative_error(found, by_hand(TimeLast(), x, 2, grad_cam).float()) < 1e-5


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        (FrameNet, "frame"),
        (FramesBehind, "frame"),
        (Looped, "frame"),
        (OverTime, "pictures"),
        (NoTime, "frame"),
    ],
)
def test_the_last_layer_with_places_is_found(make: Callable[[], FrameNet], layer: str) -> None:
    model = classifier(make())
    assert model.cam_layer == layer
    if layer == "frame":
        found = vx.pixel_scores(model, clips(), "grad-cam", 2).cam
        assert relative_error(found, by_hand(make(), clips(), 2, grad_cam).float()) < 1e-5


class Branches(SlowFast):
    """Pathways with a layer between them, as in SlowFast: fast features go to the slow pathway as well."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Conv3d(3, 3, 3, padding=1), nn.ReLU())
        self.lateral = nn.Conv3d(3, 3, (5, 1, 1), stride=(4, 1, 1), padding=(2, 0, 0))

    def grids(self, x: torch.Tensor) -> list[torch.Tensor]:
        fast = self.early(x)
        return [self.slow(x[:, :, ::4] + self.lateral(fast)), self.fast(fast)]


class Joined(SlowFast):
    """Pathways that meet in a layer with places."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = nn.Sequential(nn.Conv3d(3, 4, 3, stride=(4, 4, 4), padding=1), nn.ReLU())
        self.join = nn.Conv3d(12, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.join(torch.cat(self.grids(x), 1)).square().mean((2, 3, 4)))


class FramesBeside(SlowFast):
    """A pathway for clips beside one for single frames, and one that sees no places."""

    def __init__(self) -> None:
        super().__init__()
        self.fast = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.ReLU())
        self.colours = nn.Linear(3, 12)

    def grids(self, x: torch.Tensor) -> list[torch.Tensor]:
        frames = self.fast(x.transpose(1, 2).flatten(0, 1))
        return [self.slow(x[:, :, ::4]), frames.unflatten(0, (len(x), -1)).transpose(1, 2)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.grids(x)) + self.colours(x.mean((2, 3, 4)))[:, :CLASSES]


@pytest.mark.parametrize("make", [SlowFast, Branches, FramesBeside])
def test_where_no_layer_is_named_branches_are_added_and_that_is_said(make: type[SlowFast]) -> None:
    model = classifier(make())
    x = clips()
    names = ["fast", "slow"] if make is FramesBeside else ["slow", "fast"]  # as they are called
    listed = ", ".join(map(repr, names))
    with pytest.warns(
        vx.VidexplainWarning, match=f"2 branches, .* of each, {listed}, added; cam_layer names one"
    ):
        found = vx.pixel_scores(model, x, "grad-cam", 1).cam
    assert model.cam_layer == " + ".join(names)
    assert [c.name for c in vx.models.cam_candidates(model) if c.chosen] == names
    net = make().double().eval()
    x = x.double()
    captured: list[torch.Tensor] = []
    for layer in (net.slow, net.fast):
        layer.register_forward_hook(lambda *args: captured.append(args[2]))
    score = net(x)[:, 1].sum()
    maps = []
    for grid, gradient in zip(captured, torch.autograd.grad(score, captured), strict=True):
        if grid.ndim == 4:  # frames in the batch
            grid, gradient = (part.unflatten(0, (len(x), -1)).transpose(1, 2) for part in (grid, gradient))
        maps.append(grad_cam(grid, gradient).detach())
    expected = sum(F.interpolate(m[:, None], (FRAMES, *SIZE), mode="trilinear")[:, 0] for m in maps)
    at_input = F.interpolate(found[:, None].double(), (FRAMES, *SIZE), mode="trilinear")[:, 0]
    assert relative_error(at_input, expected) < 1e-5


@pytest.mark.parametrize(("make", "layer"), [(Nested, "fast"), (Joined, "join")])
def test_layers_that_come_after_one_another_are_no_branches(make: type[SlowFast], layer: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = classifier(make())
        vx.pixel_scores(model, clips(), "grad-cam", 1)
    assert model.cam_layer == layer


@pytest.mark.parametrize("make", [SlowFast, Nested])
@pytest.mark.parametrize("method", FORMULAS)
def test_maps_of_several_layers_are_added_at_the_input(make: type[SlowFast], method: str) -> None:
    model = classifier(make(), cam_layer=["slow", "fast"])
    x = clips()
    found = vx.pixel_scores(model, x, method, 1).cam
    net = make().double().eval()
    grids = [grid.detach().requires_grad_() for grid in net.grids(x.double())]
    if make is Nested:
        grids[1] = net.fast(grids[0])
    gradients = torch.autograd.grad(net.head(grids)[:, 1].sum(), grids)
    maps = [
        FORMULAS[method](grid.detach(), gradient) for grid, gradient in zip(grids, gradients, strict=True)
    ]
    expected = sum(F.interpolate(m[:, None], (FRAMES, *SIZE), mode="trilinear")[:, 0] for m in maps)
    assert all(m.abs().max() > 0 for m in maps)
    at_input = F.interpolate(found[:, None].double(), (FRAMES, *SIZE), mode="trilinear")[:, 0]
    assert relative_error(at_input, expected) < 1e-5
    labels = torch.from_numpy(np.arange(FRAMES * 32 * 32).reshape(1, FRAMES, 32, 32) // 512)
    scorer = METHODS[method]()
    scores = scorer.score(Query(model, x[:1], labels.int(), 16, Question(target=1), methods=[scorer]))
    sums = torch.zeros(16, dtype=torch.double).index_add(0, labels.flatten(), expected[0].flatten())
    assert relative_error(scores[0].double(), sums) < 1e-5


class Shared(Net):
    """One ReLU after every convolution."""

    def __init__(self, unlike: bool = False) -> None:
        super().__init__()
        self.a, self.b = (
            nn.Conv3d(3, 12, 3, stride=2, padding=1),
            nn.Conv3d(12, 12, 3, stride=(1, 2, 2), padding=1),
        )
        self.relu, self.unlike = nn.ReLU(inplace=True), unlike

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.b(self.relu(self.a(x)))).square().mean((2, 3, 4))
        return self.fc(self.relu(y) if self.unlike else y)


def test_maps_of_a_reused_layer_are_added() -> None:
    model = classifier(Shared(), cam_layer="relu")
    x = clips()
    found = vx.pixel_scores(model, x, "grad-cam", 1).cam
    net = Shared().double().eval()
    one = net.a(x.double()).relu().detach().requires_grad_()
    two = net.b(one).relu()
    score = net.fc(two.square().mean((2, 3, 4)))[:, 1].sum()
    gradients = torch.autograd.grad(score, [one, two])
    maps = [grad_cam(grid.detach(), gradient) for grid, gradient in zip((one, two), gradients, strict=True)]
    expected = sum(F.interpolate(m[:, None], (4, *SIZE), mode="trilinear")[:, 0] for m in maps)
    assert found.shape == (2, 4, 32, 32) and relative_error(found.double(), expected) < 1e-5


def test_a_reused_layer_of_which_one_use_has_no_places_is_refused() -> None:
    with pytest.raises(vx.VidexplainError, match=r"'relu' puts out \(2, 12\).*cam_layout"):
        vx.pixel_scores(classifier(Shared(unlike=True), cam_layer="relu"), clips(), "grad-cam", 1)


Two = namedtuple("Two", ["grid", "pooled"])


@dataclasses.dataclass
class Whole:
    grid: torch.Tensor
    pooled: torch.Tensor


class Returns(FrameNet):
    """A layer that returns its grid inside something."""

    class Layer(nn.Module):
        def __init__(self, wrap: Any) -> None:
            super().__init__()
            self.conv, self.wrap = nn.Conv3d(3, 12, 3, stride=(2, 4, 4), padding=1), wrap

        def forward(self, x: torch.Tensor) -> Any:
            grid = self.conv(x).relu()
            return self.wrap(grid, grid.mean((2, 3, 4)))

    def __init__(self, wrap: Any, unwrap: Any) -> None:
        super().__init__()
        self.frame, self.unwrap = self.Layer(wrap), unwrap

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.unwrap(self.frame(x))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((3, 4)).transpose(1, 2)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw


def model_output(grid: torch.Tensor, pooled: torch.Tensor) -> Any:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    return outputs.BaseModelOutputWithPooling(last_hidden_state=grid, pooler_output=pooled)


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda g, p: {"grid": g, "pooled": p}, lambda o: o["grid"]),
        (Two, lambda o: o.grid),
        (Whole, lambda o: o.grid),
        (lambda g, p: [p, (g, None)], lambda o: o[1][0]),
        (model_output, lambda o: o.last_hidden_state),
        (lambda g, p: {"grid": g, "same": (g,)}, lambda o: o["same"][0]),
    ],
    ids=["dict", "named tuple", "dataclass", "nested", "model output", "twice"],
)
def test_grids_inside_what_a_layer_returns(wrap: Any, unwrap: Any) -> None:
    model = classifier(Returns(wrap, unwrap), cam_layer="frame")
    found = vx.pixel_scores(model, clips(), "grad-cam", 2).cam
    expected = by_hand(Returns(wrap, unwrap), clips(), 2, grad_cam)
    assert relative_error(found, expected.float()) < 1e-5


def test_of_two_grids_none_is_guessed_and_one_can_be_named() -> None:
    def both(grid: torch.Tensor, _: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"low": grid, "high": grid.tanh()}

    def joined(output: dict[str, torch.Tensor]) -> torch.Tensor:
        return output["low"]

    with pytest.raises(
        vx.VidexplainError, match=r"several tensors.*\['low'\].*\['high'\].*cam_layer=\"frame\['low'\]\""
    ):
        vx.pixel_scores(classifier(Returns(both, joined), cam_layer="frame"), clips(), "grad-cam", 2)
    model = classifier(Returns(both, joined), cam_layer="frame['low']")
    expected = by_hand(Returns(both, joined), clips(), 2, grad_cam)
    assert relative_error(vx.pixel_scores(model, clips(), "grad-cam", 2).cam, expected.float()) < 1e-5
    with pytest.raises(vx.VidexplainError, match="returns no tensor"):
        _ = classifier(Returns(both, joined), cam_layer="frame['mid']").cam_layers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cam_layer": "frame", "cam_layout": "bthw"}, "cam_layout 'bthw' cannot be"),
        ({"cam_layer": "frame", "cam_layout": "(bt)chwt"}, "cannot be"),
        ({"cam_layer": "frame", "cam_layout": ["bcthw", "btchw"]}, "one for all or one for each"),
        ({"cam_layout": "bcthw"}, "one for all or one for each"),
        ({"cam_layer": []}, "one for all or one for each"),
        ({"cam_layer": ["frame", "framy"]}, "did you mean 'frame'"),
    ],
)
def test_layouts_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        classifier(FrameNet(), **settings)


def test_a_layout_that_does_not_fit_is_refused() -> None:
    with pytest.raises(
        vx.VidexplainError, match=r"\(8, 12, 8, 8\) for a clip, which is not in the layout 'bcthw'"
    ):
        _ = classifier(FrameNet(), cam_layer="frame", cam_layout="bcthw").cam_layers


class Scrambled(FrameNet):
    """As many features as a picture has places, which are none."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(3 * FRAMES * 64, 16 * 12)
        self.frame = nn.Identity()

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame(self.mix(F.avg_pool3d(x, (1, 4, 4)).flatten(1)).unflatten(1, (16, 12)))

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square()


def test_what_follows_no_place_is_no_picture() -> None:
    with pytest.raises(
        vx.VidexplainError, match=r"no grid whose places follow the clip's; tell its layout with cam_layout"
    ):
        _ = classifier(Scrambled(), cam_layer="frame").cam_layers


class Difference(FrameNet):
    """What rises from frame to frame: most of what is added to a frame shows nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(nn.Conv3d(3, 1, (2, 1, 1), bias=False), nn.ReLU())
        self.frame[0].weight.data = torch.tensor(3 * [[-1.0, 1.0]]).view(1, 3, 2, 1, 1)
        self.fc = nn.Linear(1, CLASSES)

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return self.frame(x)

    def last(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw.square().mean((3, 4)).transpose(1, 2)

    def place(self, raw: torch.Tensor, batch: int) -> torch.Tensor:
        return raw


@pytest.mark.parametrize("named", [True, False])
def test_places_behind_a_rectifier_that_hides_what_is_added(named: bool) -> None:
    torch.manual_seed(0)
    net = Difference()
    model = classifier(net, cam_layer="frame" if named else None)
    layer = model.cam_layers[0]
    assert (layer.name, layer.layout) == ("frame", "bcthw")
    if named:  # frames and channels could be taken for each other
        assert layer.grid == (FRAMES - 1, *SIZE)
    found = vx.pixel_scores(model, clips(), "grad-cam", 2).cam
    expected = by_hand(net, clips(), 2, grad_cam)
    assert relative_error(found, expected.float()) < 1e-5


class OneClip(FrameNet):
    """Takes one clip at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 1:
            raise ValueError("one clip, please")
        return super().forward(x)


class OneClipLooped(OneClip, Looped):
    """And calls the network for a frame in turn."""


@pytest.mark.parametrize("make", [OneClip, OneClipLooped])
def test_clips_that_go_through_one_by_one(make: Callable[[], FrameNet]) -> None:
    model = classifier(make(), cam_layer="frame")
    x = clips(3)
    found = vx.pixel_scores(model, x, "grad-cam", 2).cam
    assert relative_error(found, by_hand(make(), x, 2, grad_cam).float()) < 1e-5


class AnswerAFrame(Net):
    """An answer for each frame, which depends on the frames beside it: (B, T, CLASSES)."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = nn.Sequential(nn.Conv3d(3, 12, 3, stride=(1, 4, 4), padding=1), nn.ReLU())
        self.mix = nn.Conv1d(12, 12, 3, padding=1)

    def head(self, grid: torch.Tensor) -> torch.Tensor:
        return self.fc(self.mix(grid.square().mean((3, 4))).relu().transpose(1, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.grid(x))


def act_grad_cam(grid: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    return grad_cam(grid, grid * gradient)


@pytest.mark.parametrize("method", ["grad-cam", "layer-cam", "act-grad-cam"])
def test_the_map_of_one_frames_answer_has_weights_for_each_time_step(method: str) -> None:
    model, x, frame, target = classifier(AnswerAFrame(), cam_layer="grid"), clips(1), 5, 2
    net = AnswerAFrame().double().eval()
    grid = net.grid(x.double()).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(grid)[:, frame, target].sum(), grid)
    formula = {**FORMULAS, "act-grad-cam": act_grad_cam}[method]
    steps = [formula(grid.detach()[:, :, t : t + 1], gradient[:, :, t : t + 1])[:, 0] for t in range(FRAMES)]
    at_input = F.interpolate(torch.stack(steps, dim=1)[:, None], (FRAMES, *SIZE), mode="trilinear")[0, 0]
    assert at_input[frame - 1 : frame + 2].max() > 0 and at_input[: frame - 1].max() == 0
    labels = torch.from_numpy(np.arange(FRAMES * 32 * 32).reshape(1, FRAMES, 32, 32) // 512)
    scorer = METHODS[method]()
    question = Question(target=target, frame=frame)
    scores = scorer.score(Query(model, x, labels.int(), 16, question, methods=[scorer]))
    sums = torch.zeros(16, dtype=torch.double).index_add(0, labels.flatten(), at_input.flatten())
    assert relative_error(scores[0].double(), sums) < 1e-5
