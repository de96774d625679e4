"""What goes in: channels, scales and arguments of a network, each against autograd by hand or a twin without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import videxplain as vx
from videxplain.attribution.methods import METHODS

LENGTH, SIDE = 8, 16
T, Y, X = np.indices((LENGTH, SIDE, SIDE))
LABELS = ((T // 4) * 4 + (Y // 8) * 2 + X // 8).astype(np.int32)
K = int(LABELS.max()) + 1
SHAPE: Any = {"clip_length": LENGTH, "size": (SIDE, SIDE)}
MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)


class Plain(nn.Module):
    """Two convolutions and a linear layer, for clips (B, C, T, h, w)."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv3d(channels, 6, 3, stride=(1, 2, 2), padding=1)
        self.act1 = nn.ReLU()
        self.last = nn.Conv3d(6, 8, 3, padding=1)
        self.act2 = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act2(self.last(self.act1(self.first(x)))).mean((2, 3, 4)))


class Raw(nn.Module):
    """The same network for (B, T, H, W, C), blue first, values from 0 to 255, keyword only, with a mask to multiply."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Plain()

    def forward(self, *, video: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rgb = video.flip(-1).permute(0, 4, 1, 2, 3) / 255 * mask
        mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (MEAN, STD))
        return self.net((rgb - mean) / std)


class SlowFast(nn.Module):
    """Two pathways in a list, as PySlowFast takes them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.slow, self.fast = nn.Conv3d(3, 5, 3, padding=1), nn.Conv3d(3, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.head = nn.Linear(9, 4)

    def forward(self, pathways: list[torch.Tensor]) -> torch.Tensor:
        slow, fast = pathways
        parts = self.relu(self.slow(slow)), self.relu(self.fast(fast))
        return self.head(torch.cat([part.mean((2, 3, 4)) for part in parts], dim=1))


def pathways(x: torch.Tensor) -> tuple[list[torch.Tensor]]:
    return ([x[:, :, ::4], x],)


def raw_arguments(x: torch.Tensor) -> dict[str, torch.Tensor]:
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (MEAN, STD))
    video = (255 * (x * std + mean)).flip(1).permute(0, 2, 3, 4, 1)
    return {"video": video, "mask": torch.ones(len(x), 1, 1, 1, 1)}


def clip(channels: int = 3, dtype: Any = np.uint8, high: int = 256, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, high, (LENGTH, SIDE, SIDE, channels))
    return values.astype(dtype)


def sums(voxels: torch.Tensor, labels: np.ndarray = LABELS) -> np.ndarray:
    """(C, T, h, w) to the sum of absolute values over each supervoxel."""
    flat = voxels.detach().abs().sum(0).flatten().double().numpy()
    return np.bincount(labels.ravel(), flat, minlength=K)


