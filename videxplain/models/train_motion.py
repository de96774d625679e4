"""Trains the bundled model: a narrow C3D that names the way in which one object moves.

    python -m videxplain.models.train_motion --out runs/motion

Seeded and resumable (the same command goes on where it stopped). The order matters: with distractors and
slow motion from the start nothing is learned for a long time, so the clips get harder once the easy ones are
right. Two things make the hardest pair, clockwise and counter-clockwise, learnable: every clip is followed by
its reversal, which differs in nothing but the motion, and until the last stage most clips turn.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm

from videxplain.models.c3d import C3D
from videxplain.synthetic import moving_objects

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
FIRST_TRAINING_SEED = 1_000_000
"""Clips of smaller seeds are never trained on."""

STAGES = ((moving_objects.EASY, 0.75), (moving_objects.MEDIUM, 0.5), (moving_objects.STANDARD, 0.0))
"""Difficulty, and the share of clips made to turn whatever their seed says."""


class _Clips(IterableDataset):
    """Endless stream of (frames uint8 (T, H, W, 3), label), from clip number `start`.

    After each clip comes the same clip backwards, whose class is the opposite one. A share `turning` of the clips
    is of an object that turns; the others are of any motion.
    """

    def __init__(
        self, seed: int, start: int, difficulty: moving_objects.Difficulty, *, turning: float
    ) -> None:
        self.first = FIRST_TRAINING_SEED + seed * 100_000_000 + start
        self.difficulty = difficulty
        self.turning = turning

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        number = self.first
        while True:
            motion = "clockwise" if number % 4 < 4 * self.turning else None
            clip = moving_objects.generate(number, motion=motion, difficulty=self.difficulty)
            yield clip.frames, clip.label
            yield clip.frames[::-1].copy(), moving_objects.opposite(clip.label)
            number += 1


def normalise(frames: torch.Tensor) -> torch.Tensor:
    """uint8 (B, T, H, W, 3) to float32 (B, 3, T, H, W) as the network wants it, channels last in memory."""
    scaled = frames.to(torch.float32) / 255
    return ((scaled - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 4, 1, 2, 3)


@torch.no_grad()
def accuracy(net: torch.nn.Module, clips: int, difficulty: moving_objects.Difficulty) -> float:
    """Share of the first `clips` held-out clips (seeds 0, 1, ...) that are classified correctly."""
    training = net.training
    net.eval()
    right = 0
    for first in range(0, clips, 20):
        seeds = range(first, min(clips, first + 20))
        batch = [moving_objects.generate(seed, difficulty=difficulty) for seed in seeds]
        logits = net(normalise(torch.from_numpy(np.stack([clip.frames for clip in batch]))))
        right += int((logits.argmax(1) == torch.tensor([clip.label for clip in batch])).sum())
    net.train(training)
    return right / clips


def export(net: C3D, path: Path) -> None:
    """Write the weights with everything needed to use them; the file appears whole or not at all."""
    settings = {
        "architecture": "c3d",
        **net.config,
        "labels": list(moving_objects.CLASSES),
        "mean": MEAN,
        "std": STD,
    }
    state = {k: v.contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    part = path.with_suffix(".part")
    save_file(state, part, metadata={"videxplain": json.dumps(settings)})
    os.replace(part, path)


def _rate(step: int, final_start: int | None, steps: int, peak: float) -> float:
    """Learning rate: warm-up, constant, and a cosine down to zero over the last stage."""
    rate = peak * min(1.0, (step + 1) / 50)
    if final_start is None:
        return rate
    return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - final_start) / steps)))


def train(options: argparse.Namespace) -> None:
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.pt"
    net = C3D(len(moving_objects.CLASSES), width=options.width, fc_width=128, batch_norm=True, dropout=0.1)
    net = net.to(memory_format=torch.channels_last_3d).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    state: dict[str, Any] = {"step": 0, "stage": 0, "stage_start": 0, "running": 0.0}
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
        torch.set_rng_state(saved["random"])

    last = len(STAGES) - 1
    bar = tqdm(initial=state["step"], unit="batch", smoothing=0.05, mininterval=options.interval)
    loader: Iterator[Any] | None = None

    def save() -> None:
        saved = {"net": net.state_dict(), "optimiser": optimiser.state_dict(), "state": state}
        torch.save(saved | {"random": torch.get_rng_state()}, checkpoint.with_suffix(".part"))
        os.replace(checkpoint.with_suffix(".part"), checkpoint)
        export(net, options.out / "c3d-motion.safetensors")

    while state["stage"] < last or state["step"] - state["stage_start"] < options.final_steps:
        if loader is None:
            start = state["step"] * options.batch // 2
            difficulty, turning = STAGES[state["stage"]]
            clips = _Clips(options.seed, start, difficulty, turning=turning)
            loader = iter(
                DataLoader(
                    clips,
                    batch_size=options.batch,
                    num_workers=1,
                    prefetch_factor=3,
                    multiprocessing_context="spawn",
                )
            )
        final_start = state["stage_start"] if state["stage"] == last else None
        for group in optimiser.param_groups:
            group["lr"] = _rate(state["step"], final_start, options.final_steps, options.rate)
        frames, labels = next(loader)
        logits = net(normalise(frames))
        loss = F.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

        right = float((logits.detach().argmax(1) == labels).float().mean())
        state["running"] += 0.03 * (right - state["running"])
        state["step"] += 1
        bar.update()
        shown = f"stage {state['stage'] + 1}, loss {loss.item():.2f}, accuracy {state['running']:.3f}"
        bar.set_postfix_str(shown, refresh=False)
        in_stage = state["step"] - state["stage_start"]
        if state["stage"] < last and (state["running"] > options.enough or in_stage >= options.stage_steps):
            state.update(stage=state["stage"] + 1, stage_start=state["step"], running=0.5)
            loader = None
            save()
            tqdm.write(f"stage {state['stage'] + 1} begins after {state['step']} batches")
        elif state["step"] % 50 == 0:
            save()
    bar.close()
    save()
    print(f"accuracy on {options.test_clips} held-out clips: ", end="", flush=True)
    print(f"{accuracy(net, options.test_clips, moving_objects.STANDARD):.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint and the weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=int, default=8, help="channels of the first convolution")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument(
        "--stage-steps", type=int, default=1500, help="most batches in each stage but the last"
    )
    parser.add_argument("--final-steps", type=int, default=900, help="batches in the last stage")
    parser.add_argument(
        "--enough",
        type=float,
        default=0.9,
        help="running training accuracy that ends a stage before its time",
    )
    parser.add_argument("--test-clips", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between progress lines")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
