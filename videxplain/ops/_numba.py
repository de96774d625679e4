"""The operations compiled by Numba: what serves where the native library is not built.

Label for label the same as `reference`: the same operations on float32 in the same order, sums in integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.extending import intrinsic

from videxplain.ops import reference

_LINEAR_OF_BYTE = reference.LINEAR_OF_BYTE
_LINEAR_OF_STEP = reference.LINEAR_OF_STEP
_STEPS = np.float32(reference.LINEAR_STEPS)
_XYZ = reference.XYZ_OF_RGB
_UNIT = float(reference.COLOUR_UNIT)
_CUT = np.float32(0.008856)
_SLOPE, _OFFSET = np.float32(7.787), np.float32(16 / 116)
_ZERO, _ONE = np.float32(0), np.float32(1)
_INFINITY = np.float32(np.inf)
_MIDDLE, _MINUS_TWO = reference.MIDDLE, np.float32(-2)
_TILE = 8  # rows and columns that share a list of candidates


@njit(cache=True, fastmath=False)
def _curve(value):
    if value > _CUT:
        third = np.float32(value).view(np.int32) // np.int32(3)
        y = np.int32(third + np.int32(709921077)).view(np.float32)
        for _ in range(2):
            cube = y * y * y
            y = y * ((cube + (value + value)) / ((cube + cube) + value))
        return y
    return _SLOPE * value + _OFFSET


@njit(cache=True, fastmath=False, parallel=True, nogil=True)
def _lab_of_linear(linear, out):
    size = linear.shape[1]
    for i in prange(size):
        r, g, b = linear[0, i], linear[1, i], linear[2, i]
        x = _curve((_XYZ[0, 0] * r + _XYZ[0, 1] * g) + _XYZ[0, 2] * b)
        y = _curve((_XYZ[1, 0] * r + _XYZ[1, 1] * g) + _XYZ[1, 2] * b)
        z = _curve((_XYZ[2, 0] * r + _XYZ[2, 1] * g) + _XYZ[2, 2] * b)
        out[0, i] = np.float32(116) * y - np.float32(16)
        out[1, i] = np.float32(500) * (x - y)
        out[2, i] = np.float32(200) * (y - z)


def rgb_to_lab(rgb: np.ndarray) -> np.ndarray:
    """(3, T, H, W) uint8 or float to float32; see `reference.rgb_to_lab`."""
    if rgb.dtype == np.uint8:
        linear = _LINEAR_OF_BYTE[rgb]
    else:
        # what is not a number is black
        place = np.where(rgb > 0, np.minimum(rgb.astype(np.float32), _ONE), _ZERO) * _STEPS
        low = np.minimum(place.astype(np.int32), reference.LINEAR_STEPS - 1)
        start = _LINEAR_OF_STEP[low]
        linear = start + (_LINEAR_OF_STEP[low + 1] - start) * (place - low.astype(np.float32))
    out = np.empty(rgb.shape, np.float32)
    _lab_of_linear(linear.reshape(3, -1), out.reshape(3, -1))
    return out


@njit(cache=True, fastmath=False, inline="always")
def _index_within(place, size):
    # written so that a NaN becomes 0
    if not place > _ZERO:
        return 0
    return int(place) if place < np.float32(size) else size


@njit(cache=True, fastmath=False, inline="always")
def _window(centre, reach, size):
    return _index_within(centre - reach, size), _index_within(centre + reach + _ONE, size)


def _fused_operation(_typing, a, b, c):
    """a * b + c of float32, rounded once."""

    def generate(_context, builder, _signature, arguments):
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


_fused: Any = intrinsic(_fused_operation)


@njit(cache=True, fastmath=False, nogil=True)
def _assign_band(lab, centres, weights, reach, labels, t, y0, y1, columns, least, found, across):
    """New labels of rows y0..y1 of frame t, left in `found`."""
    width = lab.shape[3]
    for y in range(y0, y1):
        for x in range(width):
            least[y - y0, x] = _INFINITY
            found[y - y0, x] = labels[t, y, x]
    for k in range(centres.shape[0]):
        t_low, t_high = _window(centres[k, 3], reach[0], lab.shape[1])
        y_low, y_high = _window(centres[k, 4], reach[1], lab.shape[2])
        if t < t_low or t >= t_high or y_high <= y0 or y_low >= y1:
            continue
        x_low, x_high = _window(centres[k, 5], reach[2], width)
        d_t = np.float32(t) - centres[k, 3]
        frame = (d_t * d_t) * weights[0]
        for x in range(x_low, x_high):
            d_x = columns[x] - centres[k, 5]
            across[x] = (d_x * d_x) * weights[2]
        c_l, c_a, c_b = centres[k, 0] - _MIDDLE, centres[k, 1], centres[k, 2]
        square = (c_l * c_l + c_a * c_a) + c_b * c_b
        c_l, c_a, c_b = _MINUS_TWO * c_l, _MINUS_TWO * c_a, _MINUS_TWO * c_b
        for y in range(max(y_low, y0), min(y_high, y1)):
            d_y = np.float32(y) - centres[k, 4]
            row = frame + ((d_y * d_y) * weights[1] + square)
            best, own = least[y - y0], found[y - y0]
            l_row, a_row, b_row = lab[0, t, y], lab[1, t, y], lab[2, t, y]
            for x in range(x_low, x_high):
                cost = _fused(c_a, a_row[x], _fused(c_b, b_row[x], row + across[x]))
                cost = _fused(c_l, l_row[x], cost)
                less = cost < best[x]
                best[x] = cost if less else best[x]
                own[x] = k if less else own[x]


@njit(cache=True, fastmath=False, nogil=True)
def _account(sums, k, sign, fixed, t, y, x):
    sums[k, 0] += sign * fixed[0, t, y, x]
    sums[k, 1] += sign * fixed[1, t, y, x]
    sums[k, 2] += sign * fixed[2, t, y, x]
    sums[k, 3] += sign * t
    sums[k, 4] += sign * y
    sums[k, 5] += sign * x
    sums[k, 6] += sign


@njit(cache=True, fastmath=False, parallel=True, nogil=True)
def _assign(lab, fixed, centres, weights, reach, labels, sums):
    """One round: new labels in place, sums of the voxels that moved brought up to date. Returns how many moved."""
    _, frames, height, width = lab.shape
    bands = (height + _TILE - 1) // _TILE
    tasks = frames * bands
    chunks = min(16, tasks)
    moved = np.zeros(chunks, np.int64)
    changes = np.zeros((chunks, sums.shape[0], sums.shape[1]), np.int64)
    columns = np.arange(width).astype(np.float32)
    for chunk in prange(chunks):
        least = np.empty((_TILE, width), np.float32)
        found = np.empty((_TILE, width), np.int32)
        across = np.empty(width, np.float32)
        for task in range(chunk * tasks // chunks, (chunk + 1) * tasks // chunks):
            t, y0 = task // bands, task % bands * _TILE
            y1 = min(y0 + _TILE, height)
            _assign_band(lab, centres, weights, reach, labels, t, y0, y1, columns, least, found, across)
            for y in range(y0, y1):
                for x in range(width):
                    new, old = found[y - y0, x], labels[t, y, x]
                    if new != old:
                        _account(changes[chunk], old, -1, fixed, t, y, x)
                        _account(changes[chunk], new, 1, fixed, t, y, x)
                        labels[t, y, x] = new
                        moved[chunk] += 1
    for chunk in range(chunks):
        sums += changes[chunk]
    return moved.sum()


@njit(cache=True, fastmath=False, nogil=True)
def _all_sums(fixed, labels, sums):
    for t in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                _account(sums, labels[t, y, x], 1, fixed, t, y, x)


def _means(sums: np.ndarray, centres: np.ndarray) -> np.ndarray:
    means, some = centres.copy(), sums[:, 6] > 0
    count = sums[some, 6:7].astype(np.float64)
    means[some, :3] = sums[some, :3].astype(np.float64) / (count * _UNIT)
    means[some, 3:] = sums[some, 3:6].astype(np.float64) / count
    return means


def slic(
    lab: np.ndarray,
    grid: tuple[int, ...],
    weight: Sequence[float],
    reach: Sequence[float],
    iterations: int,
    centres: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(3, T, H, W) to labels (T, H, W) and centres (K, 6); see `reference.slic` and its `distance_weights`."""
    shape = lab.shape[1:]
    t, y, x = ((np.arange(size) * n // size).astype(np.int32) for size, n in zip(shape, grid, strict=True))
    labels = np.ascontiguousarray((t[:, None, None] * grid[1] + y[:, None]) * grid[2] + x, dtype=np.int32)
    weights, reaches = np.array(weight, np.float32), np.array(reach, np.float32)
    fixed = reference.fixed_point(lab).astype(np.int32)
    lab = np.stack([lab[0] - _MIDDLE, lab[1], lab[2]])
    sums = np.zeros((int(np.prod(grid)), 7), np.int64)
    _all_sums(fixed, labels, sums)
    if centres is None:
        centres = _means(sums, np.zeros((len(sums), 6), np.float32))
        iterations -= 1
    else:
        centres = np.array(centres, np.float32)
    for _ in range(iterations):
        if _assign(lab, fixed, centres, weights, reaches, labels, sums) == 0:
            break
        centres = _means(sums, centres)
    return labels, centres


@njit(cache=True, nogil=True)
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(cache=True, nogil=True)
def _join(parent, a, b):
    a, b = _root(parent, a), _root(parent, b)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@njit(cache=True, nogil=True)
def _components(labels, out):
    """Face-connected components of equal labels, numbered in raster order of their first voxels; returns how many."""
    frames, height, width = labels.shape
    parent = np.empty(labels.size, np.int32)
    node = 0
    for t in range(frames):
        for y in range(height):
            for x in range(width):
                parent[node] = node
                label = labels[t, y, x]
                if x > 0 and labels[t, y, x - 1] == label:
                    parent[node] = _root(parent, node - 1)
                if y > 0 and labels[t, y - 1, x] == label:
                    _join(parent, node, node - width)
                if t > 0 and labels[t - 1, y, x] == label:
                    _join(parent, node, node - height * width)
                node += 1
    flat = out.reshape(-1)
    count = 0
    for node in range(labels.size):
        root = _root(parent, node)
        if root == node:
            flat[node] = count
            count += 1
        else:
            flat[node] = flat[root]
    return count


@njit(cache=True, nogil=True)
def _offer(component, other, small, means, best, chosen):
    """Lets a small component know of a neighbour; it keeps the nearest in colour, of equal ones the first."""
    if not small[component]:
        return
    d_l = means[0, other] - means[0, component]
    d_a = means[1, other] - means[1, component]
    d_b = means[2, other] - means[2, component]
    distance = (d_l * d_l + d_a * d_a) + d_b * d_b
    if distance < best[component] or (distance == best[component] and other < chosen[component]):
        best[component] = distance
        chosen[component] = other


@njit(cache=True, nogil=True)
def _offer_faces(components, small, means, best, chosen):
    frames, height, width = components.shape
    for t in range(frames):
        for y in range(height):
            for x in range(width):
                own = components[t, y, x]
                for axis in range(3):
                    u, v, w = t + (axis == 0), y + (axis == 1), x + (axis == 2)
                    if u < frames and v < height and w < width:
                        other = components[u, v, w]
                        if other != own and (small[own] or small[other]):
                            _offer(own, other, small, means, best, chosen)
                            _offer(other, own, small, means, best, chosen)


@njit(cache=True, nogil=True)
def _merge_round(components, count, fixed, min_size):
    """Joins every component below `min_size` to its neighbour, in place; returns how many components are left."""
    size = np.zeros(count, np.int64)
    sums = np.zeros((3, count), np.int64)
    flat, colour = components.reshape(-1), fixed.reshape(3, -1)
    for i in range(flat.size):
        own = flat[i]
        size[own] += 1
        for c in range(3):
            sums[c, own] += colour[c, i]
    small = size < min_size
    if count == 1 or not small.any():
        return count
    means = sums / (size * _UNIT)
    best = np.full(count, np.inf)
    chosen = np.full(count, count, np.int32)
    _offer_faces(components, small, means, best, chosen)
    parent = np.arange(count).astype(np.int32)
    for component in range(count):
        if small[component]:
            _join(parent, component, chosen[component])
    # the root of a union is its lowest number, so numbering the roots in order keeps raster order
    number = np.empty(count, np.int32)
    left = 0
    for component in range(count):
        root = _root(parent, component)
        if root == component:
            number[component] = left
            left += 1
        else:
            number[component] = number[root]
    for i in range(flat.size):
        flat[i] = number[flat[i]]
    return left


def connect_segments(labels: np.ndarray, lab: np.ndarray, min_size: int) -> np.ndarray:
    """(T, H, W) int32 to the same; see `reference.connect_segments`."""
    components = np.empty(labels.shape, np.int32)
    count = _components(np.ascontiguousarray(labels), components)
    fixed = reference.fixed_point(lab).astype(np.int32)
    while (left := _merge_round(components, count, fixed, min_size)) < count:
        count = left
    return components


_SUM, _MEAN, _MAX = range(3)


@njit(cache=True, fastmath=False, nogil=True)
def _reduce(labels, dense, cam, lows, weights, reduction, signed, scores):
    """Fills scores (K,) float64; an empty `dense` or `cam` stands for 1; `lows`, `weights` are those of upsampling."""
    frames, height, width = labels.shape
    count = np.zeros(len(scores), np.int64)
    row = np.ones(cam.shape[2] + 1, np.float64)
    for t in range(frames):
        for y in range(height):
            if cam.size:
                # blend the four nearest rows once, then walk along x
                t0, t1, y0, y1 = lows[0, t], lows[0, t], lows[1, y], lows[1, y]
                t1, y1 = min(t0 + 1, cam.shape[0] - 1), min(y0 + 1, cam.shape[1] - 1)
                wt, wy = np.float64(weights[0, t]), np.float64(weights[1, y])
                for i in range(cam.shape[2]):
                    upper = cam[t0, y0, i] * (1 - wt) + cam[t1, y0, i] * wt
                    lower = cam[t0, y1, i] * (1 - wt) + cam[t1, y1, i] * wt
                    row[i] = upper * (1 - wy) + lower * wy
                row[cam.shape[2]] = row[cam.shape[2] - 1]
            for x in range(width):
                value = 1.0
                if dense.size:
                    value = 0.0
                    for c in range(dense.shape[0]):
                        voxel = np.float64(dense[c, t, y, x])
                        value += voxel if signed else abs(voxel)
                if cam.size:
                    low, weight = lows[2, x], np.float64(weights[2, x])
                    value *= row[low] * (1 - weight) + row[low + 1] * weight
                if not signed:
                    value = abs(value)
                k = labels[t, y, x]
                if reduction == _MAX:
                    scores[k] = value if count[k] == 0 else max(scores[k], value)
                else:
                    scores[k] += value
                count[k] += 1
    if reduction == _MEAN:
        for k in range(len(scores)):
            if count[k] > 0:
                scores[k] /= count[k]


def segment_reduce(
    labels: np.ndarray,
    dense: np.ndarray | None,
    cam: np.ndarray | None,
    num_segments: int,
    reduction: int = _SUM,
    signed: bool = False,
) -> np.ndarray:
    """(num_segments,) float32; see `reference.segment_reduce`."""
    nothing = np.empty((0, 0, 0, 0), np.float32)
    dense = nothing if dense is None else np.ascontiguousarray(dense, np.float32)
    cam = nothing[0:0].reshape(0, 0, 0) if cam is None else np.ascontiguousarray(cam, np.float32)
    longest = max(labels.shape)
    lows, weights = np.zeros((3, longest), np.int64), np.zeros((3, longest), np.float32)
    if cam.size:
        for axis in range(3):
            low, weight = reference.upsampling(cam.shape[axis], labels.shape[axis])
            lows[axis, : len(low)], weights[axis, : len(low)] = low, weight
    scores = np.zeros(num_segments)
    _reduce(np.ascontiguousarray(labels), dense, cam, lows, weights, reduction, signed, scores)
    return scores.astype(np.float32)
