"""Video classifiers of Hugging Face's `transformers` (VideoMAE, TimeSformer, ...), by their config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from videxplain.errors import VidexplainError
from videxplain.models.classifier import Classifier
from videxplain.models.hugging_face_config import as_configured, is_hugging_face
from videxplain.settings import NetworkSettings, short_form

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.options import NetworkOptions


_KINDS = {
    "ForVideoClassification": "AutoModelForVideoClassification",
    "ForImageClassification": "AutoModelForImageClassification",
    "XCLIPModel": "AutoModel",
    "CLIPModel": "AutoModel",
}


def from_hugging_face(net: Any, processor: Any = None, **options: Unpack[NetworkOptions]) -> Classifier:
    """Classifier around a `transformers` classifier of clips or pictures, with its processor.

    Parameters
    ----------
    net
        For example `VideoMAEForVideoClassification`; or `XCLIPModel`, whose classes are the texts `class_names`.
    processor
        Its processor, whose mean and standard deviation are taken, and whose tokenizer reads texts. None takes the one
        in the folder that the network was loaded from, or ImageNet's mean and standard deviation.
    options
        Fields of `NetworkSettings`, which go before what the config says.

    Raises
    ------
    VidexplainError
        For a module of another kind, and for one that compares with texts where class names or a tokenizer are missing.
    """
    if not is_hugging_face(net):
        raise VidexplainError(
            f"{type(net).__name__} has no config of transformers that tells what it takes; Classifier(net) looks."
        )
    [asked] = short_form(options, NetworkSettings())
    return Classifier(*as_configured(net, asked, options, processor))


def load_folder(folder: str | os.PathLike[str], class_names: Sequence[str] | None = None) -> Classifier:
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
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        kinds = [*(getattr(config, "architectures", None) or ()), ""]
        kind = next(
            (auto for name, auto in _KINDS.items() if any(kind.endswith(name) for kind in kinds)),
            "AutoModelForVideoClassification",
        )
        net = getattr(transformers, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise VidexplainError(
            f"{str(folder)!r} holds no video classifier that can be read: {error}"
        ) from error
    return from_hugging_face(net, name=os.path.basename(os.path.normpath(folder)), class_names=class_names)
