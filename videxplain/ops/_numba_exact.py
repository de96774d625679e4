"""SLIC with scikit-image's labels in Numba: for where the native library is missing, and to test it against.

In float64 and in scikit-image's order of operations throughout. The first round is full of exact ties, because seeds
begin without colour, so the order is part of the result.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange


def slic(
    image: np.ndarray,
    seeds: np.ndarray,
    weight: float,
    spacing: tuple[float, ...],
    reach: tuple[float, ...],
    iterations: int,
) -> np.ndarray:
    """Labels (T, H, W) int32 of colours (3, T, H, W) float64 from seeds (K, 3) float64."""
    return _cluster(
        image, seeds, weight, np.array(reach, np.float64), np.array(spacing, np.float64), iterations
    )


@njit(cache=True, fastmath=False, nogil=True)
def _window(centre, reach, size):
    low, high = centre - reach, centre + reach + 1
    first = 0 if low <= 0 else (int(low) if low < size else size)
    end = 0 if high <= 0 else (int(high) if high < size else size)
    return first, end


@njit(cache=True, fastmath=False, nogil=True, parallel=True)
def _cluster(image, seeds, spatial, reach, spacing, iterations):
    _, frames, height, width = image.shape
    count = seeds.shape[0]
    centres = np.zeros((count, 6))
    centres[:, :3] = seeds
    labels = np.zeros((frames, height, width), np.int32)
    nearest = np.empty((frames, height, width))
    moved = np.zeros(frames, np.int64)
    for iteration in range(iterations):
        # a frame at a time: every voxel still meets the centres in ascending order
        for t in prange(frames):
            nearest[t] = np.inf
            changed = 0
            before = labels[t].copy()
            for k in range(count):
                c = centres[k]
                if np.isnan(c[0]):  # an empty cluster's mean is not a number, and it stays dead
                    continue
                z0, z1 = _window(c[0], reach[0], frames)
                if t < z0 or t >= z1:
                    continue
                y0, y1 = _window(c[1], reach[1], height)
                x0, x1 = _window(c[2], reach[2], width)
                dz = spacing[0] * (c[0] - t)
                dz *= dz
                for y in range(y0, y1):
                    dy = spacing[1] * (c[1] - y)
                    dy *= dy
                    for x in range(x0, x1):
                        dx = spacing[2] * (c[2] - x)
                        dx *= dx
                        d_l = image[0, t, y, x] - c[3]
                        d_a = image[1, t, y, x] - c[4]
                        d_b = image[2, t, y, x] - c[5]
                        distance = (dz + dy + dx) * spatial + (d_l * d_l + d_a * d_a + d_b * d_b)
                        if distance < nearest[t, y, x]:
                            nearest[t, y, x] = distance
                            labels[t, y, x] = k
            for y in range(height):
                for x in range(width):
                    changed += labels[t, y, x] != before[y, x]
            moved[t] = changed
        # scikit-image goes on; but with the same labels the means are the same, and so is everything after
        if iteration > 0 and moved.sum() == 0:
            break
        _means(image, labels, centres)
    return labels


@njit(cache=True, fastmath=False, nogil=True)
def _means(image, labels, centres):
    """Sums in raster order, for their rounding is part of the result."""
    size = np.zeros(len(centres), np.int64)
    centres[:] = 0
    for t in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                k = labels[t, y, x]
                size[k] += 1
                centres[k, 0] += t
                centres[k, 1] += y
                centres[k, 2] += x
                for c in range(3):
                    centres[k, 3 + c] += image[c, t, y, x]
    for k in range(len(centres)):
        for c in range(6):
            centres[k, c] = centres[k, c] / size[k] if size[k] else np.nan


@njit(cache=True, nogil=True)
def connect_segments(labels, min_size, max_size):
    """scikit-image's connectivity: breadth first, cut off at max_size, small ones to the neighbour seen last."""
    frames, height, width = labels.shape
    steps = ((0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0))
    out = np.full(labels.shape, -1, np.int32)
    queue = np.empty((max(max_size, 1), 3), np.int32)
    number = 0
    for t in range(frames):
        for y in range(height):
            for x in range(width):
                if out[t, y, x] >= 0:
                    continue
                adjacent = 0
                label = labels[t, y, x]
                out[t, y, x] = number
                queue[0] = t, y, x
                size, visited = 1, 0
                while visited < size and size < max_size:
                    for dt, dy, dx in steps:
                        u, v, w = queue[visited, 0] + dt, queue[visited, 1] + dy, queue[visited, 2] + dx
                        if not (0 <= u < frames and 0 <= v < height and 0 <= w < width):
                            continue
                        if labels[u, v, w] == label and out[u, v, w] < 0:
                            out[u, v, w] = number
                            queue[size] = u, v, w
                            size += 1
                            if size >= max_size:
                                break
                        elif out[u, v, w] >= 0 and out[u, v, w] != number:
                            adjacent = out[u, v, w]
                    visited += 1
                if size < min_size:
                    for i in range(size):
                        out[queue[i, 0], queue[i, 1], queue[i, 2]] = adjacent
                else:
                    number += 1
    return out
