"""The CUDA kernels, run on the CPU: the reference's results, in any order of threads, under sanitizers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulated import COMPILER, CSRC, Emulation, EmulationError, compile_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from test_labels import volume

from videxplain.ops import reference

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the CUDA kernels with")

MODE_OF_ORDER = [
    ("plain", 1),
    pytest.param(("plain", 0), marks=pytest.mark.slow),
    pytest.param(("address", 8), marks=pytest.mark.slow),
]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory):
    """The compiled program of each mode, made when first asked for."""
    folder = tmp_path_factory.mktemp("emulation")
    return lambda mode, csrc=CSRC: compile_kernels(folder, mode, csrc)


@pytest.fixture(scope="module", params=MODE_OF_ORDER, ids="{0[0]}-order{0[1]}".format)
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


@pytest.mark.slow
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
@settings(max_examples=30, deadline=None)
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


def test_rgb_to_lab_of_every_byte_and_of_fractions(emulation: Emulation) -> None:
    """The table is made on the device; each of its entries must be the reference's."""
    rng = np.random.default_rng(3)
    levels = np.stack([rng.permutation(256) for _ in range(3)]).astype(np.uint8)
    fractions = np.concatenate([np.arange(4097) / 4096, rng.random(100), [-1, 2, 0.04045, 1e-9]]).astype(
        np.float32
    )
    for colours in (levels, np.stack([fractions, fractions[::-1], fractions])):
        for size in (colours.shape[1], colours.shape[1] - 3):  # by fours, and not
            rgb = np.ascontiguousarray(colours[:, :size]).reshape(1, 3, 1, 1, size)
            assert np.array_equal(emulation.rgb_to_lab(rgb)[0], reference.rgb_to_lab(rgb[0]))


def assert_labels(
    running: Emulation,
    labs,
    grid,
    compactness=10.0,
    spacing=(1.0, 1.0, 1.0),
    min_size=8,
    centres=None,
    iterations=10,
):
    """Labels, centres and connected labels of a batch, bit for bit."""
    labels, ends = running.slic(labs, grid, compactness, spacing, iterations, centres)
    connected = running.connect_segments(labels, labs, min_size)
    for b, lab in enumerate(labs):
        start = None if centres is None else centres[b]
        expected, expected_ends = reference.slic(lab, grid, compactness, spacing, iterations, start)
        assert np.array_equal(labels[b], expected)
        assert np.array_equal(ends[b], expected_ends)
        assert np.array_equal(connected[b], reference.connect_segments(expected, lab, min_size))


SHAPES = [
    ((1, 1, 1), (1, 1, 1)),
    ((1, 30, 37), (1, 5, 6)),
    ((5, 11, 33), (2, 3, 4)),
    ((3, 4, 5), (3, 4, 5)),
    ((1, 20, 20), (1, 13, 15)),  # more clusters than a block has threads
    ((17, 3, 2), (5, 1, 1)),
]


@pytest.mark.parametrize("kind", ["constant", "ties", "real"])
@pytest.mark.parametrize(("shape", "grid"), SHAPES)
def test_labels(emulation: Emulation, kind: str, shape, grid) -> None:
    assert_labels(emulation, np.stack([volume(kind, shape), volume("random", shape)]), grid)


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 37)),
    cells=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6)),
    kind=st.sampled_from(["random", "ties", "real"]),
    compactness=st.floats(0.1, 100),
    spacing=st.tuples(st.floats(0.2, 3), st.floats(0.2, 3), st.floats(0.2, 3)),
    min_size=st.integers(0, 60),
    warm=st.booleans(),
    shift=st.sampled_from([0, 4]),
    order=st.integers(0, 99),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_labels_for_any_settings(
    checked, shape, cells, kind, compactness, spacing, min_size, warm, shift, order, seed
) -> None:
    checked.order, checked.shift = order, shift
    grid = tuple(min(n, size) for n, size in zip(cells, shape, strict=True))
    centres = None
    if warm:
        ends = np.array([100, 60, 60, *shape])
        places = np.random.default_rng(seed).random((1, int(np.prod(grid)), 6))
        centres = (places * ends).astype(np.float32)
    assert_labels(checked, volume(kind, shape, seed)[None], grid, compactness, spacing, min_size, centres)


@pytest.mark.slow
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 24), st.integers(1, 70)),
    values=st.integers(1, 5),
    min_size=st.integers(0, 200),
    order=st.integers(0, 99),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_connect_segments_of_any_labels(checked, shape, values, min_size, order, seed) -> None:
    """Salt and pepper: thousands of components, and chains of them that join at once."""
    checked.order, checked.shift = order, 0
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, values, (2, *shape), dtype=np.int32)
    labels[1, :, :, ::2] = labels[1, :, :, :1]
    labs = np.stack([volume("ties", shape, seed), volume("random", shape, seed)])
    found = checked.connect_segments(labels, labs, min_size)
    for b in range(2):
        assert np.array_equal(found[b], reference.connect_segments(labels[b], labs[b], min_size))


