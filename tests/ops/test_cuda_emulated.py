"""The CUDA kernels, run on the CPU: the reference's results, in any order of threads, under sanitizers."""

from __future__ import annotations

import numpy as np
import pytest
from emulated import COMPILER, Emulation, compile_kernels
from hypothesis import given, settings
from hypothesis import strategies as st

from videxplain.ops import reference

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the CUDA kernels with")

MODE_OF_ORDER = [("plain", 0), ("plain", 1), ("plain", 7), ("address", 8), ("thread", 9)]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory):
    """The compiled program of each mode, made when first asked for."""
    folder = tmp_path_factory.mktemp("emulation")
    return lambda mode: compile_kernels(folder, mode)


@pytest.fixture(scope="module", params=MODE_OF_ORDER, ids=[f"{mode}-order{o}" for mode, o in MODE_OF_ORDER])
def emulation(programs, request: pytest.FixtureRequest):
    mode, order = request.param
    with Emulation(programs(mode), order) as running:
        yield running


@pytest.fixture(scope="module")
def checked(programs):
    """Shuffled and under AddressSanitizer and UndefinedBehaviorSanitizer."""
    with Emulation(programs("address"), 5) as running:
        yield running


def maps(batch=2, channels=3, shape=(4, 14, 18), cam=(2, 3, 3), segments=9, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, segments, (batch, *shape), dtype=np.int32)
    labels[..., : shape[2] // 2] = labels[..., :1]  # runs, as real labels have
    dense = rng.standard_normal((batch, channels, *shape)).astype(np.float32)
    return labels, dense, rng.standard_normal((batch, *cam)).astype(np.float32)


def assert_scores(running: Emulation, labels, dense, cam, segments, reduction="sum", signed=False) -> None:
    found = running.segment_reduce(labels, dense, cam, segments, reduction, signed)
    for b, own in enumerate(labels):
        own_maps = [None if m is None else m[b] for m in (dense, cam)]
        expected = reference.segment_reduce(own, *own_maps, segments, reduction, signed)
        np.testing.assert_allclose(found[b], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max(initial=0))


@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("present", ["both", "dense", "cam", "none"])
def test_segment_reduce(emulation: Emulation, reduction: str, signed: bool, present: str) -> None:
    labels, dense, cam = maps()
    dense = dense if present in ("both", "dense") else None
    cam = cam if present in ("both", "cam") else None
    assert_scores(emulation, labels, dense, cam, 11, reduction, signed)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 30), st.integers(1, 40)),
    cam=st.tuples(st.integers(1, 7), st.integers(1, 14), st.integers(1, 50)),
    batch=st.integers(1, 3),
    channels=st.integers(1, 4),
    segments=st.integers(1, 400),
    shift=st.sampled_from([0, 4]),
    order=st.integers(0, 99),
    seed=st.integers(0, 100),
)
@settings(max_examples=60, deadline=None)
def test_segment_reduce_of_any_shape(
    checked, shape, cam, batch, channels, segments, shift, order, seed
) -> None:
    checked.order, checked.shift = order, shift
    assert_scores(checked, *maps(batch, channels, shape, cam, segments, seed), segments)


def test_order_does_not_change_a_bit_of_the_scores(programs) -> None:
    labels, dense, cam = maps(shape=(6, 40, 30))
    with Emulation(programs("plain")) as running:
        found = []
        for running.order in (0, 1, 2, 3):
            found.append(running.segment_reduce(labels, dense, cam, 9))
    assert all(np.array_equal(found[0], other) for other in found[1:])
