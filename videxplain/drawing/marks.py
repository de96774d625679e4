"""Marks on the highlighted regions: ranks with shares, and how the regions' centres move.

Marks are white with a black rim, which can be read on any ground. They have no colour, so a mark is a level of grey and
an opacity, (h, w) each; its sides, and where it lies, are even, as colour has half the resolution in videos.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from videxplain.drawing.letters import LEAST, even, font

if TYPE_CHECKING:
    from videxplain.clip import Geometry

_SMOOTH = 5  # frames over which a centre is averaged: outlines tremble
_LEAST_WAY = 0.05  # of the frame's shorter side, that a centre has to go to have a trail
_MOST_TRAILS = 3  # more of them cannot be told apart
_LONGEST_STEP = 2.5  # of a way, in mean steps, and
_LONGEST_WAY = 2.5  # in extents: else the outline jumps, and nothing moves
_FINE = 3  # lines are drawn so many times as large, and made smaller: Pillow's have hard edges


@dataclass(frozen=True)
class Mark:
    """A small picture in grey.

    Attributes
    ----------
    level
        (h, w) uint8.
    opacity
        (h, w) int32, of 256.
    """

    level: npt.NDArray[np.uint8]
    opacity: npt.NDArray[np.int32]

    @property
    def size(self) -> tuple[int, int]:
        return self.level.shape[0], self.level.shape[1]


Placed = tuple[int, int, Mark]
"""The row and column of a mark's corner."""


