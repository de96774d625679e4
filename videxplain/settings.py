"""The options of every scoring method, with their defaults: values, checked when they are made. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from videxplain.errors import VidexplainError, unknown_name

Fill = Literal["mean", "grey", "black", "blur", "noise"]
"""What takes a hidden supervoxel's place; see `MaskedClip`."""
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

Made = TypeVar("Made")


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
    """Whether a value is of the kind that an annotation of this module names."""
    if hint is Any:
        return True
    if typing.get_origin(hint) is Literal:
        return isinstance(value, str) and value in typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return any(_is_of(value, part) for part in typing.get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool)
    return isinstance(value, hint)


def _wrong(name: str, value: Any, hint: Any) -> VidexplainError:
    if typing.get_origin(hint) is Literal:
        return unknown_name(name, value, typing.get_args(hint))
    kinds = {int: "a whole number", float: "a number", bool: "True or False", type(None): "None"}
    parts = typing.get_args(hint) or (hint,)
    return VidexplainError(f"{name} has to be {' or '.join(kinds[part] for part in parts)}, not {value!r}")


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
