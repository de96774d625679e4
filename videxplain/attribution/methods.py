"""The scoring methods: the options of each, and how it scores a query.

A method is a value: `Lime(samples=500).score(query)` gives scores (B, K). One more is a class with `METHODS.register`
above it, here or in another package, which names it as an entry point of the group "videxplain.methods". Imports no
torch, so that the command line can list methods and their options at once; what does the work stands beside the
formulas, in the modules that the `score` and `maps` below name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

from videxplain.errors import VidexplainError
from videxplain.passes.needs import Needs
from videxplain.registry import Registry
from videxplain.settings import Fill, Question, Score, Settings, option, short_form

if TYPE_CHECKING:
    import torch

    from videxplain.attribution.query import Query, VoxelMaps, VoxelQuery
    from videxplain.models import Classifier

Dense: TypeAlias = Literal["gradient", "guided", "input-x-gradient"]
MaskSampling: TypeAlias = Literal[
    "secants", "in-turn", "arcsine", "centred", "stratified", "uniform", "half", "path", "diagonal"
]
"""Where region gradients are taken; see `videxplain.attribution.mask_sampling`."""


@dataclass(frozen=True, kw_only=True)
class Method(Settings):
    """Base of all scoring methods; the first line of a method's docstring is what lists say of it.

    Attributes
    ----------
    name
        As it is registered.
    asks
        Which scores of a class it can explain (`Question.score`), the default first; none, if it asks about no class.
    """

    name: ClassVar[str] = ""
    asks: ClassVar[tuple[Score, ...]] = ()
    kind: ClassVar[str] = "method"

    @classmethod
    def summary(cls) -> str:
        """One line on what it does."""
        return (cls.__doc__ or cls.name).strip().splitlines()[0].rstrip(".")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, why in self.idle_options().items():
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                raise VidexplainError(f"{name} means nothing to {why}; leave it out")

    def idle_options(self) -> dict[str, str]:
        """Options that mean nothing beside the others, each with what it means nothing to."""
        return {}

    def suited(self, model: Classifier) -> Method:
        """With what it does not say where that depends on the network."""
        return self

    def follows_chords(self, model: Classifier) -> bool:
        """Whether it takes slopes along chords, of which the network's `Findings` may have noticed something."""
        return False

    def title(self) -> str:
        """Its name, and the options that are not the defaults: "lime(samples=500)"."""
        changed = [f"{f.name}={v!r}" for f in fields(self) if (v := getattr(self, f.name)) != f.default]
        return f"{self.name}({', '.join(changed)})" if changed else self.name

    @property
    def needs(self) -> Needs | None:
        """What it asks of the forward pass that methods of voxels share; None, if it runs the network on its own."""
        return None

    @property
    def is_additive(self) -> bool:
        """Whether the score of a union of supervoxels is the sum of theirs."""
        return False

    def check(self, question: Question) -> None:
        """Raises where it cannot explain the score that is asked for."""
        if question.against is not None and question.score in ("probability", "logit"):
            raise VidexplainError(
                f"score {question.score!r} means nothing to one class against another, whose log-odds are explained"
            )
        if question.score is not None and question.against is None and question.score not in self.asks:
            known = (
                f"which explains the {' or the '.join(self.asks)}" if self.asks else "which asks about none"
            )
            raise VidexplainError(f"score {question.score!r} means nothing to method {self.name!r}, {known}")

    def score_of(self, question: Question) -> Score:
        """The score that it explains when asked this question."""
        return question.score or self.asks[0]

    def require_network_grid(self, scale: int) -> None:
        """Raises if it cannot score supervoxels on a grid `scale` times as fine as the network's input."""

    def score(self, query: Query) -> torch.Tensor:
        """Scores of the query's supervoxels: (B, K) float32."""
        raise NotImplementedError(f"method {self.name!r} has no score()")

    def input_scores(self, query: Query) -> dict[str, torch.Tensor]:
        """(B, K) of each input of a network with `channel_groups`, which sum to `score`; none where that cannot be."""
        return {}

    def maps(self, query: VoxelQuery) -> VoxelMaps:
        """Scores of voxels at the input's resolution, at the CAM layer's, or both; they are multiplied.

        Raises
        ------
        VidexplainError
            If it scores supervoxels only.
        """
        raise VidexplainError(
            f"{self.name!r} scores regions, not voxels; use explain(), or a method such as guided or grad-cam"
        )


