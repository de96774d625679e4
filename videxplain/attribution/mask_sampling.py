"""Where region gradients are taken: levels z in [0, 1]^K at which supervoxels are shown, and rings of masks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

Draw = Callable[[int, int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]
"""(passes, K, generator) -> levels z (m, K), and the weights (m, K) or (m, 1) of their derivatives, mean 1."""


def _unweighted(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return z, torch.ones(len(z), 1, dtype=z.dtype)


def _uniform(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return _unweighted(torch.rand(passes, k, generator=generator, dtype=torch.float64))


def _stratified(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A Latin hypercube: over the passes every supervoxel visits each of `passes` equal levels once."""
    places = torch.rand(passes, k, generator=generator).argsort(dim=0)
    inside = torch.rand(passes, k, generator=generator, dtype=torch.float64)
    return _unweighted((places + inside) / passes)


def _centred(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A Latin hypercube of the levels' middles: one pass is at one half, where nothing is random.

    For a function that is linear in each supervoxel's visibility as unbiased as random levels are, since the middles
    have the same mean and supervoxels are shuffled on their own.
    """
    places = torch.rand(passes, k, generator=generator).argsort(dim=0)
    return _unweighted((places + 0.5).double() / passes)


def _arcsine(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Chebyshev nodes, most of them near 0 or 1 as LIME's masks are, with Fejer's weights; one pass is at one half.

    A supervoxel's nodes and weights integrate its own derivative over uniform levels, while those around it are more
    nearly hidden or shown than uniform levels would have them. Every pass but an odd one has its mirror image 1 - z,
    which has the same weights: what is linear in the others' levels cancels in spite of the weights.
    """
    angles = (torch.arange(passes, dtype=torch.float64) + 0.5) * (math.pi / passes)
    waves = torch.arange(1, passes // 2 + 1, dtype=torch.float64)
    fejer = 1 - 2 * (torch.cos(2 * angles[:, None] * waves) / (4 * waves**2 - 1)).sum(dim=1)
    pair = torch.rand(passes // 2, k, generator=generator).argsort(dim=0)
    pair = torch.where(torch.rand(pair.shape, generator=generator) < 0.5, pair, passes - 1 - pair)
    node = torch.stack([pair, passes - 1 - pair], dim=1).flatten(0, 1)
    if passes % 2:
        node = torch.cat([node, torch.full((1, k), passes // 2)])
    return torch.sin(angles / 2).square()[node], fejer[node]


def _half(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """All supervoxels half shown: nothing is random, so one pass says all."""
    return _unweighted(torch.full((1, k), 0.5, dtype=torch.float64))


def _path(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """All supervoxels at one level, Gauss-Legendre nodes of it: integrated gradients from the fill to the clip."""
    nodes, weights = gauss_legendre(passes)
    return nodes[:, None].expand(passes, k), (weights * passes)[:, None]


def _diagonal(passes: int, k: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """All supervoxels at one random level: expected gradients (Erion et al. 2021) with the fill for background."""
    return _unweighted(torch.rand(passes, 1, generator=generator, dtype=torch.float64).expand(passes, k))


TANGENTS: dict[str, Draw] = {
    "arcsine": _arcsine,
    "centred": _centred,
    "stratified": _stratified,
    "uniform": _uniform,
    "half": _half,
    "path": _path,
    "diagonal": _diagonal,
}
SECANTS = "secants"

RING = 4
"""Masks in a ring: fewer change more supervoxels at a time, which is less noise and more bias, more of them fewer."""


def rings(passes: int, k: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Rings of `RING` masks (m, K), or of nearly as many where they do not divide the passes.

    Once around, each supervoxel is hidden once and shown once, at random places half a ring apart; the mask two steps
    on is the complement. One pass alone has all supervoxels at one half.
    """
    number = -(-passes // RING)
    for size in (passes // number + (index < passes % number) for index in range(number)):
        shown = (
            torch.arange(size)[:, None] + torch.randint(size, (k,), generator=generator)
        ) % size < size // 2
        swapped = torch.rand(k, generator=generator) < 0.5  # an odd ring shows less than it hides
        yield (shown != swapped).double() if size > 1 else torch.full((1, k), 0.5, dtype=torch.float64)


IN_TURN = "in-turn"
TURNS = 8
"""Masks in a ring that shows groups in turn, half as many groups: more of them share less, and see less of each."""


def turns(passes: int, k: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Rings of `TURNS` masks (m, K), or of nearly as many: groups are shown in turn, and hidden in the same order.

    So a ring goes from nothing to the whole clip and back, slopes sum to what lies between the two, and a group that is
    shown among few others is hidden among the rest of them, as Shapley values weigh it. In the first ring every
    so-manieth supervoxel is of one group, which keeps parts of a clip's time apart that follow each other. An odd pass
    is left out; one alone has all supervoxels at one half.
    """
    if passes == 1:
        yield torch.full((1, k), 0.5, dtype=torch.float64)
        return
    number = -(-passes // TURNS)
    for index in range(number):
        groups = passes // 2 // number + (index < passes // 2 % number)
        places = torch.randperm(k, generator=generator) if index else torch.arange(k)
        turn = torch.randperm(groups, generator=generator)[places % groups]
        yield ((torch.arange(2 * groups)[:, None] - 1 - turn) % (2 * groups) < groups).double()


def gauss_legendre(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Nodes and weights (steps,) float64 of the Gauss-Legendre rule on [0, 1]; the weights sum to 1."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((nodes + 1) / 2), torch.from_numpy(weights / 2)
