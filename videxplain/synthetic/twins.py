"""Clips for twin tasks: one object with one of two looks moves in one of two ways, independently of each other.

A network that names the motion and one that names the look see the same clips; what each goes by is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from videxplain.errors import VidexplainError
from videxplain.synthetic.textures import TexturedObject, patch

MOTIONS = ("left", "right")
LOOKS = ("warm", "cold")
_TINT = np.array([55.0, 0.0, -55.0], np.float32)  # what makes an object warm; the opposite makes it cold


@dataclass(frozen=True, eq=False)
class TwinClip:
    """A clip of twin tasks.

    Attributes
    ----------
    frames : uint8 (T, H, W, 3), RGB.
    motion, look : index into `MOTIONS` and into `LOOKS`.
    mask : bool (T, H, W), true on the object.
    """

    frames: np.ndarray
    motion: int
    look: int
    mask: np.ndarray


def generate_twin(seed: int, *, frames: int = 8, size: int = 40) -> TwinClip:
    """One clip; the same arguments always give the same clip.

    The background is grey and stands still. The object is tinted, warm or cold, and crosses part of the frame, to the
    left or to the right; where it begins and how far it goes says nothing of either.

    Parameters
    ----------
    seed : which clip.
    frames, size : length, and side in pixels.

    Raises
    ------
    VidexplainError : fewer than 2 frames or 32 pixels.
    """
    if frames < 2 or size < 32:
        raise VidexplainError(
            f"twin clips have 2 frames and 32 pixels at least, not {frames} frames of {size}x{size}."
        )
    rng = np.random.default_rng(seed)
    motion, look = int(rng.integers(2)), int(rng.integers(2))
    scene = patch(rng, size, size, 1.5).mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    canvas = np.repeat(scene[None], frames, axis=0).astype(np.float32)
    thing = TexturedObject.draw(rng)
    grey = thing.texture.mean(axis=-1, keepdims=True)
    tint = _TINT if LOOKS[look] == "warm" else -_TINT
    thing = replace(thing, texture=np.clip(grey + tint, 0, 255).astype(np.float32))
    radius, reach = size * rng.uniform(0.13, 0.18), size * rng.uniform(0.3, 0.45)
    ends = np.array([0.0, reach if MOTIONS[motion] == "right" else -reach])
    middle = rng.uniform((radius, radius + reach / 2), (size - radius, size - radius - reach / 2))
    centres = middle + np.linspace(-0.5, 0.5, frames)[:, None] * ends
    angle = np.full(frames, rng.uniform(0, 2 * np.pi))
    mask = thing.paint(canvas, centres, np.full(frames, radius), angle)
    canvas += rng.normal(0, 2, canvas.shape)
    return TwinClip(np.clip(canvas + 0.5, 0, 255).astype(np.uint8), motion, look, mask)
