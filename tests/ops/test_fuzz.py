"""Ten thousand random argument sets: each gives a result or a message that begins with the wrong argument's name."""

from __future__ import annotations

import random

import pytest
import torch

from videxplain import ops
from videxplain.errors import VidexplainError

SETS = 10_000
DTYPES = (
    torch.float32,
    torch.float32,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int32,
    torch.int64,
    torch.bool,
)
NUMBERS = (
    *(-1, 0, 1, 2, 3, 5, 8, 1000, -0.5, 0.5, 10.0, 1e-300, 1e30, 1e300, float("nan"), float("inf"), None),
    *(2**31, 2**63 - 1, -(2**63), 2**63, 10**30),
)


class Arguments:
    """Mostly right, so that what is wrong is reached."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.batch = self.random.choice((0, 1, 1, 2))
        self.shape = tuple(self.random.choice((1, 2, 3, 5, 8)) for _ in range(3))

    def rarely(self) -> bool:
        return self.random.random() < 0.08

    def tensor(self, *shape: int, dtype: torch.dtype = torch.float32, high: int = 9) -> object:
        sizes = list(shape)
        if self.rarely():
            sizes[self.random.randrange(len(sizes))] = self.random.choice((0, 1, 4, 7))
        if self.rarely():
            sizes = sizes[:-1]
        if self.rarely():
            return self.random.choice((None, 3, "no tensor", [1.0]))
        if self.rarely():
            dtype = self.random.choice(DTYPES)
        values = torch.rand(sizes, generator=self.generator) * high
        if values.numel() and self.rarely():
            values.view(-1)[0] = self.random.choice((float("nan"), float("inf"), -1e30))
            if not dtype.is_floating_point:
                values = values.nan_to_num(0, 0, 0)
        values = values.to(dtype)
        return (
            values.transpose(-1, -2).contiguous().transpose(-1, -2)
            if self.rarely() and len(sizes) > 1
            else values
        )

    def number(self, *right: float) -> object:
        return self.random.choice(NUMBERS) if self.rarely() else self.random.choice(right)

    def numbers(self, *right: tuple[float, ...]) -> object:
        found = [self.number(*choices) for choices in right]
        return found[:-1] if self.rarely() else found

    def call(self) -> None:
        voxels, which = (self.batch, 3, *self.shape), self.random.randrange(5)
        grid = self.numbers(*([1, min(2, size), size] for size in self.shape))
        centres = None
        if self.rarely():
            centres = self.tensor(self.batch, 4, 6)
        if which == 0:
            ops.rgb_to_lab(self.tensor(*voxels, dtype=self.random.choice((torch.uint8, torch.float32))))
        elif which == 1:
            spacing = self.numbers([1.0, 0.5], [1.0], [1.0, 2])
            ops.slic(self.tensor(*voxels), grid, self.number(0.1, 10), spacing, self.number(1, 3), centres)
        elif which == 2:
            labels = self.tensor(self.batch, *self.shape, dtype=torch.int32)
            policy = self.random.choice(("nearest", "scikit-image"))
            most = None if policy == "nearest" or self.rarely() else self.number(1, 3, 30)
            ops.connect_segments(labels, self.tensor(*voxels), self.number(0, 1, 4, 1000), policy, most)
        elif which == 3:
            labels = self.tensor(
                self.batch, *self.shape, dtype=self.random.choice((torch.int32, torch.int64))
            )
            dense = self.random.choice((None, self.tensor(*voxels)))
            cam = self.random.choice((None, self.tensor(self.batch, 2, 3, 3)))
            reduction = "median" if self.rarely() else self.random.choice(("sum", "mean", "max"))
            ops.segment_reduce(labels, dense, cam, self.number(9, 12), reduction, self.random.random() < 0.5)
        else:
            frames = self.tensor(self.batch, *self.shape, 3, dtype=torch.uint8, high=255)
            ops.supervoxels(frames, grid, self.number(1, 10), iterations=self.number(1, 4), centres=centres)


NAMES = (
    *(
        "rgb",
        "lab",
        "labels",
        "frames",
        "grid",
        "compactness",
        "spacing",
        "iterations",
        "centres",
        "min_size",
        "max_size",
    ),
    *("dense", "cam", "num_segments", "unknown reduction"),
)


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in (1, 2, 3))])
def test_any_arguments(part: int) -> None:
    results = 0
    for seed in range(part * SETS // 4, (part + 1) * SETS // 4):
        try:
            Arguments(seed).call()
            results += 1
        except VidexplainError as error:
            assert str(error).startswith(NAMES), f"seed {seed}: {error}"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    assert results > SETS // 16  # the right ones are reached too
