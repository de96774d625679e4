"""The loops over pixels behind `videxplain.render`: integers in, integers out, free of Python's lock."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def dim(frame: np.ndarray, own: int, mean: int, out: np.ndarray) -> None:
    """out = own / 256 of the pixel + mean / 256 of the sum of its channels; all (H, W, 3) uint8.

    own + 3 * mean is at most 256, so that 16 bits hold every sum; in these it is half as fast again as in 32.
    """
    flat, target = frame.reshape(-1), out.reshape(-1)
    u16 = np.uint16
    a, b, half, eight = u16(own), u16(mean), u16(128), u16(8)
    for i in range(flat.size // 3):
        red, green, blue = u16(flat[3 * i]), u16(flat[3 * i + 1]), u16(flat[3 * i + 2])
        grey = u16(b * u16(red + green + blue) + half)
        target[3 * i] = u16(a * red + grey) >> eight
        target[3 * i + 1] = u16(a * green + grey) >> eight
        target[3 * i + 2] = u16(a * blue + grey) >> eight


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
        (h, w, 3) uint8, the same part of both.
    inside
        (h, w) uint8, how far inside the region a pixel is.
    colour
        (3,) int32.
    tint
        How much of the colour is in the region, of 256.
    fill, edge
        (256,) int32, the opacity of region and edge, of 256, for each value of `inside`.
    """
    for y in range(inside.shape[0]):
        for x in range(inside.shape[1]):
            level = inside[y, x]
            if level == 0:
                continue
            full, rim = fill[level], edge[level]
            for channel in range(3):
                value = np.int32(picture[y, x, channel])
                own = np.int32(frame[y, x, channel])
                lit = own + ((tint * (colour[channel] - own) + 128) >> 8)
                value += (full * (lit - value) + 128) >> 8
                value += (rim * (colour[channel] - value) + 128) >> 8
                picture[y, x, channel] = value


@njit(cache=True, nogil=True)
def over(picture: np.ndarray, pixels: np.ndarray, opacity: np.ndarray) -> None:
    """Lays `pixels` over `picture`, both (h, w, 3) uint8; `opacity` (h, w) int32, of 256."""
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            for channel in range(3):
                value = np.int32(picture[y, x, channel])
                value += (opacity[y, x] * (np.int32(pixels[y, x, channel]) - value) + 128) >> 8
                picture[y, x, channel] = value
