"""Replayed passes against whole ones, of networks that go through boxes in every way there is."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

import videxplain as vx
from videxplain.attribution.methods import Occlusion
from videxplain.attribution.query import Query
from videxplain.passes.boxes.step import Box
from videxplain.passes.fast_layers import FastLayers
from videxplain.passes.incremental import Recording
from videxplain.passes.masked_clip import MaskedClip
from videxplain.passes.secants import Secants
from videxplain.settings import Question

SIZE = (6, 20, 17)
BOXES = {
    "inside": (slice(2, 4), slice(6, 11), slice(5, 9)),
    "corner": (slice(0, 1), slice(18, 20), slice(0, 3)),
    "frames": (slice(0, 6), slice(9, 10), slice(16, 17)),
    "all": (slice(0, 6), slice(0, 20), slice(0, 17)),
}


class Odd(nn.Module):
    """Steps, holes and edges of all kinds, and what works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv3d(
            3, 4, (3, 5, 3), stride=(1, 2, 1), padding=(1, 0, 2), dilation=(1, 1, 2), bias=False
        )
        self.norm = nn.BatchNorm3d(4)
        self.pool = nn.MaxPool3d(3, stride=(1, 2, 2), padding=1, ceil_mode=True)
        self.apart = nn.Conv3d(4, 4, 3, groups=2)
        self.skipping = nn.Conv3d(4, 4, 1, stride=(1, 3, 3))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.first((x - 0.5) / 0.5)), inplace=True)
        x = self.pool(x)
        assert x.ndim == 5 and len(x) == x.size(0) and x.shape[1] == 4
        y = F.gelu(F.conv3d(x, weight=self.apart.weight, bias=self.apart.bias, padding=1, groups=2))
        y += x
        y = F.leaky_relu(self.skipping(y), 0.1) * 2
        y = y.to(x.dtype).contiguous()
        return self.head(torch.cat([y.mean((2, 3, 4)), y.flatten(2).amax(2)]).unflatten(0, (2, -1)).sum(0))


def small_c3d() -> nn.Module:
    net = vx.models.C3D(num_classes=3, width=2, fc_width=8, batch_norm=True).features[:14]
    return nn.Sequential(net, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 3))


def residual() -> nn.Module:
    """r3d_18 with half of its blocks."""
    return VideoResNet(BasicBlock, [Conv3DSimple] * 4, [1] * 4, BasicStem, num_classes=3)


@cache
def ready(make: Callable[[], nn.Module]) -> nn.Module:
    """In double precision, with running statistics that do something."""
    torch.manual_seed(1)
    net = make().double().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net


def recorded(net: nn.Module, x: torch.Tensor) -> Recording:
    recording = Recording()
    x = x.clone().requires_grad_()
    with FastLayers(), Secants(len(x), len(x)), recording:
        logits = net(recording.follow(x))
    torch.autograd.grad(logits.sum(), x)  # as it is used
    return recording


@pytest.mark.parametrize("rows", [slice(1, 3), [3, 0, 0]], ids=["slice", "list"])
@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("make", [Odd, small_c3d, residual])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d], ids=["first", "last"])
def test_a_replayed_pass_is_a_whole_one(
    make: Callable[[], nn.Module], box: Box, rows: slice | list[int], layout: torch.memory_format
) -> None:
    net = ready(make)
    x = torch.randn(4, 3, *SIZE, dtype=torch.float64).to(memory_format=layout)
    recording = recorded(net, x)
    assert recording.is_local and recording.is_whole
    changed = x[rows].clone()
    part = torch.randn_like(changed[(..., *box)])
    changed[(..., *box)] = part
    with torch.no_grad():
        expected, before = net(changed), net(x[rows])
    assert (expected - before).abs().max() > 1e-6, "the change matters"
    torch.testing.assert_close(recording.replay(net, rows, part, box), expected)


def test_work_is_counted_in_passes_of_a_clip() -> None:
    net = ready(small_c3d)
    x = torch.randn(4, 3, *SIZE, dtype=torch.float64)
    recording = recorded(net, x)
    recording.replay(net, [0, 1], x[:2].clone(), BOXES["all"])
    assert recording.replayed == pytest.approx(2)
    recording.replay(net, [0], x[:1, :, 2:4, 6:11, 5:9].clone(), BOXES["inside"])
    assert 2.1 < recording.replayed < 2.6


