"""Random and hostile arguments for the registered operations: each call ends, with a result or with a message.

python tests/ops/hostile.py COUNT [FIRST]     # COUNT calls, from seed FIRST; ends with 1 if one crashed or hung

Calls run in forked children, many to a child, so that a crash costs one child and tells which seed it was. The parent
itself calls no operation: after that a forked child would hang.
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import struct
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from videxplain.ops import _library

PER_CHILD = 100
LIMIT = 60  # seconds for a child's calls
INTEGERS = (0, 1, 2, 3, 7, 10, -1, -(2**31), 2**31 - 1, 2**31, 2**32, 2**62, -(2**63), 2**63 - 1)
REALS = (0.0, 0.1, 1.0, 4.0, -1.0, 1e-40, 1e30, -1e30, 1e300, float("inf"), -float("inf"), float("nan"))
DTYPES = (torch.float32, torch.float64, torch.float16, torch.uint8, torch.int32, torch.int64, torch.bool)


class Arguments:
    """Mostly right, so that what is wrong is reached; `odd` is how often something is not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.odd = self.random.choice((0.0, 0.03, 0.1, 0.4))
        self.batch = self.random.choice((0, 1, 1, 1, 2))
        self.shape = tuple(self.random.choice((1, 2, 3, 5, 8, 17)) for _ in range(3))

    def oddly(self) -> bool:
        return self.random.random() < self.odd

    def integer(self, *right: int) -> int:
        return self.random.choice(INTEGERS if self.oddly() else right)

    def real(self, *right: float) -> float:
        return self.random.choice(REALS if self.oddly() else right)

    def reals(self, *right: float) -> list[float]:
        count = self.random.choice((0, 1, 2, 4)) if self.oddly() else 3
        return [self.real(*right) for _ in range(count)]

    def grid(self) -> list[int]:
        cells = [self.integer(1, min(2, size), size) for size in self.shape]
        return cells[: self.random.randrange(3)] if self.oddly() else cells

    def tensor(self, *sizes: int, dtype: torch.dtype = torch.float32, high: float = 9) -> torch.Tensor:
        shape = list(sizes)
        if self.oddly():
            shape[self.random.randrange(len(shape))] = self.random.choice((0, 1, 4, 7))
        if self.oddly():
            shape = shape[: self.random.randrange(len(shape))]
        if self.oddly():
            dtype = self.random.choice(DTYPES)
        if self.oddly() and dtype == torch.float32:
            # more voxels than can be numbered, or even be counted, in little memory
            return torch.zeros((1,) * len(sizes)).expand(
                *(self.random.choice((1, 3, 2**16, 2**31)) if size > 1 else size for size in sizes)
            )
        values = torch.rand(shape, generator=self.generator) * high
        if dtype.is_floating_point:
            for _ in range(3):
                if values.numel() and self.oddly():
                    values.view(-1)[self.random.randrange(values.numel())] = self.random.choice(REALS)
        values = values.to(dtype)
        if values.numel() and not dtype.is_floating_point and dtype != torch.bool and self.oddly():
            limits = torch.iinfo(dtype)
            place = self.random.randrange(values.numel())
            values.view(-1)[place] = self.random.choice(
                (limits.min, limits.max, limits.max - 1, 1000 % limits.max)
            )
        if values.ndim > 1 and self.oddly():
            values = values.transpose(-1, -2).contiguous().transpose(-1, -2)
        return values

    def centres(self, grid: list[int]) -> torch.Tensor | None:
        clusters = 1
        for cells in grid:
            clusters = min(clusters * max(cells, 0), 2**12)
        return None if self.random.random() < 0.5 else self.tensor(self.batch, clusters, 6)

    def of(self, name: str) -> tuple[Any, ...]:
        clips, pick = (self.batch, 3, *self.shape), self.random.choice
        if name == "rgb_to_lab":
            return (self.tensor(*clips, dtype=pick((torch.uint8, torch.float32)), high=pick((1, 255))),)
        if name in ("slic", "supervoxels"):
            grid = self.grid()
            settings = (grid, self.reals(0.1, 1.0), self.reals(0.0, 4.0, 9.0), self.integer(1, 3, 10))
            if name == "slic":
                return (self.tensor(*clips), *settings, self.centres(grid))
            frames = self.tensor(self.batch, *self.shape, 3, dtype=torch.uint8, high=255)
            return (frames, *settings, self.integer(0, 1, 4, 1000), self.centres(grid))
        labels = self.tensor(self.batch, *self.shape, dtype=torch.int32)
        if name == "connect_segments":
            return labels, self.tensor(*clips), self.integer(0, 1, 4, 1000)
        if name == "connect_exact":
            return labels, self.integer(0, 1, 4), self.integer(4, 10, 1000)
        if name == "slic_exact":
            seeds = self.tensor(pick((1, 2, 5)), 3, dtype=torch.float64, high=max(self.shape))
            lab = self.tensor(*clips, dtype=torch.float64)
            return (
                lab,
                seeds,
                self.real(0.1, 1.0),
                self.reals(1.0, 0.5),
                self.reals(2.0, 8.0),
                self.integer(1, 3),
            )
        if name == "segment_reduce":
            dense = pick((None, self.tensor(self.batch, pick((1, 3, 4)), *self.shape)))
            cam = pick((None, self.tensor(self.batch, 2, 3, 3)))
            return labels, dense, cam, self.integer(9, 12), self.integer(0, 1, 2), pick((True, False))
        ring, step = pick((1, 2, 3)), pick((1, 2))
        rows, inputs, outputs, channels = (
            ring * step * pick((0, 1, 2)),
            *(pick((1, 2, 5, 20)) for _ in range(3)),
        )
        large, small = (rows, inputs, channels), (rows, outputs, channels)
        rings = self.integer(ring), self.integer(step)
        if name == "clamp_chords":
            return (
                *(self.tensor(*large) for _ in range(3)),
                *rings,
                self.real(0.0),
                self.real(6.0, float("inf")),
            )
        places = self.tensor(*small, dtype=torch.int64, high=inputs)
        return (
            self.tensor(*large),
            self.tensor(*small),
            places,
            self.tensor(*small),
            self.tensor(*large),
            *rings,
        )