@dataclass(frozen=True, kw_only=True)
class RegionMethod(Method):
    """Base of methods that score supervoxels as a whole; theirs is `score`."""

    def require_network_grid(self, scale: int) -> None:
        if scale > 1:
            raise VidexplainError(
                f"method {self.name!r} scores supervoxels of the network's own input, which has no finer ones; "
                "use a scale of 1, or a method that scores voxels"
            )


@dataclass(frozen=True, kw_only=True)
class PixelMethod(Method):
    """Base of methods that score voxels; theirs is `maps`.

    Attributes
    ----------
    reduction
        How voxel scores become that of a supervoxel: their "sum" (the paper), "mean" or "max".
    signed
        Whether voxel scores keep their sign; the paper takes absolute values.
    """

    reduction: Literal["sum", "mean", "max"] = option(
        "sum", "of voxel scores in a supervoxel: sum, mean or max"
    )
    signed: bool = option(False, "keep the sign of voxel scores")

    @property
    def needs(self) -> Needs | None:
        return Needs()

    @property
    def is_additive(self) -> bool:
        return self.reduction == "sum" and type(self).score is PixelMethod.score

    def score(self, query: Query) -> torch.Tensor:
        """(B, K): the sum of | up(cam) * dense | over the voxels of each supervoxel (section 3 of the paper).

        Of a class against another: the signed sums for the one's logit, less those for the other's.
        """
        return self._reduced(query)

    def input_scores(self, query: Query) -> dict[str, torch.Tensor]:
        """(B, K) of each input of a network with `channel_groups`, which sum to `score`; none where that cannot be."""
        is_sum = self.reduction != "max" and type(self).score is PixelMethod.score
        if not is_sum or query.maps_of(self).dense is None:
            return {}
        groups = query.model.settings.grouped_channels()
        return {name: self._reduced(query, channels) for name, channels in groups.items()}

    def _reduced(self, query: Query, channels: Sequence[int] | None = None) -> torch.Tensor:
        """(B, K), of all channels or of some."""

        def reduced(part: Query, signed: bool) -> torch.Tensor:
            maps = part.maps_of(self)
            if channels is not None and maps.dense is not None:
                maps = replace(maps, dense=maps.dense[:, list(channels)].contiguous())
            return part.reduced(maps, self.reduction, signed)

        if query.question.against is None:
            return reduced(query, self.signed)
        return reduced(query, True) - reduced(query.turned, True)


AnyMethod = TypeVar("AnyMethod", bound="type[Method]")
AnyOne = TypeVar("AnyOne", bound=Method)


class _Methods(Registry["type[Method]"]):
    """Tells each class the name that it is registered under."""

    def register(self, name: str) -> Callable[[AnyMethod], AnyMethod]:  # type: ignore[override]
        def add(method: AnyMethod) -> AnyMethod:
            if not (isinstance(method, type) and issubclass(method, Method)):
                raise VidexplainError(
                    f"the method {name!r} has to be a class made from PixelMethod or RegionMethod"
                )
            method.name, method.kind = name, f"method {name!r}"
            super(_Methods, self).register(name)(method)
            return method

        return add


METHODS: Registry[type[Method]] = _Methods("method", plugins="videxplain.methods")


def method_of(method: str | Method) -> Method:
    """A method by its name, with its defaults, or itself.

    Raises
    ------
    VidexplainError
        For an unknown name, and for what is no method.
    """
    if isinstance(method, str):
        return METHODS[method]()
    if isinstance(method, Method):
        return method
    if isinstance(method, type) and issubclass(method, Method):
        return method()
    if isinstance(method, list | tuple):
        raise VidexplainError("method has to be one method; compare() takes several, methods=[...].")
    raise VidexplainError(f"a method is a name or a method such as Lime(samples=500), not {method!r}")


def checked(methods: Sequence[Method], question: Question) -> None:
    """Raises, before any work, where a question means nothing to the methods; of several, some ask about no class."""
    for method in methods:
        if method.asks or len(methods) == 1:
            method.check(question)


def chosen(
    methods: Sequence[str | Method], question: Question, options: dict[str, Any], *others: Settings
) -> tuple[list[Method], Question, list[Any]]:
    """Methods, the question and other settings, with the options applied that were given by their names, checked.

    Raises
    ------
    VidexplainError
        For what is unknown, or means nothing to what was chosen.
    """
    picked = [method_of(method) for method in methods]
    settings = short_form(options, *picked, question, *others)
    found, asked, rest = settings[: len(picked)], settings[len(picked)], settings[len(picked) + 1 :]
    checked(found, asked)
    return found, asked, rest


