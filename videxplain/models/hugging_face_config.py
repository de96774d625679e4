"""What a network of Hugging Face's `transformers` says of itself: what it takes, its classes, its normalisation."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.settings import IMAGENET_MEAN, IMAGENET_STD, NetworkSettings, Task, short_form

TASKS: dict[str, Task] = {
    "single_label_classification": "single-label",
    "multi_label_classification": "multi-label",
    "regression": "regression",
}


def is_hugging_face(net: nn.Module) -> bool:
    """Whether a module carries a `transformers` configuration of a classifier of pictures or clips."""
    takes = str(getattr(net, "main_input_name", ""))
    return hasattr(getattr(net, "config", None), "id2label") and (
        takes.startswith("pixel_values") or _compares_texts(net)
    )


def task_of(config: Any) -> Task | None:
    """What its `problem_type` is called here, or None where it says nothing."""
    return TASKS.get(getattr(config, "problem_type", None) or "")


def as_configured(
    net: nn.Module, settings: NetworkSettings, stated: Collection[str] = (), processor: Any = None
) -> tuple[nn.Module, NetworkSettings]:
    """A network and how it is used, what nobody told taken from its config and its processor.

    Parameters
    ----------
    stated
        Names of the settings that were told.
    processor
        Its image processor; where there is none, the one in the folder that the network was loaded from.

    Raises
    ------
    VidexplainError
        For a network that compares clips with texts where class names or a tokenizer are missing.
    """
    if not is_hugging_face(net):
        return net, settings
    config: Any = net.config
    processor = processor or _loaded(net, "AutoProcessor") or _loaded(net, "AutoImageProcessor")
    frames = _frames(config)
    configured: dict[str, Any] = {
        "clip_length": frames or 1,
        "size": _size(config),
        "layout": "BTCHW" if frames else "BCHW",
        "name": config.model_type,
        "task": task_of(config),
    }
    if _compares_texts(net):
        net = AgainstTexts(net, _tokens(net, settings.class_names, processor))
    else:
        configured["class_names"] = [config.id2label[index] for index in sorted(config.id2label)]
    normalisation = {
        name: values
        for name, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD))
        if name not in stated
        and tuple(getattr(settings, name) or default) == default
        and (values := _normalisation(processor, f"image_{name}"))
    }
    missing = {
        name: value
        for name, value in configured.items()
        if name in NetworkSettings.options() and value is not None and getattr(settings, name) is None
    }
    [settings] = short_form(missing | normalisation, settings)
    return net, settings


class AgainstTexts(nn.Module):
    """A network that compares clips or pictures with texts, as a classifier whose classes are the texts.

    Parameters
    ----------
    net
        Such as `XCLIPModel`.
    tokens
        The texts, as its tokenizer gives them.
    """

    def __init__(self, net: nn.Module, tokens: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.net = net
        self.names = list(tokens)
        for name, values in tokens.items():
            self.register_buffer(name, values)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        texts = {name: getattr(self, name) for name in self.names}
        output = self.net(pixel_values=pixel_values, **texts)
        by_clip = getattr(output, "logits_per_video", None)
        return output.logits_per_image if by_clip is None else by_clip


def _compares_texts(net: nn.Module) -> bool:
    inputs = inspect.signature(net.forward).parameters
    return hasattr(net, "get_text_features") and {"input_ids", "pixel_values"} <= set(inputs)


def _tokens(net: Any, class_names: Any, processor: Any) -> dict[str, torch.Tensor]:
    tokenizer = getattr(processor, "tokenizer", None) or _loaded(net, "AutoTokenizer")
    if class_names is None or tokenizer is None:
        lacking = "class_names, the texts that are its classes" if class_names is None else "its tokenizer"
        raise VidexplainError(
            f"{type(net).__name__} compares clips with texts and lacks {lacking}; "
            "from_hugging_face(net, processor, class_names=[...]) has both."
        )
    device = next(net.parameters()).device
    encoded = tokenizer(list(class_names), padding=True, return_tensors="pt")
    return {name: encoded[name].to(device) for name in ("input_ids", "attention_mask") if name in encoded}


def _loaded(net: Any, kind: str) -> Any:
    """The processor or tokenizer beside the weights that a network was loaded from, if there is one at hand."""
    origin = getattr(net, "name_or_path", None)
    if not origin:
        return None
    import transformers

    try:
        return getattr(transformers, kind).from_pretrained(origin, local_files_only=True)
    except Exception:  # of many kinds, as each file can be missing or another's
        return None


def _frames(config: Any) -> int | None:
    part = getattr(config, "vision_config", config)
    return getattr(part, "num_frames", None) or getattr(part, "frames_per_clip", None)


def _size(config: Any) -> tuple[int, int] | None:
    part = getattr(config, "vision_config", config)
    size = getattr(part, "image_size", None) or getattr(part, "crop_size", None)
    if size is None or isinstance(size, int):
        return None if size is None else (size, size)
    height, width = tuple(size)
    return int(height), int(width)


def _normalisation(processor: Any, name: str) -> tuple[float, ...] | None:
    for part in (
        processor,
        *(getattr(processor, kind, None) for kind in ("image_processor", "video_processor")),
    ):
        values = getattr(part, name, None)
        if values is not None:
            return tuple(map(float, values))
    return None
