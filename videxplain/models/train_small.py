"""Trains small networks of other kinds than the bundled one, on the same clips: for studies of networks unseen.

    python -m videxplain.models.train_small --network r2plus1d --seed 1 --out runs/small

Takes minutes, by the machine. The file that it writes is loaded with
`load_model("videxplain.models.train_small:r2plus1d", weights=FILE)`.

The clips are shorter and smaller than the bundled network's, and nothing turns in them: telling the two ways of turning
apart takes hours to learn. Each clip comes forwards and backwards, as it is and mirrored: what tells these four apart
is the motion.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from videxplain.models.classifier import Classifier
from videxplain.synthetic import moving_objects

FRAMES, SIZE = 8, 48
MOTIONS = ("left", "right", "up", "down", "grow", "shrink")
"""Each next to its reversal."""
FIRST_TRAINING_SEED = 1_000_000
"""Clips of smaller seeds are never trained on."""
STAGES = (
    (0.3, moving_objects.EASY),
    (0.5, moving_objects.MEDIUM),
    (1.0, moving_objects.STANDARD),
)
"""Up to which share of the batches clips are how difficult."""


Norm: TypeAlias = Callable[[int], nn.Module]
"""Of so many channels."""


class _Gate(nn.Module):
    """Multiplies channels by what their means make of each other: squeeze and excitation (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool3d(1),
            nn.Conv3d(channels, channels // 4, 1),
            nn.ReLU(),
            nn.Conv3d(channels // 4, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weigh(x)


class _Block(nn.Module):
    """Two convolutions in space, each followed by one in time, and what goes around them (Tran et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: Norm, gated: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, step in ((inputs, stride), (outputs, 1)):
            layers += [
                nn.Conv3d(channels, outputs, (1, 3, 3), (1, step, step), (0, 1, 1), bias=False),
                norm(outputs),
                nn.ReLU(),
                nn.Conv3d(outputs, outputs, (3, 1, 1), (step, 1, 1), (1, 0, 0), bias=False),
                norm(outputs),
                nn.ReLU(),
            ]
        layers[-1:] = [_Gate(outputs)] if gated else []
        self.layers = nn.Sequential(*layers)
        self.around = nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), norm(outputs))
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.layers(x) + self.around(x))


class R2Plus1D(nn.Sequential):
    """A narrow R(2+1)D: a stem, three residual blocks, the mean, and the classes."""

    def __init__(self, num_classes: int, norm: Norm = nn.BatchNorm3d, gated: bool = False) -> None:
        stem = [
            nn.Conv3d(3, 12, (1, 5, 5), (1, 2, 2), (0, 2, 2), bias=False),
            norm(12),
            nn.ReLU(),
            nn.Conv3d(12, 16, (3, 1, 1), padding=(1, 0, 0), bias=False),
            norm(16),
            nn.ReLU(),
        ]
        blocks = [_Block(*sizes, 2, norm, gated) for sizes in ((16, 24), (24, 48), (48, 64))]
        super().__init__(*stem, *blocks, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, num_classes))


class VideoTransformer(nn.Module):
    """Attention over all places and times at once, on tokens made by two convolutions (Xiao et al. 2021)."""

    def __init__(self, num_classes: int, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 24, (3, 5, 5), (1, 4, 4), (1, 2, 2)),
            nn.BatchNorm3d(24),
            nn.ReLU(),
            nn.Conv3d(24, width, 3, 2, padding=1),
        )
        self.place = nn.Parameter(0.02 * torch.randn(1, (FRAMES // 2) * (SIZE // 8) ** 2, width))
        self.layers = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width, 4, 3 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.norm(self.layers(tokens)).mean(dim=1))


def _classifier(net: nn.Module) -> Classifier:
    return Classifier(
        net,
        class_names=list(MOTIONS),
        layout="BCTHW",
        clip_length=FRAMES,
        size=(SIZE, SIZE),
        mean=(0.45,) * 3,
        std=(0.225,) * 3,
    )


def r2plus1d(num_classes: int = len(MOTIONS)) -> Classifier:
    """The narrow R(2+1)D, untrained."""
    return _classifier(R2Plus1D(num_classes))


def gated(num_classes: int = len(MOTIONS)) -> Classifier:
    """An R(2+1)D whose blocks have gates, untrained."""
    return _classifier(R2Plus1D(num_classes, gated=True))


def group_norm(num_classes: int = len(MOTIONS)) -> Classifier:
    """An R(2+1)D with group normalisation, untrained."""
    return _classifier(R2Plus1D(num_classes, partial(nn.GroupNorm, 4)))


def transformer(num_classes: int = len(MOTIONS)) -> Classifier:
    """The video transformer, untrained."""
    return _classifier(VideoTransformer(num_classes))


NETWORKS: dict[str, Callable[[], Classifier]] = {
    make.__name__: make for make in (r2plus1d, gated, group_norm, transformer)
}


def clip_of(
    seed: int, difficulty: moving_objects.Difficulty = moving_objects.STANDARD
) -> moving_objects.GeneratedClip:
    """A clip; its class is `MOTIONS[seed % 6]`."""
    motion = MOTIONS[seed % len(MOTIONS)]
    return moving_objects.generate(seed, motion=motion, frames=FRAMES, size=SIZE, difficulty=difficulty)


def four_ways(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips (B, C, T, H, W) and their classes, then those backwards, then all of them mirrored."""
    x, labels = torch.cat([x, x.flip(2)]), torch.cat([labels, labels ^ 1])
    return torch.cat([x, x.flip(4)]), torch.cat([labels, torch.where(labels < 2, labels ^ 1, labels)])


def train(model: Classifier, *, steps: int, batch: int = 32, rate: float = 2e-3, seed: int = 0) -> None:
    """Trains on `steps` batches of clips that the network never sees twice."""
    net = model.net
    optimiser = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    first = FIRST_TRAINING_SEED * (1 + seed)
    net.train()
    running = 0.0
    for step in range(steps):
        difficulty = next(difficulty for share, difficulty in STAGES if step < share * steps)
        seeds = range(first + step * batch // 4, first + (step + 1) * batch // 4)
        x = model.prepare([clip_of(number, difficulty).frames for number in seeds])
        labels = torch.tensor([number % len(MOTIONS) for number in seeds])
        x, labels = torch.cat([x, x.flip(2)]), torch.cat([labels, labels ^ 1])
        x, labels = (
            torch.cat([x, x.flip(4)]),
            torch.cat([labels, torch.where(labels < 2, labels ^ 1, labels)]),
        )
        logits = net(x)
        loss = F.cross_entropy(logits, labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        running += 0.03 * (float((logits.argmax(1) == labels).float().mean()) - running)
        if (step + 1) % 50 == 0:
            print(f"{step + 1} batches, accuracy {running:.3f}", flush=True)
    net.eval()


def accuracy(model: Classifier, clips: int = 300) -> float:
    """Share of the first `clips` held-out clips (seeds 0, 1, ...) that are named rightly."""
    right = 0
    for seed in range(clips):
        answer = int(model.predict(model.prepare(clip_of(seed).frames))[0].argmax())
        right += answer == seed % len(MOTIONS)
    return right / clips


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the weights")
    parser.add_argument("--steps", type=int, default=600, help="batches (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    model = NETWORKS[options.network]()
    train(model, steps=options.steps, seed=options.seed)
    name = f"{options.network}-{options.seed}.safetensors"
    save_file({k: v.contiguous() for k, v in model.net.state_dict().items()}, options.out / f".{name}.part")
    os.replace(options.out / f".{name}.part", options.out / name)
    print(f"{name}: accuracy on 300 held-out clips {accuracy(model):.3f}", flush=True)


if __name__ == "__main__":
    main()