class Marks:
    """The marks of one explanation's highlighted regions.

    Parameters
    ----------
    masks
        Of the regions, best first: (T, h, w) on the labels' grid.
    geometry
        From that grid to the source.
    words
        What is written on each region: the long form, and a short one for small regions; empty for none.
    trails
        Whether to draw how centres move.
    """

    def __init__(
        self,
        masks: list[npt.NDArray[np.uint8]],
        geometry: Geometry,
        words: list[tuple[str, str]],
        *,
        trails: bool,
    ) -> None:
        self._size = geometry.source
        self._masks, self._geometry = masks, geometry
        cell = 1 / (geometry.y.scale * geometry.x.scale)  # pixels of the source
        self._centres = [_centres(mask, geometry) for mask in masks]
        points = max(LEAST, round(min(self._size) / 26))
        self._texts = []
        for mask, pair in zip(masks, words, strict=True):
            area = cell * float(np.median(present)) if len(present := _areas(mask)) else 0.0
            texts = [_text(each, points) for each in pair if each]
            self._texts.append([text for text in texts if math.prod(text.size) <= 1.1 * area])
        ways = [_way(centres, self._size) for centres in self._centres] if trails else []
        self._moving = [k for k, way in enumerate(ways) if len(way)][:_MOST_TRAILS]
        self._trail = _trail([ways[k] for k in self._moving], self._size) if self._moving else None
        self._dot = _dot(_thickness(self._size))

    @property
    def trail(self) -> Placed | None:
        """The ways of all centres together, the same in every frame."""
        return self._trail

    def at(self, t: int) -> list[Placed]:
        """The marks of frame `t`: where the centres are now, and ranks, which keep clear of each other."""
        placed: list[Placed] = []
        for k in self._moving:
            if np.isfinite(centre := self._centres[k][t]).all():
                placed += self._put(self._dot, *centre)
        taken: list[tuple[int, int, int, int]] = []
        for k, texts in enumerate(self._texts):
            if not texts or not np.isfinite(self._centres[k][t]).all():
                continue
            y, x = self._inside(k, t)
            shift = self._dot.size[0] if k in self._moving else 0
            for text, (dy, dx) in ((text, way) for text in texts for way in _WAYS):
                height, width = text.size
                spots = self._put(text, y + dy * height + (height + shift) / 2 * bool(shift), x + dx * width)
                box = [(top, left, top + height, left + width) for top, left, _ in spots]
                if box and not any(_overlap(box[0], other) for other in taken):
                    placed += spots
                    taken += box
                    break
        return placed

    def _inside(self, k: int, t: int) -> tuple[float, float]:
        """The centre of a region, or, where that lies outside of it, the place in it that is next to its centre."""
        mask, centre = self._masks[k][t], self._centres[k][t]
        row, column = (int(place) for place in self._geometry.to_network(centre))
        if 0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and mask[row, column]:
            return float(centre[0]), float(centre[1])
        rows, columns = np.nonzero(mask)
        if not len(rows):
            return float(centre[0]), float(centre[1])
        nearest = int(np.argmin((rows - row) ** 2 + (columns - column) ** 2))
        y, x = self._geometry.to_source((rows[nearest] + 0.5, columns[nearest] + 0.5))
        return float(y), float(x)

    def _put(self, mark: Mark, y: float, x: float) -> list[Placed]:
        """A mark with its middle there, moved into the frame; nothing where the frame is smaller."""
        corner = []
        for middle, length, limit in zip((y, x), mark.size, self._size, strict=True):
            if length > limit:
                return []
            corner.append(min(max(round(middle - length / 2), 0), limit - length) // 2 * 2)
        return [(corner[0], corner[1], mark)]


_WAYS = ((0.0, 0.0), (-0.8, 0.0), (0.8, 0.0), (0.0, 0.5), (0.0, -0.5))  # in the text's heights and widths


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _areas(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Cells of the region in each frame that has some."""
    areas = np.count_nonzero(mask, axis=(1, 2))
    return areas[areas > 0]


def _centres(mask: npt.NDArray[np.uint8], geometry: Geometry) -> npt.NDArray[np.float64]:
    """The centre of a region in each frame, (T, 2) in pixels of the source, averaged over a few frames; NaN without."""
    lit = mask > 0
    rows, columns = lit.sum(axis=2, dtype=np.float64), lit.sum(axis=1, dtype=np.float64)
    total = rows.sum(axis=1)
    sums = np.stack(
        [rows @ (np.arange(rows.shape[1]) + 0.5), columns @ (np.arange(columns.shape[1]) + 0.5)], axis=1
    )
    there = total > 0
    centres = np.full((len(mask), 2), np.nan)
    middles = geometry.to_source(sums[there] / total[there, None]) if there.any() else sums[there]
    reach = _SMOOTH // 2
    places = np.nonzero(there)[0]
    for i, t in enumerate(places):
        near = min(reach, i, len(places) - 1 - i)  # the same to both sides, so that ends stay where they are
        centres[t] = middles[i - near : i + near + 1].mean(axis=0)
    return centres


def _way(centres: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The places of a centre that moves, (n, 2); none where it stays, or jumps as outlines change."""
    way = centres[np.isfinite(centres).all(axis=1)]
    if len(way) < 3:
        return way[:0]
    steps = np.linalg.norm(np.diff(way, axis=0), axis=1)
    extent = float(np.linalg.norm(np.ptp(way, axis=0)))
    moves = extent >= _LEAST_WAY * min(size)
    steady = steps.max() <= _LONGEST_STEP * steps.mean() and steps.sum() <= _LONGEST_WAY * extent
    return way if moves and steady else way[:0]


def _thickness(size: tuple[int, int]) -> float:
    return max(1.3, min(size) / 240)


def _trail(ways: list[npt.NDArray[np.float64]], size: tuple[int, int]) -> Placed:
    """Lines along all ways, with an arrow where each ends."""
    thickness = _thickness(size)
    margin = math.ceil(6 * thickness) + 2
    every = np.concatenate(ways)
    top, left = (max(0, int(low) - margin) // 2 * 2 for low in every.min(axis=0))
    bottom, right = (
        min(even(int(high) + margin), limit // 2 * 2)
        for high, limit in zip(every.max(axis=0), size, strict=True)
    )
    shape = (max(2, bottom - top), max(2, right - left))
    rim, line = (Image.new("L", (_FINE * shape[1], _FINE * shape[0])) for _ in range(2))
    for image, width in ((rim, 3.2 * thickness), (line, 1.2 * thickness)):
        draw = ImageDraw.Draw(image)
        for way in ways:
            places = [(_FINE * (x - left), _FINE * (y - top)) for y, x in way]
            draw.line(places, fill=255, width=round(_FINE * width), joint="curve")
            draw.polygon(_arrow(places, _FINE * thickness, _FINE * (width - 1.2 * thickness) / 2), fill=255)
    return top, left, _mark(rim, line, shape, strength=0.6)


def _arrow(places: list[tuple[float, float]], thickness: float, rim: float) -> list[tuple[float, float]]:
    """A triangle at the end of a line, larger by a rim."""
    (x, y), (x0, y0) = places[-1], places[max(0, len(places) - 4)]
    length = math.hypot(x - x0, y - y0) or 1.0
    dx, dy = (x - x0) / length, (y - y0) / length
    ahead, back, side = 4.5 * thickness + 1.5 * rim, 1.5 * thickness + rim, 3 * thickness + 1.5 * rim
    return [
        (x + ahead * dx, y + ahead * dy),
        (x - back * dx - side * dy, y - back * dy + side * dx),
        (x - back * dx + side * dy, y - back * dy - side * dx),
    ]


def _dot(thickness: float) -> Mark:
    """Where a centre is now."""
    side = even(math.ceil(7 * thickness))
    rim, disc = (Image.new("L", (_FINE * side, _FINE * side)) for _ in range(2))
    middle = _FINE * side / 2
    for image, radius in ((rim, 3.2 * thickness), (disc, 2.2 * thickness)):
        reach = _FINE * radius
        ImageDraw.Draw(image).ellipse(
            (middle - reach, middle - reach, middle + reach, middle + reach), fill=255
        )
    return _mark(rim, disc, (side, side))


def _text(words: str, points: int) -> Mark:
    """Words with a rim."""
    rim = max(1, round(points / 9))
    left, top, right, bottom = font(points).getbbox(words, stroke_width=rim)
    shape = (even(math.ceil(bottom - top) + 1), even(math.ceil(right - left) + 1))
    outer, inner = (Image.new("L", (shape[1], shape[0])) for _ in range(2))
    ImageDraw.Draw(outer).text((-left, -top), words, fill=255, font=font(points), stroke_width=rim)
    ImageDraw.Draw(inner).text((-left, -top), words, fill=255, font=font(points))
    soft = outer.filter(ImageFilter.BoxBlur(0.5))
    return _mark(Image.fromarray(np.maximum(np.asarray(outer), np.asarray(soft))), inner, shape)


def _mark(rim: Image.Image, bright: Image.Image, shape: tuple[int, int], strength: float = 1.0) -> Mark:
    """A mark of what is black or white, and what is white, both of 255; the rim is so strong."""
    size = (shape[1], shape[0])
    dark, white = (
        np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BOX)).astype(
            np.float64
        )
        for image in (rim, bright)
    )
    opacity = np.maximum(strength * dark, white)
    level = np.where(opacity > 0, 255 * white / np.maximum(opacity, 1), 0)
    return Mark(level.round().clip(0, 255).astype(np.uint8), (opacity * 256 / 255).round().astype(np.int32))
