"""Generated clips: seeded, and their masks and classes true."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from videxplain.errors import VidexplainError
from videxplain.synthetic.moving_objects import (
    CLASSES,
    EASY,
    STANDARD,
    Difficulty,
    generate,
    generate_video,
    opposite,
)

STILL = Difficulty(distractors=2, noise=(0.0, 0.0))


def test_the_same_arguments_give_the_same_clip() -> None:
    for difficulty in (EASY, STANDARD):
        first, again, other = (generate(seed, difficulty=difficulty) for seed in (7, 7, 8))
        assert np.array_equal(first.frames, again.frames) and first.label == again.label
        assert np.array_equal(first.mask, again.mask)
        assert not np.array_equal(first.frames, other.frames)
    assert first.frames.shape == (16, 112, 112, 3) and first.frames.dtype == np.uint8
    assert first.mask.shape == (16, 112, 112) and first.mask.dtype == bool


def test_every_class_is_drawn() -> None:
    counts = np.bincount([generate(seed, frames=1, size=16).label for seed in range(400)], minlength=8)
    assert counts.min() >= 25 and counts.sum() == 400


@pytest.mark.parametrize("motion", CLASSES)
@pytest.mark.parametrize("seed", range(4))
def test_without_noise_nothing_outside_the_mask_changes(motion: str, seed: int) -> None:
    clip = generate(seed, motion=motion, difficulty=STILL)
    assert clip.label == CLASSES.index(motion)
    near = clip.mask.copy()  # the outline is blended over a pixel
    for axis in (1, 2):
        near |= np.roll(near, 1, axis) | np.roll(near, -1, axis)
    ever = near.any(0)
    changes = (clip.frames != clip.frames[:1]).any(-1)
    assert not changes[:, ~ever].any()
    # and inside it the object is what moves: most of its pixels change from frame to frame
    moved = (clip.frames[1:] != clip.frames[:-1]).any(-1)
    assert moved[clip.mask[1:] & clip.mask[:-1]].mean() > 0.5


@pytest.mark.parametrize("motion", CLASSES)
def test_masks_move_as_the_class_says(motion: str) -> None:
    for seed in range(6):
        mask = generate(seed, motion=motion).mask
        area = mask.sum((1, 2)).astype(float)
        centres = np.array([np.argwhere(frame).mean(0) for frame in mask])
        dy, dx = centres[-1] - centres[0]
        if motion in ("left", "right"):
            assert (dx < -20) == (motion == "left") and abs(dx) > 20 > abs(dy) / 2
        elif motion in ("up", "down"):
            assert (dy < -20) == (motion == "up") and abs(dy) > 20 > abs(dx) / 2
        else:
            assert np.hypot(dy, dx) < 3
        growth = area[-1] / area[0]
        if motion == "grow":
            assert growth > 1.8
        elif motion == "shrink":
            assert growth < 1 / 1.8
        elif motion not in ("clockwise", "counter-clockwise"):
            assert 0.9 < growth < 1.1


def test_clockwise_is_clockwise_on_the_screen() -> None:
    """A turning clip is explained best by turning its first frame back by the right sign."""
    from scipy.ndimage import rotate

    right = 0
    for seed in range(12):
        turn = Difficulty(0, turn=(100.0, 100.0), noise=(0.0, 0.0))
        clip = generate(seed, motion="clockwise" if seed % 2 else "counter-clockwise", difficulty=turn)
        y, x = np.argwhere(clip.mask[0]).mean(0).round().astype(int)
        cut = np.s_[max(y - 14, 0) : y + 15, max(x - 14, 0) : x + 15]
        first, third = (clip.frames[t][cut].astype(float) for t in (0, 2))
        # scipy turns counter-clockwise for positive angles, seen with y downwards
        errors = {s: np.abs(rotate(first, s * 40 / 3, reshape=False, order=1) - third) for s in (-1, 1)}
        inner = np.s_[8:-8, 8:-8]
        right += (errors[-1][inner].mean() < errors[1][inner].mean()) == bool(seed % 2)
    assert right >= 11


def test_backwards_is_the_opposite_class() -> None:
    pairs = {CLASSES[i]: CLASSES[opposite(i)] for i in range(len(CLASSES))}
    assert pairs["left"] == "right" and pairs["down"] == "up"
    assert pairs["clockwise"] == "counter-clockwise" and pairs["shrink"] == "grow"


def test_long_shot_is_seamless_and_its_motions_differ() -> None:
    parts = list(generate_video(3, motions=5, frames=8, size=(96, 128), difficulty=STILL))
    assert [part.frames.shape for part in parts] == [(8, 96, 128, 3)] * 5
    labels = [part.label for part in parts]
    assert all(a != b for a, b in itertools.pairwise(labels))
    inner = max(np.abs(np.diff(part.frames.astype(int), axis=0)).mean((1, 2, 3)).max() for part in parts)
    for before, after in itertools.pairwise(parts):
        assert np.abs(after.frames[0].astype(int) - before.frames[-1]).mean() <= 1.5 * inner
    again = list(generate_video(3, motions=5, frames=8, size=(96, 128), difficulty=STILL))
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(parts, again, strict=True))


def test_what_cannot_be_generated_is_said() -> None:
    with pytest.raises(VidexplainError, match="did you mean 'left'"):
        generate(0, motion="lft")
    with pytest.raises(VidexplainError, match="16 pixels"):
        generate(0, size=8)
    with pytest.raises(VidexplainError, match="1 frame"):
        generate(0, frames=0)