@pytest.mark.slow
def test_threads_that_run_at_once(programs) -> None:
    """Real threads under ThreadSanitizer, two blocks at a time: no barrier is missing, no atomic."""
    with Emulation(programs("thread"), order=9) as running:
        labels, dense, cam = maps(1, 2, (3, 10, 18))
        for reduction in ("sum", "max"):
            assert_scores(running, labels, dense, cam, 9, reduction)
        rgb = np.random.default_rng(1).random((2, 3, 1, 20, 21)).astype(np.float32)
        for b, lab in enumerate(running.rgb_to_lab(rgb)):
            assert np.array_equal(lab, reference.rgb_to_lab(rgb[b]))
        assert_labels(running, volume("real", (5, 9, 18))[None], (1, 2, 3), iterations=3)


def reduces(running: Emulation) -> None:
    assert_scores(running, *maps(1, 2, (3, 10, 19), segments=5), 5)


def clusters(running: Emulation) -> None:
    """More of them than a block has threads, so that it lays out candidates again and again."""
    assert_labels(running, volume("ties", (1, 14, 15))[None], (1, 12, 13), iterations=2)


def connects(running: Emulation) -> None:
    speckled = np.random.default_rng(2).integers(0, 2, (1, 3, 9, 23), dtype=np.int32)
    lab = volume("ties", (3, 9, 23))
    found = running.connect_segments(speckled, lab[None], 4)
    assert np.array_equal(found[0], reference.connect_segments(speckled[0], lab, 4))


FAULTS = {
    "read past the end": (
        "slic.cuh",
        "if (inside && t0 + i < s.frames) {",
        "if (inside) {",
        "address",
        clusters,
    ),
    "write past the end": (
        "connect_segments.cuh",
        "if (voxel < c.voxels()) c.connected",
        "c.connected",
        "address",
        connects,
    ),
    "vector load of what does not lie together": (
        "segment_reduce.cuh",
        "r.by_fours, count, parts",
        "true, count, parts",
        "address",
        reduces,
    ),
    "missing barrier before reading": (
        "slic.cuh",
        "__syncthreads();  // candidates;",
        "//",
        "plain",
        clusters,
    ),
    "missing barrier before writing again": (
        "connect_segments.cuh",
        "__syncthreads();  // all have read, so",
        "// all have read, so",
        "thread",
        connects,
    ),
    "missing barrier in the scan": (
        "connect_segments.cuh",
        "__syncthreads();  // the warps' sums",
        "",
        "plain",
        connects,
    ),
    "barrier that not every thread reaches": (
        "slic.cuh",
        "float l[kTileT] = {}",
        "if (!inside) return;\n  float l[kTileT] = {}",
        "plain",
        clusters,
    ),
    "missing atomic addition": (
        "segment_reduce.cuh",
        "atomicAdd(r.values + slot, sums[0])",
        "r.values[slot] += sums[0]",
        "thread",
        reduces,
    ),
    "missing atomic joining": (
        "connect_segments.cuh",
        "const int32_t seen = atomicMin(parent + b, a)",
        "const int32_t seen = parent[b]; if (a < seen) parent[b] = a",
        "thread",
        connects,
    ),
    "wrong place in the list": (
        "slic.cuh",
        "if (other < warp) before_me",
        "if (other <= warp) before_me",
        "plain",
        clusters,
    ),
    "wrong neighbour": (
        "connect_segments.cuh",
        "face(t > 0, c.width * c.height)",
        "face(t > 0, c.width)",
        "plain",
        connects,
    ),
    "run added up beyond its end": (
        "runtime.cuh",
        "lane + apart < end",
        "lane + apart <= end",
        "plain",
        reduces,
    ),
    "run added up twice": (
        "runtime.cuh",
        "if (head_label_ >= 0 && !given)",
        "if (head_label_ >= 0)",
        "plain",
        reduces,
    ),
    "wrong row of the map": (
        "segment_reduce.cuh",
        "r_.samples[r_.frames + y_]",
        "r_.samples[y_]",
        "plain",
        reduces,
    ),
}
QUICK = ("wrong neighbour",)


@pytest.mark.parametrize(
    "fault", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAULTS]
)
def test_injected_faults_are_found(programs, tmp_path, fault: str) -> None:
    """What the emulated tests are worth: each of these faults, put into the kernels, makes them fail."""
    file, right, wrong, mode, work = FAULTS[fault]
    csrc = tmp_path / "csrc"
    shutil.copytree(CSRC, csrc)
    source = (csrc / "cuda" / file).read_text()
    assert source.count(right) == 1
    (csrc / "cuda" / file).write_text(source.replace(right, wrong))
    with Emulation(programs(mode, csrc), order=3) as running, pytest.raises((EmulationError, AssertionError)):
        work(running)


@pytest.mark.parametrize(
    "mode", ["plain", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("address", "thread"))]
)
def test_without_faults_the_same_work_passes(programs, mode: str) -> None:
    with Emulation(programs(mode), order=3) as running:
        for work in (reduces, clusters, connects):
            work(running)
