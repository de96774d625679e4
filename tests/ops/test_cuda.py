"""The CUDA kernels on a GPU against the CPU's: the same labels bit for bit, the same scores to 1e-6."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from test_labels import volume
from test_segment_reduce import example

from videxplain import ops
from videxplain.ops import _library

CSRC = Path(__file__).resolve().parent.parent.parent / "csrc"
ARCHITECTURES = (75, 80, 86, 90, 100, 120)
on_gpu = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
    pytest.mark.skipif(not _library.CUDA_ARCHITECTURES, reason="the native library was built without nvcc"),
]


def gpu(test):
    for mark in on_gpu:
        test = mark(test)
    return test


def clips(shape=(16, 56, 64)) -> torch.Tensor:
    return torch.stack([torch.from_numpy(volume(kind, shape)) for kind in ("real", "random", "ties")])


@pytest.mark.skipif(torch.version.cuda is None, reason="torch is built without CUDA")
@pytest.mark.skipif(not _library.CUDA_ARCHITECTURES, reason="the native library was built without nvcc")
def test_the_stream_of_torch_is_found() -> None:
    """Torch's libraries are loaded with or without a GPU, and the kernels have to find the function in them."""
    assert _library.NATIVE.videxplain_follows_streams()


@gpu
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("size", [(2, 3, 4, 30, 40), (1, 3, 1, 7, 9)])
def test_colours(dtype: torch.dtype, size) -> None:
    rgb = torch.rand(size, generator=torch.Generator().manual_seed(0))
    rgb = (rgb * 255).byte() if dtype == torch.uint8 else rgb
    assert torch.equal(ops.rgb_to_lab(rgb.cuda()).cpu(), ops.rgb_to_lab(rgb))


@gpu
@pytest.mark.parametrize(
    ("shape", "grid"), [((16, 56, 64), (2, 5, 6)), ((1, 30, 37), (1, 20, 20)), ((3, 4, 5), (3, 4, 5))]
)
def test_labels(shape, grid) -> None:
    labs = clips(shape)
    labels, centres = ops.slic(labs, grid, 10.0)
    on_device = ops.slic(labs.cuda(), grid, 10.0)
    assert torch.equal(on_device[0].cpu(), labels) and torch.equal(on_device[1].cpu(), centres)
    warm = ops.slic(labs.cuda(), grid, 10.0, centres=on_device[1])
    assert torch.equal(warm[0].cpu(), ops.slic(labs, grid, 10.0, centres=centres)[0])
    for min_size in (0, 8, 60, labs[0, 0].numel() + 1):
        found = ops.connect_segments(labels.cuda(), labs.cuda(), min_size).cpu()
        assert torch.equal(found, ops.connect_segments(labels, labs, min_size))


@gpu
def test_labels_are_the_same_again_and_again() -> None:
    labs = clips().cuda()
    first = ops.slic(labs, (2, 5, 6), 10.0)[0]
    connected = ops.connect_segments(first, labs, 100)
    for _ in range(20):
        assert torch.equal(ops.slic(labs, (2, 5, 6), 10.0)[0], first)
        assert torch.equal(ops.connect_segments(first, labs, 100), connected)


@gpu
@pytest.mark.parametrize("reduction", ["sum", "mean", "max"])
@pytest.mark.parametrize("signed", [False, True])
def test_scores(reduction: str, signed: bool) -> None:
    labels, dense, cam = example(shape=(8, 40, 50))
    expected = ops.segment_reduce(labels, dense, cam, 11, reduction, signed)
    found = ops.segment_reduce(labels.cuda(), dense.cuda(), cam.cuda(), 11, reduction, signed)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    assert torch.equal(
        found, ops.segment_reduce(labels.cuda(), dense.cuda(), cam.cuda(), 11, reduction, signed)
    )


@gpu
def test_supervoxels_in_one_call() -> None:
    frames = torch.randint(0, 256, (2, 4, 30, 40, 3), dtype=torch.uint8)
    for ours, theirs in zip(
        ops.supervoxels(frames.cuda(), (1, 3, 4), 10.0), ops.supervoxels(frames, (1, 3, 4), 10.0), strict=True
    ):
        assert torch.equal(ours.cpu(), theirs)


@gpu
def test_another_stream_is_followed() -> None:
    """Work on a side stream sees what that stream has written before."""
    labs = clips().cuda()
    expected = ops.slic(labs, (2, 5, 6), 10.0)[0]
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(20_000_000)
        late = labs.clone()
        found = ops.slic(late, (2, 5, 6), 10.0)[0]
    side.synchronize()
    assert torch.equal(found, expected)


@gpu
def test_nothing_waits_for_the_gpu() -> None:
    labs = clips().cuda()
    labels, dense, cam = (tensor.cuda() for tensor in example())
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = torch.ops.videxplain.slic(labs, [2, 5, 6], [0.1, 0.1, 0.1], [8.0, 12.0, 12.0], 5, None)[0]
        torch.ops.videxplain.connect_segments(found, labs, 50)
        torch.ops.videxplain.segment_reduce(labels, dense, cam, 9, 0, False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
@pytest.mark.parametrize("source", sorted(p.name for p in (CSRC / "cuda").glob("*.cu")))
def test_no_warnings_and_no_spills_on_any_architecture(source: str, tmp_path: Path) -> None:
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
    options = ["-std=c++17", "-O3", "-fmad=false", "-Xptxas=-v,-warn-spills", "-Xcompiler=-Wall"]
    command = [
        "nvcc",
        *options,
        *targets,
        "-c",
        str(CSRC / "cuda" / source),
        "-o",
        str(tmp_path / "object.o"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    assert "warning" not in report.lower(), report
    usage = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert len(usage) >= len(ARCHITECTURES)
    assert set(usage) == {("0", "0", "0")}, report
