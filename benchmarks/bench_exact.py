"""The exact mode of segmentation, uint8 frames to connected labels, against scikit-image's `slic`: the same labels.

    OMP_NUM_THREADS=1 pytest benchmarks/bench_exact.py --benchmark-columns=min,median,iqr,rounds

A line per case: times of both, interleaved in one run, and their ratio, of medians and of minima.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import skimage.data
import torch
from bench_slic import ROUNDS, frames_of, threads  # noqa: F401  (a fixture)
from skimage.segmentation import slic

import videxplain as vx

CASES = [("clip", n) for n in (50, 100, 200, 400)] + [("photograph", 200)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, n={case[1]}")
def test_against_scikit_image(benchmark, capsys, threads: int, case: tuple[str, int]) -> None:  # noqa: F811
    kind, n_segments = case
    frames = frames_of((16, 112, 112)) if kind == "clip" else skimage.data.chelsea()[None]
    # scikit-image takes an image for a plane of the volume unless it has no first axis
    volume = frames if kind == "clip" else frames[0]

    def theirs() -> np.ndarray:
        return slic(volume, n_segments=n_segments, compactness=10, start_label=0, channel_axis=-1)

    def ours() -> np.ndarray:
        return vx.segment(frames, n_segments=n_segments, exact=True)

    assert np.array_equal(ours().reshape(volume.shape[:-1]), theirs())
    times: dict[str, list[float]] = {"scikit-image": [], "ours": []}
    for _ in range(max(3, ROUNDS // 3)):
        for name, work, calls in (("scikit-image", theirs, 1), ("ours", ours, 3)):
            for _ in range(calls):
                start = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - start)
    median = {name: float(np.median(values)) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    ratios = [found["scikit-image"] / found["ours"] for found in (median, least)]
    benchmark.extra_info |= {"seconds": times, "threads": torch.get_num_threads(), "load": os.getloadavg()[0]}
    with capsys.disabled():
        print(
            f"\n{kind:>10} n={n_segments:<3} {threads} thread(s): scikit-image {1e3 * median['scikit-image']:.1f} ms, "
            f"ours {1e3 * median['ours']:.2f} ms, {ratios[0]:.1f} times faster (of minima {ratios[1]:.1f}), "
            f"load {os.getloadavg()[0]:.1f}"
        )
    benchmark.pedantic(ours, rounds=ROUNDS)
