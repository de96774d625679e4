"""A tiny network of space and time whose answers are known, and samples for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from videxplain.clip import Clip
from videxplain.errors import VidexplainError
from videxplain.evaluation.datasets import Sample
from videxplain.models import Classifier

LENGTH, SIZE = 4, (24, 24)


class Quadrants(nn.Module):
    """Scores four classes by the brightness of the frame's quadrants, with a ReLU and a CAM layer on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 2, (1, 3, 3), padding=(0, 1, 1), bias=False)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool3d((1, 2, 2))
        self.head = nn.Linear(8, 4, bias=False)
        with torch.no_grad():
            self.conv.weight.fill_(1 / 27)
            self.conv.weight[1].neg_()
            self.head.weight.zero_()
            for quadrant in range(4):
                self.head.weight[quadrant, quadrant] = 12.0
                self.head.weight[quadrant, 4 + quadrant] = -6.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.relu(self.conv(x))).flatten(1))


@pytest.fixture(scope="session")
def model() -> Classifier:
    return Classifier(
        Quadrants(),
        class_names=["top left", "top right", "bottom left", "bottom right"],
        clip_length=LENGTH,
        size=SIZE,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        name="quadrants",
    )


def bright(quadrant: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A noisy clip with a bright blob in one quadrant, and the blob's mask."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(60, 150, (LENGTH, *SIZE, 3)).astype(np.uint8)
    y, x = np.array([quadrant // 2, quadrant % 2]) * 12 + rng.integers(1, 5, 2)
    mask = np.zeros((LENGTH, *SIZE), bool)
    mask[:, y : y + 7, x : x + 7] = True
    frames[mask] = rng.integers(200, 255, (int(mask.sum()), 3))
    return frames, mask


@dataclass(frozen=True)
class Blobs:
    """A data set of such clips, some of them damaged."""

    count: int
    damaged: tuple[int, ...] = ()

    @property
    def identity(self) -> str:
        return f"{self.count} blobs"

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"blob {index}"

    def load(self, index: int, *, clip_length: int, stride: int = 1) -> Sample:
        if index in self.damaged:
            raise VidexplainError("its file is damaged")
        frames, mask = bright(index % 4, index)
        return Sample(Clip.from_array(frames), index % 4, mask)
