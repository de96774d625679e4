"""One of each thing that a package can add to videxplain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import videxplain as vx
from videxplain.evaluation.datasets import Sample
from videxplain.settings import option


@vx.METHODS.register("brightness")
@dataclass(frozen=True, kw_only=True)
class Brightness(vx.RegionMethod):
    """mean brightness of a supervoxel to some power"""

    power: float = option(1.0, "of the brightness", above=0)

    def score(self, query: vx.Query) -> torch.Tensor:
        light = query.x.mean(dim=1, keepdim=True).exp()
        return query.reduced(vx.VoxelMaps(light), "mean", signed=False) ** self.power


@vx.METHODS.register("input")
class Input(vx.PixelMethod):
    """the clip itself"""

    def maps(self, query: vx.VoxelQuery) -> vx.VoxelMaps:
        return vx.VoxelMaps(query.x)


def stripes(frames: np.ndarray, *, n_segments: int) -> np.ndarray:
    """Columns of equal width."""
    columns = np.arange(frames.shape[2]) * min(n_segments, frames.shape[2]) // frames.shape[2]
    return np.broadcast_to(columns, frames.shape[:3]).astype(np.int32)


def tiny() -> vx.Classifier:
    """A network of one convolution with the same random weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
        )
    return vx.Classifier(net, clip_length=4, size=(32, 32), class_names=["a", "b", "c"])


class Noise:
    """Three clips of noise."""

    identity = "three clips of noise"

    def __len__(self) -> int:
        return 3

    def name(self, index: int) -> str:
        return f"noise {index}"

    def load(self, index: int, *, clip_length: int, stride: int = 1) -> Sample:
        frames = np.random.default_rng(index).integers(0, 256, (clip_length, 40, 40, 3)).astype(np.uint8)
        return Sample(vx.Clip.from_array(frames), label="a")
