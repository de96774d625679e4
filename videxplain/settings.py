"""Settings: frozen values that check themselves, made once and passed on whole. Imports no torch.

A function that takes settings also takes their fields as keywords, the short form: `explain(model, clip, "lime",
samples=500)` is `explain(model, clip, Lime(samples=500))`. Command-line flags, their help and what is recorded of a run
are made from the same fields.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


Style: TypeAlias = Literal["heat", "outline", "spotlight", "side-by-side"]
"""How supervoxels are drawn; see `videxplain.render.render_explanation`."""
STYLES: tuple[Style, ...] = typing.get_args(Style)
EngineName: TypeAlias = Literal["local", "ray"]
"""Where work is done: in this process, or by the workers of a Ray cluster."""
ENGINES: tuple[EngineName, ...] = typing.get_args(EngineName)


@dataclass(frozen=True, kw_only=True)
class Windows(Settings):
    """How a video is cut into the clips that are explained.

    Attributes
    ----------
    stride
        The network sees every so many frames.
    hop
        Frames from the beginning of one window to the next; by default windows begin where the last one ended. Between
        windows that do not touch, frames are written as they are; where windows overlap, the picture shows their
        scores blended (`videxplain.annotate.blend.Blender`).
    batch
        Windows per forward pass; fewer where they are more than two spans apart, for the frames between them wait.
    """

    kind: ClassVar[str] = "windows"
    stride: int = option(1, "take every N-th frame into a clip", least=1)
    hop: int | None = option(None, "frames from one clip to the next (default: a clip's span)", least=1)
    batch: int = option(1, "clips per forward pass", least=1)


@dataclass(frozen=True, kw_only=True)
class Picture(Settings):
    """How explanations are drawn.

    Attributes
    ----------
    style
        "heat" tints supervoxels by score and dims the rest, "outline" only draws their edges, "spotlight" shows them as
        they are and darkens the rest, "side-by-side" puts the untouched frame to the left of "heat".
    top_k
        How many supervoxels are lit; those that score nothing are not.
    timeline
        Draw the classes of the windows so far along the foot of a video, where its container tells how long it is.
    """

    kind: ClassVar[str] = "the picture"
    style: Style = option("heat", "how to draw: heat, outline, spotlight or side-by-side")
    top_k: int = option(5, "how many supervoxels to light", least=1)
    timeline: bool = option(True, "the strip of the classes so far")


@dataclass(frozen=True, kw_only=True)
class Encoding(Settings):
    """How pictures are encoded.

    Attributes
    ----------
    codec
        ffmpeg's name of the encoder; by default libx264, in WebM libvpx-vp9.
    crf
        Quality; lower is better. By default the codec's own.
    preset
        Speed against size; by default the codec's own.
    threads
        Of the encoder; 0 leaves the choice to it.
    """

    kind: ClassVar[str] = "the encoding"
    codec: str | None = option(None, "ffmpeg's name (default: libx264; libvpx-vp9 for .webm)")
    crf: float | None = option(None, "quality; lower is better (default: the codec's own)")
    preset: str | None = option(None, "speed against size (default: the codec's own)")
    threads: int = option(0, "of the encoder (0: its own choice)", least=0, flag="")


@dataclass(frozen=True, kw_only=True)
class VideoSource(Settings):
    """What is read of a video file.

    Attributes
    ----------
    stream
        Which of the video streams, counted from 0; by default the one that ffmpeg calls best.
    deinterlace
        Make interlaced frames whole; else they are explained with both fields in one picture, and a note says so.
    """

    kind: ClassVar[str] = "the video source"
    stream: int | None = option(None, "which video stream, counted from 0, where there are several")
    deinterlace: bool = option(False, "make interlaced frames whole before they are explained")


@dataclass(frozen=True, kw_only=True)
class Execution(Settings):
    """Where work is done; results do not depend on it.

    Attributes
    ----------
    engine
        "local" works in this process, "ray" in processes of a Ray cluster: the one that RAY_ADDRESS names, or one on
        this machine for as long as it is needed.
    workers
        How many processes of a cluster.
    progress
        Show a progress bar.
    """

    kind: ClassVar[str] = "the execution"
    engine: EngineName = option(
        "local",
        "local, or ray, which spreads several videos, or the windows of one, over a cluster",
        recorded=False,
    )
    workers: int = option(
        2, "with ray, so many videos at a time, or processes for the windows of one", least=1, recorded=False
    )
    progress: bool = option(False, "show a progress bar", flag="", recorded=False)


OF_VIDEOS: tuple[type[Settings], ...] = (Windows, Picture, Encoding, VideoSource, Execution)
"""What `annotate` takes beside what `explain` does."""


def whole_name(kind: type[Settings]) -> str:
    """The keyword of whole settings: `video_source` of `VideoSource`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()


def take_settings(options: dict[str, Any], *kinds: type[Settings]) -> list[Any]:
    """Settings of each of these kinds, from options for all of them; what is none of theirs is left in `options`.

    A kind takes its fields, and a whole object under its `whole_name`, such as `windows=Windows(stride=2)`; fields
    that are given beside it change it.

    Raises
    ------
    VidexplainError
        For an object of another kind, and a value that cannot be.
    """
    taken = []
    for kind in kinds:
        name = whole_name(kind)
        whole = as_settings(options.pop(name, None), kind, name)
        fields = {field: options.pop(field) for field in kind.options() if field in options}
        taken += short_form(fields, whole)
    return taken
