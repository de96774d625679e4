"""Pictures: what is lit lies where the supervoxel lies, at any size, in every style."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

import videxplain as vx
from videxplain.clip import Geometry
from videxplain.render import (
    STYLES,
    Painter,
    Timeline,
    Untouched,
    footer_for,
    picture_of,
)
from videxplain.render import render_explanation as render_by_settings
from videxplain.settings import Picture
from videxplain.video.encoder import TrackFormat
from videxplain.video.frames import planes, to_rgb


def render_explanation(e: vx.Explanation, legend: bool = True, **options: object) -> np.ndarray:
    return render_by_settings(e, picture_of(legend, **options))


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


def seen(e: vx.Explanation, picture: np.ndarray) -> np.ndarray:
    """The pixels of (T, H, W, 3) or (H, W, 3) that the network sees; the rest is hatched."""
    return picture[..., e.source_labels()[0] >= 0, :]


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
    assert np.ptp(seen(e, picture)) == 0


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
    drawn = [(seen(coarse, picture) != seen(coarse, coarse.frames[0])).any(axis=1) for picture in pictures]
    if style == "outline":
        assert 0.7 < drawn[1].sum() / drawn[0].sum() < 1.3


@pytest.mark.parametrize("style", STYLES)
def test_styles(style: str) -> None:
    e = explanation()
    picture = render_explanation(e, style=style, ranks=False)
    wide = 2 if style == "side-by-side" else 1
    assert picture.shape[2] == 160 * wide and picture.shape[1] > 120
    picture = picture[:, :120]
    if style == "side-by-side":
        assert np.array_equal(picture[:, :, :160], e.frames)
    if style in ("outline", "spotlight"):
        assert (picture[0][box(e, 5, 10, 10, 15)] == 128).all(), "the inside is shown as it is"
    if style == "outline":
        plain = render_explanation(e, style=style, legend=False)
        edges = (seen(e, plain) != seen(e, e.frames)).any(axis=2).mean()
        assert 0 < edges < 0.2


LONG = "a class with a name that is far too long for any picture of this size " * 3


@pytest.mark.parametrize("source", [(16, 16), (24, 320), (121, 161), (1080, 1920)])
@pytest.mark.parametrize("style", ["heat", "side-by-side"])
def test_a_footer_under_the_frame_hides_nothing_of_it(source: tuple[int, int], style: str) -> None:
    e = explanation(source, target_name=LONG)
    plain = render_explanation(e, style=style, legend=False)
    picture = render_explanation(e, style=style, ranks=False)
    assert np.array_equal(picture[:, : source[0]], plain)
    assert picture.shape[1] % 2 == 0, "as encoders want it"
    footer = picture[0, source[0] :]
    assert 10 <= len(footer) <= max(60, source[0] * 0.2)
    assert (footer.max(axis=2) > 200).any(), "with legible text on it"


@pytest.mark.parametrize("source", [(16, 16), (24, 320), (120, 160), (1080, 1920)])
def test_a_footer_over_the_frame_fits_any_size(source: tuple[int, int]) -> None:
    e = explanation(source, target_name=LONG)
    picture = render_explanation(e, footer="over", ranks=False)
    plain = render_explanation(e, legend=False)
    changed = np.nonzero((picture != plain).any(axis=(0, 2, 3)))[0]
    assert changed.min() >= source[0] - max(18, source[0] * 0.12), "a strip at the foot"
    assert (picture[0, changed.min() :].max(axis=2) > 200).any(), "with legible text on it"
    none = render_explanation(e, footer="none", ranks=False)
    assert np.array_equal(none, plain)


def footer_of(**changes: object) -> np.ndarray:
    e = explanation((240, 640), **changes)
    return render_explanation(e)[0, 240:].astype(int)


def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(picture - colour).max(axis=-1) <= 3).any())


def test_a_guess_looks_like_one() -> None:
    white, amber = (255, 255, 255), (240, 190, 90)
    sure = footer_of(predictions=[("javelin throw", 0.87), ("pole vault", 0.1)])
    guess = footer_of(probability=0.34, predictions=[("javelin throw", 0.34), ("pole vault", 0.3)])
    asked = footer_of(probability=0.1, predictions=[("pole vault", 0.87), ("javelin throw", 0.1)])
    value = footer_of(probability=0.1, predictions=[("javelin throw", 0.1)], settings={"task": "regression"})
    assert has(sure, white) and not has(sure, amber)
    assert has(guess, amber) and not has(guess, white)
    assert has(asked, white) and has(value, white), "another class is asked about, and a value is no guess"


def test_the_next_classes_are_named_where_there_is_room() -> None:
    both = [("javelin throw", 0.87), ("pole vault", 0.1), ("discus", 0.02)]
    alone, three = footer_of(predictions=both[:1]), footer_of(predictions=both)
    assert alone.sum() < three.sum()
    assert np.array_equal(three, footer_of(predictions=[*both, ("shot put", 0.01)])), "three, no more"


@pytest.mark.parametrize("style", STYLES)
def test_what_the_network_does_not_see_is_hatched(style: str) -> None:
    """By the formula that the page has too, in floating point."""
    e = explanation((121, 160), frames=np.stack([smooth(121, 160)] * 2))
    picture = render_explanation(e, style=style, legend=False)[0][:, -160:].astype(float)
    frame = e.frames[0].astype(float)
    share, lift = {"heat": (0.6, 14), "outline": (1, 0), "spotlight": (0.3, 8), "side-by-side": (0.6, 14)}[
        style
    ]
    grey = (frame @ (0.299, 0.587, 0.114))[..., None]
    expected = share * (frame + grey) / 2 + lift if share < 1 else frame
    y, x = np.mgrid[:121, :160]
    stripes = (x + y) % 12 < 2
    unseen = e.source_labels()[0] < 0
    expected[stripes] = 0.6 * expected[stripes] + 0.2 * 255
    assert unseen.any() and np.abs(picture - expected)[unseen].max() <= 2


def test_for_and_against_have_two_colours() -> None:
    e = explanation((480, 640), (0.0, -3.0, 1.0), settings={"against": "pole vault"})
    picture = render_explanation(e, style="spotlight", legend=False)[0].astype(int)
    assert has(picture, (230, 159, 0)) and has(picture, (86, 180, 233))
    for rows, ink in ((5, (86, 180, 233)), (15, (230, 159, 0))):
        (top, left), (bottom, _) = e.geometry.to_source((rows, 10)), e.geometry.to_source((rows + 5, 15))
        middle = int(top + bottom) // 2
        rim = picture[middle, int(left) - 3 : int(left) + 4]
        assert has(rim, ink)
    unsigned = explanation((480, 640), (0.0, -3.0, 1.0))
    assert not has(render_explanation(unsigned, style="spotlight", legend=False)[0], (86, 180, 233))


def moving(source: tuple[int, int] = (240, 320), step: int = 1) -> vx.Explanation:
    """Sixteen frames in which region 1, 6x6 cells, moves to the right by `step` cells a frame."""
    labels = np.zeros((16, 28, 28), np.int32)
    for t in range(16):
        labels[t, 10:16, 3 + step * t : 9 + step * t] = 1
    times = tuple(Fraction(t, 25) for t in range(16))
    return explanation(
        source, (0.0, 3.0), labels=labels, times=times, frames=np.full((16, *source, 3), 128, np.uint8)
    )


def test_a_trail_follows_the_centre() -> None:
    e = moving()
    plain = render_explanation(e, legend=False).astype(int)
    picture = render_explanation(e, footer="none", ranks=False).astype(int)
    for t in (0, 7, 15):
        changed = np.abs(picture[t] - plain[t]).max(axis=2) > 20
        (_, x0), (y, x), (_, x1) = (e.geometry.to_source((13, 6 + n)) for n in (0, t, 15))
        rows, columns = np.nonzero(changed)
        assert np.abs(rows - y).max() < 12
        assert abs(columns.min() - x0) < 8 and x1 < columns.max() < x1 + 14, "an arrow at its end"
        assert has(picture[t, int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2], (255, 255, 255))
        heights = changed.sum(axis=0)
        inner = heights[int(x0) + 10 : int(x1) - 10]
        if t == 7:
            assert int(x0) + 10 + np.argmax(inner) == pytest.approx(x, abs=4), "a dot where it is now"
    assert np.array_equal(
        render_explanation(e, footer="none", ranks=False, trail=False), plain.astype(np.uint8)
    )


def test_what_stays_has_no_trail() -> None:
    e = moving(step=0)
    assert np.array_equal(
        render_explanation(e, footer="none", ranks=False), render_explanation(e, legend=False)
    )


def test_ranks_lie_on_their_regions_if_these_are_large_enough() -> None:
    e = explanation((360, 480))
    plain = render_explanation(e, legend=False)
    picture = render_explanation(e, footer="none")
    changed = (picture[0] != plain[0]).any(axis=2)
    for rows in (5, 15):
        part = box(e, rows, 10, rows + 5, 15)
        assert changed[part].mean() > 0.02 and has(picture[0][part].astype(int), (255, 255, 255))
    changed[e.source_labels()[0] > 0] = False
    assert changed.sum() < 20, "and nowhere else"
    small = explanation((32, 32))
    assert np.array_equal(render_explanation(small, footer="none"), render_explanation(small, legend=False))


def test_names_stand_in_the_timeline_where_there_is_room() -> None:
    names = ["a", "b", "a long name of a class", "d"]
    drawn = {}
    for class_names in ((), names):
        strip = Timeline((240, 640), class_names=class_names)
        for n in range(4):  # one stretch of several windows
            strip.add(n / 10, (n + 1) / 10, 2, 1.0)
        strip.add(0.4, 0.405, 2, 1.0)
        strip.add(0.5, 0.505, 3, 1.0)
        drawn[bool(class_names)] = strip.picture()
    changed = (drawn[True] != drawn[False]).any(axis=(0, 2))
    assert changed[:256].any() and not changed[256:].any()


def test_a_timeline_goes_on_from_its_state() -> None:
    one = Timeline((120, 160), class_names=["a", "b"])
    one.add(0, 0.5, 1, 0.8)
    other = Timeline((120, 160), class_names=["a", "b"])
    assert other.fits(one.state())
    other.restore(one.state())
    assert np.array_equal(one.picture(), other.picture())
    state = one.state()
    for wrong in (
        {"timeline.targets": state["timeline.targets"] + 1},
        {"timeline.targets": state["timeline.targets"][1:]},
        {"timeline": state["timeline"][:1]},
    ):
        assert not other.fits(state | wrong)
    assert not other.fits({"timeline": state["timeline"]}) and other.fits({})


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
    assert np.ptp(seen(explanation(), alone)) > 0, "but for the only piece there is"


def test_each_frame_decides_on_its_own_what_is_a_crumb() -> None:
    labels = explanation().labels.copy()
    labels[0][labels[0] == 1] = 0
    labels[:, 2, 18:20] = 1  # all there is in the first frame, dust beside a large piece in the second
    pictures = render_explanation(explanation(labels=labels), legend=False, top_k=1)
    spot = explanation().geometry.to_source((3, 19)).astype(int)
    untouched = render_explanation(explanation(), legend=False, top_k=1)
    assert not np.array_equal(pictures[0], untouched[0])
    assert np.ptp(seen(explanation(), pictures[0])) > 0
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
@pytest.mark.parametrize("place", ["under", "over", "none"])
def test_planes_are_drawn_on_like_rgb(style: str, place: str, color: dict[str, int]) -> None:
    e = moving((120, 160))
    settings = Picture(style=style, footer=place)
    twice = 2 if style == "side-by-side" else 1
    width = 160 * twice if place == "under" else 160
    strip = Timeline((120, 160), width=width, class_names=["a", "b", "c", "d"])
    strip.add(0, 0.5, 3, 0.8)
    footer = footer_for((120, 160), settings, strip)
    height = 120 + (footer.height if place == "under" else 0)
    track = TrackFormat(160 * twice, height, Fraction(1, 25), Fraction(25), color=tuple(color.items()))
    painter = Painter(e, settings, footer=footer, convert=track.planes)
    frame = replace(track, width=160, height=120).picture(smooth(120, 160))
    assert track.takes(frame)
    picture = track.blank()
    painter.on_planes(planes(frame), planes(picture), 1)
    expected = track.picture(painter(to_rgb(frame), 1))
    for n, (found, wanted) in enumerate(zip(planes(picture), planes(expected), strict=True)):
        error = np.abs(found.astype(int) - wanted)
        # 1 is lost on the way by RGB, and what is greyer there is by BT.601's lightness
        assert error.mean() < (0.8 if n else 1.8) and np.quantile(error, 0.95) <= 4
    if style == "outline":
        part = (slice(0, 15), slice(24, 136))  # above all that is drawn
        assert np.array_equal(planes(picture)[0][part], planes(frame)[0][part]), (
            "no conversion there and back"
        )
    if style == "side-by-side":
        assert all(
            np.array_equal(p[: len(q), : q.shape[1]], q)
            for p, q in zip(planes(picture), planes(frame), strict=True)
        )


@pytest.mark.parametrize("style", STYLES)
def test_frames_without_explanation_stay_as_they_are(style: str) -> None:
    frame = TrackFormat(32, 24, Fraction(1, 25), Fraction(25)).picture(smooth(24, 32))
    twice = 2 if style == "side-by-side" else 1
    image = smooth(24, 32)
    for place in ("none", "under"):
        settings = Picture(style=style, footer=place)
        footer = footer_for((24, 32), settings)
        height = 24 + (footer.height if place == "under" else 0)
        track = TrackFormat(32 * twice, height, Fraction(1, 25), Fraction(25))
        untouched = Untouched(settings, footer, track.planes)
        picture = track.blank()
        untouched.on_planes(planes(frame), planes(picture), 0)
        assert all(
            np.array_equal(p[: len(q)], np.tile(q, twice))
            for p, q in zip(planes(picture), planes(frame), strict=True)
        )
        whole = untouched(image, 0)
        assert np.array_equal(whole[:24], np.tile(image, (1, twice, 1)))
        for p, q, w in zip(planes(picture), planes(frame), track.planes(whole), strict=True):
            footers = np.abs(p[len(q) :].astype(int) - w[len(q) :])
            assert footers[1:].max(initial=0) <= 1, "colour is smoothed over the border"


def test_what_means_something_else_in_the_track_is_not_taken_as_it_is() -> None:
    narrow = TrackFormat(32, 24, Fraction(1, 25), Fraction(25), color=(("color_range", 1), ("colorspace", 1)))
    full = replace(narrow, color=(("color_range", 2), ("colorspace", 1)))
    other = replace(narrow, color=(("color_range", 1), ("colorspace", 5)))
    frame = narrow.picture(smooth(24, 32))
    assert narrow.takes(frame) and not full.takes(frame) and not other.takes(frame)
    assert not narrow.takes(frame.reformat(format="yuv444p"))
    assert not narrow.takes(av.VideoFrame(31, 24, "yuv420p"))
