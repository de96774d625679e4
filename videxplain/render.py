"""Explanations as pictures: the supervoxels that count, lit in the frames they belong to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy import ndimage

from videxplain._paint import dim, fade, light, over
from videxplain.errors import unknown_name
from videxplain.settings import STYLES, Style

if TYPE_CHECKING:
    from videxplain.clip import Geometry
    from videxplain.explanations.explanation import Explanation

# viridis at equal steps: readable without colour vision, and growing in lightness
_ANCHORS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_COLOURS = np.stack(
    [np.interp(np.linspace(0, 4, 256), range(5), [a[channel] for a in _ANCHORS]) for channel in range(3)],
    axis=1,
).astype(np.float32)

# Okabe and Ito's colours, which people with any colour vision tell apart
_CLASSES = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)

_GAP = 2  # pixels between the timeline's bars and the curve
_CURVE = (235, 235, 235)
_CRUMB = 5  # pixels of the network's input below which a piece of a supervoxel is not drawn
_CROSS = np.zeros((3, 3, 3), bool)  # a voxel's neighbours in its own frame
_CROSS[1] = ndimage.generate_binary_structure(2, 1)
_DIMMED = {"heat": 0.45, "outline": 1.0, "spotlight": 0.15, "side-by-side": 0.45}
_TINT = {"heat": 0.4, "outline": 0.0, "spotlight": 0.0, "side-by-side": 0.4}
_GREY = (0.299, 0.587, 0.114)  # what red, green and blue add to the lightness, as in BT.601

Planes = Sequence[np.ndarray]  # Y (h, w), U and V (h / 2, w / 2) of a picture with even sides, uint8


def drawing() -> dict[str, object]:
    """How pictures are drawn, in plain values, so that others can draw the same."""
    return {
        "dimmed": dict(_DIMMED),
        "tint": dict(_TINT),
        "colours": _COLOURS.round().astype(int).tolist(),
        "classes": [list(colour) for colour in _CLASSES],
        "crumb": _CRUMB,
    }


def render_explanation(
    explanation: Explanation, *, top_k: int = 5, style: Style = "heat", legend: bool = True
) -> npt.NDArray[np.uint8]:
    """The source frames with the supervoxels of the highest scores lit.

    Parameters
    ----------
    explanation
        What to draw, over its own frames.
    top_k
        How many supervoxels are lit; those that score nothing are not.
    style
        "heat" tints them by score and dims the rest, "outline" only draws their edges, "spotlight" shows them as they
        are and darkens the rest, "side-by-side" puts the untouched frame to the left of "heat".
    legend
        Write the class and its probability, and draw the scale of colours.

    Returns
    -------
    (T, H, W, 3) uint8; twice as wide for "side-by-side"
    """
    paint = Painter(explanation, top_k=top_k, style=style, legend=legend)
    return np.stack([paint(frame, t) for t, frame in enumerate(explanation.frames)])


class Timeline:
    """What the network said along a video, as a strip: bars as high as the probability, a colour for each class.

    Parameters
    ----------
    size
        (height, width) of the video's frames.
    bars
        Whether there are such bars.
    curve
        Whether there is a curve below them of what each frame counts for.
    """

    def __init__(self, size: tuple[int, int], *, bars: bool = True, curve: bool = False) -> None:
        height, width = _even(_points(size) // 2), size[1]
        self._bars = height if bars else 0
        self._top = self._bars + (_GAP if bars else 0)  # of the curve
        self.strip = np.zeros((self._top + height if curve else height, width, 3), np.uint8)

    def fits(self, strip: np.ndarray | None) -> bool:
        """Whether an earlier one's strip, if there was one, can be one of this video."""
        return strip is None or (strip.shape == self.strip.shape and strip.dtype == np.uint8)

    def restore(self, strip: np.ndarray | None) -> None:
        """Goes on with an earlier one's strip."""
        if strip is not None:
            self.strip = strip.copy()

    def add(self, begin: float, end: float, target: int, probability: float) -> None:
        """A bar from `begin` to `end`, in shares of the video's length."""
        height, bars = self._bars, self.strip[: self._bars]
        columns = self._columns(begin, end)
        bars[:, columns] = 0
        bars[height - max(1, round(probability * height)) :, columns] = _CLASSES[target % len(_CLASSES)]

    def add_curve(self, begin: float, end: float, heights: np.ndarray) -> None:
        """Frames from `begin` to `end`, of these heights in 0..1; of frames that share a column the highest shows."""
        band = self.strip[self._top :]
        edges = np.linspace(begin, end, len(heights) + 1)
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            band[round((1 - height) * (len(band) - 1)) :, self._columns(left, right)] = _CURVE

    def _columns(self, begin: float, end: float) -> slice:
        left, right = (round(min(at, 1.0) * self.strip.shape[1]) for at in (begin, end))
        return slice(left, max(right, left + 1))


