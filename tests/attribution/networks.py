"""Networks with random weights for the attribution tests, small enough in space and time for two cores."""

from __future__ import annotations

import functools

import torch

from videxplain.attribution.voxel_scores import pixel_scores
from videxplain.models import Classifier, load_model

# name -> (clips of this shape, (T, H, W))
SHAPES = {
    "vgg16": (1, 96, 96),
    "resnet50": (1, 96, 96),
    "c3d": (16, 112, 112),
    "r2plus1d_18": (8, 48, 48),
    "r3d_18": (8, 48, 48),
    "s3d": (16, 64, 64),
    "efficientnet-lite0": (1, 128, 128),
}


@functools.lru_cache(maxsize=2)
def network(name: str) -> Classifier:
    torch.manual_seed(0)
    if name == "efficientnet-lite0":
        return load_model(name)
    if name == "c3d":
        from videxplain.models.c3d import C3D

        return Classifier(C3D(num_classes=20, width=16, fc_width=256), name="c3d")
    model = load_model(name, weights="random")
    if name == "s3d":  # its own pooling asks for clips of 224x224
        model.net.avgpool = torch.nn.AdaptiveAvgPool3d(1)
    return model


def clips(name: str, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, 3, *SHAPES[name], generator=generator)


@functools.cache
def lively_classes(name: str, batch: int, method: str = "grad-cam") -> list[int]:
    """For each clip of the batch a class whose map is not zero everywhere; with random weights half of them are."""
    model, x = network(name), clips(name, batch)
    found: dict[int, int] = {}
    for class_ in range(model.num_classes):
        cam = pixel_scores(model, x, method, class_).cam
        for b in range(batch):
            if cam[b].count_nonzero() > 1:
                found.setdefault(b, class_)
        if len(found) == batch:
            return [found[b] for b in range(batch)]
    raise AssertionError(f"no class of {name} has a {method} map")


def relative_error(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Largest difference in units of the largest value."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} against {tuple(theirs.shape)}"
    scale = theirs.abs().max().item()
    assert scale > 0, "the oracle's map is all zero, so agreement would mean nothing"
    return (ours.double() - theirs.double()).abs().max().item() / scale
