"""An explained clip or video for the formats: window by window, in the source's pixels, frame numbers and times."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from videxplain.annotate.classes import Stretch
from videxplain.clip import Geometry
from videxplain.errors import VidexplainError
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.tables import frame_numbers
from videxplain.geometry import Axis
from videxplain.video import Frame
from videxplain.view.clip_scene import ClipScene
from videxplain.view.scene import Layer
from videxplain.view.video_scene import VideoScene

_NO_FRAMES = np.empty((0, 1, 1, 3), np.uint8)


class Region(NamedTuple):
    """One region of a window.

    Attributes
    ----------
    id
        Its value in the window's labels.
    number
        The one that it keeps in later windows.
    """

    id: int
    number: int
    rank: int
    score: float
    error: float | None
    share: float
    name: str


@dataclass(frozen=True)
class Shown:
    """A frame that a window explains.

    Attributes
    ----------
    number
        In the source.
    time
        In seconds; None for frames between those that the network saw.
    index
        Of the window's frame whose labels it has.
    """

    number: int
    time: float | None
    index: int


@dataclass(frozen=True)
class ExplainedWindow:
    """A window, and the frames that it explains: none of them is another window's.

    Attributes
    ----------
    explanation
        Without held frames. Its frames are empty where pictures were not asked for.
    numbers
        (K,) of its regions, which outlast the window.
    shown
        The frames, in order; there is one at least.
    begin, end
        Of these frames, in seconds.
    """

    explanation: Explanation
    numbers: npt.NDArray[np.int64]
    shown: list[Shown]
    begin: float
    end: float

    @property
    def seen(self) -> list[Shown]:
        """The frames that the network saw."""
        return [frame for frame in self.shown if frame.time is not None]

    def source_labels(self, index: int) -> npt.NDArray[np.int32]:
        """(H, W) int32, -1 where the network does not see."""
        explanation = self.explanation
        labels: npt.NDArray[np.int32] = explanation.geometry.restore(explanation.labels[index], fill=-1)
        return labels

    def top(self, top_k: int) -> list[Region]:
        """The `top_k` best regions, or all for 0."""
        explanation = self.explanation
        size = np.abs(explanation.scores)
        total, errors = float(size.sum()) or 1.0, explanation.standard_error
        return [
            Region(
                id=k,
                number=int(self.numbers[k]),
                rank=rank,
                score=float(explanation.scores[k]),
                error=None if errors is None or not np.isfinite(errors[k]) else float(errors[k]),
                share=float(size[k]) / total,
                name=explanation.regions[k] if explanation.regions else "",
            )
            for rank, k in enumerate(explanation.top_ids(top_k or len(size)).tolist(), 1)
        ]

    def masks(self, index: int, top_k: int) -> Iterator[tuple[Region, npt.NDArray[np.bool_]]]:
        """The best regions that are seen in a frame of the window, with their masks (H, W)."""
        labels = self.source_labels(index)
        for region in self.top(top_k):
            mask = labels == region.id
            if mask.any():
                yield region, mask

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """The frame (H, W, 3) at the source's size."""
        return source_picture(self.explanation, index)


