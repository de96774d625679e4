"""Pictures of answers beyond where: curves over time, evidence, motion and look."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from videxplain.explanations.explanation import headline

if TYPE_CHECKING:
    from videxplain.explanations.comparison import Comparison
    from videxplain.explanations.evidence import Evidence
    from videxplain.explanations.motion import Motion
    from videxplain.explanations.when import WhenCurve

Picture = npt.NDArray[np.uint8]

_WIDTH = 960
_MOST_FRAMES = 8
_MOST_PAIRS = 10
_POINTS = 16
_INK, _PALE, _PAPER = (30, 30, 30), (150, 150, 150), (255, 255, 255)
_FOR, _AGAINST = (0, 114, 178), (213, 94, 0)  # Okabe and Ito's blue and vermilion
_MARK = (230, 159, 0)
_LOOK, _BOTH, _MOTION = (0, 114, 178), (200, 200, 200), (230, 159, 0)
_SHADE = 0.35


def png(picture: Picture) -> bytes:
    """The picture as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def when_picture(curve: WhenCurve) -> Picture:
    """Frames above bars, one for each part, with standard errors; the best stretch is underlined."""
    words = f"When: {headline(curve.target_name, curve.probability, curve.settings)}"
    best = curve.best()
    if best is not None:
        words += f"   most from {best.begin:.2f} to {best.end:.2f} s ({best.share:.0%})"
    strip = _strip(curve.frames[: len(curve.frames) - curve.held])
    return np.concatenate([_title(words), strip, _bars(curve)])


def _bars(curve: WhenCurve) -> Picture:
    height, margin = 200, 24
    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(image)
    scores = np.asarray(curve.scores, dtype=float)
    error = np.zeros_like(scores) if curve.standard_error is None else curve.standard_error
    error = np.where(np.isfinite(error), error, 0.0)
    top, bottom = max(0.0, float((scores + error).max())), min(0.0, float((scores - error).min()))
    room = (height - 2 * margin) / ((top - bottom) or 1.0)
    edges = [edge / curve.edges[-1] * _WIDTH for edge in curve.edges]
    zero = margin + top * room
    best = curve.best()
    for left, right, score, half in zip(edges, edges[1:], scores, error, strict=False):
        middle, end = (left + right) / 2, zero - score * room
        low, high = sorted((zero, end))
        draw.rectangle((left + 2, low, right - 2, high), fill=_FOR if score > 0 else _AGAINST)
        if half:
            draw.line((middle, end - half * room, middle, end + half * room), fill=_INK, width=2)
    draw.line((0, zero, _WIDTH, zero), fill=_INK)
    if best is not None:
        left, right = (frame / len(curve.times) * _WIDTH for frame in (best.first, best.last + 1))
        draw.rectangle((left + 2, 4, right - 2, 10), fill=_MARK)
    real = len(curve.times) - curve.held
    for share, anchor in ((0.0, "ls"), (0.5, "ms"), (1.0, "rs")):
        time = float(curve.times[min(real - 1, round(share * (real - 1)))])
        at = max(2.0, min(_WIDTH - 2.0, share * real / len(curve.times) * _WIDTH))
        draw.text((at, height - 4), f"{time:.2f} s", fill=_PALE, font=_font(_POINTS - 3), anchor=anchor)
    return np.asarray(image)


def evidence_picture(evidence: Evidence) -> Picture:
    """Two rows: what keeps the class, alone; and the clip without what destroys it."""
    rows = [_title(f"Evidence: {evidence.explanation.headline()}")]
    real = len(evidence.explanation.frames) - evidence.explanation.held
    keeps, destroys = evidence.clips()
    for words, frames in ((evidence.keeps_words(), keeps), (evidence.destroys_words(), destroys)):
        rows += [_title(words, small=True), _strip(frames[:real])]
    return np.concatenate(rows)


