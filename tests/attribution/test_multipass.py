"""Methods of several passes, and those under another backward rule, against Captum and pytorch-grad-cam."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from captum.attr import LRP, IntegratedGradients
from captum.attr._utils.lrp_rules import EpsilonRule
from networks import clips, lively_classes, network, relative_error
from test_oracles import Head, as_clip, native
from torch import nn

import videxplain as vx


@pytest.mark.parametrize("name", ["resnet50", "r3d_18"])
def test_integrated_gradients_equal_captum(name: str) -> None:
    model, x = network(name), clips(name, 1)
    black = model.from_rgb(torch.zeros_like(x))
    oracle = IntegratedGradients(Head(model, "probability"))
    theirs = oracle.attribute(native(model, x), native(model, black), target=3, n_steps=6, method="gausslegendre")
    ours = vx.pixel_scores(model, x, "integrated-gradients", 3, steps=6).dense
    assert relative_error(ours, as_clip(model, theirs)) < 1e-5


def test_integrated_gradients_are_complete() -> None:
    model, x = network("c3d"), clips("c3d", 1)
    scores = vx.pixel_scores(model, x, "integrated-gradients", 3, steps=64)
    black = model.from_rgb(torch.zeros_like(x))
    rise = model.predict(x)[0, 3] - model.predict(black)[0, 3]
    assert abs(float(scores.dense.sum() - rise)) < 0.01 * abs(float(rise))


@pytest.mark.parametrize("base", ["vanilla", "guided", "input-x-gradient"])
def test_smoothgrad_is_the_mean_over_its_noisy_copies(base: str) -> None:
    """The same noise, drawn here, through one method at a time."""
    model, x = network("c3d"), clips("c3d", 1)
    ours = vx.pixel_scores(model, x, "smoothgrad", 2, samples=3, noise=0.1, base=base, seed=5).dense
    generator = torch.Generator().manual_seed(5)
    deviation = 0.1 * (x.max() - x.min())
    mean = sum(
        vx.pixel_scores(model, x + deviation * torch.randn(x.shape, generator=generator), base, 2).dense / 3
        for _ in range(3)
    )
    assert relative_error(ours, mean) < 1e-5


class Plain(nn.Module):
    """Layers for which Captum has the epsilon rule, three-dimensional."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.Sequential(
            nn.Conv3d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool3d(2),
            nn.Conv3d(6, 8, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 2 * 6 * 6, 10),
            nn.ReLU(),
            nn.Linear(10, 4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def slow_epsilon(net: Plain, x: torch.Tensor, target: int, epsilon: float) -> torch.Tensor:
    """Bach et al. 2015, equation 58, layer by layer in float64: R_in = a * J^T (R_out / (z + epsilon sign(z)))."""
    layers = [layer for layer in copy.deepcopy(net.layers).double().eval()]
    inputs = [x.double()]
    for layer in layers:
        inputs.append(layer(inputs[-1]).detach())
    relevance = torch.zeros_like(inputs[-1])
    relevance[0, target] = inputs[-1][0, target]
    for layer, a in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
        if isinstance(layer, nn.ReLU):
            continue
        a = a.clone().requires_grad_()
        z = layer(a)
        # torch's sign of 0 is 0; the rule's is 1
        sign = torch.where(z >= 0, 1.0, -1.0)
        share = (relevance / (z + epsilon * sign)).detach()
        (pulled,) = torch.autograd.grad((z * share).sum(), a)
        relevance = (a * pulled).detach()
    return relevance


@pytest.mark.parametrize("epsilon", [1e-6, 0.1])
def test_lrp_epsilon_equals_the_formula(epsilon: float) -> None:
    pytest.importorskip("zennit")
    net = Plain()
    model = vx.Classifier(net, clip_length=4, size=(12, 12))
    x = torch.randn(1, 3, 4, 12, 12, generator=torch.Generator().manual_seed(2))
    ours = vx.pixel_scores(model, x, "lrp-epsilon", 1, epsilon=epsilon).dense
    pooled = [i for i, layer in enumerate(net.layers) if isinstance(layer, nn.AvgPool3d)]
    assert pooled, "pooling takes part"
    assert relative_error(ours, slow_epsilon(net, x, 1, epsilon)) < 2e-2 if epsilon > 1e-3 else 1e-4


def test_lrp_epsilon_equals_captum_on_vgg16() -> None:
    pytest.importorskip("zennit")
    model, x = network("vgg16"), clips("vgg16", 1)
    head = Head(model, "logit")
    for module in head.net.modules():
        module.rule = EpsilonRule(epsilon=1e-6)
    theirs = LRP(head).attribute(native(model, x), target=3)
    ours = vx.pixel_scores(model, x, "lrp-epsilon", 3).dense
    assert relative_error(ours, as_clip(model, theirs.detach())) < 1e-3


@pytest.mark.parametrize("name", ["vgg16", "resnet50"])
@pytest.mark.parametrize("method", ["layer-cam", "xgrad-cam", "eigen-cam"])
def test_more_cams_equal_pytorch_grad_cam(name: str, method: str) -> None:
    package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = network(name), clips(name, batch=1)
    (target,) = lively_classes(name, 1, method)
    head = Head(model, "logit")
    layer = head.net.get_submodule(model.cam_layer)
    oracle = {"layer-cam": package.LayerCAM, "xgrad-cam": package.XGradCAM, "eigen-cam": package.EigenCAM}[method]
    with oracle(head, [layer]) as cam:
        cam(native(model, x), targets=[ClassifierOutputTarget(target)])
        activation, gradient = (
            np.concatenate([np.asarray(part.detach() if isinstance(part, torch.Tensor) else part) for part in parts])
            for parts in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients)
        )
        theirs = cam.get_cam_image(native(model, x), layer, [target], activation, gradient, eigen_smooth=False)
    ours = vx.pixel_scores(model, x, method, target).cam[:, 0]
    theirs = torch.from_numpy(np.asarray(theirs))
    if method == "eigen-cam":  # a component has no sign of its own
        candidates = [theirs.clip(min=0), (-theirs).clip(min=0)]
        assert min(relative_error(ours, c) for c in candidates if c.any()) < 1e-4
    else:
        assert relative_error(ours, theirs.clip(min=0)) < 1e-5
