"""Settings: frozen values that check themselves, made once and passed on whole. Imports no torch.

A function that takes settings also takes their fields as keywords, the short form: `explain(model, clip, "lime",
samples=500)` is `explain(model, clip, Lime(samples=500))`. Command-line flags, their help and what is recorded of a run
are made from the same fields.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from videxplain.errors import VidexplainError, unknown_name

Fill: TypeAlias = Literal["mean", "grey", "black", "blur", "noise"]
"""What takes a hidden supervoxel's place; see `MaskedClip`."""
Score: TypeAlias = Literal["probability", "log-odds", "tempered", "logit"]
"""Which number of a class is explained; see `videxplain.passes.masked_clip.target_score`."""
Target: TypeAlias = int | str | Sequence[int | str | None] | None
"""The class to explain: index, name, rank such as "#2", None for the predicted one; or one of those for each clip."""
AnySettings = TypeVar("AnySettings", bound="Settings")


def option(
    default: Any,
    help: str = "",
    *,
    least: float | None = None,
    above: float | None = None,
    flag: str | None = None,
    short: bool = True,
    recorded: bool = True,
) -> Any:
    """A field of settings.

    Parameters
    ----------
    default
        Its value where nothing is said.
    help
        A few words for `--help`, without the default.
    least, above
        The smallest value that can be, or what it has to be above.
    flag
        The command line's name for it, without dashes, where that is another; "" where it has none.
    short
        Whether functions that take the settings take it by its name as well.
    recorded
        Whether results depend on it, so that it is kept with them.
    """
    about = {"help": help, "least": least, "above": above, "flag": flag, "short": short, "recorded": recorded}
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings.

    Raises
    ------
    VidexplainError
        If a value is of the wrong kind, out of range or not among the choices.
    """

    kind: ClassVar[str] = "settings"
    """What they are settings of, for sentences."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _is_of(value, hints[field.name]):
                raise _wrong(field.name, value, hints[field.name])
            least, above = field.metadata.get("least"), field.metadata.get("above")
            if value is None:
                continue
            if least is not None and value < least:
                raise VidexplainError(f"{field.name} must be at least {least:g}, not {value}")
            if above is not None and not above < value < math.inf:
                wanted = "positive" if above == 0 else f"above {above:g}"
                raise VidexplainError(f"{field.name} must be {wanted}, not {value}")

    @classmethod
    def options(cls) -> list[str]:
        """The names of the fields that the short form has."""
        return [field.name for field in dataclasses.fields(cls) if field.metadata.get("short", True)]

    def recorded(self) -> dict[str, Any]:
        """What another run needs to come to the same result, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.metadata.get("recorded", True)
        }


def short_form(options: Mapping[str, Any], *settings: Settings) -> list[Any]:
    """The settings with what was given by the fields' names; each option goes to all that have a field of its name.

    Parameters
    ----------
    options
        By name; those that are None were not given.
    settings
        What they change; sentences name those that are of the first one's kind.

    Raises
    ------
    VidexplainError
        For an option that none of them has, and a value that it cannot have.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if not any(name in part.options() for part in settings):
            known = list(dict.fromkeys(option for part in settings for option in part.options()))
            asked = [part.kind for part in settings if part.kind.split()[0] == settings[0].kind.split()[0]]
            kinds = " or ".join(dict.fromkeys(asked))
            raise VidexplainError(
                f"option {name!r} means nothing to {kinds}; its options are {', '.join(known)}"
            )
    return [
        dataclasses.replace(part, **own)
        if (own := {name: value for name, value in given.items() if name in part.options()})
        else part
        for part in settings
    ]


def from_text(name: str, text: str, *classes: type[Settings]) -> Any:
    """A field's value from what was written on a command line; refuses what is none of its kind.

    Parameters
    ----------
    name
        The field's; the first class that has it tells the kind. A text stays one where none does, to be refused later.
    """
    for cls in classes:
        if name in cls.options():
            hint = typing.get_type_hints(cls)[name]
            for kind in typing.get_args(hint) or (hint,):
                try:
                    if kind is bool:
                        return _WORDS[text.lower()]
                    if kind in (int, float):
                        return kind(text)
                except (KeyError, ValueError):
                    raise _wrong(name, text, hint) from None
            return text
    return text


