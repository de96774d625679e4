"""The CUDA kernels beside the CPU's and, for the reduction, beside the best eager torch on the same GPU; explanations.

    pytest benchmarks/bench_cuda.py --benchmark-group-by=param:clips,param:op --benchmark-columns=min,median,iqr

Skips without a GPU. Every measurement ends with a synchronisation and is of 20 calls, so that launches overlap as they
do in use. docs/studies/gpu.md says which floor to hold the figures against.
"""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F

import videxplain as vx
from videxplain import ops
from videxplain.synthetic.moving_objects import generate

CALLS = 20
CLIPS = {
    "1x16x112x112": (1, 16, 112, 112),
    "8x16x112x112": (8, 16, 112, 112),
    "1x16x256x340": (1, 16, 256, 340),
}
GRID = (3, 8, 8)
CAM = (2, 7, 7)


@functools.lru_cache(maxsize=2)
def prepared(clips: str, device: str) -> dict[str, torch.Tensor]:
    batch, *shape = CLIPS[clips]
    generator = torch.Generator().manual_seed(0)
    # smooth colours with some noise, nearer to a film than noise alone
    coarse = torch.rand(batch, 3, 4, 9, 9, generator=generator)
    rgb = (
        F.interpolate(coarse, shape, mode="trilinear")
        + torch.rand(batch, 3, *shape, generator=generator) * 0.05
    )
    rgb = (rgb.clamp(0, 1) * 255).byte()
    lab = ops.rgb_to_lab(rgb)
    found = {
        "rgb": rgb,
        "frames": rgb.permute(0, 2, 3, 4, 1).contiguous(),
        "lab": lab,
        "labels": ops.slic(lab, GRID, 10.0)[0],
        "dense": torch.randn(batch, 3, *shape, generator=generator),
        "cam": torch.rand(batch, *CAM, generator=generator),
    }
    return {name: tensor.to(device) for name, tensor in found.items()}


def eager_reduce(labels: torch.Tensor, dense: torch.Tensor, cam: torch.Tensor) -> torch.Tensor:
    values = dense.abs().sum(1) * F.interpolate(cam[:, None], labels.shape[1:], mode="trilinear")[:, 0]
    scores = torch.zeros(len(labels), math.prod(GRID), device=labels.device)
    return scores.scatter_add_(1, labels.flatten(1).long(), values.abs().flatten(1))


OPS = {
    "rgb_to_lab": lambda x: ops.rgb_to_lab(x["rgb"]),
    "slic": lambda x: ops.slic(x["lab"], GRID, 10.0),
    "connect_segments": lambda x: ops.connect_segments(
        x["labels"], x["lab"], x["labels"][0].numel() // math.prod(GRID) // 2
    ),
    "supervoxels": lambda x: ops.supervoxels(x["frames"], GRID, 10.0),
    "segment_reduce": lambda x: torch.ops.videxplain.segment_reduce(
        x["labels"], x["dense"], x["cam"], math.prod(GRID), 0, False
    ),
    "eager reduction": lambda x: eager_reduce(x["labels"], x["dense"], x["cam"]),
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("clips", CLIPS)
def test_op(benchmark, clips: str, op: str, device: str) -> None:
    inputs = prepared(clips, device)
    calls = CALLS if device == "cuda" else 1

    def work() -> None:
        for _ in range(calls):
            OPS[op](inputs)
        torch.cuda.synchronize()

    benchmark.extra_info.update(
        device=torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU threads",
        calls_per_round=calls,
    )
    benchmark.pedantic(work, rounds=9, warmup_rounds=2)


NETWORKS = {"c3d-motion": None, "c3d": "random"}
EXPLANATIONS = {
    "guided": {"method": "guided"},
    "guided-act-grad-cam": {"method": "guided-act-grad-cam"},
    "1 pass": {"method": "region-gradient", "passes": 1},
    "8 passes": {"method": "region-gradient", "passes": 8},
    "16 passes": {"method": "region-gradient", "passes": 16},
    "occlusion": {"method": "occlusion"},
    "LIME-100": {"method": "lime", "samples": 100},
    "LIME-500": {"method": "lime", "samples": 500},
    "LIME-1000": {"method": "lime", "samples": 1000},
    "lime package, 100": {"method": "lime", "samples": 100, "batched": False},
}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("segments", [100, 300])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("explanation", EXPLANATIONS)
def test_explanation(benchmark, explanation: str, name: str, segments: int) -> None:
    """From frames to scores, with supervoxels cut beforehand."""
    model = vx.load_model(name, weights=NETWORKS[name], device="cuda")
    clip = generate(0).frames
    labels = vx.explain(model, clip, n_segments=segments).labels
    benchmark.extra_info.update(device=torch.cuda.get_device_name(), supervoxels=int(labels.max()) + 1)
    benchmark.pedantic(
        lambda: vx.explain(model, clip, labels=labels, **EXPLANATIONS[explanation]), rounds=5, warmup_rounds=1
    )
