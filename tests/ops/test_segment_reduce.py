"""The fused reduction against torch's own operations in float64, scipy, and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from videxplain import ops
from videxplain.errors import VidexplainError
from videxplain.ops import _library, _numba, reference


def example(batch=2, channels=3, shape=(4, 14, 18), cam=(2, 3, 3), segments=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, segments, (batch, *shape), generator=generator, dtype=torch.int32)
    labels[:, :, :, : shape[2] // 2] = labels[:, :, :, :1]  # runs, as real labels have
    dense = torch.randn(batch, channels, *shape, generator=generator)
    return labels, dense, torch.randn(batch, *cam, generator=generator)


def by_torch(labels, dense, cam, segments, reduction, signed):
    """F.interpolate and index_add_ in float64."""
    values = torch.ones(labels.shape, dtype=torch.float64)
    if dense is not None:
        values = dense.double().sum(1) if signed else dense.double().abs().sum(1)
    if cam is not None:
        values = values * F.interpolate(cam.double()[:, None], labels.shape[1:], mode="trilinear")[:, 0]
    values = values if signed else values.abs()
    rows = []
    for own, ids in zip(values.flatten(1), labels.flatten(1).long(), strict=True):
        if reduction == "max":
            row = torch.zeros(segments, dtype=torch.float64).scatter_reduce(
                0, ids, own, "amax", include_self=False
            )
        else:
            row = torch.zeros(segments, dtype=torch.float64).index_add_(0, ids, own)
            if reduction == "mean":
                row = row / torch.bincount(ids, minlength=segments).clamp(min=1)
        rows.append(row)
    return torch.stack(rows)


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("maps", ["both", "dense", "cam", "none"])
def test_equals_torch_in_float64(reduction: str, signed: bool, maps: str) -> None:
    labels, dense, cam = example()
    dense = dense if maps in ("both", "dense") else None
    cam = cam if maps in ("both", "cam") else None
    expected = by_torch(labels, dense, cam, 11, reduction, signed)
    found = ops.segment_reduce(labels, dense, cam, 11, reduction, signed)
    assert found.dtype == torch.float32 and found.shape == (2, 11)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    for b in range(2):
        own = [None if m is None else m[b].numpy() for m in (dense, cam)]
        slow = reference.segment_reduce(labels[b].numpy(), *own, 11, reduction, signed)
        fast = _numba.segment_reduce(labels[b].numpy(), *own, 11, ops.REDUCTIONS[reduction], signed)
        for other in (slow, fast):
            np.testing.assert_allclose(found[b], other, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


def test_equals_scipy() -> None:
    labels, dense, _ = example(batch=1)
    values = dense[0].abs().sum(0).double().numpy()
    ids = labels[0].numpy()
    for reduction, oracle in (("sum", ndimage.sum_labels), ("mean", ndimage.mean), ("max", ndimage.maximum)):
        found = ops.segment_reduce(labels, dense, None, 9, reduction)[0]
        np.testing.assert_allclose(found, oracle(values, ids, np.arange(9)), rtol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
def test_runs_longer_than_what_is_added_up_at_once(reduction: str) -> None:
    labels, dense, cam = example(1, 2, (2, 150, 37), segments=5)
    labels[:, :, 3:, :30] = labels[:, :, 3:4, :30]  # columns of one label
    expected = by_torch(labels, dense, cam, 5, reduction, False)
    found = ops.segment_reduce(labels, dense, cam, 5, reduction)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 12), st.integers(1, 40)),
    cam=st.tuples(st.integers(1, 7), st.integers(1, 14), st.integers(1, 50)),
    channels=st.integers(1, 4),
    segments=st.integers(1, 30),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_any_shape(shape, cam, channels, segments, seed) -> None:
    """Also maps finer than the labels."""
    labels, dense, small = example(1, channels, shape, cam, segments, seed)
    expected = by_torch(labels, dense, small, segments, "sum", False)
    found = ops.segment_reduce(labels, dense, small, segments)
    # where samples of opposite signs nearly cancel, what counts is their size
    size = float(dense.abs().sum(1).amax() * small.abs().amax())
    torch.testing.assert_close(found.double(), expected, rtol=2e-6, atol=1e-6 * size)


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@pytest.mark.parametrize("signed", [False, True])
def test_gradients_equal_autograd_through_torch(reduction: str, signed: bool) -> None:
    labels, dense, cam = example()
    grad = torch.randn(2, 11, generator=torch.Generator().manual_seed(4))
    ours = [m.clone().requires_grad_() for m in (dense, cam)]
    theirs = [m.clone().requires_grad_() for m in (dense, cam)]
    (ops.segment_reduce(labels, *ours, 11, reduction, signed) * grad).sum().backward()
    (by_torch(labels, *theirs, 11, reduction, signed) * grad).sum().backward()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_threads_do_not_matter_and_runs_are_equal() -> None:
    labels, dense, cam = example(batch=1, shape=(16, 40, 50))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            results.append(ops.segment_reduce(labels, dense, cam, 9))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions_and_integer_types(dtype: torch.dtype) -> None:
    labels, dense, cam = example()
    found = ops.segment_reduce(labels.long(), dense.to(dtype), cam.to(dtype), 9)
    expected = ops.segment_reduce(labels, dense.to(dtype).float(), cam.to(dtype).float(), 9)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("op", ["rgb_to_lab", "slic", "connect_segments", "segment_reduce"])
def test_opcheck(op: str) -> None:
    labels, dense, cam = example()
    lab = dense * 10
    arguments = {
        "rgb_to_lab": (torch.rand(2, 3, 2, 5, 6),),
        "slic": (lab, [2, 2, 2], [0.1, 0.1, 0.1], [4.0, 14.0, 18.0], 3, None),
        "connect_segments": (labels, lab, 5),
        "segment_reduce": (labels, dense.requires_grad_(), cam.requires_grad_(), 9, 0, False),
    }[op]
    torch.library.opcheck(getattr(torch.ops.videxplain, op).default, arguments)


def test_traces_through_torch_compile() -> None:
    labels, dense, cam = example()

    def score(d: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.ops.videxplain.segment_reduce(labels, d * 2, c, 9, _library.SUM, False) + 1

    compiled = torch.compile(score, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(dense, cam), score(dense, cam))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": torch.zeros(2, 14, 18)}, "labels"),
        ({"labels": torch.zeros(2, 4, 14, 18)}, "labels"),
        ({"labels": torch.full((2, 4, 14, 18), 99)}, "labels"),
        ({"labels": torch.full((2, 4, 14, 18), -1)}, "labels"),
        ({"dense": torch.zeros(2, 3, 4, 14, 17)}, "dense"),
        ({"dense": torch.zeros(3, 3, 4, 14, 18)}, "dense"),
        ({"dense": torch.zeros(2, 3, 4, 14, 18, dtype=torch.int32)}, "dense"),
        ({"cam": torch.zeros(2, 3, 3)}, "cam"),
        ({"cam": torch.zeros(2, 0, 3, 3)}, "cam"),
        ({"num_segments": 0}, "num_segments"),
        ({"reduction": "sun"}, "unknown reduction"),
    ],
)
def test_wrong_arguments_are_named(change: dict, message: str) -> None:
    labels, dense, cam = example()
    arguments = {"labels": labels, "dense": dense, "cam": cam, "num_segments": 9} | change
    with pytest.raises(VidexplainError, match=f"^{message}"):
        ops.segment_reduce(**arguments)


def test_empty_batch() -> None:
    assert ops.segment_reduce(torch.zeros(0, 2, 3, 4, dtype=torch.int32), None, None, 5).shape == (0, 5)
