"""A small network of clips, and clips, for answers beyond where."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import videxplain as vx

FRAMES, SIZE = 8, 24


class Small(nn.Module):
    """Sees edges and changes in time; three classes."""

    def __init__(self, seed: int = 0, outputs: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
            nn.Conv3d(8, 8, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
        )
        self.fc = nn.Linear(8, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 40 * self.fc(self.body(x).mean((2, 3, 4)))


def small(seed: int = 0, outputs: int = 3, **options: Any) -> vx.Classifier:
    options.setdefault("class_names", list("abc")[:outputs])
    return vx.Classifier(
        Small(seed, outputs), layout="BCTHW", clip_length=FRAMES, size=(SIZE, SIZE), **options
    )


def random_clip(seed: int) -> np.ndarray:
    """A bright square that moves over noise: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    frames = np.repeat(rng.integers(0, 120, (1, SIZE, SIZE, 3)), FRAMES, axis=0)
    y, x = rng.integers(2, SIZE - 10, 2)
    for t in range(FRAMES):
        frames[t, y : y + 6, min(x + t, SIZE - 6) : x + t + 6] = rng.integers(130, 255, 3)
    return frames.astype(np.uint8)


def grid(cells: int) -> np.ndarray:
    """Labels (T, H, W) of boxes, so many along y and x, two in time where that is even."""
    where = np.arange(SIZE) * cells // SIZE
    return np.broadcast_to(where[:, None] * cells + where[None, :], (FRAMES, SIZE, SIZE)).astype(np.int32)