# One forward pass, and at most one backward pass


@dataclass(frozen=True, kw_only=True)
class OnePass(PixelMethod):
    """Base of the paper's methods: a map at the input's resolution, one at the CAM layer's, or their product.

    Attributes
    ----------
    dense
        What is taken at the input, if anything.
    cam
        The function of `videxplain.attribution.cam` that makes the map of the CAM layer's output, if there is one.
    cam_gradient
        Whether that function takes the gradient at that layer as well.
    """

    dense: ClassVar[Dense | None] = None
    cam: ClassVar[str | None] = None
    cam_gradient: ClassVar[bool] = True

    @property
    def needs(self) -> Needs:
        return Needs(
            input_gradient=self.dense is not None,
            guided=self.dense == "guided",
            guide_smooth=getattr(self, "guide_smooth", False),
            cam=self.cam is not None,
            cam_gradient=self.cam is not None and self.cam_gradient,
        )

    def maps(self, query: VoxelQuery) -> VoxelMaps:
        from videxplain.attribution.one_pass import maps

        return maps(query, self)


_GUIDE_SMOOTH = option(False, "let guided methods treat GELU, SiLU and the like as ReLU", flag="guide-smooth")


@METHODS.register("vanilla")
@dataclass(frozen=True, kw_only=True)
class Vanilla(OnePass):
    """Gradient of the class score at the input."""

    dense = "gradient"
    asks = ("probability", "logit")


@METHODS.register("guided")
@dataclass(frozen=True, kw_only=True)
class Guided(OnePass):
    """Gradient under the guided-ReLU backward rule."""

    dense = "guided"
    asks = ("probability", "logit")
    guide_smooth: bool = _GUIDE_SMOOTH


@METHODS.register("input-x-gradient")
@dataclass(frozen=True, kw_only=True)
class InputXGradient(OnePass):
    """Input times gradient."""

    dense = "input-x-gradient"
    asks = ("probability", "logit")


@METHODS.register("relu-activation")
@dataclass(frozen=True, kw_only=True)
class ReluActivation(OnePass):
    """Rectified activation of the last grid, for no class in particular."""

    cam = "relu_activation"
    cam_gradient = False


@METHODS.register("grad-cam")
@dataclass(frozen=True, kw_only=True)
class GradCam(OnePass):
    """Grad-CAM."""

    cam = "grad_cam"
    asks = ("logit",)


@METHODS.register("guided-grad-cam")
@dataclass(frozen=True, kw_only=True)
class GuidedGradCam(OnePass):
    """Guided times Grad-CAM."""

    dense, cam = "guided", "grad_cam"
    asks = ("probability", "logit")
    guide_smooth: bool = _GUIDE_SMOOTH


@METHODS.register("grad-cam++")
@dataclass(frozen=True, kw_only=True)
class GradCamPlusPlus(OnePass):
    """Grad-CAM++."""

    cam = "grad_cam_plus_plus"
    asks = ("logit",)


@METHODS.register("act-grad-cam")
@dataclass(frozen=True, kw_only=True)
class ActGradCam(OnePass):
    """Grad-CAM weighted by activation times gradient."""

    cam = "act_grad_cam"
    asks = ("logit",)


@METHODS.register("guided-act-grad-cam")
@dataclass(frozen=True, kw_only=True)
class GuidedActGradCam(OnePass):
    """Guided times Act-Grad-CAM."""

    dense, cam = "guided", "act_grad_cam"
    asks = ("probability", "logit")
    guide_smooth: bool = _GUIDE_SMOOTH


@METHODS.register("layer-cam")
@dataclass(frozen=True, kw_only=True)
class LayerCam(OnePass):
    """LayerCAM."""

    cam = "layer_cam"
    asks = ("logit",)


@METHODS.register("xgrad-cam")
@dataclass(frozen=True, kw_only=True)
class XGradCam(OnePass):
    """XGrad-CAM."""

    cam = "xgrad_cam"
    asks = ("logit",)


@METHODS.register("eigen-cam")
@dataclass(frozen=True, kw_only=True)
class EigenCam(OnePass):
    """Eigen-CAM, for no class in particular."""

    cam = "eigen_cam"
    cam_gradient = False


