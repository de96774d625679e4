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
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from videxplain.errors import VidexplainError, unknown_name

Fill: TypeAlias = Literal["mean", "grey", "black", "blur", "noise"]
"""What takes a hidden supervoxel's place; see `MaskedClip`."""
Score: TypeAlias = Literal["probability", "log-odds", "tempered", "logit"]
"""Which number of a class is explained; see `videxplain.passes.masked_clip.target_score`."""
Target: TypeAlias = "int | str | Sequence[int | str | None] | None"
"""The class to explain: index, name, rank such as "#2", None for the predicted one; or one of those for each clip."""
AnySettings = TypeVar("AnySettings", bound="Settings")


def option(
    default: Any,
    help: str = "",
    *,
    least: float | None = None,
    above: float | None = None,
    flag: str | None = None,
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
    recorded
        Whether results depend on it, so that it is kept with them.
    """
    return dataclasses.field(
        default=default,
        metadata={"help": help, "least": least, "above": above, "flag": flag, "recorded": recorded},
    )


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
        """The names of the fields."""
        return [field.name for field in dataclasses.fields(cls)]

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
        What they change.

    Raises
    ------
    VidexplainError
        For an option that none of them has, and a value that it cannot have.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if not any(name in part.options() for part in settings):
            known = list(dict.fromkeys(option for part in settings for option in part.options()))
            kinds = " or ".join(dict.fromkeys(part.kind for part in settings[:-1])) or settings[0].kind
            raise VidexplainError(
                f"option {name!r} means nothing to {kinds}; its options are {', '.join(known)}"
            )
    return [
        dataclasses.replace(part, **own)
        if (own := {name: value for name, value in given.items() if name in part.options()})
        else part
        for part in settings
    ]


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
    target: Target = option(None, flag="")
    score: Score | None = option(
        None, "what of the class is explained: probability, log-odds, tempered or logit"
    )


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
    name: str = option(
        "auto", "slic (auto for clips), quickshift (auto for images) or grid", flag="segmentation"
    )
    n_segments: int | None = option(
        None, "about how many supervoxels (default: 200)", least=1, flag="segments"
    )
    compactness: float | None = option(None, "shape against colour in SLIC (default: 10)", above=0)
    scale: int = option(
        1,
        "supervoxels on a grid N times as fine as the network's input, where frames are",
        least=1,
        flag="segment-scale",
    )
    source: Literal["image", "gradient", "both"] = option(
        "image", "what is cut into supervoxels: image, gradient or both", flag="segments-from"
    )


Levels = Literal["secants", "arcsine", "centred", "stratified", "uniform", "half", "path", "diagonal"]
"""Where region gradients are taken; see `videxplain.attribution.mask_sampling`."""


@dataclass(frozen=True, kw_only=True)
class MethodSettings:
    """The options of a scoring method.

    Raises
    ------
    VidexplainError
        If a value is of the wrong kind or not among the choices; counts have to be positive.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not _is_of(value, hints[field.name]):
                raise _wrong(field.name, value, hints[field.name])
            if field.metadata.get("positive") and value is not None and value < 1:
                raise VidexplainError(f"{field.name} must be at least 1, not {value}")


def _count(default: int | None) -> Any:
    return dataclasses.field(default=default, metadata={"positive": True})


@dataclass(frozen=True, kw_only=True)
class Voxels(MethodSettings):
    """Of methods that score voxels: how these are combined in a supervoxel, and whether their sign is kept."""

    reduction: Literal["sum", "mean", "max"] = "sum"
    signed: bool = False


@dataclass(frozen=True, kw_only=True)
class Gradient(Voxels):
    """Of methods that take the gradient at the input, of the class's probability (the paper) or logit."""

    output: Literal["probability", "logit"] = "probability"


@dataclass(frozen=True, kw_only=True)
class Guided(Gradient):
    """Of guided methods, which may treat GELU, SiLU and other smooth relatives like ReLU."""

    guided_any: bool = False


@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(Gradient):
    """`videxplain.attribution.dense_methods.integrated_gradients`."""

    steps: int = _count(32)


@dataclass(frozen=True, kw_only=True)
class SmoothGrad(Guided):
    """`videxplain.attribution.dense_methods.smoothgrad`."""

    samples: int = _count(16)
    noise: float = 0.15
    base: Literal["vanilla", "guided", "input-x-gradient"] = "vanilla"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guided_any and self.base != "guided":
            raise VidexplainError(
                f"guided_any means nothing to smoothgrad of {self.base!r}; its base is not guided"
            )


@dataclass(frozen=True, kw_only=True)
class LrpEpsilon(Voxels):
    """`videxplain.attribution.dense_methods.lrp_epsilon`."""

    epsilon: float = 1e-6


@dataclass(frozen=True, kw_only=True)
class Random(MethodSettings):
    """`videxplain.attribution.methods.random_scores`."""

    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Masking(MethodSettings):
    """Of methods that hide supervoxels."""

    fill: Fill = "mean"
    seed: int = 0
    batch_size: int | None = _count(None)
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class RegionGradient(Masking):
    """`videxplain.attribution.region_gradient.region_gradient`."""

    passes: int = _count(16)
    until: float | None = None
    levels: Levels = "secants"
    leaders: int | None = None
    output: Literal["tempered", "log-odds", "probability", "logit"] = "tempered"


@dataclass(frozen=True, kw_only=True)
class LimePackage(MethodSettings):
    """`videxplain.attribution.perturbation.lime_package`; the package's own fill is each superpixel's mean."""

    samples: int = _count(1000)
    seed: int = 0
    batch_size: int = _count(10)
    progress: bool = False


@dataclass(frozen=True, kw_only=True)
class KernelShap(Masking):
    """`videxplain.attribution.perturbation.kernel_shap`."""

    samples: int = _count(1000)
    link: Literal["identity", "logit"] = "identity"


@dataclass(frozen=True, kw_only=True)
class LimeBatched(KernelShap):
    """`videxplain.attribution.perturbation.lime_batched`."""

    kernel_width: float = 0.25
    ridge: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Rise(Masking):
    """`videxplain.attribution.perturbation.rise`."""

    samples: int = _count(1000)
    shown: float = 0.5


METHOD_SETTINGS: dict[str, type[MethodSettings]] = {
    "vanilla": Gradient,
    "guided": Guided,
    "input-x-gradient": Gradient,
    "relu-activation": Voxels,
    "grad-cam": Voxels,
    "guided-grad-cam": Guided,
    "grad-cam++": Voxels,
    "act-grad-cam": Voxels,
    "guided-act-grad-cam": Guided,
    "layer-cam": Voxels,
    "xgrad-cam": Voxels,
    "eigen-cam": Voxels,
    "integrated-gradients": IntegratedGradients,
    "smoothgrad": SmoothGrad,
    "lrp-epsilon": LrpEpsilon,
    "lrp-alpha-beta": Voxels,
    "random": Random,
    "region-gradient": RegionGradient,
    "lime": LimePackage,
    "lime-batched": LimeBatched,
    "kernel-shap": KernelShap,
    "rise": Rise,
    "occlusion": Masking,
}
"""By method, in the order in which they are listed."""


def settings_for(methods: list[str], given: dict[str, Any]) -> dict[str, MethodSettings]:
    """The settings of each of these methods, from options that were given for all of them.

    Parameters
    ----------
    methods
        Names; a method is not asked about another's options.
    given
        Options by name; those that are None were not given.

    Raises
    ------
    VidexplainError
        For an unknown method, an option that none of them has, and a value that it cannot have.
    """
    given = {name: value for name, value in given.items() if value is not None}
    for method in methods:
        if method not in METHOD_SETTINGS:
            raise unknown_name("method", method, METHOD_SETTINGS)
    known = {method: [f.name for f in dataclasses.fields(METHOD_SETTINGS[method])] for method in methods}
    for name in given:
        if not any(name in options for options in known.values()):
            listed = ", ".join(sorted({option for options in known.values() for option in options}))
            raise VidexplainError(
                f"option {name!r} means nothing to method {' or '.join(map(repr, methods))}; its options are {listed}"
            )
    return {
        method: METHOD_SETTINGS[method](**{name: given[name] for name in options if name in given})
        for method, options in known.items()
    }


def recorded(settings: MethodSettings) -> dict[str, Any]:
    """What another run needs to make the same scores: all options but the progress bar."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name != "progress"}


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


SEGMENTS_FROM = ("image", "gradient", "both")
"""What may be cut into supervoxels; see `videxplain.explain`."""
SEGMENTATION_SETTINGS: dict[str, dict[str, Any]] = {
    "slic": {"n_segments": 200, "compactness": 10.0},
    "quickshift": {},
    "grid": {"n_segments": 200},
}
"""By segmentation: its options and their defaults."""


def segmentation_for(name: str, **given: Any) -> dict[str, Any]:
    """The options with which a segmentation cuts, from those that were given; None stands for one that was not.

    Raises
    ------
    VidexplainError
        For an unknown segmentation, an option that it does not have, and a value that cannot be.
    """
    if name not in SEGMENTATION_SETTINGS:
        raise unknown_name("segmentation", name, SEGMENTATION_SETTINGS)
    options = dict(SEGMENTATION_SETTINGS[name])
    for option, value in given.items():
        if value is None:
            continue
        if option not in options:
            others = [other for other, known in SEGMENTATION_SETTINGS.items() if option in known]
            raise VidexplainError(
                f"{option} means nothing to the segmentation {name!r}; leave it out, or choose {' or '.join(others)}"
            )
        if not _is_of(value, int if option == "n_segments" else float):
            raise _wrong(option, value, int if option == "n_segments" else float)
        if not 0 < value < math.inf or (option == "n_segments" and value < 1):
            least = "at least 1" if option == "n_segments" else "positive"
            raise VidexplainError(f"{option} must be {least}, not {value}")
        options[option] = value
    return options