_WORDS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def as_settings(value: AnySettings | None, wanted: type[AnySettings], name: str) -> AnySettings:
    """What was given for the argument `name`, or the defaults; refuses anything else."""
    if value is None:
        return wanted()
    if not isinstance(value, wanted):
        raise VidexplainError(f"{name} has to be a {wanted.__name__}(...), not {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Question(Settings):
    """What is asked of a network.

    Attributes
    ----------
    target
        The class: its index, its name, or its rank ("#2" is the second prediction); by default the predicted class.
        For several clips one for all, or a list of one each.
    score
        Which number of that class is explained: its "probability", its "log-odds", the "tempered" probability between
        them or its "logit" (`videxplain.passes.masked_clip.target_score` defines them). By default the first that the
        method lists.
    """

    kind: ClassVar[str] = "question"
    target: Target = option(None, short=False)
    score: Score | None = option(
        None, "what of the class is explained: probability, log-odds, tempered or logit"
    )


def as_question(target: Target | Question) -> Question:
    """A question about a class, or the question itself."""
    return target if isinstance(target, Question) else Question(target=target)


@dataclass(frozen=True, kw_only=True)
class Segmentation(Settings):
    """How a clip is cut into supervoxels.

    Attributes
    ----------
    name
        "slic", "quickshift" (for images, as in the paper), "grid", or one that is registered elsewhere. "auto" is slic
        for clips and quickshift for images.
    n_segments
        About how many; quickshift finds its own number.
    compactness
        SLIC's weight of shape against colour.
    scale
        Cut frames on a grid so many times as fine as the network's input along both axes, as far as the frames' own
        resolution goes: outlines follow the picture more closely. For methods that score voxels.
    source
        What is cut: the "image" (the paper), the "gradient" of the target as grey levels, or "both", half and half.
        The last two are the idea of SWAG (Hartley et al., WACV 2021), whose `reduction` is "mean"; they cost one
        forward and backward pass more.
    """

    kind: ClassVar[str] = "segmentation"
    name: str = option("auto", "slic (auto for clips), quickshift (auto for images) or grid", short=False)
    n_segments: int = option(200, "about how many supervoxels", least=1, flag="segments")
    compactness: float = option(10.0, "shape against colour in SLIC", above=0)
    scale: int = option(
        1,
        "supervoxels on a grid N times as fine as the network's input, where frames are",
        least=1,
        flag="segment-scale",
    )
    source: Literal["image", "gradient", "both"] = option(
        "image", "what is cut into supervoxels: image, gradient or both", flag="segments-from"
    )


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation of settings names."""
    if hint is Any:
        return True
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if origin is types.UnionType or origin is typing.Union:
        return any(_is_of(value, part) for part in parts)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    if origin is tuple:
        kinds = parts[:1] * len(value) if parts[-1:] == (...,) and isinstance(value, tuple | list) else parts
        return isinstance(value, tuple | list) and len(value) == len(kinds) and all(map(_is_of, value, kinds))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return (
            not isinstance(value, str | bytes) and hasattr(value, "__len__") and hasattr(value, "__getitem__")
        )
    return isinstance(value, origin or hint)


_KINDS = {int: "a whole number", float: "a number", bool: "True or False", type(None): "None", str: "a name"}


def _wrong(name: str, value: Any, hint: Any) -> VidexplainError:
    parts = typing.get_args(hint) or (hint,)
    if typing.get_origin(hint) is not Literal:
        literal = [part for part in parts if typing.get_origin(part) is Literal]
        hint = literal[0] if literal else hint
    if typing.get_origin(hint) is Literal:
        return unknown_name(name, value, typing.get_args(hint))
    wanted = " or ".join(_KINDS.get(part, getattr(part, "__name__", str(part))) for part in parts)
    return VidexplainError(f"{name} has to be {wanted}, not {value!r}")


DEFAULT_MODEL = "c3d-motion"
"""The bundled network, which is taken where none is named."""
DEVICES = ("cpu", "cuda", "mps", "xpu")
Layout: TypeAlias = Literal["BCTHW", "BTCHW", "BCHW"]
"""Order of the axes that a network takes; "BCHW" is that of networks for images."""
LAYOUTS: tuple[Layout, ...] = typing.get_args(Layout)
Framing: TypeAlias = Literal["crop", "resize", "letterbox"]
"""How a frame becomes the network's input; see `videxplain.clip.Geometry.fit`."""
FRAMINGS: tuple[Framing, ...] = typing.get_args(Framing)
Precision: TypeAlias = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = typing.get_args(Precision)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TokenGrid:
    """Grid behind a list of tokens.

    Attributes
    ----------
    frames, height, width
        Its extent; 1 frame for image models.
    order
        "thw" when the frame changes slowest, "hwt" when it changes fastest (TimeSformer).
    """

    frames: int
    height: int
    width: int
    order: Literal["thw", "hwt"] = "thw"

    @classmethod
    def of(cls, value: TokenGrid | tuple[int, int, int] | None) -> TokenGrid | None:
        """The grid of an extent (t, h, w)."""
        return value if value is None or isinstance(value, TokenGrid) else cls(*value)

    @property
    def count(self) -> int:
        """How many tokens it has."""
        return self.frames * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """How a network is used by `videxplain.Classifier`; what is None is found by looking at it.

    Attributes
    ----------
    class_names
        "class 0", "class 1", ... by default.
    layout
        Order of axes that the network takes: "BCTHW", "BTCHW", or "BCHW" for image models. What is None of this and
        the next two is found by trying usual ones, clips first where there are 3-D convolutions.
    clip_length
        Frames per clip, 1 for image models.
    size
        Network input (height, width), pixels.
    mean, std
        Per channel, of RGB values in [0, 1].
    framing
        How a frame becomes the network input: "crop" (scale, centre crop), "resize" or "letterbox".
    short_side
        With "crop", length of the frame's short side before cropping; None just covers the input.
    cam_layer
        Dotted name of the layer for class activation maps.
    token_grid
        (t, h, w) or `TokenGrid`, for layers that put out tokens.
    precision
        "float32", or "bfloat16" for autocast to it: faster on GPUs and on CPUs with AVX-512-BF16 or AMX, and less
        exact (docs/performance.md). Weights stay as they are.
    name
        Shown in listings and results; the name of the network's class by default.

    Raises
    ------
    VidexplainError
        If one of them cannot be.
    """

    kind: ClassVar[str] = "a network"
    class_names: Sequence[str] | None = option(None, "names of the classes")
    layout: Layout | None = option(None, "order of the axes of the network's input")
    clip_length: int | None = option(None, "frames in a clip")
    size: tuple[int, int] | None = option(None, "height and width of the network's input")
    mean: Sequence[float] = option(IMAGENET_MEAN, "mean colour")
    std: Sequence[float] = option(IMAGENET_STD, "standard deviation of colours")
    framing: Framing = option("crop", "how a frame becomes the network's input: crop, resize or letterbox")
    short_side: int | None = option(None, "length of a frame's short side before it is cropped", least=1)
    cam_layer: str | None = option(None, "layer for the CAM methods (default: the last one with a grid)")
    token_grid: TokenGrid | tuple[int, int, int] | None = option(None, "grid behind a layer of tokens")
    precision: Precision = option("float32", "float32, or bfloat16: faster on GPUs and new CPUs, less exact")
    name: str | None = option(None, "name in listings and results")

    def __post_init__(self) -> None:
        length, size = self.clip_length, self.size
        if (_is_of(length, int) and length < 1) or (  # type: ignore[operator]
            isinstance(size, tuple | list) and not (_is_of(size, tuple[int, int]) and min(size) >= 1)
        ):
            raise VidexplainError(f"a network input of {length} frames of {size} cannot be.")
        super().__post_init__()
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise VidexplainError("mean and std need three values each, and std positive ones.")
        # what is hashed of a network has one form
        for name, kind in (("mean", float), ("std", float), ("size", int), ("class_names", str)):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, tuple(kind(value) for value in values))


@dataclass(frozen=True, kw_only=True)
class Run(Settings):
    """Which items of a data set a run of an experiment takes, and what it keeps and shows meanwhile.

    Attributes
    ----------
    limit
        Only the first so many items.
    shard
        (i, n): only every n-th item, from the i-th (from 1); several machines can share a folder.
    cache
        Folder of LIME references; inside the folder of the results by default.
    progress
        Show a bar.
    """

    kind: ClassVar[str] = "a run"
    limit: int | None = option(None, "only the first so many items")
    shard: tuple[int, int] = option((1, 1), "only every N-th item, from the I-th")
    cache: Path | None = option(None, "folder of LIME references (default: in --out)")
    progress: bool = option(False, flag="", recorded=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        part, parts = self.shard
        if not 1 <= part <= parts:
            raise VidexplainError(f"there is no shard {part} of {parts}; count from 1.")
