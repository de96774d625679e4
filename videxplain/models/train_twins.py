"""Trains a pair of small networks on the same clips: one names how an object moves, the other how it looks.

    python -m videxplain.models.train_twins --out runs/twins

Takes minutes for each, by the machine. What each network goes by is known: answers about motion are checked with it.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from videxplain.models.classifier import Classifier
from videxplain.synthetic.twins import LOOKS, MOTIONS, generate_twin

Task: TypeAlias = Literal["motion", "look"]
FRAMES, SIZE = 8, 40
FIRST_TRAINING_SEED = 1_000_000
"""Clips of smaller seeds are never trained on."""


class TwinNet(nn.Sequential):
    """Three convolutions in space and time, their mean, and two classes."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for channels, wider, stride in ((3, 12, (1, 2, 2)), (12, 24, (1, 2, 2)), (24, 48, (2, 2, 2))):
            layers += [
                nn.Conv3d(channels, wider, 3, stride, padding=1),
                nn.BatchNorm3d(wider),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(48, 2))


def classifier(net: nn.Module, task: Task) -> Classifier:
    """A twin, ready to be asked."""
    return Classifier(
        net,
        name=f"twin-{task}",
        class_names=list(MOTIONS if task == "motion" else LOOKS),
        layout="BCTHW",
        clip_length=FRAMES,
        size=(SIZE, SIZE),
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
    )


def train(task: Task, *, steps: int = 300, batch: int = 32, seed: int = 0) -> Classifier:
    """A network trained on `steps` batches of clips that it never sees twice."""
    torch.manual_seed(seed)
    net = TwinNet()
    model = classifier(net, task)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    first = FIRST_TRAINING_SEED * (1 + seed)
    net.train()
    for step in range(steps):
        clips = [generate_twin(first + step * batch + i, frames=FRAMES, size=SIZE) for i in range(batch)]
        x = model.prepare([clip.frames for clip in clips])
        logits = net(x)
        loss = F.cross_entropy(logits, torch.tensor([getattr(clip, task) for clip in clips]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    net.eval()
    return model


def accuracy(model: Classifier, task: Task, clips: int = 200) -> float:
    """Share of the first `clips` held-out clips (seeds 0, 1, ...) that are named rightly."""
    right = []
    for seed in range(clips):
        clip = generate_twin(seed, frames=FRAMES, size=SIZE)
        answer = int(model.predict(model.prepare(clip.frames))[0].argmax())
        right.append(answer == getattr(clip, task))
    return float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--steps", type=int, default=300, help="batches (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for task in get_args(Task):
        model = train(task, steps=options.steps, seed=options.seed)
        part = options.out / f".twin-{task}.part"
        save_file({k: v.contiguous() for k, v in model.net.state_dict().items()}, part)
        os.replace(part, options.out / f"twin-{task}.safetensors")
        print(f"{task}: accuracy on 200 held-out clips {accuracy(model, task):.3f}", flush=True)


if __name__ == "__main__":
    main()
