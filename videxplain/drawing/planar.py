"""What is drawn on planes of a video instead of RGB: Y at full, U and V at half the resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from videxplain.drawing.marks import Mark, Placed

Planes = Sequence[np.ndarray]
"""Y (h, w), U and V (h / 2, w / 2) of a picture with even sides, uint8."""
Spots = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8], npt.NDArray[np.int32]]
"""Rows, columns, pixels (n, C) and opacity, of 256, of single pixels."""
Laid = tuple[slice, npt.NDArray[np.uint8], npt.NDArray[np.int32]]
"""Rows of a picture, what is laid over them, and its opacity (h, W), of 256."""
_NEUTRAL = 128  # U and V of grey


class Planar:
    """Colours and marks in planes.

    Parameters
    ----------
    convert
        From RGB (h, w, 3) uint8 with even sides to planes.
    inks
        (K, 3) colours in RGB.
    """

    def __init__(self, convert: Callable[[np.ndarray], Planes], inks: npt.NDArray[np.int32]) -> None:
        self._convert = convert
        count = len(inks)
        luma, *chroma = convert(np.tile(inks.astype(np.uint8).repeat(2, axis=0), (2, 1, 1)))
        self.inks = np.stack(
            [luma[0, : 2 * count : 2], *(plane[0, :count] for plane in chroma)], axis=1
        ).astype(np.int32)
        greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(2, axis=0).repeat(3, axis=2)
        self._luma = np.array(convert(greys)[0][0])
        self._halved: dict[int, tuple[Mark, npt.NDArray[np.uint8], npt.NDArray[np.int32]]] = {}

    def base(self, plane: int, rest: int, lift: int) -> int:
        """What is added, in 1/256, where values keep all but `rest` / 256, and grow by a grey of `lift`."""
        if plane:
            return rest * _NEUTRAL
        black = int(self._luma[0])
        return rest * black + 256 * (int(self._luma[lift]) - black)

    def mark(self, mark: Mark, plane: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
        """A mark's values in a plane, and its opacity there."""
        if not plane:
            return self._luma[mark.level], mark.opacity
        if id(mark) not in self._halved:  # the mark is kept too, so that nothing else gets its number
            opacity = halved(mark.opacity)
            self._halved[id(mark)] = (mark, np.full(opacity.shape, _NEUTRAL, np.uint8), opacity)
        return self._halved[id(mark)][1:]

    def spots(self, placed: Placed) -> tuple[Spots, Spots]:
        """The pixels of a mark in Y, and in U and V."""
        top, left, mark = placed
        rows, columns, _, opacity = spots_of(placed)
        values = self._luma[mark.level[rows - top, columns - left]]
        half = halved(mark.opacity)
        places = np.nonzero(half)
        neutral = np.full((len(places[0]), 1), _NEUTRAL, np.uint8)
        chroma = (places[0] + top // 2, places[1] + left // 2, neutral, half[places])
        return (rows, columns, values[:, None], opacity), chroma

    def footer(self, strip: npt.NDArray[np.uint8]) -> Planes:
        """The planes of a strip."""
        odd = strip.shape[1] % 2
        return self._convert(np.pad(strip, ((0, 0), (0, odd), (0, 0)), mode="edge"))

    def laid(self, rows: slice, pixels: npt.NDArray[np.uint8], opacity: npt.NDArray[np.int32]) -> list[Laid]:
        """A strip that lies over rows of a picture, by planes."""
        luma, *chroma = self._convert(pixels)
        half = slice(rows.start // 2, rows.stop // 2)
        return [(rows, luma, opacity), *((half, plane, halved(opacity)) for plane in chroma)]


def halved(opacity: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """The opacity of pixels two by two, (h / 2, w / 2)."""
    height, width = opacity.shape
    return opacity.reshape(height // 2, 2, width // 2, 2).sum(axis=(1, 3), dtype=np.int32) // 4


def spots_of(placed: Placed) -> Spots:
    """The pixels of a mark in RGB."""
    top, left, mark = placed
    places = np.nonzero(mark.opacity)
    levels = mark.level[places][:, None].repeat(3, axis=1)
    return places[0] + top, places[1] + left, levels, mark.opacity[places]
