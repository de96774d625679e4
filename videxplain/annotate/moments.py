"""When along a video the network saw what made it decide: a curve over its frames, and the curve's peaks."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from videxplain.annotate.classes import Classes, Stretch
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.runs import outstanding
from videxplain.video.writer import Chapter

PEAK = 0.5
"""Share of a window's highest frame that the frames of a peak reach on an average."""
MOST_CHAPTERS = 100
"""Of a video: nobody reads longer lists, and some players show no more."""


def curve(explanation: Explanation, *, is_value: bool) -> npt.NDArray[np.float64]:
    """What each frame of a window counts for, (T,) in 0..1: the most that one does is as high as the probability.

    Of a network that gives a value (`is_value`) the most is 1.
    """
    size = np.abs(explanation.when())
    height = 1.0 if is_value else explanation.probability
    return height * size / (size.max() or 1.0)


class Moments(Classes):
    """Peaks so far, as stretches of time with the class that they speak of."""

    def add_curve(self, edges: Sequence[float], heights: npt.NDArray[np.float64], target: int) -> None:
        """The peaks among frames of one window, with `edges` in seconds; one goes on with the last if they touch."""
        frame = (edges[-1] - edges[0]) / len(heights)
        for first, last in sorted(outstanding(heights, np.ones(len(heights), int), PEAK)):
            highest = float(heights[first : last + 1].max())
            self.add(edges[first], edges[last + 1], target, highest, gap=frame / 2)


def highest(moments: Sequence[Stretch]) -> list[Stretch]:
    """The highest `MOST_CHAPTERS`, in order of time."""
    return sorted(sorted(moments, key=lambda moment: -moment.probability)[:MOST_CHAPTERS])


def chapters(moments: Sequence[Stretch], *, is_value: bool) -> list[Chapter]:
    """A video's chapters; each lasts until the next one.

    The first starts with the video, for MP4 has no time without a chapter.
    """
    marks = [Chapter(round(1000 * moment.begin), title(moment, is_value=is_value)) for moment in moments]
    return marks if not marks or marks[0].begin <= 0 else [Chapter(0, "start"), *marks]


def title(moment: Stretch, *, is_value: bool) -> str:
    """What a chapter is called: its class, and what the network gave it."""
    return moment.name if is_value else f"{moment.name} {moment.probability:.0%}"


def webvtt(moments: Sequence[Stretch], *, is_value: bool) -> str:
    """A WebVTT file of chapters: one cue for each moment, from its first frame to the end of its last."""
    cues = [
        f"{_clock(moment.begin)} --> {_clock(moment.end)}\n{_text(title(moment, is_value=is_value))}\n"
        for moment in moments
    ]
    return "\n".join(["WEBVTT\n", *cues])


def as_list(moments: Sequence[Stretch]) -> list[dict[str, Any]]:
    """The jump list, as it is saved."""
    return [{"begin": m.begin, "end": m.end, "class": m.name, "height": m.probability} for m in moments]


def _clock(seconds: float) -> str:
    whole = round(1000 * max(0.0, seconds))
    hours, rest = divmod(whole, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _text(words: str) -> str:
    """One line that no reader takes for markup."""
    return html.escape(" ".join(words.split()), quote=False)