class Explained:
    """What is exported.

    Parameters
    ----------
    scene
        A clip that is explained once, or a video.
    advance
        Told of each window that is done.
    """

    def __init__(self, scene: ClipScene | VideoScene, advance: Callable[[], object] = lambda: None) -> None:
        if len(scene.explanations if isinstance(scene, ClipScene) else scene.every) > 1:
            raise VidexplainError(
                "one explanation is exported at a time; give one folder, or one explanation"
            )
        self.scene = scene
        self._advance = advance

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The scene's, with names that every file can hold."""
        told = self.scene.summary()
        windows = [
            {
                **window,
                "target_name": writable(window["target_name"]),
                "predictions": [(writable(name), p) for name, p in window["predictions"]],
            }
            for window in told["windows"]
        ]
        return {**told, "source_name": writable(told["source_name"]), "windows": windows}

    @property
    def name(self) -> str:
        """Of the video or the clip."""
        return str(self.summary["source_name"])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the source's frames."""
        scene = self.scene
        geometry = scene.explanations[0].geometry if isinstance(scene, ClipScene) else scene.geometry
        return geometry.source

    @cached_property
    def first(self) -> int:
        """The number of the first frame."""
        return frame_numbers(self.scene.explanations[0])[0] if isinstance(self.scene, ClipScene) else 0

    @cached_property
    def length(self) -> int:
        """Frames from the first to the last; of a clip with a stride, with those between."""
        if isinstance(self.scene, ClipScene):
            return _shown(self.scene.explanations[0])[-1].number - self.first + 1
        return int(self.summary["frames"] or self._drawn(len(self) - 1).stop)

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self.summary["windows"])

    @property
    def is_value(self) -> bool:
        """Whether the network gives values, not probabilities."""
        return self.summary["task"] == "regression"

    @cached_property
    def class_names(self) -> list[str]:
        """Of the classes that are explained, in order of appearance."""
        return list(dict.fromkeys(window["target_name"] for window in self.summary["windows"]))

    def moments(self) -> list[Stretch]:
        """Peaks of the curve over time, where `annotate --when` kept them."""
        if isinstance(self.scene, ClipScene):
            return []
        kept = self.scene.saved.manifest.get("moments")
        try:
            return [
                Stretch(
                    float(one["begin"]), float(one["end"]), writable(str(one["class"])), float(one["height"])
                )
                for one in kept or []
            ]
        except (TypeError, ValueError, KeyError) as error:
            raise VidexplainError(
                f"{self.scene.saved.folder} has moments that cannot be read: {error}"
            ) from error

    def windows(self, *, pictures: bool = False) -> Iterator[ExplainedWindow]:
        """Each window in order; only a few are in memory at a time."""
        pictures_of = self._pictures() if pictures and isinstance(self.scene, VideoScene) else None
        for index, span in enumerate(self.summary["windows"]):
            layer = self.scene.layers(index)[0]
            if isinstance(self.scene, ClipScene):
                one = self.scene.explanations[0]
                shown = _shown(one)
                explanation = _explanation(layer, span, one.geometry, one.settings, one.frames[: len(shown)])
            else:
                shown = self._shown_of(index)
                place = {"start": self.scene.windows[index].start, "stride": self.scene.run[0]}
                frames = next(pictures_of) if pictures_of is not None else _NO_FRAMES
                settings = {**self.scene.provenance(), **place}
                explanation = _explanation(layer, span, self.scene.geometry, settings, frames)
            numbers = np.arange(len(layer.scores)) if layer.numbers is None else layer.numbers
            if shown:
                yield ExplainedWindow(explanation, numbers, shown, span["begin"], span["end"])
            self._advance()

    def _pictures(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Of each window of a video, the frames that the network saw; the video is decoded once."""
        assert isinstance(self.scene, VideoScene)
        stride, video = self.scene.run[0], self.scene.video
        coming, kept = video.frames(), deque[Frame]()
        for window in self.scene.windows:
            real = len(window.times) - window.held
            last = window.start + (real - 1) * stride
            while kept and kept[0].index < window.start:
                kept.popleft()
            while not kept or kept[-1].index < last:
                frame = next(coming, None)
                if frame is None:
                    raise VidexplainError(
                        f"{video.path!r} ends before frame {last}; is it the video that was explained?"
                    )
                if frame.index >= window.start:
                    kept.append(frame)
            seen = [frame for frame in kept if (frame.index - window.start) % stride == 0]
            yield np.stack([frame.rgb() for frame in seen[:real]])

    def _drawn(self, index: int) -> range:
        """The frames of a video that are this window's: as `annotate` draws them."""
        assert isinstance(self.scene, VideoScene)
        windows, (stride, span, hop) = self.scene.windows, self.scene.run
        window = windows[index]
        real = len(window.times) - window.held
        end = window.start + (span if index == len(windows) - 1 else min(hop, span))
        frames = self.summary["frames"] or window.start + real * stride
        return range(self.scene.first_drawn(index), min(end, int(frames)))

    def _shown_of(self, index: int) -> list[Shown]:
        assert isinstance(self.scene, VideoScene)
        window, stride = self.scene.windows[index], self.scene.run[0]
        real = window.times[: len(window.times) - window.held]
        frames = []
        for number in self._drawn(index):
            t, between = divmod(number - window.start, stride)
            t = min(t, len(real) - 1)
            frames.append(Shown(number, None if between else real[t], t))
        return frames


def _shown(one: Explanation) -> list[Shown]:
    """A clip's frames, without held ones."""
    real = len(one.labels) - one.held
    numbers = frame_numbers(one)
    return [Shown(numbers[t], float(one.times[t]), t) for t in range(real)]


def _explanation(
    layer: Layer,
    span: dict[str, Any],
    geometry: Geometry,
    settings: Mapping[str, object],
    frames: npt.NDArray[np.uint8],
) -> Explanation:
    """Of a window; the settings of a video may have the names of another window's regions."""
    shared = {name: value for name, value in settings.items() if name != "regions"}
    return Explanation(
        labels=layer.labels,
        scores=layer.scores,
        target=layer.target,
        target_name=span["target_name"],
        probability=layer.probability,
        predictions=span["predictions"],
        method=layer.method,
        settings={**shared, **({"regions": list(map(writable, layer.names))} if layer.names else {})},
        frames=frames,
        times=tuple(Fraction(time) for time in span["times"]),
        geometry=geometry,
        standard_error=layer.errors,
    )


def source_picture(explanation: Explanation, index: int) -> npt.NDArray[np.uint8]:
    """A frame (H, W, 3) at the source's size; one that came at the network's size is brought back to it."""
    frame, geometry = explanation.frames[index], explanation.geometry
    if frame.shape[:2] == geometry.source:
        return frame
    times = geometry.network[0] // frame.shape[0]
    y, x = (Axis(scale / times, offset / times) for scale, offset in (geometry.y, geometry.x))
    at_network = Geometry(geometry.source, (frame.shape[0], frame.shape[1]), y, x)
    picture: npt.NDArray[np.uint8] = at_network.restore(np.moveaxis(frame, 2, 0), fill=0)
    return np.ascontiguousarray(np.moveaxis(picture, 0, 2))


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of what a mask covers, in pixel edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def writable(name: str) -> str:
    """A name in one line, without what is no text: halves of characters, and the null character."""
    lines = name.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd").splitlines()
    return " ".join(lines)


def merged(stretches: Iterable[Stretch], gap: float) -> list[Stretch]:
    """Neighbours of one class, at most a `gap` apart, as one stretch with the highest probability."""
    joined: list[Stretch] = []
    for one in stretches:
        if joined and joined[-1].name == one.name and one.begin - joined[-1].end <= gap:
            last = joined.pop()
            one = Stretch(last.begin, one.end, one.name, max(last.probability, one.probability))
        joined.append(one)
    return joined
