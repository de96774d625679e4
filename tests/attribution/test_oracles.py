"""Every method against somebody else's implementation, or a float64 version written from the formula."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, InputXGradient, LayerAttribution, LayerGradCam, Saliency
from networks import clips, lively_classes, network, relative_error
from torch import nn

import videxplain as vx

TOLERANCE = 1e-5
QUICK, LONG = ["c3d", "efficientnet-lite0"], ["vgg16"]
NETWORKS = [
    *QUICK,
    *(pytest.param(name, marks=pytest.mark.slow) for name in LONG),
    *(pytest.param(name, marks=pytest.mark.large) for name in ("resnet50", "r2plus1d_18", "r3d_18", "s3d")),
]


class CappedReLU(nn.Module):
    """ReLU6 made of the nn.ReLU that Captum knows."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(x).clamp(max=6)


class Head(nn.Module):
    """The classifier's network as Captum wants it: own layout in, probabilities or logits out, only plain nn.ReLU."""

    def __init__(self, model: vx.Classifier, output: str) -> None:
        super().__init__()
        self.net = copy.deepcopy(model.net).eval()
        for module in list(self.net.modules()):
            for name, child in module.named_children():
                if isinstance(child, nn.ReLU6):
                    setattr(module, name, CappedReLU())
            if getattr(module, "inplace", False):
                module.inplace = False
        self.softmax = nn.Softmax(dim=1) if output == "probability" else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.softmax(self.net(x))


def native(model: vx.Classifier, x: torch.Tensor) -> torch.Tensor:
    """x in the network's own layout."""
    return x[:, :, 0] if model.is_image_model else x


def as_clip(model: vx.Classifier, maps: torch.Tensor) -> torch.Tensor:
    """Captum's maps as ours: a time axis for images."""
    return maps.unsqueeze(2) if model.is_image_model else maps


@pytest.mark.parametrize("output", ["probability", "logit"])
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_equal_captum(name: str, output: str) -> None:
    model, x = network(name), clips(name)
    target = torch.tensor([3, 5])
    head = Head(model, output)
    oracles = {
        "vanilla": lambda z: Saliency(head).attribute(z, target=target, abs=False),
        "guided": lambda z: GuidedBackprop(head).attribute(z, target=target),
        "input-x-gradient": lambda z: InputXGradient(head).attribute(z, target=target),
    }
    for method, oracle in oracles.items():
        theirs = as_clip(model, oracle(native(model, x).clone().requires_grad_()).detach())
        ours = vx.pixel_scores(model, x, method, target.tolist(), score=output)
        error = relative_error(ours.dense, theirs)
        print(f"{name:20s} {method:18s} {output:12s} {error:.1e}")
        assert error < TOLERANCE
        assert ours.cam is None


@pytest.mark.parametrize("name", NETWORKS)
def test_grad_cam_and_guided_grad_cam_equal_captum(name: str) -> None:
    model, x = network(name), clips(name)
    target = torch.tensor(lively_classes(name, 2))
    head = Head(model, "logit")
    layer = head.net.get_submodule(model.cam_layer)
    raw = LayerGradCam(head, layer).attribute(native(model, x), target=target, relu_attributions=True)
    ours = vx.pixel_scores(model, x, "grad-cam", target.tolist())
    error = relative_error(ours.cam, as_clip(model, raw)[:, 0])
    print(f"{name:20s} grad-cam {error:.1e}")
    assert error < TOLERANCE
    assert ours.dense is None

    guided = GuidedBackprop(head).attribute(native(model, x).requires_grad_(), target=target)
    size, mode = guided.shape[2:], "bilinear" if model.is_image_model else "trilinear"
    theirs = guided * LayerAttribution.interpolate(raw, size, interpolate_mode=mode)
    ours = vx.pixel_scores(model, x, "guided-grad-cam", target.tolist(), score="logit")
    product = ours.dense * F.interpolate(ours.cam[:, None], x.shape[2:], mode="trilinear")
    error = relative_error(product, as_clip(model, theirs.detach()))
    print(f"{name:20s} guided-grad-cam {error:.1e}")
    assert error < TOLERANCE


@pytest.mark.parametrize(
    "name", ["efficientnet-lite0", *(pytest.param(n, marks=pytest.mark.slow) for n in ("vgg16", "resnet50"))]
)
def test_grad_cam_plus_plus_equals_pytorch_grad_cam(name: str) -> None:
    pytorch_grad_cam = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = network(name), clips(name, batch=1)
    (target,) = lively_classes(name, 1)
    head = Head(model, "logit")
    layer = head.net.get_submodule(model.cam_layer)
    with pytorch_grad_cam.GradCAMPlusPlus(head, [layer]) as cam:
        cam.compute_input_gradient = False
        cam(native(model, x), targets=[ClassifierOutputTarget(target)])
        activation = (
            torch.from_numpy(np.concatenate(cam.activations_and_grads.activations).copy())
            if isinstance(cam.activations_and_grads.activations[0], np.ndarray)
            else torch.cat(cam.activations_and_grads.activations)
        )
        gradient = torch.cat(list(cam.activations_and_grads.gradients))
        weights = cam.get_cam_weights(native(model, x), [layer], None, activation.numpy(), gradient.numpy())
    theirs = (weights[..., None, None] * activation.numpy()).sum(axis=1).clip(min=0)
    ours = vx.pixel_scores(model, x, "grad-cam++", target)
    error = relative_error(ours.cam[:, 0], torch.from_numpy(theirs))
    print(f"{name:20s} grad-cam++ {error:.1e}")
    assert error < TOLERANCE


def formula(method: str, activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """One sample's map, channel by channel in float64: (C, t, h, w) twice -> (t, h, w)."""
    total = np.zeros(activation.shape[1:])
    for a, g in zip(activation.astype(np.float64), gradient.astype(np.float64), strict=True):
        if method == "relu-activation":
            total += np.maximum(a, 0)
            continue
        if method == "grad-cam":
            weight = g.sum() / g.size
        elif method == "act-grad-cam":
            weight = (a * g).sum() / g.size
        else:
            alpha = np.zeros_like(g)
            some = g != 0
            alpha[some] = g[some] ** 2 / (2 * g[some] ** 2 + a.sum() * g[some] ** 3 + 1e-6)
            weight = (alpha * np.maximum(g, 0)).sum()
        total += weight * a
    return np.maximum(total, 0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("method", ["relu-activation", "grad-cam", "act-grad-cam", "grad-cam++"])
def test_cams_equal_the_formula(name: str, method: str) -> None:
    """Activation and gradient by plain autograd, the map by loops in float64."""
    model, x = network(name), clips(name, batch=1)
    (target,) = lively_classes(name, 1, method)
    net = copy.deepcopy(model.net).eval()
    kept: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output)
        return output.clone()

    net.get_submodule(model.cam_layer).register_forward_hook(keep)
    logit = net(native(model, x).requires_grad_())[0, target]
    (gradient,) = torch.autograd.grad(logit, kept[-1])
    activation = as_clip(model, kept[-1].detach())[0].numpy()
    theirs = formula(method, activation, as_clip(model, gradient)[0].numpy())
    ours = vx.pixel_scores(model, x, method, target)
    error = relative_error(ours.cam[0], torch.from_numpy(theirs))
    print(f"{name:20s} {method:18s} {error:.1e}")
    assert error < TOLERANCE
