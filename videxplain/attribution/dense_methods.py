"""Voxel scores that take several passes, or a backward rule of another library's: a dense map of x's shape, float32.

Where the sign of the score matters it is kept; a reduction over supervoxels takes absolute values unless told not to.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from videxplain.attribution.mask_sampling import gauss_legendre
from videxplain.attribution.query import VoxelMaps
from videxplain.errors import VidexplainError
from videxplain.models.classifier import evaluating
from videxplain.models.input_form import in_one_line
from videxplain.models.layer_trial import is_compiled_whole
from videxplain.passes.fills import uniform
from videxplain.passes.forward_pass import ForwardPass

if TYPE_CHECKING:
    from videxplain.attribution.methods import IntegratedGradients, LrpEpsilon, SmoothGrad
    from videxplain.attribution.query import VoxelQuery
    from videxplain.models import Classifier


def integrated_gradients(query: VoxelQuery, method: IntegratedGradients) -> VoxelMaps:
    """Integrated gradients from black (Sundararajan et al. 2017, equation 1), by the Gauss-Legendre rule.

    The scores of a sample sum to f(x) - f(black).
    """
    model, x = query.model, query.x
    score = query.score_of(method)
    baseline = uniform(model, x, 0.0)
    # the path is smooth, so the rule needs few steps
    nodes, weights = (values.tolist() for values in gauss_legendre(method.steps))
    total = torch.zeros_like(x, dtype=torch.float32)
    for node, weight in zip(nodes, weights, strict=True):
        run = ForwardPass(model, baseline + node * (x - baseline))
        total += weight * run.input_gradient(query.target, score=score)
    return VoxelMaps(total * (x - baseline))


def smoothgrad(query: VoxelQuery, method: SmoothGrad) -> VoxelMaps:
    """SmoothGrad (Smilkov et al. 2017): the mean of a gradient over noisy copies of the clip."""
    x, guided = query.x, method.base == "guided"
    score = query.score_of(method)
    generator = torch.Generator().manual_seed(method.seed)
    flat = x.flatten(1)
    deviation = method.noise * (flat.amax(dim=1) - flat.amin(dim=1)).view(-1, 1, 1, 1, 1)
    total = torch.zeros_like(x, dtype=torch.float32)
    for _ in range(method.samples):
        noisy = x + deviation * torch.randn(x.shape, generator=generator).to(x)
        run = ForwardPass(query.model, noisy, needs_guided=guided, guide_smooth=method.guide_smooth)
        gradient = run.input_gradient(query.target, score=score, guided=guided)
        total += gradient * noisy if method.base == "input-x-gradient" else gradient
    return VoxelMaps(total / method.samples)


def lrp_epsilon(query: VoxelQuery, method: LrpEpsilon) -> VoxelMaps:
    """Layer-wise relevance propagation by the epsilon rule (Bach et al. 2015, equation 58), through zennit."""
    from zennit.composites import LayerMapComposite, layer_map_base  # zennit is optional
    from zennit.rules import Epsilon
    from zennit.types import Convolution, Linear

    rule = Epsilon(epsilon=method.epsilon)
    layers = [*layer_map_base(), (Convolution, rule), (Linear, rule)]
    return _lrp(query, LayerMapComposite(layers, canonizers=_canonizers(query.model)))


def lrp_alpha_beta(query: VoxelQuery) -> VoxelMaps:
    """LRP, alpha = 2 and beta = 1 in convolutions, epsilon in dense layers (Bach et al. 2015), through zennit."""
    from zennit.composites import EpsilonAlpha2Beta1

    return _lrp(query, EpsilonAlpha2Beta1(canonizers=_canonizers(query.model)))


def _lrp(query: VoxelQuery, composite: Any) -> VoxelMaps:
    if any(map(is_compiled_whole, query.model.net.modules())):
        raise VidexplainError(
            f"relevance propagation does not see the layers of {query.model.name!r}, which is scripted; give the "
            "network that was scripted, or use another method"
        )
    model = copy.copy(query.model).configure(precision="float32")  # zennit's rules do not mix precisions
    x, target = query.x.detach().clone().requires_grad_(), query.target  # before zennit's hooks are there
    try:
        with (
            torch.enable_grad(),
            evaluating(model.net),
            _out_of_place(model.net),
            _put_back(model.net, composite),
            composite.context(model.net),
            _above_zero(model.net),
        ):
            logits = model.logits(x)
            # relevance of the class enters at its logit, as much as the logit is worth
            chosen = logits.gather(1, target[:, None])
            (relevance,) = torch.autograd.grad(chosen, x, grad_outputs=chosen.detach())
    except (VidexplainError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of whatever kind the rules raise in layers that they were not made for
        raise VidexplainError(
            f"relevance propagation cannot go through {model.name!r} ({in_one_line(error)}); use another method"
        ) from error
    if not bool(torch.isfinite(relevance).all()):
        raise VidexplainError(
            f"the relevance of {model.name!r} is NaN or infinite for this clip; use another method, or a larger epsilon"
        )
    return VoxelMaps(relevance.float())


@contextmanager
def _put_back(net: torch.nn.Module, composite: Any) -> Iterator[None]:
    """Where zennit gives up half way, what it has hooked and merged by then is put back."""
    kinds: list[dict[str, Any]] = [
        kind for module in net.modules() for kind in (module._parameters, module._buffers)
    ]
    tensors = [
        (kind, name, tensor, None if tensor is None else tensor.data)
        for kind in kinds
        for name, tensor in kind.items()
    ]
    try:
        yield
    except BaseException:
        composite.remove()
        for kind, name, tensor, data in tensors:
            kind[name] = tensor
            if data is not None:
                tensor.data = data
        raise


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
