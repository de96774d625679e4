"""An explanation as a Matplotlib figure, and as a video."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videxplain.explanations.tables import imported
from videxplain.settings import Style
from videxplain.video import TrackFormat, VideoWriter
from videxplain.video.reader import DEFAULT_RATE

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

_MOST_FRAMES = 4
_MOST_CLASSES = 5
_LONGEST_NAME = 24
_FOR, _AGAINST = "#0072b2", "#d55e00"  # Okabe and Ito's blue and vermilion


def plot(explanation: Explanation, top_k: int, style: Style) -> Any:
    """See `Explanation.plot`."""
    Figure = imported("matplotlib.figure", "a figure").Figure
    real = len(explanation.frames) - explanation.held
    shown = np.linspace(0, real - 1, min(_MOST_FRAMES, real)).round().astype(int).tolist()
    pictures = explanation.render(top_k=top_k, style=style, legend=False)
    height, width = pictures.shape[1:3]
    wide = 10.0
    tall = min(4.5, wide / len(shown) * height / width)
    figure = Figure(figsize=(wide, tall + 3.2), layout="constrained")
    figure.suptitle(f"{explanation.headline(1)}, explained by {explanation.method}")
    above, below = figure.subfigures(2, 1, height_ratios=[tall, 2.7])
    for axis, t in zip(np.atleast_1d(above.subplots(1, len(shown))), shown, strict=True):
        axis.imshow(pictures[t])
        axis.set_title(f"{float(explanation.times[t]):.2f} s" if real > 1 else "", fontsize=9)
        axis.set_axis_off()
    panels = below.subplots(1, 3 if real > 1 else 2)
    _regions(panels[0], explanation, top_k)
    _classes(panels[1], explanation)
    if real > 1:
        _curve(panels[2], explanation, real)
    for axis in panels:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    return figure


def _regions(axis: Any, explanation: Explanation, top_k: int) -> None:
    """The best regions' shares, with standard errors where there are any."""
    best = explanation.top(top_k)
    total = float(np.abs(explanation.scores).sum()) or 1.0
    errors = None
    if explanation.standard_error is not None:
        errors = [100 * float(explanation.standard_error[one.id]) / total for one in best]
        errors = [error if math.isfinite(error) else math.nan for error in errors]
    places = np.arange(len(best))[::-1]
    shares = [100 * one.score / total for one in best]
    axis.barh(
        places,
        shares,
        xerr=errors,
        color=[_FOR if share >= 0 else _AGAINST for share in shares],
        ecolor="#333333",
    )
    axis.axvline(0, color="#333333", linewidth=0.8)
    axis.set_yticks(places, [_short(one.name or f"region {one.id}") for one in best], parse_math=False)
    axis.set_xlabel("share of the scores, %", fontsize=8)


def _classes(axis: Any, explanation: Explanation) -> None:
    classes = explanation.predictions[:_MOST_CLASSES]
    places = np.arange(len(classes))[::-1]
    is_value = explanation.settings.get("task") == "regression"
    axis.barh(places, [p if is_value else 100 * p for _, p in classes], color="#999999")
    axis.set_yticks(places, [_short(name) for name, _ in classes], parse_math=False)
    axis.set_xlabel("value" if is_value else "probability, %", fontsize=8)
    if not is_value:
        axis.set_xlim(0, 100)


def _curve(axis: Any, explanation: Explanation, real: int) -> None:
    curve = explanation.when()[:real]
    times = [float(time) for time in explanation.times[:real]]
    axis.plot(times, 100 * curve / (float(np.abs(explanation.scores).sum()) or 1.0), color=_FOR)
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    axis.set_xlabel("time, s", fontsize=8)
    axis.set_ylabel("share of each frame, %", fontsize=8)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def to_video(
    explanation: Explanation, path: str | os.PathLike[str], top_k: int, style: Style, legend: bool
) -> Path:
    """See `Explanation.to_video`."""
    real = len(explanation.frames) - explanation.held
    pictures = explanation.render(top_k=top_k, style=style, legend=legend)[:real]
    return write_video(path, pictures, explanation.times[:real])


def write_video(
    path: str | os.PathLike[str], pictures: Iterable[npt.NDArray[np.uint8]], times: Sequence[Fraction]
) -> Path:
    """Writes pictures (H, W, 3) of these times as a video that begins at 0 seconds."""
    times = [time - times[0] for time in times]
    rate = (len(times) - 1) / times[-1] if times[-1] else DEFAULT_RATE
    ticks = math.lcm(*(time.denominator for time in times), rate.numerator)
    pictures = iter(pictures)
    first = next(pictures)
    track = TrackFormat(first.shape[1], first.shape[0], Fraction(1, ticks), rate)
    with VideoWriter(path, track) as writer:
        for picture, time in zip(chain([first], pictures), times, strict=True):
            writer.write(np.ascontiguousarray(picture), time)
    return Path(path)
