"""Passes through layers that are done faster than torch does them, against autograd's own in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import videxplain as vx
from videxplain.models.c3d import LoneConv3d
from videxplain.passes import fast_layers
from videxplain.passes.fast_layers import FastLayers


def network(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    for weight in weights[:-1]:
        x = F.relu(F.linear(x, weight, torch.zeros(len(weight), dtype=x.dtype)))
    return F.linear(x, weights[-1])


@pytest.mark.parametrize("batch", [1, 2])
def test_linear_layers(monkeypatch, batch: int) -> None:
    monkeypatch.setattr(fast_layers, "_LARGE", 1)
    summed = []
    bag = F.embedding_bag
    monkeypatch.setattr(F, "embedding_bag", lambda *a, **k: summed.append(len(a[0])) or bag(*a, **k))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((300, 200), (100, 300), (5, 100))]
    x = torch.randn(batch, 200, generator=generator)

    exact = x.double().requires_grad_()
    network(exact, [w.double() for w in weights])[0, 2].backward()
    with FastLayers():
        found = x.requires_grad_()
        network(found, weights)[0, 2].backward()

    assert torch.allclose(found.grad.double(), exact.grad, rtol=1e-5, atol=1e-5 * exact.grad.abs().max())
    assert bool(summed) == (batch == 1)
    assert all(0 < rows < 200 for rows in summed)  # not those whose ReLU was off


def test_a_linear_layer_without_any_gradient(monkeypatch) -> None:
    monkeypatch.setattr(fast_layers, "_LARGE", 1)
    x = torch.ones(1, 8, requires_grad=True)
    with FastLayers():
        F.relu(F.linear(x, -torch.ones(4, 8))).sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, 8))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [
        ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((3, 7, 7), (1, 2, 2), (1, 3, 3)),
        ((5, 4, 3), (2, 3, 2), (2, 0, 1)),  # frames, rows and columns that no stride reaches
        ((2, 1, 5), (3, 1, 1), (0, 0, 2)),
    ],
)
def test_first_convolutions(monkeypatch, kernel, stride, padding, channels_last: bool, batch: int) -> None:
    calls = []
    transposed = F.conv_transpose2d
    monkeypatch.setattr(F, "conv_transpose2d", lambda *a, **k: calls.append(1) or transposed(*a, **k))
    torch.manual_seed(0)
    layer = torch.nn.Conv3d(3, 8, kernel, stride=stride, padding=padding)
    x = torch.randn(batch, 3, 8, 18, 23)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    with FastLayers():
        alone = layer(x)
        found = layer(x.requires_grad_())
    weights = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x)

    exact = x.detach().double().requires_grad_()
    expected = layer.double()(exact)
    (reference,) = torch.autograd.grad((expected * weights.double()).sum(), exact)
    assert calls
    assert torch.equal(alone, found)
    assert torch.allclose(found.double(), expected, atol=1e-5)
    assert torch.allclose(gradient.double(), reference, atol=1e-5 * reference.abs().max())


@pytest.mark.parametrize(
    "layer",
    [
        torch.nn.Conv3d(3, 4, 3, padding="same"),
        torch.nn.Conv3d(3, 4, 3, dilation=2),
        torch.nn.Conv3d(3, 6, 3, groups=3),
        torch.nn.Conv3d(3, 4, 3, padding=1, padding_mode="replicate"),
        torch.nn.Conv3d(3, 4, (1, 3, 3)),
        torch.nn.Conv3d(8, 4, 3),
    ],
    ids=str,
)
def test_other_convolutions_give_the_same_gradient(layer: torch.nn.Conv3d) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, layer.in_channels, 6, 9, 9, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    with FastLayers():
        (found,) = torch.autograd.grad(layer(x).square().sum(), x)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("channels", "kernel", "padding"), [(8, 3, 1), (8, (1, 3, 5), (0, 0, 4)), (3, 3, 1)])
def test_convolutions_of_a_lone_clip(channels: int, kernel, padding, batch: int, channels_last: bool) -> None:
    torch.manual_seed(0)
    layer = LoneConv3d(channels, 6, kernel, padding=padding)
    x = torch.randn(batch, channels, 5, 9, 7)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last_3d)
    with torch.no_grad():
        alone = layer(x)
    with FastLayers():
        found = layer(x.requires_grad_())
    by_itself = channels > 3 and batch == 1
    assert type(found.grad_fn).__name__.startswith("_Lone") == by_itself
    weights = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x)

    exact = x.detach().double().requires_grad_()
    expected = F.conv3d(exact, layer.weight.double(), layer.bias.double(), padding=layer.padding)
    (reference,) = torch.autograd.grad((expected * weights.double()).sum(), exact)
    for values in (alone, found, layer(x)):
        assert torch.allclose(values.double(), expected, atol=1e-5)
    assert torch.allclose(gradient.double(), reference, atol=1e-5 * reference.abs().max())


def test_a_lone_clip_trains_the_weights() -> None:
    torch.manual_seed(0)
    layer = LoneConv3d(8, 6, 3, padding=1)
    x = torch.randn(1, 8, 5, 9, 7)
    layer(x).square().sum().backward()
    weight = layer.weight.detach().double().requires_grad_()
    F.conv3d(x.double(), weight, layer.bias.detach().double(), padding=1).square().sum().backward()
    assert torch.allclose(layer.weight.grad.double(), weight.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4, 6), (2, 5, 3, 4, 6)])
def test_batch_normalisation(shape: tuple[int, ...], affine: bool) -> None:
    torch.manual_seed(0)
    layer = {2: torch.nn.BatchNorm1d, 4: torch.nn.BatchNorm2d, 5: torch.nn.BatchNorm3d}[len(shape)](
        5, affine=affine
    )
    layer(torch.randn(9, *shape[1:]) * 3 + 1)
    if affine:
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    layer.eval()
    x = torch.randn(shape, requires_grad=True)
    with FastLayers():
        found = layer(x)
    assert torch.equal(found, layer(x)), (
        "rounding too: it decides on which side of a rectifier's corner a value is"
    )
    assert "BatchNorm" in type(found.grad_fn).__name__ and "Native" not in type(found.grad_fn).__name__
    weights = torch.randn(shape)
    (gradient,) = torch.autograd.grad((found * weights).sum(), x)

    exact = x.detach().double().requires_grad_()
    expected = layer.double()(exact)
    (reference,) = torch.autograd.grad((expected * weights.double()).sum(), exact)
    assert torch.allclose(gradient.double(), reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "layer", [torch.nn.BatchNorm2d(5), torch.nn.BatchNorm2d(5, track_running_stats=False).eval()]
)
def test_batch_normalisation_by_the_batch_is_left_alone(layer: torch.nn.BatchNorm2d) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 5, 4, 6, requires_grad=True)
    (expected,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
    with FastLayers():
        (found,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
    assert torch.equal(found, expected)


def test_a_lone_clip_through_a_compiled_layer() -> None:
    torch.manual_seed(0)
    layer = LoneConv3d(8, 6, 3, padding=1)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    x = torch.randn(1, 8, 5, 9, 7)
    for recorded in (torch.no_grad(), torch.enable_grad()):
        with recorded:
            assert torch.allclose(compiled(x), layer(x), atol=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        "guided",
        pytest.param("grad-cam", marks=pytest.mark.slow),
        pytest.param("region-gradient", marks=pytest.mark.slow),
    ],
)
def test_a_compiled_network_is_explained_like_any_other(method: str) -> None:
    model = vx.load_model("c3d-motion")
    clip = torch.rand(16, 112, 112, 3, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    options = {"passes": 4} if method == "region-gradient" else {}
    expected = vx.explain(model, clip, method=method, **options)
    model.net = torch.compile(model.net, backend="eager")
    found = vx.explain(model, clip, method=method, labels=expected.labels, **options)
    assert found.target == expected.target
    torch.testing.assert_close(found.scores, expected.scores)
