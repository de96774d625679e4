"""The adapter around any network: what goes in, what comes out, and what is said when it cannot work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models import Classifier, cam_candidates, evaluating
from videxplain.settings import NetworkSettings


class Clips(nn.Module):
    """A small video network; `layout` is the order of axes that it takes."""

    def __init__(self, layout: str = "BCTHW") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layout = layout
        self.body = nn.Sequential(nn.Conv3d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.BatchNorm3d(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.layout == "BTCHW":
            x = x.transpose(1, 2)
        return self.head(self.body(x).mean((2, 3, 4)))


class Images(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).relu().mean((2, 3)))


class Wrapped(nn.Module):
    """Returns what `wrap` makes of the logits."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.net, self.wrap = Clips(), wrap

    def forward(self, x: torch.Tensor) -> Any:
        return self.wrap(self.net(x))


def clips_model(**settings: Any) -> Classifier:
    return Classifier(Clips(settings.get("layout", "BCTHW")), clip_length=8, size=(16, 24), **settings)


def frames(count: int = 8, height: int = 16, width: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, height, width, 3), dtype=np.uint8)


def test_preparation_normalises_and_turns_back() -> None:
    model = clips_model(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    clip = frames()
    x = model.prepare(clip)
    assert x.shape == (1, 3, 8, 16, 24) and x.dtype == torch.float32
    expected = (clip[5, 3, 7] / 255 - np.array(model.mean)) / np.array(model.std)
    np.testing.assert_allclose(x[0, :, 5, 3, 7].numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(model.to_rgb(x)[0, :, 5, 3, 7].numpy() * 255, clip[5, 3, 7], atol=1e-3)


def test_short_clips_hold_their_last_frame() -> None:
    x = clips_model().prepare(frames(3))
    assert x.shape[2] == 8
    assert torch.equal(x[:, :, 7], x[:, :, 2]) and not torch.equal(x[:, :, 1], x[:, :, 2])


def test_frames_of_any_size_are_fitted() -> None:
    model = clips_model()
    assert model.prepare([frames(8, 50, 31), frames(8, 9, 9)]).shape == (2, 3, 8, 16, 24)


def test_layouts_give_the_same_answer() -> None:
    x = torch.randn(2, 3, 8, 16, 24)
    assert torch.equal(clips_model().logits(x), clips_model(layout="BTCHW").logits(x))


def test_image_models_see_every_frame_alone() -> None:
    model = Classifier(Images(), layout="BCHW", size=(16, 24))
    assert model.is_image_model and model.clip_length == 1
    x = torch.randn(2, 3, 5, 16, 24)
    rows = model.frame_logits(x)
    assert rows.shape == (2, 5, 3)
    torch.testing.assert_close(rows[1, 4], model.net(x[1:, :, 4])[0])
    torch.testing.assert_close(model.predict(x), rows.softmax(-1).mean(1))
    image = model.prepare(frames(1)[0])
    assert image.shape == (1, 3, 1, 16, 24)
    grid = model.cam_grid(model.net.body(x.transpose(1, 2).flatten(0, 1)), frames=5)
    assert grid.shape == (2, 4, 5, 8, 12)
    torch.testing.assert_close(grid[1, :, 4], model.net.body(x[1:, :, 4])[0])


def test_batch_normalisation_is_used_as_trained_and_modes_come_back() -> None:
    net = Clips().train()
    net.body[1].eval()
    model = Classifier(net, clip_length=8, size=(16, 24))
    modes = [module.training for module in net.modules()]
    before = net.body[2].running_mean.clone()
    x = torch.randn(2, 3, 8, 16, 24)
    torch.testing.assert_close(model.logits(x)[:1], model.logits(x[:1]))
    assert torch.equal(net.body[2].running_mean, before)
    assert [module.training for module in net.modules()] == modes
    with pytest.raises(ZeroDivisionError), evaluating(net):
        assert not net.training
        raise ZeroDivisionError
    assert [module.training for module in net.modules()] == modes


def test_targets_by_index_name_and_rank() -> None:
    model = clips_model(class_names=["Run", "swim", "7"])
    p = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    for target, expected in [
        (None, [1, 0]),
        (2, [2, 2]),
        ("swim", [1, 1]),
        ("RUN", [0, 0]),
        ("#2", [2, 2]),
        ("#3", [0, 1]),
        ("7", [2, 2]),
        ("0", [0, 0]),
        (["swim", None], [1, 0]),
        (torch.tensor([1, 2]), [1, 2]),
        (np.int64(1), [1, 1]),
    ]:
        assert model.resolve_target(target, p).tolist() == expected, target
    for target, message in [
        ("swimm", "did you mean 'swim'"),
        (3, "classes 0 to 2"),
        (-1, "classes 0 to 2"),
        ("#4", "there are 3 classes"),
        ([1], "1 target classes were given for 2 clips"),
        (True, "not True"),
        (1.5, "not 1.5"),
    ]:
        with pytest.raises(VidexplainError, match=message):
            model.resolve_target(target, p)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits: (logits, logits.new_zeros(len(logits), 4, 2, 2)),
        lambda logits: [logits],
        lambda logits: {"logits": logits, "loss": logits.sum()},
        lambda logits: {"scores": logits},
        lambda logits: type("Output", (), {"logits": logits})(),
        lambda logits: logits[:, :, None, None, None],
        lambda logits: logits.double(),
    ],
    ids=["tuple", "list", "dict with logits", "dict of one", "object", "trailing axes", "float64"],
)
def test_logits_are_found_in_what_a_network_returns(wrap: Any) -> None:
    x = torch.randn(2, 3, 8, 16, 24)
    model = Classifier(Wrapped(wrap), clip_length=8, size=(16, 24))
    torch.testing.assert_close(model.logits(x), clips_model().logits(x))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (lambda logits: {"a": logits, "b": logits}, "a dict with 'a', 'b'"),
        (lambda logits: None, "NoneType"),
        (lambda logits: [], "a list"),
        (lambda logits: logits.argmax(1), r"torch.int64 \(2,\)"),
        (lambda logits: logits.argmax(1, keepdim=True), "torch.int64"),
        (lambda logits: logits[:, :, None].expand(-1, -1, 4), r"\(2, 3, 4\)"),
        (lambda logits: logits[:1], "answered 2 inputs with 1 rows"),
    ],
)
def test_other_outputs_are_refused_in_one_sentence(wrap: Any, message: str) -> None:
    with pytest.raises(VidexplainError, match=message):
        Classifier(Wrapped(wrap), clip_length=8, size=(16, 24)).logits(torch.randn(2, 3, 8, 16, 24))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_other_precision_work(dtype: torch.dtype) -> None:
    model = Classifier(Clips().to(dtype), clip_length=8, size=(16, 24))
    x = torch.randn(2, 3, 8, 16, 24)
    logits = model.logits(x)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, clips_model().logits(x), atol=2e-2, rtol=2e-2)