def functions() -> list[tuple[str, Callable[..., Any]]]:
    """Each operation as it serves here, and as Numba has it."""
    names = [*_library.SCHEMAS, *(_library.CHORD_SCHEMAS if _library.NATIVE is not None else ())]
    found = [(name, getattr(torch.ops.videxplain, name)) for name in names]
    return [*found, *_library._NUMBA.items()]


def call(seed: int, served: list[tuple[str, Callable[..., Any]]]) -> bool:
    """Whether there was a result; a message is as good, whatever else it raises is not."""
    name, function = served[seed % len(served)]
    try:
        function(*Arguments(seed).of(name))
        return True
    except (RuntimeError, TypeError, ValueError) as error:
        assert str(error)
        return False


def main(count: int, first: int = 0, *, native_only: bool = False) -> int:
    """Prints what came of the calls; returns 1 if one crashed, hung or raised what it should not."""
    served = [f for f in functions() if not native_only or isinstance(f[1], torch._ops.OpOverloadPacket)]
    shared = mmap.mmap(-1, 24)
    outcomes: Counter[str] = Counter()
    seed, end = first, first + count
    while seed < end:
        shared[:] = struct.pack("qqq", seed, 0, 0)
        stop = min(seed + PER_CHILD, end)
        child = os.fork()
        if not child:
            torch.set_num_threads(1)
            signal.alarm(LIMIT)
            for own in range(seed, stop):
                shared[:8] = struct.pack("q", own)
                try:
                    place = 8 if call(own, served) else 16
                except BaseException as error:
                    print(f"seed {own}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    os._exit(1)
                shared[place : place + 8] = struct.pack(
                    "q", struct.unpack("q", shared[place : place + 8])[0] + 1
                )
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        last, results, refused = struct.unpack("qqq", shared[:])
        outcomes += Counter(results=results, refused=refused)
        if status:
            outcomes["FAULTS"] += 1
            why = signal.Signals(-status).name if status < 0 else f"status {status}"
            print(f"seed {last} ({served[last % len(served)][0]}): {why}", flush=True)
        seed = last + 1 if status else stop
    print(", ".join(f"{number} {what}" for what, number in outcomes.items()))
    return int(outcomes["FAULTS"] > 0)


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:] if text != "--native"]
    sys.exit(main(*arguments, native_only="--native" in sys.argv))
