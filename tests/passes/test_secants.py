"""Slopes of chords against Captum's DeepLift, and against what they must sum to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from captum.attr import DeepLift
from torch import nn

from videxplain.ops import _library
from videxplain.passes import secants
from videxplain.passes.secants import Secants


class Rectified(nn.Module):
    """Convolutions and rectifiers, each module used once as Captum wants it; its rule for pools does not add up."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        conv = (nn.Conv2d, nn.Conv3d)[axes - 2]
        self.layers = nn.Sequential(
            conv(3, 6, 3, stride=2, padding=1), nn.ReLU(), conv(6, 4, 3), nn.ReLU(inplace=True), nn.Flatten()
        )
        self.last = nn.LazyLinear(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.layers(x))


def chords(net: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, ring: int) -> torch.Tensor:
    """Derivatives of the second logit along chords to the next row of each ring."""
    x = x.clone().requires_grad_()
    with Secants(len(x), ring):
        logits = net(x * 1)  # not a leaf, so that forms in place may come first
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), x)
    return gradient


def following(x: torch.Tensor, ring: int) -> torch.Tensor:
    return x.unflatten(0, (-1, ring)).roll(-1, dims=1).flatten(0, 1)


def laid_out(x: torch.Tensor, channels_last: bool) -> torch.Tensor:
    formats = (torch.channels_last, torch.channels_last_3d)
    return x.contiguous(memory_format=formats[x.ndim - 4] if channels_last else torch.contiguous_format)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("channels_last", [False, True])
def test_equals_deeplift_with_the_next_row_as_reference(axes: int, channels_last: bool) -> None:
    torch.manual_seed(axes)
    net, x = Rectified(axes).double(), torch.randn(6, 3, *[8] * axes, dtype=torch.float64)
    net(x)
    x = laid_out(x, channels_last)
    step = x - following(x, 3)
    expected = DeepLift(net).attribute(x, following(x, 3), target=1)
    torch.testing.assert_close(chords(net, x, 3) * step, expected)


def multiplied_in_place(x: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    x *= by
    return x


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        torch.relu,
        lambda x: x.relu(),
        lambda x: x.relu_(),
        lambda x: F.relu(x, inplace=True),
        lambda x: nn.ReLU(inplace=True)(x),
        nn.ReLU6(inplace=True),
        F.relu6,
        lambda x: F.hardtanh(x, min_val=-0.5, max_val=0.7),
        nn.Hardtanh(),
        F.gelu,
        nn.GELU(approximate="tanh"),
        F.silu,
        nn.SiLU(inplace=True),
        nn.LeakyReLU(0.2, inplace=True),
        nn.ELU(),
        nn.Softplus(beta=2.0),
        lambda x: F.relu(input=x),
        torch.sigmoid,
        lambda x: x.tanh(),
        lambda x: x * x.sigmoid(),
        lambda x: x.mean((2, 3), keepdim=True).sigmoid() * x,
        lambda x: x.relu().mul_(x.mean((2, 3), keepdim=True).tanh()),
        lambda x: multiplied_in_place(x.relu(), x.flip(1)),
        lambda x: torch.mul(x, x) * 3.0 + torch.multiply(2.0, x),
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: F.max_pool2d(x, (2, 3), ceil_mode=True),
        lambda x: F.max_pool3d(x[:, None], kernel_size=(1, 2, 2))[:, 0],
        lambda x: F.max_pool1d(x.flatten(2), 5, stride=3, padding=1),
        nn.AdaptiveMaxPool2d(1),
        lambda x: nn.AdaptiveMaxPool2d((2, 3))(x.contiguous(memory_format=torch.channels_last)),
        lambda x: F.adaptive_max_pool1d(x.flatten(2), output_size=4),
        lambda x: nn.AdaptiveMaxPool3d(2)(x[:, None]),
    ],
)
def test_slopes_times_steps_sum_to_what_the_function_changes_by(function: Callable) -> None:
    torch.manual_seed(0)
    x = 2 * torch.randn(8, 4, 5, 7, dtype=torch.float64)
    x[1], x[2, 0] = x[0] + 1e-5, x[3, 0]  # near each other, and equal
    last = torch.randn(2, function(x.clone()).flatten(1).shape[1], dtype=torch.float64)

    def net(v: torch.Tensor) -> torch.Tensor:
        return F.linear(function(v).flatten(1), last)

    steps = following(x, 4) - x
    with torch.no_grad():
        changes = net(following(x, 4))[:, 1] - net(x.clone())[:, 1]
    found = (chords(net, x, 4) * steps).flatten(1).sum(dim=1)
    torch.testing.assert_close(found, changes, rtol=1e-6, atol=1e-9)


