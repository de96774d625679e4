"""Pictures: what is lit lies where the supervoxel lies, at any size, in every style."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

import videxplain as vx
from videxplain.clip import Geometry
from videxplain.render import STYLES, Painter, Timeline, Untouched, render_explanation
from videxplain.video.encoder import TrackFormat
from videxplain.video.frames import planes, to_rgb


def explanation(
    source: tuple[int, int] = (120, 160), scores: tuple[float, ...] = (0.0, 3.0, 1.0), **changes: object
):
    """Two frames of grey; supervoxel 1 is the box of rows 5..9 and columns 10..14 of 28x28, 2 the one below it."""
    labels = np.zeros((2, 28, 28), np.int32)
    labels[:, 5:10, 10:15] = 1
    labels[:, 15:20, 10:15] = 2
    values = {
        "labels": labels,
        "scores": np.array(scores, np.float32),
        "target": 0,
        "target_name": "javelin throw",
        "probability": 0.87,
        "predictions": [("javelin throw", 0.87)],
        "method": "guided",
        "settings": {},
        "frames": np.full((2, *source, 3), 128, np.uint8),
        "times": (Fraction(0), Fraction(1, 25)),
        "geometry": Geometry.fit(source, (28, 28), "crop"),
        **changes,
    }
    return vx.Explanation(**values)


def box(e: vx.Explanation, y0: int, x0: int, y1: int, x1: int) -> tuple[slice, slice]:
    """Source pixels well inside a box of the network's input."""
    (top, left), (bottom, right) = e.geometry.to_source((y0, x0)), e.geometry.to_source((y1, x1))
    margin = 2 + int(1 / e.geometry.y.scale)
    return slice(int(top) + margin, int(bottom) - margin), slice(int(left) + margin, int(right) - margin)


@pytest.mark.parametrize("source", [(56, 56), (120, 160), (161, 121), (360, 640)])
def test_lit_is_what_scored(source: tuple[int, int]) -> None:
    e = explanation(source)
    picture = render_explanation(e, top_k=1, legend=False)
    assert picture.shape == e.frames.shape and picture.dtype == np.uint8
    lit = picture[0][box(e, 5, 10, 10, 15)].astype(int)
    other = picture[0][box(e, 15, 10, 20, 15)].astype(int)
    assert lit.size and (lit.max(axis=2) > 128).all(), "tinted towards the top of the scale, which is bright"
    assert (other < 128).all() and np.ptp(other) == 0, "dimmed like the rest"
    both = render_explanation(e, top_k=2, legend=False)
    assert (both[0][box(e, 15, 10, 20, 15)].astype(int) != other).any()


def test_what_scores_nothing_is_not_lit() -> None:
    e = explanation(scores=(0.0, 0.0, 0.0))
    picture = render_explanation(e, legend=False)
    assert np.ptp(picture) == 0


@pytest.mark.parametrize("style", ["heat", "outline"])
@pytest.mark.parametrize("finer", [2, 4, 8])
def test_finer_labels_are_drawn_where_they_are(style: str, finer: int) -> None:
    """Blocks of them like the labels that they are made of, but for the edge; its width is that of the coarse one's."""
    coarse = explanation((1080, 1920))
    fine = replace(
        coarse,
        labels=coarse.labels.repeat(finer, axis=1).repeat(finer, axis=2),
        geometry=coarse.geometry.refined(finer),
        settings={"scale": finer},
    )
    dust = fine.labels.copy()
    dust[:, 2 * finer : 4 * finer, 2 * finer : 4 * finer] = 1  # four pixels of the input are a crumb
    pictures = [render_explanation(e, style=style, legend=False)[0] for e in (coarse, fine)]
    assert np.array_equal(
        render_explanation(replace(fine, labels=dust), style=style, legend=False)[0], pictures[1]
    )
    for rows, columns in ((5, 10), (15, 10)):
        part = box(coarse, rows, columns, rows + 5, columns + 5)
        assert np.array_equal(pictures[0][part], pictures[1][part])
    drawn = [(picture != coarse.frames[0]).any(axis=2) for picture in pictures]
    if style == "outline":
        assert 0.7 < drawn[1].sum() / drawn[0].sum() < 1.3


@pytest.mark.parametrize("style", STYLES)
def test_styles(style: str) -> None:
    e = explanation()
    picture = render_explanation(e, style=style)
    wide = 2 if style == "side-by-side" else 1
    assert picture.shape == (2, 120, 160 * wide, 3)
    if style == "side-by-side":
        assert np.array_equal(picture[:, :, :160], e.frames)
    if style in ("outline", "spotlight"):
        assert (picture[0][box(e, 5, 10, 10, 15)] == 128).all(), "the inside is shown as it is"
    if style == "outline":
        edges = (render_explanation(e, style=style, legend=False) != e.frames).any(axis=3).mean()
        assert 0 < edges < 0.2


@pytest.mark.parametrize("source", [(16, 16), (24, 320), (120, 160), (1080, 1920)])
def test_legend_fits_any_size(source: tuple[int, int]) -> None:
    e = explanation(
        source, target_name="a class with a name that is far too long for any picture of this size " * 3
    )
    picture = render_explanation(e)
    plain = render_explanation(e, legend=False)
    changed = np.nonzero((picture != plain).any(axis=(0, 2, 3)))[0]
    assert changed.min() >= source[0] - max(16, source[0] * 0.12), "a strip at the foot"
    assert (picture[0, changed.min() :].max(axis=2) > 200).any(), "with legible text on it"


