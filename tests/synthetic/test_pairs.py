"""Clips of two objects: each moves as it should, they never meet, and scores of a contrast have the right sign."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.synthetic.moving_objects import CLASSES, Difficulty, generate_pair

STILL = Difficulty(0, (0.2, 0.35), noise=(0.0, 0.0))


def test_the_same_arguments_give_the_same_pair() -> None:
    first, again, other = (generate_pair(seed) for seed in (7, 7, 8))
    assert np.array_equal(first.frames, again.frames) and first.labels == again.labels
    assert np.array_equal(first.masks, again.masks) and np.array_equal(first.stopped, again.stopped)
    assert not np.array_equal(first.frames, other.frames)
    assert first.masks.shape == (2, 16, 112, 112) and first.stopped.shape == (2, 16, 112, 112, 3)


@pytest.mark.parametrize(
    "motions", [("left", "right"), ("up", "clockwise"), ("shrink", "down"), ("grow", "left")]
)
def test_objects_move_each_in_its_way_and_never_meet(motions: tuple[str, str]) -> None:
    pair = generate_pair(3, motions=motions, difficulty=STILL)
    assert [CLASSES[label] for label in pair.labels] == list(motions)
    assert not (pair.masks[0] & pair.masks[1]).any() and pair.masks.any(axis=(2, 3)).all()
    directions = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
    for motion, mask, stopped in zip(motions, pair.masks, pair.stopped, strict=True):
        centres = np.array([np.argwhere(frame).mean(0) for frame in mask])
        moved = centres[-1] - centres[0]
        along = np.array(directions.get(motion, (0, 0)))
        assert np.abs(moved - moved @ along * along).max() < 9
        assert (np.abs(moved).max() > 15) == (motion in directions)
        growth = mask[-1].sum() / mask[0].sum()
        assert (growth > 1.5) == (motion == "grow") and (growth < 0.7) == (motion == "shrink")
        # where it stands still nothing changes but where the other one moves
        other = pair.masks[1 - motions.index(motion)]
        near = other.any(0)
        for axis, step in itertools.product((0, 1), (1, -1)):
            near = near | np.roll(near, step, axis)
        assert not (stopped != stopped[:1]).any(-1)[:, ~near].any()


def test_pairs_that_cannot_be() -> None:
    with pytest.raises(vx.VidexplainError, match="both move 'left' speak for one class"):
        generate_pair(0, motions=("left", "left"))
    with pytest.raises(vx.VidexplainError, match="motion"):
        generate_pair(0, motions=("left", "sideways"))
    with pytest.raises(vx.VidexplainError, match="no room for two objects"):
        generate_pair(0, motions=("left", "up"), difficulty=Difficulty(0, shift=(0.9, 0.9)))


class Colours(nn.Module):
    """Red against blue, each by what is more of it than of the other two."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.relu, self.head = nn.Conv3d(3, 2, 1, bias=False), nn.ReLU(), nn.Linear(2, 2)
        weight = torch.tensor([[1.0, -0.5, -0.5], [-0.5, -0.5, 1.0]])
        self.body.weight.data = weight.view(2, 3, 1, 1, 1)
        self.head.weight.data, self.head.bias.data = 50 * torch.eye(2), torch.zeros(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.relu(self.body(x)).mean((2, 3, 4)))


METHODS: list[vx.Method] = [
    vx.InputXGradient(),
    vx.GradCam(),
    vx.IntegratedGradients(steps=8),
    vx.RegionGradient(fill="grey"),
    vx.Occlusion(fill="grey"),
    vx.Lime(samples=100, fill="grey"),
    vx.KernelShap(samples=100, fill="grey"),
]


@pytest.mark.parametrize(
    ("clips", "methods"),
    [(1, [METHODS[0], METHODS[1], METHODS[4]]), pytest.param(6, METHODS, marks=pytest.mark.slow)],
    ids=["quick", "all"],
)
def test_contrasts_have_the_sign_of_the_object(clips: int, methods: list[vx.Method]) -> None:
    """Of the five largest scores 95% are positive on the object of the one class, negative on that of the other."""
    shape = {"clip_length": 8, "size": (64, 64), "mean": (0, 0, 0), "std": (1, 1, 1)}
    model = vx.Classifier(Colours(), class_names=["red", "blue"], **shape)  # type: ignore[arg-type]
    right: dict[str, list[bool]] = {method.name: [] for method in methods}
    for seed in range(clips):
        pair = generate_pair(seed, frames=8, size=64)
        frames = pair.frames.mean(-1, keepdims=True).repeat(3, -1)
        for mask, colour in zip(pair.masks, ((1, 0.2, 0.2), (0.2, 0.2, 1)), strict=True):
            frames[mask] *= colour
        frames = frames.astype(np.uint8)
        labels = vx.segment(frames, n_segments=60)
        sizes = np.bincount(labels.ravel())
        shares = [np.bincount(labels[mask], minlength=len(sizes)) / sizes for mask in pair.masks]
        for method in methods:
            scores = vx.explain(model, frames, method, "red", against="blue", labels=labels).scores
            for k in np.argsort(-np.abs(scores), kind="stable")[:5]:
                if max(share[k] for share in shares) >= 0.5:
                    right[method.name].append((scores[k] > 0) == (shares[0][k] > shares[1][k]))
    for name, signs in right.items():
        assert len(signs) >= 3 * clips and np.mean(signs) >= 0.95, name
