"""Methods of several passes, and those under another backward rule, against Captum and pytorch-grad-cam."""

from __future__ import annotations

import copy

import pytest
import torch
from captum.attr import LRP, IntegratedGradients
from captum.attr._utils.lrp_rules import EpsilonRule
from networks import clips, lively_classes, network, relative_error
from test_oracles import Head, as_clip, native
from torch import nn

import videxplain as vx


@pytest.mark.parametrize("name", ["resnet50", pytest.param("r3d_18", marks=pytest.mark.large)])
def test_integrated_gradients_equal_captum(name: str) -> None:
    """In double precision: Captum batches the steps otherwise, and in float32 that decides ties in max pools."""
    model, x = copy.deepcopy(network(name)), clips(name, 1).double()
    model.net.double()
    black = model.from_rgb(torch.zeros_like(x))
    oracle = IntegratedGradients(Head(model, "probability"))
    theirs = oracle.attribute(
        native(model, x), native(model, black), target=3, n_steps=6, method="gausslegendre"
    )
    ours = vx.pixel_scores(model, x, "integrated-gradients", 3, steps=6).dense
    assert relative_error(ours, as_clip(model, theirs)) < 1e-5


def test_integrated_gradients_are_complete() -> None:
    model, x = plain(), torch.randn(1, 3, 4, 12, 12, generator=torch.Generator().manual_seed(2))
    black = model.from_rgb(torch.zeros_like(x))
    with torch.no_grad():
        rise = (model.logits(x) - model.logits(black))[0]
    target = int(rise.abs().argmax())
    scores = vx.pixel_scores(model, x, "integrated-gradients", target, score="logit", steps=64)
    assert abs(float(scores.dense.sum() - rise[target])) < 0.01 * abs(float(rise[target]))


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


def plain() -> vx.Classifier:
    return vx.Classifier(Plain(), clip_length=4, size=(12, 12))


def slow_epsilon(net: Plain, x: torch.Tensor, target: int, epsilon: float) -> torch.Tensor:
    """Bach et al. 2015, equation 58, layer by layer in float64: R_in = a * J^T (R_out / (z + epsilon sign(z)))."""
    layers = list(copy.deepcopy(net.layers).double().eval())
    inputs = [x.double()]
    for layer in layers:
        inputs.append(layer(inputs[-1]).detach())
    relevance = torch.zeros_like(inputs[-1])
    relevance[0, target] = inputs[-1][0, target]
    for layer, a in zip(reversed(layers), reversed(inputs[:-1]), strict=True):
        if isinstance(layer, (nn.ReLU, nn.Flatten)):
            relevance = relevance.view_as(a)
            continue
        a = a.clone().requires_grad_()
        z = layer(a)
        # torch's sign of 0 is 0; the rule's is 1
        sign = torch.where(z >= 0, 1.0, -1.0)
        # pooling has no weights to be wary of: zennit shares its relevance out in proportion
        share = (relevance / (z + (1e-6 if isinstance(layer, nn.AvgPool3d) else epsilon) * sign)).detach()
        (pulled,) = torch.autograd.grad((z * share).sum(), a)
        relevance = (a * pulled).detach()
    return relevance


@pytest.mark.parametrize("epsilon", [1e-3, 0.1])
def test_lrp_epsilon_equals_the_formula(epsilon: float) -> None:
    pytest.importorskip("zennit")
    model = plain()
    x = torch.randn(1, 3, 4, 12, 12, generator=torch.Generator().manual_seed(2))
    ours = vx.pixel_scores(model, x, "lrp-epsilon", 1, epsilon=epsilon).dense
    assert relative_error(ours, slow_epsilon(model.net, x, 1, epsilon)) < 1e-4


@pytest.mark.slow
def test_lrp_epsilon_equals_captum_on_vgg16() -> None:
    pytest.importorskip("zennit")
    model, x = network("vgg16"), clips("vgg16", 1)
    net = Head(model, "logit").net
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.rule = EpsilonRule(epsilon=1e-3)
    theirs = LRP(net).attribute(native(model, x), target=3)
    ours = vx.pixel_scores(model, x, "lrp-epsilon", 3, epsilon=1e-3).dense
    assert relative_error(ours, as_clip(model, theirs.detach())) < 1e-3


@pytest.mark.parametrize("name", [pytest.param("vgg16", marks=pytest.mark.slow), "resnet50"])
@pytest.mark.parametrize("method", ["layer-cam", "xgrad-cam"])
def test_more_cams_equal_pytorch_grad_cam(name: str, method: str) -> None:
    package = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = network(name), clips(name, batch=1)
    (target,) = lively_classes(name, 1, method)
    head = Head(model, "logit")
    layer = head.net.get_submodule(model.cam_layer)
    oracle = {"layer-cam": package.LayerCAM, "xgrad-cam": package.XGradCAM}[method]
    with oracle(head, [layer]) as cam:
        cam(native(model, x), targets=[ClassifierOutputTarget(target)])
        kept = cam.activations_and_grads
        activation, gradient = (part[0].detach().numpy() for part in (kept.activations, kept.gradients))
        theirs = cam.get_cam_image(
            native(model, x), layer, [target], activation, gradient, eigen_smooth=False
        )
    ours = vx.pixel_scores(model, x, method, target).cam[:, 0]
    assert relative_error(ours, torch.from_numpy(theirs).clip(min=0)) < 1e-5


def test_eigen_cam_equals_pytorch_grad_cam() -> None:
    pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    model, x = network("resnet50"), clips("resnet50", batch=1)
    kept: list[torch.Tensor] = []
    layer = model.net.get_submodule(model.cam_layer)
    handle = layer.register_forward_hook(lambda _m, _a, out: kept.append(out.detach().clone()))
    ours = vx.pixel_scores(model, x, "eigen-cam").cam[:, 0]
    handle.remove()
    theirs = torch.from_numpy(get_2d_projection(kept[0].numpy()))
    # a component has no sign of its own
    candidates = [side for side in (theirs.clip(min=0), (-theirs).clip(min=0)) if side.any()]
    assert min(relative_error(ours, side) for side in candidates) < 1e-4


def test_relevance_that_cannot_go_through_is_refused_and_the_network_is_as_it_was() -> None:
    """zennit merges a batch norm into the layer that is listed before it, whichever it follows."""
    layers = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Conv3d(4, 6, 3), nn.BatchNorm3d(4))

    class Denser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.head = layers, nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            first, norm, second, before = self.layers
            return self.head(second(before(norm(first(x)))).relu().mean((2, 3, 4)))

    model = vx.Classifier(Denser(), clip_length=8, size=(16, 16))
    x = torch.randn(1, 3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    kept = {name: value.clone() for name, value in model.net.state_dict().items()}
    answers = model.predict(x)
    with pytest.raises(vx.VidexplainError, match="relevance propagation cannot go through"):
        vx.pixel_scores(model, x, "lrp-epsilon", 0)
    assert all(torch.equal(value, kept[name]) for name, value in model.net.state_dict().items())
    assert torch.equal(model.predict(x), answers)
    scripted = vx.Classifier(
        torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(48, 2))), clip_length=1, size=(4, 4)
    )
    with pytest.raises(vx.VidexplainError, match="scripted"):
        vx.pixel_scores(scripted, torch.randn(1, 3, 1, 4, 4), "lrp-epsilon", 0)
