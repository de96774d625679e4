"""Classifiers of Hugging Face's `transformers`: what their configs say, and maps against autograd by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.models import from_hugging_face, load_model
from videxplain.models.hugging_face_config import task_of

transformers = pytest.importorskip(
    "transformers", reason="the extra videxplain[transformers] is not installed"
)
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_labels": 5,
}
PATCHES = {"image_size": 32, "patch_size": 8}


def video_mae(**options: Any) -> Any:
    config = transformers.VideoMAEConfig(num_frames=8, **PATCHES, **SMALL, **options)
    return transformers.VideoMAEForVideoClassification(config)


def timesformer() -> Any:
    config = transformers.TimesformerConfig(num_frames=4, **PATCHES, **SMALL)
    return transformers.TimesformerForVideoClassification(config)


def vivit() -> Any:
    config = transformers.VivitConfig(image_size=32, num_frames=8, tubelet_size=[2, 8, 8], **SMALL)
    return transformers.VivitForVideoClassification(config)


def vjepa2() -> Any:
    config = transformers.VJEPA2Config(
        crop_size=32, patch_size=8, frames_per_clip=8, tubelet_size=2, mlp_ratio=2, pred_hidden_size=24,
        pred_num_attention_heads=2, pred_num_hidden_layers=1, num_pooler_layers=1, **SMALL,
    )  # fmt: skip
    return transformers.VJEPA2ForVideoClassification(config)


def xclip() -> Any:
    shape = {"hidden_size": 32, "intermediate_size": 37, "num_attention_heads": 2, "num_hidden_layers": 2}
    mit = {f"mit_{name}": value for name, value in shape.items()}
    config = transformers.XCLIPConfig(
        text_config={"vocab_size": 99, "max_position_embeddings": 20, **shape},
        vision_config={"num_frames": 4, **PATCHES, **shape, **mit},
        projection_dim=32, prompt_num_attention_heads=2, prompt_layers=1,
    )  # fmt: skip
    return transformers.XCLIPModel(config)


class Processor:
    """What a processor has: a normalisation, and a tokenizer, here of letters."""

    image_mean, image_std = [0.4, 0.5, 0.6], [0.2, 0.3, 0.1]

    def tokenizer(self, texts: list[str], *, padding: bool, return_tensors: str) -> dict[str, torch.Tensor]:
        assert padding and return_tensors == "pt"
        longest = max(map(len, texts))
        ids = [[ord(letter) % 90 + 1 for letter in text] + [0] * (longest - len(text)) for text in texts]
        tokens = torch.tensor(ids)
        tokens[:, -1] = 98  # the end of a text has the highest number
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("make", "frames", "grid"),
    [(video_mae, 8, (4, 4, 4)), (timesformer, 4, (4, 4, 4)), (vivit, 8, (4, 4, 4)), (vjepa2, 8, (4, 4, 4))],
)
def test_a_classifier_knows_its_kind_and_its_map_is_the_formulas(
    make: Callable[[], Any], frames: int, grid: tuple[int, int, int]
) -> None:
    net = make()
    model = vx.Classifier(net)
    assert (model.layout, model.clip_length, model.size) == ("BTCHW", frames, (32, 32))
    assert (
        model.class_names == [f"LABEL_{index}" for index in range(5)] and model.name == net.config.model_type
    )
    x = torch.randn(2, 3, frames, 32, 32)
    torch.testing.assert_close(model.logits(x), net.eval()(x.transpose(1, 2)).logits)
    maps = [vx.pixel_scores(model, x, "layer-cam", target).cam for target in range(5)]
    assert all(found.shape == (2, *grid) for found in maps) and max(found.max() for found in maps) > 0
    for target, found in enumerate(maps):
        expected = layer_cam_by_hand(net, model.cam_layer, x, target, model.cam_layers[0].layout)
        torch.testing.assert_close(
            found.double(), expected, rtol=1e-4, atol=1e-5 * float(expected.max() + 1e-6)
        )


def layer_cam_by_hand(net: Any, layer: str, x: torch.Tensor, target: int, layout: str) -> torch.Tensor:
    """From the patches' tokens of the layer, in float64."""
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        kept.append(output if isinstance(output, torch.Tensor) else output[0])

    net = net.double()
    handle = net.get_submodule(layer).register_forward_hook(keep)
    score = net(x.double().transpose(1, 2)).logits[:, target].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    net.float()
    tokens = (gradient.relu() * kept[0]).sum(-1).relu()[:, -64:].detach()
    if layout == "b(hwt)c":
        return tokens.unflatten(1, (4, 4, 4)).permute(0, 3, 1, 2)
    return tokens.unflatten(1, (4, 4, 4))