def close(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return float(np.abs(one - other).max()) <= tolerance * float(np.abs(other).max())


def slow_fast() -> vx.Classifier:
    return vx.Classifier(SlowFast(), arrange=pathways, **SHAPE)


def gradient_by_hand(
    net: nn.Module, x: torch.Tensor, target: int, arrange: Any = lambda x: (x,)
) -> torch.Tensor:
    x = x.clone().requires_grad_()
    probability = net(*arrange(x)).double().softmax(1)[0, target]
    (gradient,) = torch.autograd.grad(probability, x)
    return gradient[0]


# Arguments


EFFORT = {
    "lime": 60,
    "kernel-shap": 60,
    "rise": 60,
    "region-gradient": 8,
    "smoothgrad": 3,
    "integrated-gradients": 4,
}


@pytest.mark.parametrize("method", sorted(name for name in METHODS))
def test_a_network_with_arguments_of_its_own_equals_its_plain_twin(method: str) -> None:
    if method.startswith("lrp"):
        pytest.importorskip("zennit")
    # what is measured after secants depends on how much a replayed pass spares
    options: Any = {"refine_top": 0} if method == "region-gradient" else {}
    if method in EFFORT:
        name = next(n for n in ("samples", "passes", "steps") if n in METHODS[method].options())
        options[name] = EFFORT[method]
    # in double precision, for LRP divides by sums that are nearly zero
    twin = vx.Classifier(Plain().double(), mean=MEAN, std=STD, cam_layer="act2", **SHAPE)
    raw = vx.Classifier(
        Raw().double(),
        arrange=raw_arguments,
        mean=MEAN,
        std=STD,
        cam_layer="net.act2",
        layout="BCTHW",
        **SHAPE,
    )
    found, right = (
        vx.explain(model, clip(), method, 1, labels=LABELS, **options).scores for model in (raw, twin)
    )
    assert np.abs(right).max() > 0 and close(found, right)


def test_pathways_equal_autograd_and_captum_by_their_inputs() -> None:
    captum = pytest.importorskip("captum.attr")
    model = slow_fast()
    x = model.prepare(clip())
    net = model.net

    def of(slow: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
        return net([slow, fast]).softmax(1)

    def joined(slow: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
        """What both pathways say of the clip's own voxels."""
        whole = fast[0].detach().clone()
        whole[:, ::4] += slow[0].detach()
        return whole

    inputs = x[:, :, ::4].clone().requires_grad_(), x.clone().requires_grad_()
    gradient = joined(*captum.Saliency(of).attribute(inputs, target=2, abs=False))
    expected = {
        "vanilla": gradient,
        "input-x-gradient": gradient * x[0],
        "guided": joined(*captum.GuidedBackprop(Softmax(net)).attribute(inputs, target=2)),
    }
    for method, voxels in expected.items():
        found = vx.explain(model, clip(), method, 2, labels=LABELS)
        assert close(found.scores, sums(voxels)), method
    assert close(sums(gradient), sums(gradient_by_hand(net, x, 2, pathways)))
    black = model.from_rgb(torch.zeros_like(x))
    steps = captum.IntegratedGradients(of).attribute(
        inputs, (black[:, :, ::4], black), target=2, n_steps=32, method="gausslegendre"
    )
    found = vx.explain(model, clip(), "integrated-gradients", 2, labels=LABELS, steps=32)
    assert close(found.scores, sums(joined(*steps)))


class Softmax(nn.Module):
    """Probabilities of a network with pathways, one argument each."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, slow: torch.Tensor, fast: torch.Tensor) -> torch.Tensor:
        return self.net([slow, fast]).softmax(1)


@pytest.mark.parametrize("fill", ["black", "grey", "mean"])
def test_occlusion_of_pathways_by_hand(fill: Any) -> None:
    model = slow_fast()
    x = model.prepare(clip())
    labels = torch.from_numpy(LABELS).long()
    level = model.from_rgb(torch.full_like(x, {"black": 0.0, "grey": 0.5, "mean": 0.0}[fill]))
    before = model.net([x[:, :, ::4], x]).double().softmax(1)[0, 1]
    falls = []
    for k in range(K):
        hidden = x.clone()
        for channel in range(3):
            inside = labels == k
            colour = x[0, channel][inside].mean() if fill == "mean" else level[0, channel][inside]
            hidden[0, channel][inside] = colour
        falls.append(float(before - model.net([hidden[:, :, ::4], hidden]).double().softmax(1)[0, 1]))
    found = vx.explain(model, clip(), "occlusion", 1, labels=LABELS, fill=fill)
    assert close(found.scores, falls)


def test_what_arrange_may_return() -> None:
    x = torch.randn(2, 3, LENGTH, SIDE, SIDE)
    net = Plain()
    right = net(x)

    class Both(nn.Module):
        def forward(self, x: Any, scale: Any = None, *, shift: Any = 0) -> torch.Tensor:
            x = x[0] if isinstance(x, list) else x
            return net(x * (1 if scale is None else scale["by"]) + shift)

    for arrange in (
        lambda x: x,
        lambda x: [x],
        lambda x: (x,),
        lambda x: {"x": x},
        lambda x: ((x,), {"shift": 0}),
        lambda x: ((x, {"by": 1}), {}),
    ):
        model = vx.Classifier(Both(), arrange=arrange, layout="BCTHW", **SHAPE)
        torch.testing.assert_close(model.logits(x), right)
    with pytest.raises(vx.VidexplainError, match="keywords or"):
        vx.Classifier(Both(), arrange=lambda x: (x, {"by": 1}), layout="BCTHW", **SHAPE)
    with pytest.raises(vx.VidexplainError, match=r"arrange fails on a clip of .*IndexError"):
        vx.Classifier(Both(), arrange=lambda x: x[9], layout="BCTHW", **SHAPE)
    with pytest.raises(vx.VidexplainError, match="no tensor"):
        vx.Classifier(Both(), arrange=lambda x: x.tolist(), layout="BCTHW", **SHAPE)


def test_images_and_their_arguments() -> None:
    class Image(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(pixels.permute(0, 3, 1, 2)).relu().mean((2, 3)))

    model = vx.Classifier(Image(), size=(SIDE, SIDE), arrange=lambda x: x.permute(0, 2, 3, 1))
    assert model.is_image_model
    x = torch.randn(2, 3, 5, SIDE, SIDE)
    rows = model.frame_logits(x)
    torch.testing.assert_close(rows[1, 4], model.net(x[1:, :, 4].permute(0, 2, 3, 1))[0])
    found = vx.explain(model, clip()[0], "vanilla", 1, labels=LABELS[0])
    gradient = gradient_by_hand(
        model.net, model.prepare(clip()[0]), 1, lambda x: (x[:, :, 0].permute(0, 2, 3, 1),)
    )
    flat = np.bincount(LABELS[0].ravel(), gradient.abs().sum((0, 1)).flatten().numpy())
    assert close(found.scores, flat)


def test_pathways_that_are_overwritten_do_not_touch_each_other() -> None:
    class Careless(SlowFast):
        def forward(self, pathways: list[torch.Tensor]) -> torch.Tensor:
            return super().forward([pathways[0].mul_(2), pathways[1]])

    class Careful(SlowFast):
        def forward(self, pathways: list[torch.Tensor]) -> torch.Tensor:
            return super().forward([pathways[0] * 2, pathways[1]])

    x = torch.randn(2, 3, LENGTH, SIDE, SIDE)
    one, other = (vx.Classifier(kind(), arrange=pathways, **SHAPE) for kind in (Careless, Careful))
    kept = x.clone()
    torch.testing.assert_close(one.logits(x), other.logits(x))
    assert torch.equal(x, kept)


def test_a_clamp_on_the_way_in_is_no_rectifier_of_the_network() -> None:
    def clamped(x: torch.Tensor) -> torch.Tensor:
        return x.clamp(min=0)

    class Clamping(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    model = vx.Classifier(Clamping(), arrange=clamped, layout="BCTHW", **SHAPE)
    x = model.prepare(clip())
    net = Plain()
    # by hand: the rule at the network's rectifiers, the clamp's own derivative before them
    hooks = [
        module.register_full_backward_hook(lambda m, into, out: (into[0].clamp(min=0),))
        for module in (net.act1, net.act2)
    ]
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf.clamp(min=0)).double().softmax(1)[0, 1], leaf)
    for hook in hooks:
        hook.remove()
    assert bool((gradient < 0).any())
    found = vx.explain(model, clip(), "guided", 1, labels=LABELS)
    assert close(found.scores, sums(gradient[0]))


@pytest.mark.parametrize(
    "arrange",
    [
        lambda x: x.detach(),
        lambda x: torch.from_numpy(x.detach().numpy().copy()),
        lambda x: torch.cat([x[:, :, :4].detach(), x[:, :, 4:]], dim=2),
        lambda x: (50 * x).round() / 50,
    ],
    ids=["detached", "numpy", "half of it", "rounded"],
)
def test_arguments_without_gradients_are_refused_where_gradients_are_asked(arrange: Any) -> None:
    model = vx.Classifier(Plain(), arrange=arrange, layout="BCTHW", **SHAPE)
    for method in ("vanilla", "region-gradient", "integrated-gradients"):
        with pytest.raises(vx.VidexplainError, match=r"no gradient of .Plain. can be trusted: .*occlusion"):
            vx.explain(model, clip(), method, 1, labels=LABELS)
    assert np.abs(vx.explain(model, clip(), "occlusion", 1, labels=LABELS).scores).max() > 0


def test_an_arrangement_is_part_of_the_fingerprint() -> None:
    def model(arrange: Any, **settings: Any) -> vx.Classifier:
        return vx.Classifier(Plain(), arrange=arrange, layout="BCTHW", **SHAPE, **settings)

    plain = model(None).fingerprint()
    double = model(lambda x: 2 * x).fingerprint()
    assert model(lambda x: x + x).fingerprint() == double
    assert len({plain, double, model(lambda x: 3 * x).fingerprint()}) == 3
    assert model(None, value_range=(0, 100)).fingerprint() != plain


# Channels and scales


def test_a_volume_of_one_channel_and_12_bits() -> None:
    model = vx.Classifier(Plain(1), channels=1, value_range=(0, 4095), mean=[0.5], std=[0.25], **SHAPE)
    volume = clip(1, np.uint16, 4096)
    x = model.prepare(volume[..., 0])
    torch.testing.assert_close(x[0, 0], torch.from_numpy((volume[..., 0] / 4095 - 0.5) / 0.25).float())
    assert torch.equal(model.prepare(volume), x) and model.num_classes == 4
    found = vx.explain(model, volume[..., 0], "vanilla", 3, labels=LABELS)
    assert close(found.scores, sums(gradient_by_hand(model.net, x, 3)))
    # what is drawn are the values in grey
    grey = np.floor(255 * (volume / 4095) + 0.5)
    np.testing.assert_array_equal(found.frames, grey.astype(np.uint8).repeat(3, axis=3))
    # a path from black, the lowest value, sums to what the network's score changes by
    dense = vx.pixel_scores(model, x, "integrated-gradients", 3, steps=64, score="logit").dense
    black = torch.full_like(x, (0 - 0.5) / 0.25)
    assert float(dense.sum()) == pytest.approx(float((model.net(x) - model.net(black))[0, 3]), rel=1e-3)


@pytest.mark.parametrize("channels", [1, 2, 4, 10])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_any_channels_of_any_type_come_in_on_their_scale(channels: int, dtype: Any) -> None:
    model = vx.Classifier(Plain(channels), channels=channels, **SHAPE)
    high = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
    values = np.random.default_rng(0).random((LENGTH, SIDE, SIDE, channels)) * high
    frames = values.astype(dtype)
    x = model.prepare(frames)
    torch.testing.assert_close(
        x, torch.from_numpy(frames / np.float64(high)).float().permute(3, 0, 1, 2)[None], rtol=1e-6, atol=1e-6
    )
    # LIME with masks and fill by hand
    found = vx.explain(model, frames, "lime", 1, labels=LABELS, samples=40, fill="grey").scores
    labels = torch.from_numpy(LABELS).long()
    masks = torch.randint(0, 2, (40, K), generator=torch.Generator().manual_seed(0)).float()
    masks[0] = 1
    shown = masks[:, labels][:, None]
    answers = model.net(shown * x + (1 - shown) * 0.5).double().softmax(1)[:, 1].detach()
    similarity = masks.sum(1).double() / (masks.sum(1).double().sqrt() * K**0.5).clamp(min=1e-300)
    weights = (-((1 - similarity) ** 2) / 0.25**2).exp().sqrt().numpy()
    from sklearn.linear_model import Ridge

    right = Ridge(alpha=1.0).fit(masks.numpy(), answers.numpy(), sample_weight=weights).coef_
    assert close(found, right, 1e-4)


def test_colour_is_grey_for_a_network_of_one_channel() -> None:
    model = vx.Classifier(Plain(1), channels=1, **SHAPE)
    colours = clip()
    grey = np.floor(colours @ np.array([0.299, 0.587, 0.114]) + 0.5)
    torch.testing.assert_close(model.prepare(colours)[0, 0], torch.from_numpy(grey / 255).float())
    found = vx.explain(model, colours, "vanilla", 0, labels=LABELS)
    assert (found.frames == colours).all()
    assert model.prepare(colours[0]).shape == model.prepare(grey.astype(np.uint8)[0]).shape


def test_the_picture_is_what_is_cut_and_drawn() -> None:
    def show(frames: np.ndarray) -> np.ndarray:
        return (255 * frames[..., 3]).astype(np.uint8)

    model = vx.Classifier(Plain(4), channels=4, picture=show, **SHAPE)
    frames = clip(4, np.float32, 2)
    found = vx.explain(model, frames, "vanilla", 0, n_segments=20)
    grey = show(frames)[..., None].repeat(3, axis=3)
    np.testing.assert_array_equal(found.labels, vx.segment(grey, n_segments=20))
    np.testing.assert_array_equal(found.frames, grey)
    assert found.render(legend=False).shape == grey.shape
    for wrong in (lambda frames: frames[..., 0], lambda frames: show(frames)[0]):
        model = vx.Classifier(Plain(4), channels=4, picture=wrong, **SHAPE)
        with pytest.raises(vx.VidexplainError, match=r"picture has to make uint8 \(8, 16, 16, 3\)"):
            vx.explain(model, frames, "vanilla", 0)


def test_channels_that_are_no_picture_are_drawn_in_grey_and_that_is_said_once() -> None:
    model = vx.Classifier(Plain(5), channels=5, **SHAPE)
    with pytest.warns(vx.VidexplainWarning, match="mean of their 5 channels") as told:
        first = vx.explain(model, clip(5), "vanilla", 0)
        vx.explain(model, clip(5, seed=1), "vanilla", 0)
    assert len(told) == 1 and "mean of their 5 channels" in str(first.settings["notes"])
    expected = np.floor(clip(5).mean(axis=3) + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(first.frames[..., 1], expected)


def test_letterboxes_are_black_whatever_black_is() -> None:
    model = vx.Classifier(Plain(2), channels=2, value_range=(-20, 20), framing="letterbox", **SHAPE)
    flow = np.full((LENGTH, 8, 16, 2), 10, np.float32)
    x = model.prepare(flow)
    assert float(x[0, 0, 0, 0, 0]) == 0 and float(x[0, 1, 0, 8, 8]) == 0.75


def test_frames_that_do_not_fit_are_refused_in_a_sentence() -> None:
    one = vx.Classifier(Plain(1), channels=1, value_range=(0, 4095), **SHAPE)
    three = vx.Classifier(Plain(), **SHAPE)
    flow = vx.Classifier(Plain(2), channels=2, value_range=(-20, 20), **SHAPE)
    nan = clip(1, np.float32)
    nan[0] = np.nan
    wrong: list[tuple[vx.Classifier, Any, str]] = [
        (one, clip(1), "uint8 frames cannot fill the value range"),
        (one, clip(1, np.uint16, 65536), "not on the scale"),
        (one, clip(2, np.uint16), r"\(T, H, W, 1\) for Plain.* takes 1 channel,"),
        (one, nan, "NaN"),
        (one, clip(1, np.int16), "not int16; convert"),
        (three, clip(3, np.float32), "values from 0 to 255.*value_range"),
        (three, clip(4), r"\(T, H, W, 3\)"),
        (flow, clip(2, np.float32, 2000), "not on the scale"),
        (flow, [clip(2, np.uint8, 20), clip(2, np.float32, 20)], "uint8|one type"),
    ]
    for model, frames, message in wrong:
        with pytest.raises(vx.VidexplainError, match=message):
            model.prepare(frames)
    with pytest.raises(vx.VidexplainError, match="mean and std need one value each"):
        vx.Classifier(Plain(1), channels=1, mean=MEAN, **SHAPE)
    with pytest.raises(vx.VidexplainError, match="lowest, highest"):
        vx.Classifier(Plain(1), channels=1, value_range=(5, 5), **SHAPE)
    with pytest.raises(vx.VidexplainError, match="lime package takes clips of three channels"):
        vx.explain(one, clip(1, np.uint16, 4096), "lime", labels=LABELS, batched=False)


def test_the_layer_of_grad_cam_is_found_for_other_channels() -> None:
    model = vx.Classifier(Plain(2), channels=2, **SHAPE)
    assert model.cam_layer == "act2"
    x = model.prepare(clip(2))
    net = model.net
    features = net.act2(net.last(net.act1(net.first(x)))).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net.head(features.mean((2, 3, 4)))[0, 1], features)
    cam = F.relu((gradient.mean((2, 3, 4), keepdim=True) * features).sum(1))[0].detach()
    found = vx.pixel_scores(model, x, "grad-cam", 1).cam[0]
    assert close(found, cam)


def test_networks_that_answer_one_clip_only_take_arranged_ones() -> None:
    class OneByOne(SlowFast):
        def forward(self, pathways: list[torch.Tensor]) -> torch.Tensor:
            if len(pathways[1]) > 1:
                raise RuntimeError("one clip, please")
            return super().forward(pathways)

    one = vx.Classifier(OneByOne(), arrange=pathways, **SHAPE)
    found, right = (
        vx.explain(model, clip(), "occlusion", 1, labels=LABELS).scores for model in (one, slow_fast())
    )
    assert close(found, right)


def test_a_form_is_found_for_other_channels() -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv3d(2, 4, 3, stride=8, padding=1)
            self.head = nn.Linear(4 * 1 * 8 * 8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.body(x)).flatten(1))

    model = vx.Classifier(Fixed(), channels=2)
    assert (model.layout, model.clip_length, model.size) == ("BCTHW", 8, (64, 64))


# Several inputs


class TwoStreams(nn.Module):
    """A network for colours and one for optical flow, whose logits are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.colours, self.flow = Plain(3), Plain(2)

    def forward(self, colours: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
        return self.colours(colours) + 2 * self.flow(flow)


GROUPS = {"rgb": slice(0, 3), "flow": [3, 4]}


def two_streams(**settings: Any) -> vx.Classifier:
    return vx.Classifier(
        TwoStreams(),
        channels=5,
        arrange=lambda x: (x[:, :3], x[:, 3:]),
        picture=lambda frames: (255 * frames[..., :3]).astype(np.uint8),
        layout="BCTHW",
        **SHAPE,
        **({"channel_groups": GROUPS} | settings),
    )


def test_scores_of_each_input_sum_to_the_whole_and_are_captums() -> None:
    captum = pytest.importorskip("captum.attr")
    model = two_streams()
    frames = np.random.default_rng(0).random((LENGTH, SIDE, SIDE, 5)).astype(np.float32)
    x = model.prepare(frames)
    inputs = tuple(part.clone().requires_grad_() for part in (x[:, :3], x[:, 3:]))

    def of(*parts: torch.Tensor) -> torch.Tensor:
        return model.net(*parts).softmax(1)

    expected = {
        "vanilla": captum.Saliency(of).attribute(inputs, target=1, abs=False),
        "input-x-gradient": captum.InputXGradient(of).attribute(inputs, target=1),
        "integrated-gradients": captum.IntegratedGradients(of).attribute(
            inputs, target=1, n_steps=32, method="gausslegendre"
        ),
    }
    for method, parts in expected.items():
        for signed in (False, True):
            found = vx.explain(model, frames, method, 1, labels=LABELS, signed=signed)
            for name, part in zip(GROUPS, parts, strict=True):
                values = part[0].detach() if signed else part[0].detach().abs()
                right = np.bincount(LABELS.ravel(), values.sum(0).flatten().double().numpy())
                assert close(found.of_input(name).scores, right), (method, name, signed)
            assert close(sum(found.input_scores.values()), found.scores)
    against = vx.explain(model, frames, "vanilla", 1, labels=LABELS, against=2)
    assert close(sum(against.input_scores.values()), against.scores)


def test_explanations_of_several_inputs_are_kept_and_drawn(tmp_path: Any) -> None:
    model = two_streams()
    frames = np.random.default_rng(0).random((LENGTH, 24, 30, 5)).astype(np.float32)
    found = vx.explain(model, frames, "guided", 1, n_segments=10)
    again = vx.Explanation.load(found.save(tmp_path / "saved"))
    for name in GROUPS:
        np.testing.assert_array_equal(again.of_input(name).scores, found.of_input(name).scores)
    assert (again.of_input("flow").render() == found.of_input("flow").render()).all()
    assert (again.render() != again.of_input("flow").render()).any()
    assert again.frames.shape == (LENGTH, 24, 30, 3)


def test_inputs_that_cannot_be_told_apart_are_refused() -> None:
    frames = np.random.default_rng(0).random((LENGTH, SIDE, SIDE, 5)).astype(np.float32)
    options: list[tuple[str, dict[str, Any]]] = [
        ("occlusion", {}),
        ("vanilla", {"reduction": "max"}),
        ("grad-cam", {}),
    ]
    for method, option in options:
        found = vx.explain(two_streams(cam_layer="colours.act2"), frames, method, 1, labels=LABELS, **option)
        with pytest.raises(vx.VidexplainError, match="does not tell inputs apart"):
            found.of_input("flow")
    found = vx.explain(two_streams(), frames, "vanilla", 1, labels=LABELS)
    with pytest.raises(vx.VidexplainError, match="unknown input 'flo'; did you mean 'flow'"):
        found.of_input("flo")
    for groups in (
        {"rgb": slice(0, 3)},
        {"all": slice(None), "flow": [3, 4]},
        {"far": range(5), "more": [5]},
    ):
        with pytest.raises(vx.VidexplainError, match="each of 5 channels once"):
            two_streams(channel_groups=groups)
