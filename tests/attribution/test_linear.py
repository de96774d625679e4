"""Backward passes through large linear layers against autograd's own, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from videxplain.attribution import linear
from videxplain.attribution.linear import SparseLinear


def network(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
    for weight in weights[:-1]:
        x = F.relu(F.linear(x, weight, torch.zeros(len(weight), dtype=x.dtype)))
    return F.linear(x, weights[-1])


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_are_those_of_autograd(monkeypatch, batch: int) -> None:
    monkeypatch.setattr(linear, "_LARGE", 1)
    summed = []
    bag = F.embedding_bag
    monkeypatch.setattr(F, "embedding_bag", lambda *a, **k: summed.append(len(a[0])) or bag(*a, **k))
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator) for shape in ((300, 200), (100, 300), (5, 100))]
    x = torch.randn(batch, 200, generator=generator)

    exact = x.double().requires_grad_()
    network(exact, [w.double() for w in weights])[0, 2].backward()
    with SparseLinear():
        found = x.requires_grad_()
        network(found, weights)[0, 2].backward()

    assert torch.allclose(found.grad.double(), exact.grad, rtol=1e-5, atol=1e-5 * exact.grad.abs().max())
    assert bool(summed) == (batch == 1)
    assert all(0 < rows < 200 for rows in summed)  # not those whose ReLU was off


def test_a_sample_without_any_gradient(monkeypatch) -> None:
    monkeypatch.setattr(linear, "_LARGE", 1)
    x = torch.ones(1, 8, requires_grad=True)
    with SparseLinear():
        F.relu(F.linear(x, -torch.ones(4, 8))).sum().backward()
    assert torch.equal(x.grad, torch.zeros(1, 8))