def test_bfloat16_is_asked_for_and_weights_stay_as_they_are() -> None:
    model = clips_model()
    x = model.prepare(frames())
    exact, before = model.logits(x), model.fingerprint()
    lower = model.configure(precision="bfloat16").logits(x)
    assert lower.dtype == torch.float32
    assert 0 < float((lower - exact).abs().max()) < 0.02 * float(exact.abs().max())
    assert all(p.dtype == torch.float32 for p in model.net.parameters())
    assert model.fingerprint() != before  # a long run does not go on in another precision
    assert model.configure(precision="float32").fingerprint() == before


def test_clips_that_cannot_be_used_are_refused() -> None:
    model = clips_model()
    for clip, message in [
        (frames().astype(np.float32), "uint8 RGB in a numpy array, not float32"),
        (frames().tolist(), "uint8 RGB"),
        (frames()[..., :2], r"\(T, H, W, 3\)"),
        (frames(0), r"\(T, H, W, 3\)"),
        (frames(9), "too long"),
        ([], "no clip"),
    ]:
        with pytest.raises(VidexplainError, match=message):
            model.prepare(clip)
    images = Classifier(Images(), layout="BCHW", size=(16, 24))
    with pytest.raises(VidexplainError, match="one length"):
        images.prepare([frames(2), frames(3)])
    for x, message in [
        (torch.zeros(3, 8, 16, 24), "floating"),
        (torch.zeros(1, 3, 8, 16, 24, dtype=torch.uint8), "torch.uint8"),
        (torch.zeros(1, 1, 8, 16, 24), "floating"),
    ]:
        with pytest.raises(VidexplainError, match=message):
            model.logits(x)