# Several passes, or another library's backward rule


@METHODS.register("integrated-gradients")
@dataclass(frozen=True, kw_only=True)
class IntegratedGradients(PixelMethod):
    """Integrated gradients from black."""

    asks = ("probability", "logit")
    steps: int = option(32, "how many points of the path", least=1)

    def maps(self, query: VoxelQuery) -> VoxelMaps:
        from videxplain.attribution.dense_methods import integrated_gradients

        return integrated_gradients(query, self)


@METHODS.register("smoothgrad")
@dataclass(frozen=True, kw_only=True)
class SmoothGrad(PixelMethod):
    """Mean gradient over noisy copies of the clip."""

    asks = ("probability", "logit")
    samples: int = option(16, "how many noisy copies", least=1)
    noise: float = option(0.15, "deviation of the noise, in units of the clip's range", least=0)
    base: Literal["vanilla", "guided", "input-x-gradient"] = option("vanilla", "which gradient is averaged")
    guide_smooth: bool = _GUIDE_SMOOTH
    seed: int = option(0, "of what is drawn at random")

    def idle_options(self) -> dict[str, str]:
        why = f"smoothgrad of {self.base!r}, which is not guided"
        return {} if self.base == "guided" else {"guide_smooth": why}

    def maps(self, query: VoxelQuery) -> VoxelMaps:
        from videxplain.attribution.dense_methods import smoothgrad

        return smoothgrad(query, self)


@METHODS.register("lrp-epsilon")
@dataclass(frozen=True, kw_only=True)
class LrpEpsilon(PixelMethod):
    """Relevance propagation, epsilon rule (needs zennit)."""

    asks = ("logit",)
    epsilon: float = option(1e-6, "what keeps denominators from zero", above=0)

    def maps(self, query: VoxelQuery) -> VoxelMaps:
        from videxplain.attribution.dense_methods import lrp_epsilon

        return lrp_epsilon(query, self)


@METHODS.register("lrp-alpha-beta")
@dataclass(frozen=True, kw_only=True)
class LrpAlphaBeta(PixelMethod):
    """Relevance propagation, alpha 2 beta 1 (needs zennit)."""

    asks = ("logit",)

    def maps(self, query: VoxelQuery) -> VoxelMaps:
        from videxplain.attribution.dense_methods import lrp_alpha_beta

        return lrp_alpha_beta(query)


# Supervoxels as a whole


@METHODS.register("random")
@dataclass(frozen=True, kw_only=True)
class Random(RegionMethod):
    """Uniform random scores, the baseline."""

    seed: int = option(0, "of what is drawn at random")

    def score(self, query: Query) -> torch.Tensor:
        from videxplain.attribution.perturbation import random_scores

        return random_scores(query, self)


@dataclass(frozen=True, kw_only=True)
class Masking(RegionMethod):
    """Base of methods that hide supervoxels.

    Attributes
    ----------
    fill
        What takes a hidden supervoxel's place: its own mean colour ("mean"), mid-grey, black, a blur of the clip,
        noise, the colours around it ("neighbours"), or each pixel's mean over time ("still": the look stays, the motion
        goes). By default the mean where it moves the answer, and otherwise what does, by `choose_fill`.
    batch_size
        Clips per forward pass; by default what suits the device.
    progress
        Show a progress bar.
    """

    asks: ClassVar[tuple[Score, ...]] = ("probability",)
    fill: Fill = option(
        "auto", "what hides a supervoxel: mean, grey, black, blur, noise, neighbours, still; auto tries some"
    )
    seed: int = option(0, "of what is drawn at random")
    batch_size: int | None = option(None, "clips per forward pass", least=1, flag="batch-size")
    progress: bool = option(False, flag="", recorded=False)


@dataclass(frozen=True, kw_only=True)
class AdditiveMasking(Masking):
    """Base of those whose scores add up: they are the terms of a sum over supervoxels."""

    @property
    def is_additive(self) -> bool:
        return True


