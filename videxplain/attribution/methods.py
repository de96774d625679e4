"""The registry of scoring methods: what each needs from the network and how it makes scores of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass
from typing import Any, Literal

import torch

from videxplain.attribution import cam, dense_methods, perturbation, region_gradient
from videxplain.registry import Registry
from videxplain.settings import METHOD_SETTINGS, Gradient, Guided, MethodSettings, Voxels

Dense = Literal["gradient", "guided", "input-x-gradient"]


@dataclass(frozen=True)
class PixelMethod:
    """Scores voxels in one forward and at most one backward pass: score = | up(cam) * dense |, summed over a region.

    Attributes
    ----------
    summary
        One line for `videxplain methods`.
    dense
        What is taken at the input's resolution, if anything.
    activation_cam, gradient_cam
        The map at the CAM layer's resolution, made of the activation alone or of it and its gradient.
    """

    summary: str
    dense: Dense | None = None
    activation_cam: Callable[[torch.Tensor], torch.Tensor] | None = None
    gradient_cam: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None

    @property
    def needs_cam(self) -> bool:
        return self.activation_cam is not None or self.gradient_cam is not None


@dataclass(frozen=True)
class DenseMethod:
    """Scores voxels by passes of its own, several of them or under another library's backward rule.

    Attributes
    ----------
    summary
        One line for `videxplain methods`.
    score
        (model, x (B, 3, T, H, W), target (B,), output, **options) -> dense scores of x's shape.
    """

    summary: str
    score: Callable[..., torch.Tensor]


@dataclass(frozen=True)
class RegionMethod:
    """Scores supervoxels as a whole, by perturbing them or (the baseline) by chance.

    Attributes
    ----------
    summary
        One line for `videxplain methods`.
    score
        (model, x (B, 3, T, H, W), labels (B, T, H, W), num_segments, target (B,), **options) -> (B, K) float32.
    """

    summary: str
    score: Callable[..., torch.Tensor]


Method = PixelMethod | DenseMethod | RegionMethod


def _settings_of(name: str, method: Method) -> type[MethodSettings]:
    """The options of a method that `videxplain.settings` does not list: those of its function, taken as they are."""
    if isinstance(method, PixelMethod):
        return Voxels if method.dense is None else Guided if method.dense == "guided" else Gradient
    base: type[MethodSettings] = MethodSettings if isinstance(method, RegionMethod) else Gradient
    options: list[Any] = [
        (p.name, Any, field(default=p.default))
        for p in inspect.signature(method.score).parameters.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    return make_dataclass(name, options, bases=(base,), frozen=True, kw_only=True)


class _Methods(Registry[Method]):
    def register(self, name: str) -> Callable[[Method], Method]:
        add = super().register(name)

        def with_settings(method: Method) -> Method:
            METHOD_SETTINGS.setdefault(name, _settings_of(name, method))
            return add(method)

        return with_settings


METHODS: Registry[Method] = _Methods("method")


def _register(name: str, method: Method) -> None:
    METHODS.register(name)(method)


_register("vanilla", PixelMethod("gradient of the class score at the input", dense="gradient"))
_register("guided", PixelMethod("gradient under the guided-ReLU backward rule", dense="guided"))
_register("input-x-gradient", PixelMethod("input times gradient", dense="input-x-gradient"))
_register(
    "relu-activation",
    PixelMethod(
        "rectified activation of the last grid, for no class in particular",
        activation_cam=cam.relu_activation,
    ),
)
_register("grad-cam", PixelMethod("Grad-CAM", gradient_cam=cam.grad_cam))
_register("guided-grad-cam", PixelMethod("guided times Grad-CAM", dense="guided", gradient_cam=cam.grad_cam))
_register("grad-cam++", PixelMethod("Grad-CAM++", gradient_cam=cam.grad_cam_plus_plus))
_register(
    "act-grad-cam",
    PixelMethod("Grad-CAM weighted by activation times gradient", gradient_cam=cam.act_grad_cam),
)
_register(
    "guided-act-grad-cam",
    PixelMethod("guided times Act-Grad-CAM", dense="guided", gradient_cam=cam.act_grad_cam),
)

_register("layer-cam", PixelMethod("LayerCAM", gradient_cam=cam.layer_cam))
_register("xgrad-cam", PixelMethod("XGrad-CAM", gradient_cam=cam.xgrad_cam))
_register("eigen-cam", PixelMethod("Eigen-CAM, for no class in particular", activation_cam=cam.eigen_cam))
_register(
    "integrated-gradients", DenseMethod("integrated gradients from black", dense_methods.integrated_gradients)
)
_register("smoothgrad", DenseMethod("mean gradient over noisy copies of the clip", dense_methods.smoothgrad))
_register(
    "lrp-epsilon",
    DenseMethod("relevance propagation, epsilon rule (needs zennit)", dense_methods.lrp_epsilon),
)
_register(
    "lrp-alpha-beta",
    DenseMethod("relevance propagation, alpha 2 beta 1 (needs zennit)", dense_methods.lrp_alpha_beta),
)


def random_scores(
    model: object,
    x: torch.Tensor,
    labels: torch.Tensor,
    num_segments: int,
    target: torch.Tensor,
    *,
    seed: int = 0,
) -> torch.Tensor:
    """Uniform scores in [0, 1), the baseline that every method has to beat: (B, K) float32."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(labels.shape[0], num_segments, generator=generator).to(labels.device)


_register("random", RegionMethod("uniform random scores, the baseline", random_scores))
_register(
    "region-gradient",
    RegionMethod(
        "mean effect of showing each supervoxel, from a few backward passes", region_gradient.region_gradient
    ),
)
_register(
    "lime",
    RegionMethod("LIME by the lime package, the paper's reference", perturbation.lime_package),
)
_register("lime-batched", RegionMethod("LIME, batched on the device", perturbation.lime_batched))
_register(
    "kernel-shap",
    RegionMethod("Shapley values of supervoxels by KernelSHAP", perturbation.kernel_shap),
)
_register("rise", RegionMethod("RISE with supervoxels as its random cells", perturbation.rise))
_register(
    "occlusion",
    RegionMethod("fall of the probability when one supervoxel is hidden", perturbation.occlusion),
)