def test_unknown_style_is_named() -> None:
    with pytest.raises(vx.VidexplainError, match="did you mean 'outline'"):
        render_explanation(explanation(), style="outlines")


def test_crumbs_are_not_drawn() -> None:
    clean = explanation()
    labels = clean.labels.copy()
    labels[:, 2, 2] = labels[:, 24, 20:23] = 1
    assert np.array_equal(
        render_explanation(explanation(labels=labels), legend=False), render_explanation(clean, legend=False)
    )
    labels[labels == 1] = 0
    labels[:, 2, 2] = 1
    alone = render_explanation(explanation(labels=labels), legend=False, top_k=1)
    assert np.ptp(alone) > 0, "but for the only piece there is"


def test_each_frame_decides_on_its_own_what_is_a_crumb() -> None:
    labels = explanation().labels.copy()
    labels[0][labels[0] == 1] = 0
    labels[:, 2, 18:20] = 1  # all there is in the first frame, dust beside a large piece in the second
    pictures = render_explanation(explanation(labels=labels), legend=False, top_k=1)
    spot = explanation().geometry.to_source((3, 19)).astype(int)
    untouched = render_explanation(explanation(), legend=False, top_k=1)
    assert not np.array_equal(pictures[0], untouched[0]) and np.ptp(pictures[0]) > 0
    assert pictures[0][tuple(spot)].max() > untouched[0][tuple(spot)].max()
    assert np.array_equal(pictures[1], untouched[1])


def smooth(height: int, width: int) -> np.ndarray:
    """A colourful picture (height, width, 3) without fine detail, which half the resolution in colour keeps."""
    y, x = np.linspace(0, 3, height)[:, None], np.linspace(0, 4, width)[None]
    waves = np.stack([np.sin(x + y), np.cos(x - y), np.sin(2 * x) * np.cos(y)], axis=-1)
    return (128 + 70 * waves).astype(np.uint8)


@pytest.mark.parametrize(
    "color", [{}, {"colorspace": 1, "color_range": 1}, {"colorspace": 5, "color_range": 2}]
)
@pytest.mark.parametrize("style", STYLES)
def test_planes_are_drawn_on_like_rgb(style: str, color: dict[str, int]) -> None:
    e = explanation((120, 160))
    twice = 2 if style == "side-by-side" else 1
    track = TrackFormat(160 * twice, 120, Fraction(1, 25), Fraction(25), color=tuple(color.items()))
    strip = Timeline((120, 160))
    strip.add(0, 0.5, 3, 0.8)
    painter = Painter(e, style=style, timeline=strip, convert=track.planes)
    frame = replace(track, width=160).picture(smooth(120, 160))
    assert track.takes(frame)
    picture = track.blank()
    painter.on_planes(planes(frame), planes(picture), 1)
    expected = track.picture(painter(to_rgb(frame), 1))
    for n, (found, wanted) in enumerate(zip(planes(picture), planes(expected), strict=True)):
        error = np.abs(found.astype(int) - wanted)
        assert (
            error.mean() < (0.8 if n else 1.3) and np.quantile(error, 0.95) <= 3
        )  # 1 is lost on the way by RGB
    if style == "outline":
        rows = slice(0, 15)  # above all that is drawn
        assert np.array_equal(planes(picture)[0][rows], planes(frame)[0][rows]), (
            "no conversion there and back"
        )
    if style == "side-by-side":
        assert all(
            np.array_equal(p[:, : q.shape[1]], q) for p, q in zip(planes(picture), planes(frame), strict=True)
        )


@pytest.mark.parametrize("style", STYLES)
def test_frames_without_explanation_stay_as_they_are(style: str) -> None:
    frame = TrackFormat(32, 24, Fraction(1, 25), Fraction(25)).picture(smooth(24, 32))
    twice = 2 if style == "side-by-side" else 1
    track = TrackFormat(32 * twice, 24, Fraction(1, 25), Fraction(25))
    picture = track.blank()
    Untouched(style).on_planes(planes(frame), planes(picture), 0)
    assert all(
        np.array_equal(p, np.tile(q, twice)) for p, q in zip(planes(picture), planes(frame), strict=True)
    )
    image = smooth(24, 32)
    assert np.array_equal(Untouched(style)(image, 0), np.tile(image, (1, twice, 1)))


def test_what_means_something_else_in_the_track_is_not_taken_as_it_is() -> None:
    narrow = TrackFormat(32, 24, Fraction(1, 25), Fraction(25), color=(("color_range", 1), ("colorspace", 1)))
    full = replace(narrow, color=(("color_range", 2), ("colorspace", 1)))
    other = replace(narrow, color=(("color_range", 1), ("colorspace", 5)))
    frame = narrow.picture(smooth(24, 32))
    assert narrow.takes(frame) and not full.takes(frame) and not other.takes(frame)
    assert not narrow.takes(frame.reformat(format="yuv444p"))
    assert not narrow.takes(av.VideoFrame(31, 24, "yuv420p"))
