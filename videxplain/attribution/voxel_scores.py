"""Voxel scores: one forward pass, at most one backward pass, for any number of methods (section 3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import torch

from videxplain.attribution.methods import METHODS, DenseMethod, PixelMethod, RegionMethod
from videxplain.errors import VidexplainError
from videxplain.passes.forward_pass import ForwardPass
from videxplain.settings import Gradient, Guided, MethodSettings, settings_for

if TYPE_CHECKING:
    from videxplain.models import Classifier

_COMMON = frozenset(field.name for field in fields(Gradient))
Output = Literal["probability", "logit"]
Target = int | str | Sequence[int | str] | None


@dataclass(frozen=True)
class PixelScores:
    """What a pixel method says of each voxel, before it is summed over supervoxels.

    Attributes
    ----------
    dense
        (B, C, T, H, W) float32 at the input's resolution, or None.
    cam
        (B, t, h, w) float32 at the CAM layer's resolution, or None.
    target
        (B,) int64, the explained class of each sample.
    probability
        (B,) float32, the target's probability.
    probabilities
        (B, classes) float32.
    """

    dense: torch.Tensor | None
    cam: torch.Tensor | None
    target: torch.Tensor
    probability: torch.Tensor
    probabilities: torch.Tensor


def pixel_scores(
    model: Classifier,
    x: torch.Tensor,
    method: str = "guided",
    target: Target = None,
    **options: Any,
) -> PixelScores:
    """Scores every voxel of a batch of clips.

    Parameters
    ----------
    model
        The classifier. An image model scores each frame on its own, as if it were a clip of one frame.
    x
        (B, C, T, H, W) float, normalised as the model asks (`Classifier.prepare`); images (B, C, H, W) also do.
    method
        A method that scores voxels; `videxplain methods` lists them.
    target
        Class to explain, by index, name or rank ("#2" is the second prediction); one for all samples or one each.
        The predicted class by default.
    **options
        The method's own, as `videxplain.settings` has them: for gradients `output`, "probability" (the default, the
        paper's choice) or "logit" (CAM weights always come from the logit); for guided methods `guided_any`, which lets
        them treat GELU, SiLU and other smooth rectifiers like ReLU; `steps` of integrated gradients, and so on.

    Returns
    -------
    PixelScores

    Raises
    ------
    VidexplainError
        For an unknown method, class or option, a method that scores regions only, and a network without gradients.
    """
    for name in ("reduction", "signed"):
        if name in options:
            raise VidexplainError(
                f"{name} is of scores of supervoxels, and these are scores of voxels; use explain()"
            )
    return pixel_scores_of(model, x, [method], target, **options)[method]


def pixel_scores_of(
    model: Classifier,
    x: torch.Tensor,
    methods: Sequence[str],
    target: Target = None,
    settings: dict[str, MethodSettings] | None = None,
    **options: Any,
) -> dict[str, PixelScores]:
    """`pixel_scores` for several methods, which share the forward pass and any backward pass they have in common.

    Their `settings` are made of the options, unless they are there already.
    """
    settings = settings_for(list(methods), options) if settings is None else settings
    gradients = [s for s in settings.values() if isinstance(s, Gradient)]
    output: Output = gradients[0].output if gradients else "probability"
    wanted = {name: _voxel_method(name) for name in methods}
    one_pass = [method for method in wanted.values() if isinstance(method, PixelMethod)]
    x = check_input(model, x)
    batch, _, frames = x.shape[:3]
    per_frame = model.is_image_model
    if per_frame and frames > 1:
        x = x.transpose(1, 2).flatten(0, 1).unsqueeze(2)
    run = ForwardPass(
        model,
        x,
        needs_input_gradient=any(m.dense is not None for m in one_pass),
        needs_cam=any(m.needs_cam for m in one_pass),
        needs_cam_gradient=any(m.gradient_cam is not None for m in one_pass),
        needs_guided=any(m.dense == "guided" for m in one_pass),
        guided_any=any(isinstance(s, Guided) and s.guided_any for s in settings.values()),
    )
    probabilities = run.probabilities.detach().float()
    if per_frame:
        probabilities = probabilities.unflatten(0, (batch, frames)).mean(dim=1)
    classes = model.resolve_target(target, probabilities)
    repeated = classes.repeat_interleave(frames) if per_frame else classes
    maps = _Maps(run, repeated, output)

    scores = {}
    for name, method in wanted.items():
        if isinstance(method, PixelMethod):
            dense, cam = maps.dense(method), maps.cam(method)
        else:
            own = {key: value for key, value in vars(settings[name]).items() if key not in _COMMON}
            dense, cam = method.score(model, x, repeated, output, **own), None
        if per_frame:
            dense = _unfold(dense, batch, frames)
            cam = _unfold(cam, batch, frames)
        probability = probabilities.gather(1, classes[:, None])[:, 0]
        scores[name] = PixelScores(dense, cam, classes, probability, probabilities)
    return scores


class _Maps:
    """The gradients of one forward pass, each taken once however many methods want it."""

    def __init__(self, run: ForwardPass, target: torch.Tensor, output: Output) -> None:
        self.run, self.target, self.output = run, target, output
        self._dense: dict[bool, torch.Tensor] = {}
        self._activation_gradient: torch.Tensor | None = None

    def dense(self, method: PixelMethod) -> torch.Tensor | None:
        if method.dense is None:
            return None
        guided = method.dense == "guided"
        if guided not in self._dense:
            self._dense[guided] = self.run.input_gradient(self.target, output=self.output, guided=guided)
        gradient = self._dense[guided]
        return gradient * self.run.x.detach() if method.dense == "input-x-gradient" else gradient

    def cam(self, method: PixelMethod) -> torch.Tensor | None:
        if not method.needs_cam:
            return None
        assert self.run.activation is not None
        activation = self.run.activation.detach().float()
        if method.activation_cam is not None:
            return method.activation_cam(activation)
        assert method.gradient_cam is not None
        if self._activation_gradient is None:
            self._activation_gradient = self.run.activation_gradient(self.target)
        return method.gradient_cam(activation, self._activation_gradient)


def _voxel_method(name: str) -> PixelMethod | DenseMethod:
    method = METHODS[name]
    if isinstance(method, RegionMethod):
        voxel = ", ".join(n for n in METHODS if not isinstance(METHODS[n], RegionMethod))
        raise VidexplainError(f"{name!r} scores regions, not voxels; use explain(), or one of {voxel}")
    return method


def check_input(model: Classifier, x: torch.Tensor) -> torch.Tensor:
    """`x` as (B, C, T, H, W) on the model's device, or one sentence on what is wrong with it."""
    if not isinstance(x, torch.Tensor):
        raise VidexplainError(
            f"x must be a float tensor (B, C, T, H, W), not {type(x).__name__}; see Classifier.prepare"
        )
    if not x.is_floating_point():
        raise VidexplainError(
            f"x has dtype {x.dtype}; give normalised floating-point values, as Classifier.prepare makes them"
        )
    if x.ndim == 4 and model.is_image_model:
        x = x.unsqueeze(2)
    if x.ndim != 5 or x.shape[0] == 0:
        raise VidexplainError(
            f"x has shape {tuple(x.shape)}; expected (B, C, T, H, W) with at least one sample"
        )
    if not bool(torch.isfinite(x).all()):
        raise VidexplainError("x holds NaN or infinite values; check how the clip was normalised")
    return x.to(model.device)


def _unfold(maps: torch.Tensor | None, batch: int, frames: int) -> torch.Tensor | None:
    """Per-frame maps back to clips: (B*T, C, 1, H, W) -> (B, C, T, H, W), (B*T, 1, h, w) -> (B, T, h, w)."""
    if maps is None:
        return None
    if maps.ndim == 5:
        return maps.squeeze(2).unflatten(0, (batch, frames)).transpose(1, 2).contiguous()
    return maps.squeeze(1).unflatten(0, (batch, frames))