@pytest.mark.skipif(_library.NATIVE is None, reason=_library.WHY_NOT)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        F.relu6,
        lambda x: F.max_pool3d(x, (1, 3, 2), stride=(1, 2, 2)),
        lambda x: F.max_pool3d(x, 3, stride=2, padding=1),
        nn.AdaptiveMaxPool3d((2, 5, 4)),
    ],
)
def test_native_operations_follow_the_formulas(
    monkeypatch: pytest.MonkeyPatch, function: Callable, channels_last: bool, threads: int
) -> None:
    """In single precision, of clips that make two rows each and have more channels than a cache line holds."""
    torch.manual_seed(0)
    x = 4 * torch.randn(8, 2, 19, 3, 18, 19)
    x[1], x[2, 0] = x[0], 0.0  # nothing changes, and ties
    weights = torch.randn(function(x[0]).shape)
    before, used = torch.get_num_threads(), []
    native = secants._native

    def watched(*arguments: object) -> torch.Tensor | None:
        used.append(native(*arguments))
        return used[-1]

    def net(v: torch.Tensor) -> torch.Tensor:
        rows = function(laid_out(v.flatten(0, 1), channels_last)).unflatten(0, (-1, 2)) * weights.to(v)
        return rows.flatten(1).sum(dim=1)[:, None].expand(-1, 2)

    monkeypatch.setattr(secants, "_native", watched)
    torch.set_num_threads(threads)
    try:
        found = chords(net, x, 4)
    finally:
        torch.set_num_threads(before)
    assert len(used) == 1 and used[0] is not None
    torch.testing.assert_close(found, chords(net, x.double(), 4).float(), rtol=1e-5, atol=1e-6)


def test_slope_of_a_rectifier_is_exact_where_a_quotient_would_be_rounding() -> None:
    x = torch.tensor([[1e4, -1e4, 1e-30]]).repeat(2, 1)
    x[1] = torch.nextafter(x[0], torch.tensor(1e9))
    found = chords(lambda v: v.relu().sum(dim=1, keepdim=True).expand(-1, 2), x, 2)
    assert found.tolist() == [[1.0, 0.0, 1.0]] * 2


def test_rows_of_a_network_that_makes_several_of_each_clip() -> None:
    """Frames of a clip as rows of their own: each has the same frame of the next clip for its neighbour."""
    torch.manual_seed(0)
    net, clips = Rectified(2).double(), torch.randn(2, 3, 3, 8, 8, dtype=torch.float64)
    net(clips[:, 0])
    found = chords(lambda x: net(x.flatten(0, 1)).unflatten(0, (2, 3)).sum(dim=1), clips, 2)
    for t in range(3):
        torch.testing.assert_close(found[:, t], chords(net, clips[:, t], 2))


def test_leaves_alone_what_has_no_gradient_or_no_row_a_clip() -> None:
    x = torch.randn(4, 5)
    with Secants(2, 2):
        assert torch.equal(F.relu(x), x.relu())
        odd = F.relu(torch.randn(3, 5, requires_grad=True))
    assert odd.grad_fn.name() == "ReluBackward0"