def test_texts_are_the_classes_of_a_network_that_compares_with_them() -> None:
    net, names = xclip(), ["a dog runs", "a cat sleeps", "rain"]
    with pytest.raises(vx.VidexplainError, match="lacks class_names"):
        vx.Classifier(net)
    with pytest.raises(vx.VidexplainError, match="lacks its tokenizer"):
        vx.Classifier(net, class_names=names)
    model = from_hugging_face(net, Processor(), class_names=names)
    assert (model.layout, model.clip_length, model.size) == ("BTCHW", 4, (32, 32))
    x = torch.randn(2, 3, 4, 32, 32)
    texts = Processor().tokenizer(names, padding=True, return_tensors="pt")
    expected = net.eval()(pixel_values=x.transpose(1, 2), **texts).logits_per_video
    torch.testing.assert_close(model.logits(x), expected)
    assert model.class_names == names
    layer = model.cam_layers[0]
    assert layer.layout == "(bt)(hw)c", "tokens of frames in the batch"
    kept: list[Any] = []
    handle = net.get_submodule(layer.name.removeprefix("net.")).register_forward_hook(
        lambda *args: kept.append(layer.pick(args[2], False))
    )
    score = net(pixel_values=x.transpose(1, 2), **texts).logits_per_video[:, 1].sum()
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    tokens = (gradient.relu() * kept[0]).sum(-1).relu()[:, -16:].unflatten(0, (2, 4)).unflatten(2, (4, 4))
    found = vx.pixel_scores(model, x, "layer-cam", "a cat sleeps").cam
    torch.testing.assert_close(found, tokens.detach(), rtol=1e-4, atol=1e-5 * float(tokens.max()))
    assert found.max() > 0


def test_the_processor_normalises_unless_it_is_told_otherwise(tmp_path: Path) -> None:
    net = video_mae()
    assert from_hugging_face(net, Processor()).mean == (0.4, 0.5, 0.6)
    assert from_hugging_face(net, Processor(), mean=(0.1, 0.1, 0.1)).mean == (0.1, 0.1, 0.1)
    net.save_pretrained(tmp_path)
    processor = {
        "image_processor_type": "VideoMAEImageProcessor",
        "image_mean": [0.4] * 3,
        "image_std": [0.2] * 3,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    beside = transformers.VideoMAEForVideoClassification.from_pretrained(tmp_path)
    assert vx.Classifier(beside).std == (0.2, 0.2, 0.2)
    loaded = load_model(str(tmp_path))
    assert loaded.std == (0.2, 0.2, 0.2) and loaded.name == tmp_path.name
    x = torch.randn(1, 3, 8, 32, 32)
    torch.testing.assert_close(loaded.logits(x), vx.Classifier(net).logits(x))


def test_what_is_told_goes_before_the_config() -> None:
    model = vx.Classifier(video_mae(), class_names=list("abcde"), name="mine", size=(32, 32))
    assert model.class_names == list("abcde") and model.name == "mine"
    named = video_mae()
    named.config.id2label = dict(enumerate(["no", "yes", "perhaps", "seldom", "often"]))
    assert vx.Classifier(named).class_names[:2] == ["no", "yes"]


def test_classifiers_of_images_know_their_classes(tmp_path: Path) -> None:
    net = transformers.ViTForImageClassification(transformers.ViTConfig(**PATCHES, **SMALL))
    model = vx.Classifier(net)
    assert (model.layout, model.size, model.class_names[4]) == ("BCHW", (32, 32), "LABEL_4")
    net.save_pretrained(tmp_path)
    x = torch.randn(1, 3, 1, 32, 32)
    torch.testing.assert_close(load_model(str(tmp_path)).logits(x), model.logits(x))


def test_a_problem_type_is_a_task() -> None:
    tasks = {
        "single_label_classification": "single-label",
        "multi_label_classification": "multi-label",
        "regression": "regression",
        None: None,
    }
    for problem, task in tasks.items():
        assert task_of(video_mae(problem_type=problem).config) == task
    with pytest.raises(vx.VidexplainError, match="no config of transformers"):
        from_hugging_face(nn.Linear(1, 1))