class Rigid(nn.Module):
    """A network that takes one size only."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 4 * 8 * 8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def test_input_of_another_size_is_named() -> None:
    model = Classifier(Rigid(), clip_length=4, size=(8, 8))
    assert model.num_classes == 2
    with pytest.raises(VidexplainError, match=r"takes clips of \(3, 4, 8, 8\)"):
        model.logits(torch.zeros(1, 3, 4, 9, 8))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "THWC"}, "layout"),
        ({"framing": "stretch"}, "framing"),
        ({"mean": (0.5,)}, "three values"),
        ({"std": (1, 1, 0)}, "positive"),
        ({"clip_length": 0}, "0 frames"),
        ({"cam_layer": "bodyy"}, "did you mean 'body'"),
        ({"device": "abacus"}, "abacus"),
        ({"precision": "bfloat8"}, "bfloat8.*bfloat16"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(VidexplainError, match=message):
        Classifier(Clips(), **settings)
    with pytest.raises(VidexplainError, match=r"torch\.nn\.Module"):
        Classifier(lambda x: x)  # type: ignore[arg-type]


def test_wrong_number_of_class_names_is_said() -> None:
    with pytest.raises(VidexplainError, match="3 outputs but 2 class names"):
        clips_model(class_names=["a", "b"]).predict(torch.zeros(1, 3, 8, 16, 24))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_cam_layer_is_found_where_gradients_are_off(mode: Any) -> None:
    model = clips_model()
    with mode():
        assert [c.name for c in cam_candidates(model)] == ["body.0", "body.1", "body"]
        assert model.cam_layer == "body"


def test_a_layer_without_a_grid_is_refused() -> None:
    model = clips_model(cam_layer="head")
    with pytest.raises(VidexplainError, match="no grid"):
        model.cam_grid(torch.zeros(1, 3))
    with pytest.raises(VidexplainError, match="no layer whose output is a grid"):
        _ = Classifier(Rigid(), clip_length=4, size=(8, 8)).cam_layer


def test_options_that_are_none_of_a_networks_are_refused() -> None:
    with pytest.raises(VidexplainError, match=r"option 'labels' means nothing to a network; .*class_names"):
        Classifier(Clips(), labels=["a"])  # type: ignore[call-arg]
    with pytest.raises(VidexplainError, match=r"settings has to be a NetworkSettings\(...\), not 8"):
        Classifier(Clips(), 8)  # type: ignore[arg-type]
    with pytest.raises(VidexplainError, match="class_names has to be"):
        Classifier(Clips(), class_names="run")


def test_settings_and_keywords_are_the_same() -> None:
    settings = NetworkSettings(
        clip_length=8, size=(16, 24), mean=[0.1, 0.2, 0.3], class_names=["a", "b", "c"]
    )
    model = Classifier(Clips(), settings)
    short = Classifier(
        Clips(), clip_length=8, size=(16, 24), mean=[0.1, 0.2, 0.3], class_names=["a", "b", "c"]
    )
    assert model.settings == short.settings and model.fingerprint() == short.fingerprint()
    assert Classifier(Clips(), settings, clip_length=4).clip_length == 4 and settings.clip_length == 8
