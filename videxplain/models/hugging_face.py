"""Video classifiers of Hugging Face's `transformers` (VideoMAE, TimeSformer, ...), by their config."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.classifier import Classifier

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.options import NetworkOptions


def is_hugging_face(net: nn.Module) -> bool:
    """Whether a module carries a `transformers` configuration for video classification."""
    config = getattr(net, "config", None)
    return hasattr(config, "id2label") and hasattr(config, "num_frames")


def from_hugging_face(net: Any, processor: Any = None, **options: Unpack[NetworkOptions]) -> Classifier:
    """Classifier around a `transformers` video classifier.

    Parameters
    ----------
    net
        For example `VideoMAEForVideoClassification`.
    processor
        Its image processor, whose mean and standard deviation are taken; ImageNet's when None.
    options
        Fields of `NetworkSettings`, which go before what the config says.
    """
    config = net.config
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    configured: NetworkOptions = {
        "class_names": [config.id2label[index] for index in sorted(config.id2label)],
        "clip_length": config.num_frames,
        "size": (height, width),
        "mean": getattr(processor, "image_mean", None),
        "std": getattr(processor, "image_std", None),
        "layout": "BTCHW",
        "name": config.model_type,
    }
    return Classifier(net, **(configured | options))


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
