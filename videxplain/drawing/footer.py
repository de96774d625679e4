"""The footer: what the network says and how surely, the scale of colours, and what it said along the video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from videxplain.drawing.letters import LEAST, even, fitted, points_for, width_of, write

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

CLASSES = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Okabe and Ito's colours, which people with any colour vision tell apart."""
SURE = 0.5
"""The probability below which an answer is a guess."""
_MOST_CLASSES = 3
_GAP = 2  # pixels between the timeline's bars and the curve
_CURVE = (235, 235, 235)
_GROUND, _WHITE, _PALE, _GUESS = (0, 0, 0), (255, 255, 255), (175, 175, 175), (240, 190, 90)
_NARROW = 38  # letters' heights in the width, below which the other classes get a row of their own

State = dict[str, np.ndarray]


class Timeline:
    """What the network said along a video, as a strip: bars as high as the probability, a colour for each class.

    Parameters
    ----------
    size
        (height, width) of the video's frames.
    width
        Of the strip, where that is not the frames'.
    bars
        Whether there are such bars.
    curve
        Whether there is a curve below them of what each frame counts for.
    class_names
        Written on the bars where there is room.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        width: int | None = None,
        bars: bool = True,
        curve: bool = False,
        class_names: Sequence[str] = (),
    ) -> None:
        self._points = points_for(size)
        height, width = even(self._points + 2), width or size[1]
        self._bars = height if bars else 0
        self._top = self._bars + (_GAP if bars else 0)  # of the curve
        self._class_names = class_names
        self.strip = np.zeros((self._top + height if curve else height, width, 3), np.uint8)
        self.targets = np.full(width, -1, np.int64)  # the class of each column

    def state(self) -> State:
        """All that was drawn so far."""
        return {"timeline": self.strip.copy(), "timeline.targets": self.targets.copy()}

    def fits(self, state: State) -> bool:
        """Whether another one of this video can have given this state."""
        strip, targets = state.get("timeline"), state.get("timeline.targets")
        if strip is None or targets is None:
            return strip is targets
        return (
            strip.shape == self.strip.shape
            and strip.dtype == np.uint8
            and targets.shape == self.targets.shape
            and targets.dtype == np.int64
            and int(targets.min()) >= -1
            and (not self._class_names or int(targets.max()) < len(self._class_names))
        )

    def restore(self, state: State) -> None:
        """Goes on where another one was."""
        if "timeline" in state:
            self.strip, self.targets = state["timeline"].copy(), state["timeline.targets"].copy()

    def add(self, begin: float, end: float, target: int, probability: float) -> None:
        """A bar from `begin` to `end`, in shares of the video's length."""
        height, bars = self._bars, self.strip[: self._bars]
        columns = self._columns(begin, end)
        bars[:, columns] = 0
        bars[height - max(1, round(probability * height)) :, columns] = CLASSES[target % len(CLASSES)]
        self.targets[columns] = target

    def add_curve(self, begin: float, end: float, heights: np.ndarray) -> None:
        """Frames from `begin` to `end`, of these heights in 0..1; of frames that share a column the highest shows."""
        band = self.strip[self._top :]
        edges = np.linspace(begin, end, len(heights) + 1)
        for left, right, height in zip(edges, edges[1:], heights, strict=False):
            band[round((1 - height) * (len(band) - 1)) :, self._columns(left, right)] = _CURVE

    def _columns(self, begin: float, end: float) -> slice:
        left, right = (round(min(at, 1.0) * self.strip.shape[1]) for at in (begin, end))
        return slice(left, max(right, left + 1))

    def picture(self) -> npt.NDArray[np.uint8]:
        """The strip, with the classes' names on stretches that are long enough for them."""
        points = max(LEAST, self._points - 2)
        if not self._class_names or self._bars <= points:
            return self.strip
        image = Image.fromarray(self.strip)
        draw = ImageDraw.Draw(image)
        begins = np.nonzero(np.diff(self.targets, prepend=-2))[0]
        for left, right in zip(begins, [*begins[1:], len(self.targets)], strict=True):
            target = int(self.targets[left])
            words = self._class_names[target] if target >= 0 else ""
            if words and width_of(words, points) + 6 <= right - left:
                bar = self.strip[self._bars // 2, left]
                light = float(bar @ (0.299, 0.587, 0.114)) > 110
                write(
                    draw, (int(left) + 3, self._bars // 2), words, points, fill=_GROUND if light else _WHITE
                )
        return np.asarray(image)


@dataclass(frozen=True)
class Scale:
    """What the colours mean.

    Attributes
    ----------
    colours
        (256, 3) from nothing to the largest share; or one for and one against the class.
    largest
        The largest share.
    """

    colours: npt.NDArray[np.uint8]
    largest: float

    @property
    def signed(self) -> bool:
        return len(self.colours) == 2


class Footer:
    """Makes footers, all of one size, for pictures of one size.

    Parameters
    ----------
    size
        (height, width) of the frames.
    width
        Of the footer, where that is not the frames'.
    timeline
        As it is when a footer is made it stands on top of it.
    low
        Keep to one row of text.
    """

    def __init__(
        self,
        size: tuple[int, int],
        *,
        width: int | None = None,
        timeline: Timeline | None = None,
        low: bool = False,
    ) -> None:
        self._points = points_for(size)
        self._width = width or size[1]
        self._row = even(round(1.7 * self._points))
        self._rows = 2 if not low and self._width < _NARROW * self._points else 1
        self._timeline = timeline
        strip = 0 if timeline is None else len(timeline.strip)
        self.height = strip + self._row + (self._rows - 1) * even(round(1.4 * self._points))
        self.height += (size[0] + self.height) % 2  # encoders want even sides

    def __call__(self, explanation: Explanation | None, scale: Scale | None) -> npt.NDArray[np.uint8]:
        """(height, width, 3): of an explanation with its scale, or of frames that have none."""
        strip = (
            np.zeros((0, self._width, 3), np.uint8) if self._timeline is None else self._timeline.picture()
        )
        image = Image.new("RGB", (self._width, self.height - len(strip)), _GROUND)
        draw = ImageDraw.Draw(image)
        points, pad = self._points, max(3, self._points // 2)
        middle = self._row // 2
        if explanation is None:
            words, points = fitted("not explained", points, self._width - 2 * pad)
            write(draw, (pad, middle), words, points, fill=_PALE)
            return np.concatenate([strip, np.asarray(image)])
        end = self._width - pad
        if scale is not None:
            end -= self._scale(draw, scale, middle) + 2 * pad
        guess = is_guess(explanation)
        words, size = fitted(f"{'not sure: ' * guess}{explanation.headline()}", points, end - pad)
        write(draw, (pad, middle), words, size, fill=_GUESS if guess else _WHITE, bold=not guess)
        smaller = max(LEAST, points - 2)
        if self._rows == 2:
            at, room, middle = pad, self._width - 2 * pad, self._row + (image.height - self._row) // 2 - 1
        else:
            at = pad + width_of(words, size) + 2 * points
            room = end - at
        others = other_classes(explanation)
        while others and width_of("   ".join(others), smaller) > room:
            others.pop()
        write(draw, (at, middle), "   ".join(others), smaller, fill=_PALE)
        return np.concatenate([strip, np.asarray(image)])

    def _scale(self, draw: ImageDraw.ImageDraw, scale: Scale, middle: int) -> int:
        """Draws the scale at the right end; returns how wide it is."""
        points, pad = max(LEAST, self._points - 2), max(3, self._points // 2)
        height, right = self._points // 4, self._width - pad
        if scale.signed:
            words = [("against", scale.colours[1]), ("for", scale.colours[0])]
            for text, colour in words:
                right -= width_of(text, points)
                write(draw, (right, middle), text, points, fill=_PALE)
                right -= points + 3
                box = (right, middle - points // 2 + 1, right + points - 2, middle + points // 2 - 1)
                draw.rectangle(box, fill=tuple(map(int, colour)))
                right -= pad
            return self._width - pad - right
        most = share_words(scale.largest)
        right -= width_of(most, points)
        write(draw, (right, middle), most, points, fill=_PALE)
        right -= 4
        left = right - self._width // 8
        for column in range(left, right):
            colour = scale.colours[round(255 * (column - left) / max(1, right - left - 1))]
            draw.line((column, middle - height, column, middle + height), fill=tuple(map(int, colour)))
        left -= 4 + width_of("0", points)
        write(draw, (left, middle), "0", points, fill=_PALE)
        return self._width - pad - left


def is_guess(explanation: Explanation) -> bool:
    """Whether the network is not sure of the class that it names first."""
    if explanation.settings.get("task") == "regression" or not explanation.predictions:
        return False
    name, probability = explanation.predictions[0]
    return name == explanation.target_name and probability < SURE


def other_classes(explanation: Explanation) -> list[str]:
    """The most probable classes besides the one that is explained, with their places and probabilities."""
    if explanation.settings.get("task") == "regression":
        return []
    ranked = list(enumerate(explanation.predictions, 1))[:_MOST_CLASSES]
    return [f"{n}. {name} {share_words(p)}" for n, (name, p) in ranked if name != explanation.target_name]


def share_words(share: float) -> str:
    """A share in per cent, of which a little is not nothing."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"