def motion_picture(motion: Motion) -> Picture:
    """The supervoxels that count, coloured by what they lose when they stand still, and the scale of colours."""
    explanation = motion.explanation
    real = len(explanation.frames) - explanation.held
    words = f"Motion or look: {explanation.headline()}   share of motion {motion.share:.0%}"
    return np.concatenate([_title(words), _strip(motion.render()[:real]), _scale()])


def comparison_picture(comparison: Comparison) -> Picture:
    """A row for each explanation, and below them how far each pair agrees."""
    rows = []
    for (title, _), explanation in comparison.items():
        frames = explanation.render(legend=False)
        words = f"{title}: {explanation.headline()}"
        rows += [_title(words, small=True), _strip(frames[: len(frames) - explanation.held])]
    pairs = comparison.agreements()
    for pair in pairs[:_MOST_PAIRS]:
        titles = " and ".join(f"{method} for {name}" for method, name in (pair.one, pair.other))
        words = f"{titles}: rank correlation {pair.rank_correlation:.2f}, {pair.overlap:.0%} of the best five"
        rows.append(_title(words, small=True))
    if len(pairs) > _MOST_PAIRS:
        rows.append(_title(f"and {len(pairs) - _MOST_PAIRS} more pairs", small=True))
    return np.concatenate(rows)


def share_colours(shares: npt.NDArray[np.floating]) -> Picture:
    """Blue for look (0) over grey to orange for motion (1): (..., 3) uint8."""
    stops = np.array([_LOOK, _BOTH, _MOTION], dtype=float)
    return np.stack(
        [np.interp(np.nan_to_num(shares, nan=0.5), (0, 0.5, 1), stops[:, channel]) for channel in range(3)],
        axis=-1,
    ).astype(np.uint8)


def _scale() -> Picture:
    image = Image.fromarray(share_colours(np.linspace(0, 1, _WIDTH))[None].repeat(14, axis=0))
    sheet = Image.new("RGB", (_WIDTH, 42), _PAPER)
    sheet.paste(image, (0, 4))
    draw = ImageDraw.Draw(sheet)
    for text, at, anchor in (("look", 2, "ls"), ("both", _WIDTH // 2, "ms"), ("motion", _WIDTH - 2, "rs")):
        draw.text((at, 38), text, fill=_INK, font=_font(_POINTS - 2), anchor=anchor)
    return np.asarray(sheet)


def shaded(frames: Picture) -> Picture:
    """Frames greyer and darker, as a ground for colours."""
    grey = frames.mean(axis=-1, keepdims=True)
    return (_SHADE * grey).astype(np.uint8).repeat(3, axis=-1)


def _strip(frames: Picture) -> Picture:
    """Up to eight frames side by side, evenly spread over the clip; of one frame itself, not enlarged."""
    count = min(_MOST_FRAMES, len(frames))
    middles = ((np.arange(count) + 0.5) * len(frames) / count).astype(int)
    edges = np.linspace(0, _WIDTH, count + 1).round().astype(int)
    height, width = frames.shape[1:3]
    tall = min(max(1, round(_WIDTH / count * height / width)), 540)
    sheet = Image.new("RGB", (_WIDTH, tall), _PAPER)
    for frame, left, right in zip(frames[middles], edges, edges[1:], strict=False):
        wide = min(int(right - left), round(tall * width / height))
        picture = Image.fromarray(np.ascontiguousarray(frame)).resize((max(1, wide), tall))
        sheet.paste(picture, (int(left), 0))
    return np.asarray(sheet)


def _title(words: str, *, small: bool = False) -> Picture:
    """A line of text on white, cut where it is too long."""
    points = _POINTS - 2 if small else _POINTS
    image = Image.new("RGB", (_WIDTH, round(points * 1.9)), _PAPER)
    draw = ImageDraw.Draw(image)
    words = "".join(character if character.isprintable() else "?" for character in words)
    while len(words) > 4 and draw.textlength(words, font=_font(points)) > _WIDTH - 12:
        words = f"{words[:-2].rstrip('…')}…"
    draw.text((6, image.height // 2), words, fill=_INK, font=_font(points), anchor="lm")
    return np.asarray(image)


def _font(points: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(points)
