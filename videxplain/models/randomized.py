"""Copies of networks, and those made random layer by layer, for the sanity check of Adebayo et al. (2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import nn

from videxplain.models import Classifier


def randomized(model: Classifier, seed: int = 0) -> Iterator[tuple[str, Classifier]]:
    """Copies of a model whose last 1, 2, ... layers have random weights (Adebayo et al. 2018, cascading).

    Each tensor of weights is drawn anew from a normal distribution of its own mean and deviation, so that
    activations keep their size. Yields the name of the layer last made random, and the copy, which the next step
    goes on to change.
    """
    copied = with_own_weights(model)
    generator = torch.Generator().manual_seed(seed)
    for name, module in reversed(layers_with_weights(copied.net)):
        _redraw(module, generator)
        yield name, copied


def with_own_weights(model: Classifier) -> Classifier:
    """The same with a copy of its network, whose weights may be changed."""
    copied = copy.copy(model)
    copied.net = copy.deepcopy(model.net)
    return copied


def layers_with_weights(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers that hold weights, biases aside, with their names, from the first to the last."""
    return [
        (name, module)
        for name, module in net.named_modules()
        if any(p.ndim > 1 for p in module.parameters(recurse=False))
    ]


@torch.no_grad()
def _redraw(module: nn.Module, generator: torch.Generator) -> None:
    for parameter in module.parameters(recurse=False):
        values = parameter.detach().cpu().float()
        spread = values.std() if values.numel() > 1 else torch.tensor(1.0)
        drawn = torch.randn(parameter.shape, generator=generator) * spread + values.mean()
        parameter.copy_(drawn.to(parameter))
