"""bfloat16 beside float32: how much faster each scoring method is, and whether it still says the same.

    pytest benchmarks/bench_precision.py --benchmark-columns=median,rounds

Each round explains one clip in both precisions, one after the other, over the same supervoxels. *rank* is the rank
correlation of their scores. Random weights, but for the bundled C3D.
"""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import videxplain as vx
from videxplain.attribution.methods import METHODS, OnePass
from videxplain.synthetic.moving_objects import generate

ROUNDS = int(os.environ.get("VIDEXPLAIN_ROUNDS", "5"))
NETWORKS = {"vgg16": "random", "resnet50": "random", "c3d": "random", "c3d-motion": None}
PIXEL_METHODS = [name for name in METHODS if issubclass(METHODS[name], OnePass)]
pytestmark = pytest.mark.timeout(0)


@pytest.mark.parametrize("name", NETWORKS)
def test_precision(benchmark, capsys, name: str) -> None:
    model = vx.load_model(name, weights=NETWORKS[name])
    frames = generate(0).frames
    clip = frames if model.clip_length > 1 else frames[len(frames) // 2]
    labels = vx.explain(model, clip, segmentation="slic").labels
    rows = []
    for method in PIXEL_METHODS:
        seconds: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        scores = {}
        for round_ in range(ROUNDS + 1):
            for precision, times in seconds.items():
                model.configure(precision=precision)
                start = time.perf_counter()
                scores[precision] = vx.explain(model, clip, method, labels=labels, score="logit").scores
                if round_ > 0:  # the first one does not count
                    times.append(time.perf_counter() - start)
        exact, fast = (float(np.median(times)) for times in seconds.values())
        rank = float(spearmanr(scores["float32"], scores["bfloat16"]).statistic)
        rows.append(f"{method:>20} {1e3 * exact:7.1f} {1e3 * fast:7.1f} ms {exact / fast:5.2f} {rank:7.3f}")
        benchmark.extra_info[method] = {"seconds": seconds, "rank": rank}
    with capsys.disabled():
        threads, load = torch.get_num_threads(), os.getloadavg()[0]
        print(f"\n{name}, {threads} threads, medians of {ROUNDS}, load {load:.1f}")
        print(f"{'':>20} float32 bfloat16   ratio    rank")
        print("\n".join(rows))
    benchmark.pedantic(vx.explain, (model, clip), {"labels": labels}, rounds=1)
