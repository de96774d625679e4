"""Explanations as pictures: the supervoxels that count, lit in the frames they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videxplain.drawing.footer import CLASSES, Footer, Scale, Timeline, share_words
from videxplain.drawing.marks import Marks
from videxplain.drawing.paint import dim, fade, hatch, light, over, spots
from videxplain.drawing.planar import Laid, Planar, Planes, Spots, spots_of
from videxplain.drawing.shapes import shape, unseen, without_crumbs
from videxplain.settings import STYLES, Picture

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

__all__ = [
    "STYLES",
    "Footer",
    "Painter",
    "Timeline",
    "Untouched",
    "drawing",
    "footer_for",
    "footer_width",
    "picture_of",
    "render_explanation",
    "sheet_of",
]

# viridis at equal steps: readable without colour vision, and growing in lightness
_ANCHORS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
_COLOURS = np.stack(
    [np.interp(np.linspace(0, 4, 256), range(5), [a[channel] for a in _ANCHORS]) for channel in range(3)],
    axis=1,
).astype(np.float32)
_SIGNS = ((230, 159, 0), (86, 180, 233))  # for and against, of Okabe and Ito's colours

_VEIL = 154  # opacity, of 256, of a footer over the picture where nothing is written
_CRUMB = 5  # pixels of the network's input below which a piece of a supervoxel is not drawn
_DIMMED = {"heat": 0.6, "outline": 1.0, "spotlight": 0.3, "side-by-side": 0.6}
_LIFT = {
    "heat": 14,
    "outline": 0,
    "spotlight": 8,
    "side-by-side": 14,
}  # of 255, so that dark scenes stay legible
_TINT = {"heat": 0.4, "outline": 0.0, "spotlight": 0.0, "side-by-side": 0.4}
_GREY = (0.299, 0.587, 0.114)  # what red, green and blue add to the lightness, as in BT.601
_HATCH_KEEP, _HATCH_ADD = 0.6, 51  # a stripe is that part of the value, and so much more, of 255
_PERIOD = 6  # from stripe to stripe, in widths of a stripe


def drawing() -> dict[str, object]:
    """How pictures are drawn, in plain values, so that others can draw the same."""
    return {
        "dimmed": dict(_DIMMED),
        "lift": dict(_LIFT),
        "tint": dict(_TINT),
        "hatch": {"keep": _HATCH_KEEP, "add": _HATCH_ADD, "period": _PERIOD},
        "colours": _COLOURS.round().astype(int).tolist(),
        "signs": [list(colour) for colour in _SIGNS],
        "classes": [list(colour) for colour in CLASSES],
        "crumb": _CRUMB,
    }


def picture_of(legend: bool, **options: Any) -> Picture:
    """Settings of a picture, which without a legend has nothing written or marked on it."""
    return Picture(**options | ({} if legend else {"footer": "none", "ranks": False, "trail": False}))


def render_explanation(explanation: Explanation, picture: Picture) -> npt.NDArray[np.uint8]:
    """The source frames with the supervoxels of the highest scores lit; what the network does not see is hatched.

    Of a question with `against`, supervoxels of the largest scores of either sign are lit, in two colours.

    Parameters
    ----------
    explanation
        What to draw, over its own frames.
    picture
        How.

    Returns
    -------
    (T, H, W, 3) uint8; higher for a footer "under" the frame, twice as wide for "side-by-side"
    """
    paint = Painter(explanation, picture)
    return np.stack([paint(frame, t) for t, frame in enumerate(explanation.frames)])


def sheet_of(explanation: Explanation, picture: Picture) -> npt.NDArray[np.uint8]:
    """Up to eight frames in rows of four, or the one there is, over one footer."""
    under = picture.footer == "under"
    paint = Painter(explanation, replace(picture, footer="none") if under else picture)
    real = len(explanation.frames) - explanation.held
    chosen = np.linspace(0, real - 1, min(8, real)).round().astype(int).tolist()
    columns = min(4, len(chosen))
    pictures = [paint(explanation.frames[t], t) for t in chosen[: len(chosen) // columns * columns]]
    rows = [np.concatenate(pictures[n : n + columns], axis=1) for n in range(0, len(pictures), columns)]
    sheet = np.concatenate(rows)
    if not under:
        return sheet
    return np.concatenate([sheet, Footer(sheet.shape[:2])(explanation, paint.scale)])


class Painter:
    """Draws one explanation over frames that are not kept together.

    Frames are RGB, or planes of half the resolution in colour, as videos have them: these are drawn on as they are,
    which spares both conversions and changes nothing where nothing is drawn.

    Parameters
    ----------
    explanation
        What to draw.
    picture
        How to draw it.
    footer
        Makes the footer; by default one without a timeline.
    convert
        From RGB (h, w, 3) uint8 with even sides to planes Y, U and V, where such are drawn on.
    """

    def __init__(
        self,
        explanation: Explanation,
        picture: Picture,
        *,
        footer: Footer | None = None,
        convert: Callable[[np.ndarray], Planes] | None = None,
    ) -> None:
        self.style = picture.style
        self._geometry = explanation.geometry
        self._convert = convert
        signed = "against" in explanation.settings
        scores = explanation.scores
        sizes = np.abs(scores) if signed else scores
        top = [k for k in np.argsort(-sizes, kind="stable")[: picture.top_k].tolist() if sizes[k] > 0]
        largest = float(sizes[top[0]]) if top else 1.0
        steps = [int(scores[k] < 0) if signed else round(255 * float(scores[k]) / largest) for k in top]
        colours = np.array(_SIGNS, np.uint8) if signed else _COLOURS.round().astype(np.uint8)
        self._inks = np.concatenate([np.zeros((1, 3), np.uint8), colours[steps]]).astype(np.int32)
        shares = scores / (float(np.abs(scores).sum()) or 1.0)
        self.scale = Scale(colours, float(abs(shares[top[0]]))) if top else None
        finer = explanation.scale
        self._masks = [without_crumbs(explanation.labels == k, _CRUMB * finer**2) for k in top]
        words = [rank_words(n, float(shares[k]), signed=signed) for n, k in enumerate(top, 1)]
        self._marks = Marks(
            self._masks,
            self._geometry,
            words if picture.ranks else [("", "")] * len(top),
            trails=picture.trail and len(explanation.labels) > 1,
        )
        self._strip, self._under = None, picture.footer == "under"
        if picture.footer != "none":
            self._strip = (footer or footer_for(self._geometry.source, picture))(explanation, self.scale)
        self._prepare(finer)

    def _prepare(self, finer: int) -> None:
        """Looks up what the loops over pixels need, in whole numbers."""
        style = self.style
        self._tint = round(256 * _TINT[style])
        self._own = round(128 * _DIMMED[style])
        red, green, blue = (round(128 * _DIMMED[style] * part) for part in _GREY)
        self._grey = (red, green, blue)
        self._unseen = unseen(self._geometry)
        self._keep = round(256 * _HATCH_KEEP)
        self._stripes = _stripes(self._geometry.source)
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

    def __call__(self, frame: np.ndarray, t: int) -> np.ndarray:
        """The picture over an RGB frame (H, W, 3) uint8, by the labels of index `t`."""
        below = self._strip if self._under else None
        height, width = frame.shape[:2]
        if self.style == "side-by-side":
            scene = np.empty_like(frame)
            self._draw(frame, scene, t)
            scene = np.concatenate([frame, scene], axis=1)
            return scene if below is None else np.concatenate([scene, below])
        picture = np.empty((height + (0 if below is None else len(below)), width, 3), np.uint8)
        if below is not None:
            picture[height:] = below
        self._draw(frame, picture[:height], t)
        return picture

    def _draw(self, frame: np.ndarray, scene: np.ndarray, t: int) -> None:
        """All but what is beside the frame or below it."""
        if _DIMMED[self.style] < 1:
            # a little greyer as well, so that the lit parts stand out in dark scenes too
            dim(np.ascontiguousarray(frame), self._own, self._grey, _LIFT[self.style], scene)
        else:
            scene[:] = frame
        base = np.full(3, 256 * _HATCH_ADD, np.int32)
        for rows, columns in self._unseen:
            first = rows.start + columns.start
            hatch(scene[rows, columns], first, self._stripes[0], self._keep, base)
        for box, inside, k in self._shapes(t):
            light(scene[box], frame[box], inside, self._inks[k], self._tint, self._fill, self._edge)
        if self._marks.trail is not None:
            spots(scene, *spots_of(self._marks.trail))
        for top, left, mark in self._marks.at(t):
            height, width = mark.size
            part = scene[top : top + height, left : left + width]
            over(part, mark.level[:, :, None].repeat(3, axis=2), mark.opacity)
        if self._strip is not None and not self._under:
            rows, pixels, opacity = _laid(self._strip, len(scene))
            over(scene[rows], pixels, opacity)

    def on_planes(self, frame: Planes, picture: Planes, t: int) -> None:
        """Draws into the planes of `picture` what `__call__` would return; the frame has even sides."""
        planar, trail, below, laid = self._planar
        shapes, marks = list(self._shapes(t)), self._marks.at(t)
        for n, (own, out) in enumerate(zip(frame, picture, strict=True)):
            step = 2 if n else 1
            height, width = own.shape
            if below:
                out[height:] = below[n]
            if self.style == "side-by-side":
                out[:height, :width] = own
                out = out[:, width:]
            out = out[:height]
            share = self._own + (0 if n else sum(self._grey)) if _DIMMED[self.style] < 1 else 256
            fade(own, share, planar.base(n, 256 - share, _LIFT[self.style]), out)
            own, out = own[:, :, None], out[:, :, None]
            base = np.array([planar.base(n, 256 - self._keep, _HATCH_ADD)], np.int32)
            for box in self._unseen:
                rows, columns = (slice(side.start // step, side.stop // step) for side in box)
                first = rows.start + columns.start
                hatch(out[rows, columns], first, self._stripes[step - 1], self._keep, base)
            for box, inside, k in shapes:
                part = tuple(slice(side.start // step, side.stop // step) for side in box)
                ink = planar.inks[k, n : n + 1]
                light(out[part], own[part], inside, ink, self._tint, self._fill, self._edge)
            if trail:
                spots(out, *trail[step - 1])
            for top, left, mark in marks:
                level, opacity = planar.mark(mark, n)
                top, left = top // step, left // step
                part = (slice(top, top + len(level)), slice(left, left + level.shape[1]))
                over(out[part], level[:, :, None], opacity)
            if laid:
                rows, pixels, opacity = laid[n]
                over(out[rows], pixels[:, :, None], opacity)

    @cached_property
    def _planar(self) -> tuple[Planar, tuple[Spots, Spots] | None, Planes | None, list[Laid] | None]:
        """Colours and marks, trails, a footer below and one that is laid over the picture, as planes have them."""
        assert self._convert is not None
        planar = Planar(self._convert, self._inks)
        trail = None if self._marks.trail is None else planar.spots(self._marks.trail)
        if self._strip is None:
            return planar, trail, None, None
        if self._under:
            return planar, trail, planar.footer(self._strip), None
        return planar, trail, None, planar.laid(*_laid(self._strip, self._geometry.source[0]))

    def _shapes(self, t: int) -> Iterator[tuple[tuple[slice, slice], np.ndarray, int]]:
        """What is lit in frame `t`: the box, how far inside the region its pixels are, and the number of the ink."""
        for k, masks in enumerate(self._masks, 1):
            found = shape(masks[t], self._geometry, self._blur)
            if found is not None:
                yield *found, k


class Untouched:
    """Draws frames as they are, where there is nothing to explain; called like a `Painter`.

    Parameters
    ----------
    picture
        How others are drawn: these get a footer too where that is under the frame.
    footer
        What makes it; its timeline is as it is when the first frame is drawn.
    convert
        As for a `Painter`.
    """

    def __init__(
        self,
        picture: Picture,
        footer: Footer | None = None,
        convert: Callable[[np.ndarray], Planes] | None = None,
    ) -> None:
        self._times = 2 if picture.style == "side-by-side" else 1
        self._footer = footer if picture.footer == "under" else None
        self._convert = convert

    @cached_property
    def _strip(self) -> np.ndarray | None:
        return None if self._footer is None else self._footer(None, None)

    @cached_property
    def _below(self) -> Planes | None:
        return None if self._strip is None or self._convert is None else self._convert(self._strip)

    def __call__(self, frame: np.ndarray, t: int) -> np.ndarray:
        picture = np.concatenate([frame] * self._times, axis=1)
        return picture if self._strip is None else np.concatenate([picture, self._strip])

    def on_planes(self, frame: Planes, picture: Planes, t: int) -> None:
        for n, (own, out) in enumerate(zip(frame, picture, strict=True)):
            out[: len(own)] = np.tile(own, self._times)
            if self._below is not None:
                out[len(own) :] = self._below[n]


def footer_for(source: tuple[int, int], picture: Picture, timeline: Timeline | None = None) -> Footer:
    """What makes the footers of pictures over frames of that size."""
    low = picture.footer != "under"
    return Footer(source, width=footer_width(source, picture), timeline=timeline, low=low)


def footer_width(source: tuple[int, int], picture: Picture) -> int:
    """How wide footers are: as the picture if they are under it, else as the frame that they are drawn over."""
    return source[1] * (2 if picture.footer == "under" and picture.style == "side-by-side" else 1)


def rank_words(rank: int, share: float, *, signed: bool) -> tuple[str, str]:
    """What is written on a region: its rank with its share, or the rank alone."""
    said = share_words(abs(share))
    sign = ("-" if share < 0 else "+") if signed else ""
    return f"{rank}  {sign}{said}", str(rank)


def _laid(strip: np.ndarray, height: int) -> Laid:
    """A strip for the foot of a picture of that height: which rows, its pixels, and their opacity."""
    pixels = strip[-height:]
    opacity = np.where(pixels.max(axis=2) > 40, 256, _VEIL).astype(np.int32)
    return slice(height - len(pixels), height), pixels, opacity


def _stripes(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """How much is hatched by row + column: of a pixel, and of two times two by their place among such, of 256."""
    width = 2 * max(1, round(min(size) / 480))
    single = (np.arange(_PERIOD * width) < width).astype(np.int32)
    four = np.roll(single, -2) + 2 * np.roll(single, -1) + single
    return 256 * single, 64 * four[::2]