@METHODS.register("region-gradient")
@dataclass(frozen=True, kw_only=True)
class RegionGradient(AdditiveMasking):
    """Mean effect of showing each supervoxel, from a few backward passes.

    Attributes
    ----------
    passes
        At most how many forward and backward passes.
    until
        Stop earlier, once the largest standard error is below so many times the largest score.
    mask_sampling
        Where gradients are taken; see `videxplain.attribution.mask_sampling`. By default along "secants", and at
        "arcsine" levels where a network has attention or layer normalisation: chords agree less with LIME there.
    refine_top
        How many of the best supervoxels are measured by forward passes as well; by default 8 of clips
        where that takes a small part of a pass each (networks of convolutions, on boxes that stay small), else none.
    """

    asks = ("tempered", "log-odds", "probability", "logit")
    passes: int = option(16, "at most so many passes", least=1)
    until: float | None = option(None, "stop at this error, in units of the top score")
    mask_sampling: MaskSampling | None = option(
        None, "where gradients are taken (default: secants, with attention arcsine)"
    )
    refine_top: int | None = option(
        None, "supervoxels that are measured as well (default: 8 of clips, where it is cheap)", least=0
    )

    def suited(self, model: Classifier) -> RegionGradient:
        if self.mask_sampling is not None:
            return self
        return replace(self, mask_sampling="arcsine" if model.has_attention else "secants")

    def follows_chords(self, model: Classifier) -> bool:
        return self.suited(model).mask_sampling in ("secants", "in-turn")

    def score(self, query: Query) -> torch.Tensor:
        from videxplain.attribution.region_gradient import region_gradient

        return region_gradient(query, self)


@METHODS.register("lime")
@dataclass(frozen=True, kw_only=True)
class Lime(AdditiveMasking):
    """LIME: ridge regression over random masks, batched on the device or by the lime package.

    Attributes
    ----------
    samples
        How many masks.
    kernel_width, ridge
        Width of the kernel that weighs masks by their distance to the clip, and penalty of the regression.
    batched
        Make masks on the device and send clips in batches; False takes the `lime` package, the paper's reference, whose
        fill is each supervoxel's mean.
    """

    asks = ("probability", "log-odds")
    samples: int = option(1000, "how many masks", least=1)
    kernel_width: float = option(0.25, "how far from the clip masks still count", above=0)
    ridge: float = option(1.0, "penalty of the regression", least=0)
    batched: bool = option(True, "make masks and batches here; --no-batched uses the lime package")

    def idle_options(self) -> dict[str, str]:
        names = () if self.batched else ("fill", "kernel_width", "ridge")
        return dict.fromkeys(names, "the lime package (batched=False), which has its own")

    def check(self, question: Question) -> None:
        super().check(question)
        if not self.batched and self.score_of(question) != "probability":
            raise VidexplainError(f"score {question.score!r} means nothing to the lime package; leave it out")

    def score(self, query: Query) -> torch.Tensor:
        from videxplain.attribution import perturbation

        return perturbation.lime(query, self) if self.batched else perturbation.lime_package(query, self)


@METHODS.register("kernel-shap")
@dataclass(frozen=True, kw_only=True)
class KernelShap(AdditiveMasking):
    """Shapley values of supervoxels by KernelSHAP."""

    asks = ("probability", "log-odds")
    samples: int = option(1000, "how many masks", least=1)

    def score(self, query: Query) -> torch.Tensor:
        from videxplain.attribution.perturbation import kernel_shap

        return kernel_shap(query, self)


@METHODS.register("rise")
@dataclass(frozen=True, kw_only=True)
class Rise(Masking):
    """RISE with supervoxels as its random cells."""

    samples: int = option(1000, "how many masks", least=1)
    shown: float = option(0.5, "share of supervoxels that a mask shows")

    def score(self, query: Query) -> torch.Tensor:
        from videxplain.attribution.perturbation import rise

        return rise(query, self)


@METHODS.register("occlusion")
@dataclass(frozen=True, kw_only=True)
class Occlusion(Masking):
    """Fall of the probability when one supervoxel is hidden."""

    def score(self, query: Query) -> torch.Tensor:
        from videxplain.attribution.perturbation import occlusion

        return occlusion(query, self)


def effort_option(method: Method) -> str:
    """Its number of samples, passes or steps, whichever it has, by name."""
    for name in ("samples", "passes", "steps"):
        if name in method.options():
            return name
    raise VidexplainError(f"method {method.name!r} takes no number of samples, passes or steps")


def with_effort(method: AnyOne, amount: int) -> AnyOne:
    """The same with so many samples, passes or steps, whichever it has."""
    return replace(method, **{effort_option(method): amount})
