"""What each scoring method costs beside one bare forward pass and one forward and backward pass.

    pytest benchmarks/bench_methods.py --benchmark-columns=median,rounds

Random weights: they do not change the time. Labels are made beforehand; everything else is included. Each round runs
everything once, one after the other, so that a change in the machine's load meets all alike.
"""

from __future__ import annotations

import functools
import os
import time

import numpy as np
import pytest
import torch

from videxplain import ops, pixel_scores
from videxplain.attribution.methods import METHODS, OnePass
from videxplain.models import Classifier, load_model
from videxplain.segmentation import segment

ROUNDS = int(os.environ.get("VIDEXPLAIN_ROUNDS", "9"))
SHAPES = {"vgg16": (1, 224, 224), "resnet50": (1, 224, 224), "c3d": (16, 112, 112)}
pytestmark = pytest.mark.timeout(0)
PIXEL_METHODS = [name for name in METHODS if issubclass(METHODS[name], OnePass)]


@functools.lru_cache(maxsize=1)
def prepared(name: str) -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    model = load_model(name, weights="random")
    frames = (torch.rand(*SHAPES[name], 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    labels = torch.from_numpy(segment(frames, n_segments=200))[None]
    return model, model.prepare(frames), labels


def forward(model: Classifier, x: torch.Tensor, labels: torch.Tensor) -> None:
    with torch.no_grad():
        model.net(x[:, :, 0] if model.is_image_model else x)


def forward_and_backward(model: Classifier, x: torch.Tensor, labels: torch.Tensor) -> None:
    x = x.clone().requires_grad_()
    logits = model.net(x[:, :, 0] if model.is_image_model else x)
    torch.autograd.grad(logits.softmax(dim=1)[0, 3], x)


def scores(method: str, model: Classifier, x: torch.Tensor, labels: torch.Tensor) -> None:
    maps = pixel_scores(model, x, method, 3)
    ops.segment_reduce(labels, maps.dense, maps.cam, int(labels.max()) + 1)


WORK = {"forward": forward, "forward+backward": forward_and_backward}
WORK |= {method: functools.partial(scores, method) for method in PIXEL_METHODS}


@pytest.mark.parametrize("name", SHAPES)
def test_cost(benchmark, capsys, name: str) -> None:
    model, x, labels = prepared(name)
    model.net.eval()
    seconds: dict[str, list[float]] = {work: [] for work in WORK}
    for round_ in range(ROUNDS + 1):
        for work, run in WORK.items():
            start = time.perf_counter()
            run(model, x, labels)
            if round_ > 0:  # the first one does not count
                seconds[work].append(time.perf_counter() - start)
    median = {work: float(np.median(times)) for work, times in seconds.items()}
    benchmark.extra_info |= {
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }
    with capsys.disabled():
        print(
            f"\n{name}, {torch.get_num_threads()} threads, medians of {ROUNDS}, load {os.getloadavg()[0]:.1f}"
        )
        for work, time_ in median.items():
            kind = "forward" if work in METHODS and METHODS[work].dense is None else "forward+backward"
            print(f"{work:>20} {1e3 * time_:7.1f} ms, {time_ / median[kind]:.2f} times {kind}")
    benchmark.pedantic(WORK["guided"], (model, x, labels), rounds=1)
