"""An explanation by guided backpropagation against LIME with 50, 75 and 100 samples, segmentation included in all.

    pytest benchmarks/bench_lime.py --benchmark-json=benchmarks/results/lime.json
    python benchmarks/lime_table.py benchmarks/results/lime.json

LIME is timed twice: by the `lime` package, the paper's baseline, and by this package's batched version. The networks
have random weights, which do not change the time, and their published size. Each round runs everything once, one after
the other, so that a change in the machine's load meets all alike; a first round of guided does not count. The full run
takes most of an hour on two cores; VIDEXPLAIN_ROUNDS=1 makes it shorter.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
import skimage.data
import torch

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

ROUNDS = int(os.environ.get("VIDEXPLAIN_ROUNDS", "3"))
SAMPLES = (50, 75, 100)
NETWORKS = ("resnet50", "vgg16", "c3d")
pytestmark = pytest.mark.timeout(0)  # LIME's hundreds of passes take longer than a test may


@pytest.mark.parametrize("name", NETWORKS)
def test_guided_against_lime(benchmark, name: str) -> None:
    model = vx.load_model(name, weights="random")
    clip = skimage.data.chelsea() if model.is_image_model else generate(0).frames

    def explanation(method: str, **options: object) -> Callable[[], object]:
        return lambda: vx.explain(model, clip, method=method, n_segments=100, **options)

    works = {"guided": explanation("guided")}
    for samples in SAMPLES:
        works[f"lime-batched-{samples}"] = explanation("lime", samples=samples)
        works[f"lime-package-{samples}"] = explanation("lime", samples=samples, batched=False)
    works["guided"]()
    seconds: dict[str, list[float]] = {work: [] for work in works}
    for _ in range(ROUNDS):
        for work, run in works.items():
            start = time.perf_counter()
            run()
            seconds[work].append(time.perf_counter() - start)
    benchmark.extra_info |= {
        "network": name,
        "seconds": seconds,
        "supervoxels": works["guided"]().num_segments,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
        "torch": torch.__version__,
    }
    benchmark.pedantic(works["guided"], rounds=ROUNDS)
