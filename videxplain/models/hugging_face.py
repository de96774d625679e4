"""Video classifiers of Hugging Face's `transformers` (VideoMAE, TimeSformer, ...), by their config."""

from __future__ import annotations

import os
from typing import Any

from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Classifier


def is_hugging_face(net: nn.Module) -> bool:
    """Whether a module carries a `transformers` configuration for video classification."""
    config = getattr(net, "config", None)
    return hasattr(config, "id2label") and hasattr(config, "num_frames")


def from_hugging_face(net: Any, processor: Any = None, **settings: Any) -> Classifier:
    """Classifier around a `transformers` video classifier.

    Parameters
    ----------
    net : for example `VideoMAEForVideoClassification`.
    processor : its image processor, whose mean and standard deviation are taken; ImageNet's when None.
    settings : passed on to `Classifier`, before what the config says.
    """
    config = net.config
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    given: dict[str, Any] = {
        "labels": [config.id2label[index] for index in sorted(config.id2label)],
        "clip_length": config.num_frames,
        "size": (height, width),
        "mean": getattr(processor, "image_mean", None) or IMAGENET_MEAN,
        "std": getattr(processor, "image_std", None) or IMAGENET_STD,
        "layout": "BTCHW",
        "name": config.model_type,
    }
    return Classifier(net, **(given | settings))


def load_folder(folder: str | os.PathLike[str]) -> Classifier:
    """Classifier from a folder that `save_pretrained` wrote; nothing is downloaded.

    Raises
    ------
    VidexplainError : `transformers` is not installed, or the folder holds no video classifier.
    """
    try:
        import transformers
    except ModuleNotFoundError:
        raise VidexplainError(
            f"{str(folder)!r} needs Hugging Face's library; install it with pip install "
            "'videxplain[transformers]'."
        ) from None
    try:
        net = transformers.AutoModelForVideoClassification.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise VidexplainError(
            f"{str(folder)!r} holds no video classifier that can be read: {error}"
        ) from error
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, ImportError):
        processor = None
    return from_hugging_face(net, processor, name=os.path.basename(os.path.normpath(folder)))
