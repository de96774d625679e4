"""Textured shapes for generated clips: photographs, procedural noise, and objects cut out of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

# Photographs and micrographs that ship inside the wheel (the rest of skimage.data is a download).
PHOTOGRAPHS = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "motorcycle_left.png",
    "rocket.jpg",
    "hubble_deep_field.jpg",
    "retina.jpg",
    "ihc.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "camera.png",
    "coins.png",
    "moon.png",
)


@cache
def _photographs() -> tuple[np.ndarray, ...]:
    """The packaged photographs as uint8 (h, w, 3) with a short side of at most 256 pixels."""
    from PIL import Image

    from videxplain.clip import open_image

    spec = find_spec("skimage")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "data"
    images = []
    for name in PHOTOGRAPHS:
        path = folder / name
        if path.exists():
            with open_image(path) as opened:
                image = opened.convert("RGB")
            factor = min(1.0, 256 / min(image.size))
            size = (round(image.width * factor), round(image.height * factor))
            images.append(np.asarray(image.resize(size, Image.Resampling.LANCZOS)))
    return tuple(images)


def _noise_texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """Coloured noise with a 1/f^a spectrum, uint8 (side, side, 3)."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :])
    frequency[0, 0] = 1.0
    amplitude = frequency ** -rng.uniform(0.8, 1.6)
    amplitude[0, 0] = 0.0
    white = rng.standard_normal((3, side, side), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(side, side)).astype(np.float32)
    mix = np.eye(3, dtype=np.float32) + rng.uniform(-0.7, 0.7, (3, 3)).astype(np.float32)
    field = np.tensordot(mix, field / field.std(), axes=1)
    return np.clip(field * 40 + 128, 0, 255).astype(np.uint8).transpose(1, 2, 0)


@cache
def _textures() -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(20150101)
    return _photographs() + tuple(_noise_texture(rng, 256) for _ in range(8))


def patch(rng: np.random.Generator, height: int, width: int, zoom: float) -> np.ndarray:
    """Random piece of a random texture with random flips, contrast and tint, float32 (height, width, 3).

    `zoom` is the number of output pixels per texture pixel at most; the piece always fits into the texture.
    """
    textures = _textures()
    texture = textures[rng.integers(len(textures))]
    if rng.random() < 0.5:
        texture = texture.transpose(1, 0, 2)
    th, tw = texture.shape[:2]
    step = min(rng.uniform(1 / zoom, 1.5), (th - 2) / height, (tw - 2) / width)
    y0 = rng.uniform(0, th - 1 - step * (height - 1))
    x0 = rng.uniform(0, tw - 1 - step * (width - 1))
    rows = (y0 + step * np.arange(height)).astype(np.intp)
    columns = (x0 + step * np.arange(width)).astype(np.intp)
    if rng.random() < 0.5:
        columns = columns[::-1]
    if rng.random() < 0.5:
        rows = rows[::-1]
    piece = texture[rows[:, None], columns[None, :]].astype(np.float32)
    mean, spread = piece.mean((0, 1)), float(piece.std())
    # Flat pieces (sky, space) are stretched, so that a turning disc can be seen to turn.
    contrast = max(rng.uniform(0.8, 1.3), 28.0 / max(spread, 4.0))
    level = np.clip(mean + rng.uniform(-40, 40) + rng.uniform(-25, 25, 3), 50, 205).astype(np.float32)
    return np.clip((piece - mean) * np.float32(contrast) + level, 0, 255)


@dataclass(frozen=True)
class TexturedObject:
    """A textured shape: boundary r(theta) in units of its size, and its texture."""

    kind: int
    order: int
    elongation: float
    texture: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator) -> TexturedObject:
        for _ in range(8):
            texture = patch(rng, 64, 64, 2.0)
            # A smooth ball can turn unseen: ask for detail.
            if np.abs(np.diff(texture, axis=1)).mean() > 6:
                break
        return cls(
            kind=int(rng.integers(3)),
            order=int(rng.integers(3, 7)),
            elongation=float(rng.uniform(0.72, 0.88)),
            texture=_upsample(texture),
        )

    def boundary(self, theta: np.ndarray) -> np.ndarray:
        """Radius of the outline in direction `theta` (radians); about 1 on average."""
        if self.kind == 0:  # ellipse
            return 1 / np.hypot(np.cos(theta) * self.elongation, np.sin(theta) / self.elongation)
        if self.kind == 1:  # regular polygon
            sector = 2 * np.pi / self.order
            return 1.12 * np.cos(sector / 2) / np.cos(np.mod(theta, sector) - sector / 2)
        return 1 + 0.18 * np.cos(self.order * theta)  # petals

    def paint(
        self, canvas: np.ndarray, centre: np.ndarray, size: np.ndarray, angle: np.ndarray
    ) -> np.ndarray:
        """Draw the object into float32 frames (T, H, W, 3), in place; returns its mask, bool (T, H, W).

        centre (T, 2) as (y, x) in pixel-centre coordinates, size (T,) in pixels, angle (T,) in radians,
        positive clockwise on the screen.
        """
        frames, height, width = canvas.shape[:3]
        mask = np.zeros((frames, height, width), dtype=bool)
        reach = 1.6 * float(size.max()) + 2
        top, left = np.floor(centre.min(0) - reach).astype(int)
        bottom, right = np.ceil(centre.max(0) + reach).astype(int) + 1
        top, left, bottom, right = max(top, 0), max(left, 0), min(bottom, height), min(right, width)
        if top >= bottom or left >= right:
            return mask
        centre, size, angle = (part.astype(np.float32) for part in (centre, size, angle))
        y = np.arange(top, bottom, dtype=np.float32)[None, :, None] - centre[:, 0, None, None]
        x = np.arange(left, right, dtype=np.float32)[None, None, :] - centre[:, 1, None, None]
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        scale = size[:, None, None]
        u, v = (cos * x + sin * y) / scale, (cos * y - sin * x) / scale
        near = np.flatnonzero(u * u + v * v < 2.3)  # no outline reaches beyond 1.5 sizes
        u, v = u.ravel()[near], v.ravel()[near]
        frame, rest = np.divmod(near, (bottom - top) * (right - left))
        row, column = np.divmod(rest, right - left)
        edge = (self.boundary(np.arctan2(v, u)) - np.hypot(u, v)) * size[frame]
        alpha = np.clip(edge + np.float32(0.5), 0, 1)
        side = self.texture.shape[0]  # spans [-1.52, 1.52]
        texel_y, texel_x = (((axis + 1.52) * (side / 3.04)).astype(np.intp) for axis in (v, u))
        colour = self.texture.reshape(-1, 3).take(texel_y * side + texel_x, axis=0)
        place = (frame * height + row + top) * width + column + left
        pixels = canvas.reshape(-1, 3)
        under = pixels.take(place, axis=0)
        pixels[place] = under + alpha[:, None] * (colour - under)
        mask.reshape(-1)[place] = alpha > 0.5
        return mask


@cache
def _finer(side: int) -> np.ndarray:
    """Matrix (4 side, side) that interpolates linearly to four times as many samples."""
    position = np.clip((np.arange(4 * side) + 0.5) / 4 - 0.5, 0, side - 1)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(side))).astype(np.float32)


def _upsample(texture: np.ndarray) -> np.ndarray:
    """Square texture (S, S, 3) to (4S, 4S, 3), so that the nearest sample is good enough when it moves."""
    finer = _finer(texture.shape[0])
    rows = np.tensordot(finer, texture, axes=(1, 0))
    return np.ascontiguousarray(np.tensordot(finer, rows, axes=(1, 1)).transpose(1, 0, 2))
