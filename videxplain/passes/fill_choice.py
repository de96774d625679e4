"""Which fill asks a network anything: a few masks under each tell how far its answer moves.

A fill that leaves the answer where it is makes chance of every score. A supervoxel's own mean colour takes away its
look and leaves its motion, since outlines show it: it serves on photographs, and hardly moves a network that goes by
motion. A still supervoxel keeps its look and loses its motion. Whichever of both moves the answer tells what the
network goes by; where neither does, the colours around are taken, which leave nothing of a supervoxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Fill

if TYPE_CHECKING:
    from videxplain.models import Classifier
    from videxplain.passes.aim import Aim

CANDIDATES: dict[bool, tuple[Fill, ...]] = {
    False: ("mean", "neighbours", "grey"),
    True: ("mean", "still", "neighbours"),
}
"""Of networks that see frames on their own and of those that see clips, in the order in which they are preferred."""
ENOUGH = 0.02
"""Share of the answer that masks have to move in the mean, for a candidate to be taken."""
LITTLE = 0.005
"""Share of the answer below which a fill that the user named is said to ask nothing."""
MOST = 0.5
OF_OBJECTS: dict[bool, tuple[Fill, ...]] = {False: ("mean", "grey"), True: ("still", "mean", "grey")}
"""Candidates where one region covers more than `MOST`, as the background of objects does: what is around it is the
lesser part, and its mean is a plane on which objects stand out by their outlines."""
NEARLY = 0.5
"""Where none does, the first is taken that moves the log-odds, or a regression's value, so many times as far as the
farthest."""


@dataclass(frozen=True)
class FillChoice:
    """The fill that was chosen, and why.

    Attributes
    ----------
    fill
        The first of `CANDIDATES` that moves the answer by `ENOUGH`; where none does, the first that moves the log-odds
        nearly as far as any.
    moved
        By how much of itself the answer changes when half of the supervoxels are hidden, in the mean of two masks: its
        probability, or a regression's value; of each fill that was tried.
    passes
        How many forward passes of one clip that took.
    """

    fill: Fill
    moved: dict[Fill, float]
    passes: int

    @property
    def is_enough(self) -> bool:
        """Whether the answer moves by `ENOUGH`."""
        return self.moved[self.fill] >= ENOUGH

    def sentence(self, name: str) -> str | None:
        """What the user should know of it; None where the first candidate serves."""
        if len(self.moved) == 1:
            return None
        tried = ", ".join(f"{fill} {share:.2g}" for fill, share in self.moved.items())
        what = f"hiding half of the supervoxels moves the answer of {name!r} by these shares: {tried}"
        if self.is_enough:
            return f"{what}; fill {self.fill!r} is taken ({self.passes} forward passes)."
        return (
            f"{what}. No fill moves it much, so that scores of the probability hold much chance; {self.fill!r} is "
            f"taken ({self.passes} forward passes). Ask for score='log-odds'."
        )


@torch.no_grad()
def choose_fill(
    model: Classifier, x: torch.Tensor, labels: torch.Tensor, num_segments: int, aim: Aim, seed: int = 0
) -> FillChoice:
    """Tries fills on a clip, x (C, T, H, W), labels (T, H, W): hides half of its supervoxels, and the other half."""
    here = int(labels.max()) + 1
    order = torch.rand(here, generator=torch.Generator().manual_seed(seed)).argsort()
    half = torch.zeros(num_segments)
    half[order[: here // 2]] = 1
    masks = torch.stack([half, 1 - half, torch.ones(num_segments)]).to(x)
    moved: dict[Fill, float] = {}
    steps: dict[Fill, float] = {}
    whole, passes = None, 0
    largest = float(labels.flatten().bincount().max()) / labels.numel()
    candidates = CANDIDATES if largest < MOST else OF_OBJECTS
    for fill in candidates[x.shape[1] > 1 and not model.is_image_model]:
        clip = MaskedClip(model, x, labels, num_segments, aim, fill=fill, seed=seed)
        asked = masks if whole is None else masks[:2]
        values = clip.values(asked, score="logit" if aim.task == "regression" else "log-odds")
        whole, passes = values[2] if whole is None else whole, passes + len(asked)
        steps[fill] = float((values[:2] - whole).abs().mean())
        answer, masked = (v if aim.task == "regression" else v.sigmoid() for v in (whole, values[:2]))
        moved[fill] = float((masked - answer).abs().mean() / answer.abs().clamp(min=1e-30))
        no_numbers = len(moved) == 1 and not bool(
            torch.isfinite(values).all()
        )  # whoever scores tells of these
        if moved[fill] >= ENOUGH or no_numbers:
            return FillChoice(fill, moved, passes)
    farthest = max(step for step in steps.values() if math.isfinite(step))
    return FillChoice(next(fill for fill in steps if steps[fill] >= NEARLY * farthest), moved, passes)
