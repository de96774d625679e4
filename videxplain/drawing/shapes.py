"""Where regions lie in the source's frames."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from videxplain.drawing.letters import even

if TYPE_CHECKING:
    from videxplain.clip import Geometry

_CROSS = np.zeros((3, 3, 3), bool)  # a voxel's neighbours in its own frame
_CROSS[1] = ndimage.generate_binary_structure(2, 1)


def unseen(geometry: Geometry) -> list[tuple[slice, slice]]:
    """The boxes of the source that the network does not see, which do not overlap."""
    (top, bottom), (left, right) = (
        _seen(axis, size, cells)
        for axis, size, cells in zip((geometry.y, geometry.x), geometry.source, geometry.network, strict=True)
    )
    height, width = geometry.source
    boxes = [
        (slice(0, top), slice(0, width)),
        (slice(bottom, height), slice(0, width)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, width)),
    ]
    return [box for box in boxes if all(side.start < side.stop for side in box)]


def _seen(axis: Any, size: int, cells: int) -> tuple[int, int]:
    """The first pixel along an axis whose middle the network sees, and the one behind the last."""
    middles = axis.scale * (np.arange(size) + 0.5) + axis.offset
    places = np.nonzero((middles >= 0) & (middles < cells))[0]
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def without_crumbs(region: np.ndarray, crumb: int) -> np.ndarray:
    """A region (T, h, w) bool as 0 and 255, without pieces of fewer than `crumb` pixels in a frame.

    What holds together in time can be dust in one frame; where there is nothing else, it stays.
    """
    ever = np.asarray(region.any(axis=0))
    rows, columns = np.nonzero(ever.any(axis=1))[0], np.nonzero(ever.any(axis=0))[0]
    box = (slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    pieces, count = ndimage.label(region[box], _CROSS)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    shown = np.zeros(count + 1, np.uint8)
    first = 1
    for last in pieces.max(axis=(1, 2)).tolist():  # pieces are numbered from frame to frame
        if last:
            own = sizes[first : last + 1]
            shown[first : last + 1][own >= min(crumb, int(own.max()))] = 255
            first = last + 1
    masks = np.zeros(region.shape, np.uint8)
    masks[box] = shown[pieces]
    return masks


def shape(mask: np.ndarray, geometry: Geometry, blur: float) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Where a mask on the labels' grid lies in the source: a box, and in it how far inside each pixel is, of 255.

    `blur` is how far, in cells, the mask is smoothed.
    """
    axes = (geometry.y, geometry.x)
    margin = 1 + math.ceil(blur)  # in which the edge fades
    slices, ends, seen = [], [], []
    for n, (axis, size) in enumerate(zip(axes, geometry.source, strict=True)):
        cells = np.nonzero(mask.any(axis=1 - n))[0]
        if not len(cells):
            return None
        first, last = max(int(cells[0]) - margin, 0), min(int(cells[-1]) + 1 + margin, mask.shape[n])
        start = max(math.floor((first - axis.offset) / axis.scale), 0) // 2 * 2
        stop = min(even(math.ceil((last - axis.offset) / axis.scale)), size)
        if stop <= start:
            return None
        slices.append(slice(start, stop))
        ends.append([axis.scale * place + axis.offset for place in (start, stop)])
        middles = axis.scale * (np.arange(start, stop) + 0.5) + axis.offset
        seen.append((middles >= 0) & (middles <= mask.shape[n]))
    (top, bottom), (left, right) = ends
    rows, columns = slices
    # even rows and columns may reach beyond what the network sees, by less than two pixels
    pad = math.ceil(2 * max(axis.scale for axis in axes))
    image = Image.fromarray(np.pad(mask, pad, mode="edge"))
    if blur:
        image = image.filter(ImageFilter.BoxBlur(blur))
    limits = (image.width, image.height) * 2
    box = (left, top, right, bottom)
    x0, y0, x1, y1 = (min(max(end + pad, 0.0), float(limit)) for end, limit in zip(box, limits, strict=True))
    shape = (columns.stop - columns.start, rows.stop - rows.start)
    inside = image.resize(shape, Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))
    return (rows, columns), np.asarray(inside) * np.outer(*seen)
