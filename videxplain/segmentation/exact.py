"""SLIC with scikit-image's labels, voxel for voxel: the proof that ours is SLIC, and for who needs the same labels.

What goes into the clustering must be the same bits: the grid of seeds comes from scikit-image itself, and colours are
found by its formulas and NumPy's functions, tabulated where there are few values.
"""

from __future__ import annotations

import numpy as np
import torch
from skimage.color.colorconv import xyz_from_rgb, xyz_tristimulus_values
from skimage.util import img_as_float, regular_grid

from videxplain.ops import _library  # noqa: F401  (which defines the operations)

MIN_SIZE_FACTOR, MAX_SIZE_FACTOR = 0.5, 3


def slic(
    frames: np.ndarray,
    n_segments: int,
    compactness: float,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    iterations: int = 10,
    connect: bool = True,
) -> np.ndarray:
    """The labels of `skimage.segmentation.slic(..., start_label=0)`.

    Parameters
    ----------
    frames
        (T, H, W, 3) uint8.
    n_segments, compactness, spacing, iterations
        As there.
    connect
        Its `enforce_connectivity`.

    Returns
    -------
    (T, H, W) int32; as there, ids need not be consecutive without `connect`
    """
    shape = frames.shape[:3]
    seeds, steps = _seeds(shape, n_segments)
    reach = [2 * step for step in _steps(shape, len(seeds))]
    image = torch.from_numpy(lab(frames, 1.0 / compactness))[None]
    weight = 1.0 / float(max(steps)) ** 2
    labels = torch.ops.videxplain.slic_exact(
        image, torch.from_numpy(seeds), weight, list(spacing), reach, iterations
    )
    if connect:
        mean = labels.numel() / len(seeds)
        labels = torch.ops.videxplain.connect_exact(
            labels, int(MIN_SIZE_FACTOR * mean), int(MAX_SIZE_FACTOR * mean)
        )
    return labels[0].numpy()


def lab(frames: np.ndarray, scale: float) -> np.ndarray:
    """`rgb2lab(img_as_float(frames), rescaled to 0..1) * scale`, the same bits: (3, T, H, W) float64."""
    linear = _linear(int(frames.min()), int(frames.max()))
    matrix = xyz_from_rgb.T.astype(np.float64)
    white = np.tile(xyz_tristimulus_values(illuminant="D65", observer="2", dtype=np.float64), frames.shape[2])
    out = np.empty((3, *frames.shape[:3]))
    rows = frames.reshape(-1, *frames.shape[2:])
    count = max(1, (1 << 13) // frames.shape[2])  # that stay in the cache
    for first in range(0, len(rows), count):
        rgb = np.take(linear, rows[first : first + count], mode="clip")
        xyz = np.matmul(rgb, matrix)  # a product a row, as there
        flat = xyz.reshape(len(xyz), -1)
        flat /= white
        f = np.cbrt(xyz, out=rgb)
        dark = ~(xyz > 0.008856)
        if dark.any():
            np.copyto(f, 7.787 * xyz + 16.0 / 116.0, where=dark)
        x, y, z = f[..., 0], f[..., 1], f[..., 2]
        lightness, a, b = out.reshape(3, *rows.shape[:2])[:, first : first + count]
        np.multiply(y, 116.0, out=lightness)
        lightness -= 16.0
        np.subtract(x, y, out=a)
        a *= 500.0
        np.subtract(y, z, out=b)
        b *= 200.0
    out *= scale
    return out


def _linear(low: int, high: int) -> np.ndarray:
    """Linear light of the 256 values, of which those from `low` to `high`, the clip's extremes, become 0..1."""
    value = img_as_float(np.arange(256).clip(low, high).astype(np.uint8))
    least, most = value[0], value[255]
    value -= least
    if high != low:
        value /= most - least
    bright = value > 0.04045
    value[bright] = np.power((value[bright] + 0.055) / 1.055, 2.4)
    value[~bright] /= 12.92
    return value


def _seeds(shape: tuple[int, ...], n_segments: int) -> tuple[np.ndarray, list[float]]:
    """Places (K, 3) on scikit-image's regular grid in z, y, x order, and the grid's steps."""
    slices = regular_grid(shape, n_segments)
    places = [np.arange(size, dtype=np.float64)[axis] for size, axis in zip(shape, slices, strict=True)]
    return np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 3), _step_of(slices)


def _steps(shape: tuple[int, ...], n_seeds: int) -> list[float]:
    """The steps of a grid for the number of seeds that there really are, from which windows are made."""
    return _step_of(regular_grid(shape, n_seeds))


def _step_of(slices: tuple[slice, ...]) -> list[float]:
    return [float(s.step) if s.step is not None else 1.0 for s in slices]
