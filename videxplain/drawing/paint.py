"""The loops over pixels behind pictures: integers in, integers out, free of Python's lock."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def dim(frame: np.ndarray, own: int, grey: tuple[int, int, int], lift: int, out: np.ndarray) -> None:
    """out = own / 256 of the pixel + its grey, which is the sum of its channels, `grey` / 256 of each, + `lift`.

    Both pictures are RGB (H, W, 3) uint8. What white becomes is at most 255, so that 16 bits hold every sum; in these
    it is half as fast again as in 32.
    """
    flat, target = frame.reshape(-1), out.reshape(-1)
    u16 = np.uint16
    a, base, eight = u16(own), u16(256 * lift + 128), u16(8)
    of_red, of_green, of_blue = u16(grey[0]), u16(grey[1]), u16(grey[2])
    for i in range(flat.size // 3):
        red, green, blue = u16(flat[3 * i]), u16(flat[3 * i + 1]), u16(flat[3 * i + 2])
        level = u16(of_red * red + of_green * green + of_blue * blue + base)
        target[3 * i] = u16(a * red + level) >> eight
        target[3 * i + 1] = u16(a * green + level) >> eight
        target[3 * i + 2] = u16(a * blue + level) >> eight


@njit(cache=True, nogil=True)
def fade(plane: np.ndarray, share: int, base: int, out: np.ndarray) -> None:
    """out = `share` / 256 of a plane (h, w) uint8 + `base` / 256."""
    u16 = np.uint16
    a, b, eight = u16(share), u16(base + 128), u16(8)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            out[y, x] = u16(a * u16(plane[y, x]) + b) >> eight


@njit(cache=True, nogil=True)
def light(
    picture: np.ndarray,
    frame: np.ndarray,
    inside: np.ndarray,
    colour: np.ndarray,
    tint: int,
    fill: np.ndarray,
    edge: np.ndarray,
) -> None:
    """Lights a region: over `picture` the frame, tinted, and over that the edge in its colour.

    Parameters
    ----------
    picture, frame
        (h, w, C) uint8, the same part of both.
    inside
        How far inside the region a pixel is, uint8: (h, w), or (2 * h, 2 * w) for planes of half the size.
    colour
        (C,) int32.
    tint
        How much of the colour is in the region, of 256.
    fill, edge
        (256,) int32, the opacity of region and edge, of 256, for each value of `inside`.
    """
    halved = inside.shape[0] > picture.shape[0]
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            if halved:
                a, b = inside[2 * y, 2 * x], inside[2 * y, 2 * x + 1]
                c, d = inside[2 * y + 1, 2 * x], inside[2 * y + 1, 2 * x + 1]
                if a == 0 and b == 0 and c == 0 and d == 0:
                    continue
                full = (fill[a] + fill[b] + fill[c] + fill[d] + 2) >> 2
                rim = (edge[a] + edge[b] + edge[c] + edge[d] + 2) >> 2
            else:
                a = inside[y, x]
                if a == 0:
                    continue
                full, rim = fill[a], edge[a]
            for channel in range(picture.shape[2]):
                value = np.int32(picture[y, x, channel])
                own = np.int32(frame[y, x, channel])
                lit = own + ((tint * (colour[channel] - own) + 128) >> 8)
                value += (full * (lit - value) + 128) >> 8
                value += (rim * (colour[channel] - value) + 128) >> 8
                picture[y, x, channel] = value


@njit(cache=True, nogil=True)
def over(picture: np.ndarray, pixels: np.ndarray, opacity: np.ndarray) -> None:
    """Lays `pixels` over `picture`, both (h, w, C) uint8; `opacity` (h, w) int32, of 256."""
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            for channel in range(picture.shape[2]):
                value = np.int32(picture[y, x, channel])
                value += (opacity[y, x] * (np.int32(pixels[y, x, channel]) - value) + 128) >> 8
                picture[y, x, channel] = value


@njit(cache=True, nogil=True)
def hatch(picture: np.ndarray, first: int, weights: np.ndarray, keep: int, base: np.ndarray) -> None:
    """Hatches a part of a picture (h, w, C) uint8, where row + column of the whole picture tell the stripe.

    Parameters
    ----------
    first
        Row + column of the part's first pixel.
    weights
        (period,) int32, how much of a pixel is hatched, of 256, by row + column.
    keep, base
        Hatched is `keep` / 256 of the value, and base / 256 of each channel (C,) int32.
    """
    period = len(weights)
    phases = np.nonzero(weights)[0]
    for y in range(picture.shape[0]):
        for phase in phases:
            weight = weights[phase]
            for x in range((phase - first - y) % period, picture.shape[1], period):
                for channel in range(picture.shape[2]):
                    value = np.int32(picture[y, x, channel])
                    striped = (keep * value + base[channel] + 128) >> 8
                    picture[y, x, channel] = value + ((weight * (striped - value) + 128) >> 8)


@njit(cache=True, nogil=True)
def spots(
    picture: np.ndarray, rows: np.ndarray, columns: np.ndarray, pixels: np.ndarray, opacity: np.ndarray
) -> None:
    """Lays pixels (n, C) uint8 over those of a picture (h, w, C) at (n,) places; `opacity` (n,) int32, of 256."""
    for i in range(len(rows)):
        for channel in range(picture.shape[2]):
            value = np.int32(picture[rows[i], columns[i], channel])
            value += (opacity[i] * (np.int32(pixels[i, channel]) - value) + 128) >> 8
            picture[rows[i], columns[i], channel] = value
