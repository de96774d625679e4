"""The fused reduction over supervoxels against the best eager torch, and against a pass that only reads its input.

    pytest benchmarks/bench_reduce.py --benchmark-columns=min,median,iqr,rounds

Two lines per case, medians and minima of one run: each form repeated by itself, as pytest-benchmark times anything, and
all in turn, so that each finds the caches (data, code, pages) as the others leave them. The read-only pass adds up the
labels and the voxel scores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from videxplain import ops

ROUNDS = int(os.environ.get("VIDEXPLAIN_ROUNDS", "40"))
CASES = [(1, 16, 112, 112), (8, 16, 112, 112), (1, 16, 256, 340)]
GRID = (2, 10, 10)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def scatter(labels: torch.Tensor, dense: torch.Tensor, cam: torch.Tensor, count: int) -> torch.Tensor:
    up = F.interpolate(cam[:, None], labels.shape[1:], mode="trilinear")[:, 0]
    values = (up * dense.abs().sum(dim=1)).abs().flatten(1)
    return torch.zeros(len(labels), count).scatter_add_(1, labels.flatten(1), values)


def bincount(labels: torch.Tensor, dense: torch.Tensor, cam: torch.Tensor, count: int) -> torch.Tensor:
    up = F.interpolate(cam[:, None], labels.shape[1:], mode="trilinear")[:, 0]
    values = (up * dense.abs().sum(dim=1)).abs().flatten(1)
    pairs = zip(labels.flatten(1), values, strict=True)
    return torch.stack([torch.bincount(own, weights, minlength=count) for own, weights in pairs])


def index_add(labels: torch.Tensor, dense: torch.Tensor, cam: torch.Tensor, count: int) -> torch.Tensor:
    up = F.interpolate(cam[:, None], labels.shape[1:], mode="trilinear")[:, 0]
    values = (up * dense.abs().sum(dim=1)).abs().flatten()
    numbers = (labels + count * torch.arange(len(labels)).view(-1, 1, 1, 1)).flatten()
    return torch.zeros(len(labels) * count).index_add_(0, numbers, values).view(len(labels), count)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(times: dict[str, list[float]]) -> str:
    median = {name: float(np.median(values)) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    eager = min(("scatter", "bincount", "index_add"), key=median.__getitem__)
    return (
        f"ours {1e3 * median['ours']:.3f} ms; eager torch ({eager}) {1e3 * median[eager]:.2f} ms, "
        f"{median[eager] / median['ours']:.1f} times that ({least[eager] / least['ours']:.1f} of minima); "
        f"reading {1e3 * median['reading']:.3f} ms, ours {median['ours'] / median['reading']:.1f} times that "
        f"({least['ours'] / least['reading']:.1f})"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: "x".join(map(str, case)))
def test_reduction(benchmark, capsys, threads: int, case: tuple[int, ...]) -> None:
    batch, *shape = case
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 4, 9, 9, generator=generator)
    rgb = F.interpolate(coarse, shape, mode="trilinear")
    labels = ops.slic(ops.rgb_to_lab(rgb), GRID, 10.0)[0]
    wide = labels.long()  # as eager torch wants them; the conversion is not timed
    dense = torch.randn(batch, 3, *shape, generator=generator)
    cam = torch.rand(batch, 2, 7, 7, generator=generator)
    count = int(labels.max()) + 1
    works: dict[str, Callable[[], object]] = {
        "ours": lambda: ops.segment_reduce(labels, dense, cam, count),
        "scatter": lambda: scatter(wide, dense, cam, count),
        "bincount": lambda: bincount(wide, dense, cam, count),
        "index_add": lambda: index_add(wide, dense, cam, count),
        "reading": lambda: (labels.sum(), dense.sum()),
    }
    for work in works.values():
        work()
    alone = {name: [timed(work) for _ in range(ROUNDS)] for name, work in works.items()}
    rounds = [{name: timed(work) for name, work in works.items()} for _ in range(ROUNDS)]
    in_turn = {name: [one[name] for one in rounds] for name in works}
    benchmark.extra_info |= {
        "alone": alone,
        "in_turn": in_turn,
        "threads": threads,
        "load": os.getloadavg()[0],
    }
    with capsys.disabled():
        print(f"\n{'x'.join(map(str, case))}, {threads} thread(s), load {os.getloadavg()[0]:.1f}")
        for name, times in {"by itself": alone, "in turn": in_turn}.items():
            print(f"{name:>11}: {compared(times)}")
    benchmark.pedantic(works["ours"], rounds=ROUNDS)