class Overwrites(nn.Module):
    """Scales what a convolution has read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Conv3d(3, 3, 3, padding=1), nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + 1
        y = self.layer(x)
        with torch.no_grad():
            x *= 2
        return self.head((y + x).mean((2, 3, 4)))


class Everywhere(nn.Module):
    """Spends most of its work where every place sees every other."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv3d(3, 4, 2, 2), nn.Linear(240, 240), nn.Linear(240, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(self.patches(x).flatten(2)).mean(1))


@pytest.mark.parametrize("make", [Overwrites, Everywhere])
def test_what_cannot_be_replayed_or_gains_nothing_is_told(make: Callable[[], nn.Module]) -> None:
    recording, net = Recording(), ready(make)
    with torch.no_grad(), recording:
        net(recording.follow(torch.randn(2, 3, *SIZE, dtype=torch.float64)))
    assert not (recording.is_local and recording.is_whole)


def test_a_network_that_goes_another_way_is_refused_and_scored_whole() -> None:
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = nn.Conv3d(3, 4, 3, padding=1), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layers(x)
            return self.head((x if len(x) == 4 else x.relu()).mean((2, 3, 4)))

    model = vx.Classifier(Fickle(), clip_length=6, size=SIZE[1:], class_names=["yes", "no"])
    labels = torch.arange(6)[:, None, None].expand(SIZE)
    clip = MaskedClip(model, torch.randn(3, *SIZE), labels, 6, 0)
    z = (torch.rand(4, 6) < 0.5).float()
    recording = Recording()
    clip.gradient(z, score="logit", recording=recording)
    assert recording.is_local
    changed = z[:2].clone()
    changed[:, 3] = 1 - changed[:, 3]
    with pytest.raises(LookupError):
        box = (slice(3, 4), slice(0, 20), slice(0, 17))
        recording.replay(model.frame_logits, [0, 1], clip.compose(changed, box), box)
    rescored = clip.rescore(recording, [0, 1], changed, [3], score="logit")
    torch.testing.assert_close(rescored, clip.values(changed, score="logit"))


def test_masked_clips_are_rescored_where_supervoxels_change() -> None:
    model = vx.load_model("c3d-motion")
    x = torch.randn(3, 16, 112, 112, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(4 * 7 * 7).view(4, 7, 7)
    labels = labels.repeat_interleave(4, 0).repeat_interleave(16, 1).repeat_interleave(16, 2)
    clip = MaskedClip(model, x, labels, 196, 0)
    z = (torch.rand(4, 196) < 0.5).float()
    recording = Recording()
    clip.gradient(z, score="log-odds", ring=4, recording=recording)
    for changed in ([40], [0, 195]):
        flipped = z[1:3].clone()
        flipped[:, changed] = 1 - flipped[:, changed]
        rescored = clip.rescore(recording, slice(1, 3), flipped, changed, score="log-odds")
        torch.testing.assert_close(rescored, clip.values(flipped, score="log-odds"), rtol=1e-4, atol=1e-4)


def test_occlusion_hides_one_supervoxel_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vx.Classifier(
        deepcopy(ready(small_c3d)).float(), clip_length=6, size=SIZE[1:], class_names=list("abc")
    )
    labels = torch.arange(6)[:, None, None].expand(SIZE).contiguous()
    x = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    clip = MaskedClip(model, x[0], labels, 8, 1)
    masks = torch.cat([torch.ones(1, 8), 1 - torch.eye(8)[:6]])
    whole, *hidden = clip.probability(masks)
    for never in ("is_cheap", "is_quick"):  # a slab of a clip so small is not
        monkeypatch.setattr(MaskedClip, never, lambda *_: True)
    monkeypatch.setattr(MaskedClip, "values", None)  # no whole pass more than the first
    found = Occlusion(fill="mean").score(Query(model, x, labels[None], 8, Question(target=1)))[0]
    torch.testing.assert_close(found[:6], (whole - torch.stack(hidden)).float(), rtol=1e-4, atol=1e-7)
    assert found[:6].abs().min() > 1e-5 and not found[6:].any()