class Painter:
    """Draws one explanation over frames that are not kept together.

    Frames are RGB, or planes of half the resolution in colour, as videos have them: these are drawn on as they are,
    which spares both conversions and changes nothing where nothing is drawn.

    Parameters
    ----------
    explanation, top_k, style, legend
        As for `render_explanation`.
    timeline
        As it is now it stands above the legend.
    convert
        From RGB (h, w, 3) uint8 with even sides to planes Y, U and V, where such are drawn on.
    """

    def __init__(
        self,
        explanation: Explanation,
        *,
        top_k: int = 5,
        style: str = "heat",
        legend: bool = True,
        timeline: Timeline | None = None,
        convert: Callable[[np.ndarray], Planes] | None = None,
    ) -> None:
        if style not in STYLES:
            raise unknown_name("style", style, STYLES)
        self.style = style
        self._geometry = explanation.geometry
        top = [k for k in explanation.top_ids(top_k).tolist() if explanation.scores[k] > 0]
        largest = float(explanation.scores[top[0]]) if top else 1.0
        finer = explanation.scale
        crumb = _CRUMB * finer**2
        self._masks = [_without_crumbs(explanation.labels == k, crumb) for k in top]
        colours = [_COLOURS[round(255 * float(explanation.scores[k]) / largest)].round() for k in top]
        self._strip = _legend(explanation, self._geometry.source, bool(top), timeline) if legend else None
        self._tint = round(256 * _TINT[style])
        self._own = round(128 * _DIMMED[style])
        red, green, blue = (round(128 * _DIMMED[style] * part) for part in _GREY)
        self._grey = (red, green, blue)
        # inside a region levels run from 0 to 1 over about `scale` pixels, so this band is `thickness` wide
        scale = max(1.0, 1 / self._geometry.y.scale, 1 / self._geometry.x.scale)
        thickness = max(1.0, min(self._geometry.source) / 240)
        self._blur = (1.5 * thickness / scale - 1) / 2
        if finer > 1 and self._blur >= 0.5:  # cells are small beside the band: smooth them over its width
            scale = 1.5 * thickness
        else:
            self._blur = 0.0
        levels = np.linspace(0, 1, 256) - 0.5
        edge = np.clip(1.5 - np.abs(levels) * (2 * scale / thickness), 0, 1)
        edge[[0, 255]] = 0  # where the source is small the band would never end
        fill = np.clip(levels * scale + 0.5, 0, 1) * (style != "outline")
        self._edge, self._fill = ((256 * opacity).round().astype(np.int32) for opacity in (edge, fill))
        self._inks = np.stack([np.zeros(3), *colours]).astype(np.int32)
        self._convert = convert

    def __call__(self, frame: np.ndarray, t: int) -> np.ndarray:
        """The picture over an RGB frame (H, W, 3) uint8, by the labels of index `t`."""
        if (
            _DIMMED[self.style] < 1
        ):  # a little greyer as well, so that the lit parts stand out in dark scenes too
            picture = np.empty_like(frame)
            dim(np.ascontiguousarray(frame), self._own, self._grey, picture)
        else:
            picture = frame.copy()
        for box, inside, k in self._shapes(t):
            light(picture[box], frame[box], inside, self._inks[k], self._tint, self._fill, self._edge)
        if self._strip is not None:
            rows, pixels, opacity = self._strip
            over(picture[rows], pixels, opacity)
        return np.concatenate([frame, picture], axis=1) if self.style == "side-by-side" else picture

    def on_planes(self, frame: Planes, picture: Planes, t: int) -> None:
        """Draws into the planes of `picture` what `__call__` would return; the frame has even sides."""
        inks, strips = self._planar
        untouched = _DIMMED[self.style] == 1
        shapes = list(self._shapes(t))
        for n, (own, out) in enumerate(zip(frame, picture, strict=True)):
            if self.style == "side-by-side":
                out[:, : own.shape[1]] = own
                out = out[:, own.shape[1] :]
            step = 2 if n else 1
            share = 256 if untouched else self._own + (0 if n else sum(self._grey))
            fade(own, share, int(inks[0, n]), out)
            own, out = own[:, :, None], out[:, :, None]
            for box, inside, k in shapes:
                part = tuple(slice(side.start // step, side.stop // step) for side in box)
                light(out[part], own[part], inside, inks[k, n : n + 1], self._tint, self._fill, self._edge)
            if strips:
                rows, pixels, opacity = strips[n]
                over(out[rows], pixels[:, :, None], opacity)

    @cached_property
    def _planar(self) -> tuple[np.ndarray, list[tuple[slice, np.ndarray, np.ndarray]]]:
        """Inks (K + 1, 3) and legend as they are drawn on planes."""
        assert self._convert is not None
        count = len(self._inks)
        luma, *chroma = self._convert(np.tile(self._inks.astype(np.uint8).repeat(2, axis=0), (2, 1, 1)))
        inks = np.stack([luma[0, : 2 * count : 2], *(plane[0, :count] for plane in chroma)], axis=1)
        if self._strip is None:
            return inks.astype(np.int32), []
        rows, pixels, opacity = self._strip
        height, width = opacity.shape
        halved = opacity.reshape(height // 2, 2, width // 2, 2).sum(axis=(1, 3), dtype=np.int32) // 4
        luma, *chroma = self._convert(pixels)
        half = slice(rows.start // 2, rows.stop // 2)
        return inks.astype(np.int32), [(rows, luma, opacity), *((half, plane, halved) for plane in chroma)]

    def _shapes(self, t: int) -> Iterator[tuple[tuple[slice, slice], np.ndarray, int]]:
        """What is lit in frame `t`: the box, how far inside the region its pixels are, and the number of the ink."""
        for k, masks in enumerate(self._masks, 1):
            found = _shape(masks[t], self._geometry, self._blur)
            if found is not None:
                yield *found, k


class Untouched:
    """Draws frames as they are, where there is nothing to explain; called like a `Painter`."""

    def __init__(self, style: str) -> None:
        self._times = 2 if style == "side-by-side" else 1

    def __call__(self, frame: np.ndarray, t: int) -> np.ndarray:
        return np.concatenate([frame] * self._times, axis=1)

    def on_planes(self, frame: Planes, picture: Planes, t: int) -> None:
        for own, out in zip(frame, picture, strict=True):
            out[:] = np.tile(own, self._times)


def _without_crumbs(region: np.ndarray, crumb: int) -> np.ndarray:
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


def _shape(
    mask: np.ndarray, geometry: Geometry, blur: float
) -> tuple[tuple[slice, slice], np.ndarray] | None:
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
        stop = min(_even(math.ceil((last - axis.offset) / axis.scale)), size)
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


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _even(length: int) -> int:
    """The next even number: colour has half the resolution where frames are drawn on as planes."""
    return length + length % 2


def _points(size: tuple[int, int]) -> int:
    """Size of letters for a picture (height, width)."""
    return max(9, round(min(size) / 18))


def _legend(
    explanation: Explanation, size: tuple[int, int], scored: bool, timeline: Timeline | None
) -> tuple[slice, np.ndarray, np.ndarray]:
    """A strip for the foot of the frame: which rows, its colours (h, W, 3), its opacity (h, W), of 256."""
    height, width = size
    points = _points(size)
    strip = min(height, _even(round(points * 1.7)))
    image = Image.new("RGB", (width, strip), (0, 0, 0))
    draw = ImageDraw.Draw(image)
    bar = width // 5 if scored else 0
    words = explanation.headline()
    room = width - bar - 3 * points // 2
    while len(words) > 4 and draw.textlength(words, font=_font(points)) > room:
        points -= 1
        if points < 9:
            points = 9
            words = f"{words[:-2].rstrip('…')}…"
    middle = strip // 2
    draw.text((points // 2, middle), words, fill=(255, 255, 255), font=_font(points), anchor="lm")
    pixels = np.asarray(image).copy()
    if bar:
        left, right = width - bar - points // 2, width - points // 2
        ramp = _COLOURS[np.linspace(0, 255, right - left).astype(int)].astype(np.uint8)
        pixels[middle - points // 4 : middle + points // 4 + 1, left:right] = ramp
    if timeline is not None:
        pixels = np.concatenate([timeline.strip, pixels])[-height:]
    opacity = np.where(pixels.max(axis=2) > 40, 256, 154).astype(np.int32)
    return slice(height - len(pixels), height), pixels, opacity
