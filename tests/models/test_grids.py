"""The layer for class activation maps, found on its own in each family, and tokens turned back into grids."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models import Classifier, TokenGrid, cam_candidates, from_hugging_face, load_model

FAMILIES = {
    "resnet18": ("layer4", (1, 7, 7)),
    "vgg11": ("features.19", (1, 14, 14)),
    "mobilenet_v2": ("features", (1, 7, 7)),
    "convnext_tiny": ("features", (1, 7, 7)),
    "swin_t": ("permute", (1, 7, 7)),
    "vit_b_32": ("encoder.layers.encoder_layer_11.ln_1", (1, 7, 7)),
    "r2plus1d_18": ("layer4", (2, 4, 4)),
    "s3d": ("features", (2, 7, 7)),
    "mvit_v1_b": ("blocks.15.norm1", (8, 7, 7)),
    "swin3d_t": ("norm", (4, 3, 2)),
}
QUICK = ("resnet18", "mobilenet_v2", "swin3d_t")
LARGE = ("mvit_v1_b",)


def marked(name: str) -> object:
    marks = () if name in QUICK else pytest.mark.large if name in LARGE else pytest.mark.slow
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in FAMILIES])
def test_cam_layer_is_found_in_every_family(name: str) -> None:
    model = load_model(name, weights="random")
    if name == "swin3d_t":  # these take any size, and at their own they take long
        model = Classifier(model.net, clip_length=8, size=(96, 64))
    elif name == "r2plus1d_18":
        model = Classifier(model.net, clip_length=16, size=(64, 64))
    layer, grid = FAMILIES[name]
    candidates = cam_candidates(model)
    assert (candidates[-1].name, candidates[-1].grid) == (layer, grid)
    assert [c.chosen for c in candidates] == [False] * (len(candidates) - 1) + [True]
    check_grid(model, grid)


def check_grid(model: Classifier, grid: tuple[int, int, int]) -> None:
    """The CAM layer's output becomes a grid in which a change of the input shows up in the right place."""
    outputs: list[Any] = []
    handle = model.net.get_submodule(model.cam_layer).register_forward_hook(
        lambda *args: outputs.append(args[2])
    )
    torch.manual_seed(0)
    x = torch.randn(1, 3, model.clip_length, *model.size)
    changed = x.clone()
    t, h, w = (model.clip_length, *model.size)
    changed[:, :, -max(1, t // grid[0]) :, -h // 7 :, : w // 7] += 5  # last frames, bottom left
    with torch.no_grad():
        model.predict(x)
        model.predict(changed)
    handle.remove()
    before, after = (model.cam_grid(output) for output in outputs)
    assert before.shape[2:] == grid
    change = (after - before).abs().sum((0, 1))
    place = [int(i) for i in torch.unravel_index(change.argmax(), change.shape)]
    assert place[1] >= grid[1] // 2 and place[2] <= grid[2] // 2
    if grid[0] > 2:
        assert place[0] >= grid[0] // 2


def test_named_layers_and_order_of_candidates() -> None:
    model = load_model("resnet18", weights="random", cam_layer="layer3")
    assert model.cam_layer == "layer3"
    grids = [c.grid for c in cam_candidates(model)]
    assert grids == sorted(grids, reverse=True) and (1, 112, 112) in grids


def video_mae() -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=8, hidden_size=32, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=48, num_labels=5,
    )  # fmt: skip
    return VideoMAEForVideoClassification(config)


def timesformer() -> nn.Module:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=32, num_hidden_layers=3,
        num_attention_heads=2, intermediate_size=48, num_labels=5,
    )  # fmt: skip
    return TimesformerForVideoClassification(config)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "grid"), [(video_mae, (4, 4, 4)), (timesformer, (4, 4, 4))])
def test_hugging_face_video_classifiers(make: Any, grid: tuple[int, int, int], tmp_path: Any) -> None:
    pytest.importorskip("transformers", reason="the extra videxplain[transformers] is not installed")
    torch.manual_seed(0)
    net = make()
    model = from_hugging_face(net)
    assert model.layout == "BTCHW" and model.num_classes == 5 and model.class_names[2] == "LABEL_2"
    x = torch.randn(2, 3, model.clip_length, 32, 32)
    torch.testing.assert_close(model.logits(x), net.eval()(x.transpose(1, 2)).logits)
    check_grid(model, grid)
    net.save_pretrained(tmp_path / "saved")
    torch.testing.assert_close(load_model(str(tmp_path / "saved")).logits(x), model.logits(x))


def test_tokens_in_both_orders_and_without_the_class_token() -> None:
    where = torch.arange(2 * 3 * 4.0).view(1, 2, 3, 4)  # (B, t, h, w)
    net = nn.Sequential(nn.Linear(1, 1))
    model = Classifier(net, cam_layer="0", token_grid=(2, 3, 4))
    extra = torch.full((1, 1, 1), -1.0)
    tokens = torch.cat([extra, where.flatten(1)[..., None]], 1)
    assert torch.equal(model.cam_grid(tokens)[:, 0], where)
    assert torch.equal(model.cam_grid((tokens, None))[:, 0], where)
    assert torch.equal(model.cam_grid(where[..., None])[:, 0], where)
    model = Classifier(net, cam_layer="0", token_grid=TokenGrid(2, 3, 4, order="hwt"))
    tokens = where.permute(0, 2, 3, 1).flatten(1)[..., None]
    assert torch.equal(model.cam_grid(tokens)[:, 0], where)
    with pytest.raises(VidexplainError, match="no grid"):
        model.cam_grid(torch.zeros(1, 23, 1))
    with pytest.raises(VidexplainError, match="no activation map"):
        model.cam_grid("text")
