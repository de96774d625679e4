"""Voxel scores that take several passes, or a backward rule of another library's.

All take (model, x (B, C, T, H, W), target (B,), output) and give a dense map of x's shape, float32. Where the sign of
the score matters it is kept; a reduction over supervoxels takes absolute values unless told otherwise.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from videxplain.attribution.mask_sampling import gauss_legendre
from videxplain.errors import VidexplainError, unknown_name
from videxplain.models.classifier import evaluating
from videxplain.passes.forward_pass import ForwardPass
from videxplain.passes.masked_clip import uniform

if TYPE_CHECKING:
    from videxplain.models import Classifier

GRADIENTS = ("vanilla", "guided", "input-x-gradient")


def integrated_gradients(
    model: Classifier, x: torch.Tensor, target: torch.Tensor, output: str, *, steps: int = 32
) -> torch.Tensor:
    """Integrated gradients from black (Sundararajan et al. 2017, equation 1), by the Gauss-Legendre rule.

    The scores of a sample sum to f(x) - f(black).
    """
    baseline = uniform(model, x, 0.0)
    # the path is smooth, so the rule needs few steps
    if steps < 1:
        raise VidexplainError(f"steps must be at least 1, not {steps}")
    nodes, weights = (values.tolist() for values in gauss_legendre(steps))
    total = torch.zeros_like(x, dtype=torch.float32)
    for node, weight in zip(nodes, weights, strict=True):
        run = ForwardPass(model, baseline + node * (x - baseline))
        total += weight * run.input_gradient(target, output=output)
    return total * (x - baseline)


def smoothgrad(
    model: Classifier,
    x: torch.Tensor,
    target: torch.Tensor,
    output: str,
    *,
    samples: int = 16,
    noise: float = 0.15,
    base: str = "vanilla",
    guided_any: bool = False,
    seed: int = 0,
) -> torch.Tensor:
    """SmoothGrad (Smilkov et al. 2017): the mean of a gradient method over noisy copies of the clip.

    `noise` is the deviation in units of the clip's range; `base` is "vanilla", "guided" or "input-x-gradient".
    """
    if base not in GRADIENTS:
        raise unknown_name("base of smoothgrad", base, GRADIENTS)
    generator = torch.Generator().manual_seed(seed)
    flat = x.flatten(1)
    deviation = noise * (flat.amax(dim=1) - flat.amin(dim=1)).view(-1, 1, 1, 1, 1)
    total = torch.zeros_like(x, dtype=torch.float32)
    for _ in range(samples):
        noisy = x + deviation * torch.randn(x.shape, generator=generator).to(x)
        run = ForwardPass(model, noisy, needs_guided=base == "guided", guided_any=guided_any)
        gradient = run.input_gradient(target, output=output, guided=base == "guided")
        total += gradient * noisy if base == "input-x-gradient" else gradient
    return total / samples


def lrp_epsilon(
    model: Classifier, x: torch.Tensor, target: torch.Tensor, output: str, *, epsilon: float = 1e-6
) -> torch.Tensor:
    """Layer-wise relevance propagation by the epsilon rule (Bach et al. 2015, equation 58), through zennit."""
    from zennit.composites import LayerMapComposite, layer_map_base  # zennit is optional
    from zennit.rules import Epsilon
    from zennit.types import Convolution, Linear

    layers = [*layer_map_base(), (Convolution, Epsilon(epsilon=epsilon)), (Linear, Epsilon(epsilon=epsilon))]
    return _lrp(model, x, target, LayerMapComposite(layers, canonizers=_canonizers(model)))


def lrp_alpha_beta(model: Classifier, x: torch.Tensor, target: torch.Tensor, output: str) -> torch.Tensor:
    """LRP, alpha = 2 and beta = 1 in convolutions, epsilon in dense layers (Bach et al. 2015), through zennit."""
    from zennit.composites import EpsilonAlpha2Beta1

    return _lrp(model, x, target, EpsilonAlpha2Beta1(canonizers=_canonizers(model)))


def _lrp(model: Classifier, x: torch.Tensor, target: torch.Tensor, composite: Any) -> torch.Tensor:
    model = copy.copy(model).adapted(precision="float32")  # zennit's rules do not mix precisions
    x = x.detach().clone().requires_grad_()
    with (
        torch.enable_grad(),
        evaluating(model.net),
        _out_of_place(model.net),
        composite.context(model.net),
        _above_zero(model.net),
    ):
        logits = model.logits(x)
        # relevance of the class enters at its logit, as much as the logit is worth
        chosen = logits.gather(1, target[:, None])
        (relevance,) = torch.autograd.grad(chosen, x, grad_outputs=chosen.detach())
    return relevance.float()


def _canonizers(model: Classifier) -> list[Any]:
    """Batch norms merge into the convolutions before them, residual sums become modules that share relevance."""
    from zennit.canonizers import SequentialMergeBatchNorm
    from zennit.torchvision import ResNetCanonizer

    family = type(model.net).__name__
    if family == "ResNet":
        return [ResNetCanonizer()]
    return [SequentialMergeBatchNorm()]


@contextmanager
def _out_of_place(net: torch.nn.Module) -> Iterator[None]:
    """zennit's hooks need every activation to be a tensor of its own."""
    changed = [module for module in net.modules() if getattr(module, "inplace", False) is True]
    for module in changed:
        module.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


@contextmanager
def _above_zero(net: torch.nn.Module) -> Iterator[None]:
    """zennit gives batch norms that it has merged a variance of 1 and an eps of 0, which older torch refuses."""
    merged = [module for module in net.modules() if getattr(module, "eps", None) == 0]
    for module in merged:
        module.eps = torch.finfo(torch.float32).tiny  # type: ignore[assignment]
    try:
        yield
    finally:
        for module in merged:
            module.eps = 0.0  # type: ignore[assignment]
