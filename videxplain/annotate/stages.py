"""The stages of `annotate`, each a generator that consumes the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import av
import numpy as np

from videxplain.annotate.job import History, Job, Summary
from videxplain.annotate.moments import curve
from videxplain.annotate.saver import Saver
from videxplain.annotate.windows import Window, cut
from videxplain.clip import Clip, Geometry
from videxplain.explanations.explain import Request
from videxplain.passes.memory import give_back
from videxplain.render import Painter, Untouched
from videxplain.video import Frame, TrackFormat
from videxplain.video.encoder import FramePool
from videxplain.video.frames import planes
from videxplain.video.segments import ResumableWriter, State

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier

Task: TypeAlias = "tuple[list[Clip], list[np.ndarray]]"
"""Clips, and the labels of each."""
Drawn: TypeAlias = "tuple[av.VideoFrame, Fraction, Fraction | None]"
"""A picture as the encoder takes it, its time and its duration."""


@dataclass
class Group:
    """Windows that go through the network together, and what the stages found out about them.

    Attributes
    ----------
    end
        How many frames of the video there are up to the last one written here.
    last
        Whether a segment of the output ends here.
    """

    windows: list[Window[Frame]]
    end: int
    last: bool
    clips: list[Clip] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    numbers: list[np.ndarray] = field(default_factory=list)
    state: State = field(default_factory=dict)
    explanations: list[Explanation | None] = field(default_factory=list)

    def save(self, saver: Saver) -> None:
        explanations = [explanation for explanation in self.explanations if explanation is not None]
        for clip, explanation, numbers in zip(self.clips, explanations, self.numbers, strict=True):
            saver.add(clip.start, explanation, numbers)


def decode(job: Job, segment: int, done: int, summary: Summary) -> Iterator[Group]:
    """Groups of windows, about `segment` frames to a segment; those `done` before are only counted."""
    batch = job.windows.batch
    end = fresh = 0
    for windows in _batched(cut(job.video.frames(), job.span, job.hop), batch, 2 * batch * job.span):
        count = sum(len(window.written) for window in windows)
        end, fresh = end + count, fresh + count
        summary.windows += sum(bool(window.frames) for window in windows)
        last = fresh >= segment
        fresh = 0 if last else fresh
        if end <= done:
            continue
        yield Group(windows, end, last)


def _batched(windows: Iterable[Window[Frame]], size: int, frames: int) -> Iterator[list[Window[Frame]]]:
    """Lists with `size` windows to explain each, or fewer where about so many `frames` would have to wait for more."""
    group: list[Window[Frame]] = []
    left, waiting = size, 0
    for window in windows:
        group.append(window)
        left -= bool(window.frames)
        waiting += len(window.written)
        if not left or waiting >= frames or left == size:
            yield group
            group, left, waiting = [], size, 0
    if group:
        yield group


def segment(groups: Iterable[Group], job: Job, history: History) -> Iterator[Group]:
    """Brings frames to the network's size and cuts them, maybe more finely, into supervoxels, or takes the regions."""
    supervoxels = history.supervoxels
    model, stride, scale = job.model, job.windows.stride, job.segmentation.scale
    geometries = [job.geometry, job.geometry.refined(scale)][: min(scale, 2)]
    for group in groups:
        for window in group.windows:
            if not window.frames:
                continue
            clips = [
                clip.hold(0 if model.is_image_model else model.clip_length - len(clip))
                for clip in _clips(window, stride, geometries, job.video.path)
            ]
            if job.regions is None:
                labels, numbers = supervoxels(clips[-1])
            else:
                labels, numbers, unseen = job.regions.in_window(clips[0], geometries[0])
                history.unseen.update(unseen)
            group.clips.append(clips[0])
            group.labels.append(labels)
            group.numbers.append(numbers)
        if group.last:
            group.state = supervoxels.state()
        yield group


def _clips(window: Window[Frame], stride: int, geometries: list[Geometry], source: str) -> list[Clip]:
    """What is seen of a window through each of the geometries."""
    chosen = window.frames[::stride]
    views: list[list[np.ndarray]] = [[] for _ in geometries]
    for frame in chosen:
        image = frame.rgb()
        for view, geometry in zip(views, geometries, strict=True):
            view.append(geometry.apply(image))
    return [
        Clip(
            np.stack(view),
            tuple(frame.time for frame in chosen),
            start=chosen[0].index,
            stride=stride,
            source=source,
            geometry=geometry,
        )
        for view, geometry in zip(views, geometries, strict=True)
    ]


@dataclass(frozen=True)
class Explainer:
    """What the explanations of all windows share; the workers of a cluster get it once.

    Attributes
    ----------
    request
        What is to be explained, over supervoxels that come with the clips.
    cut
        How these were cut, to be recorded.
    """

    model: Classifier
    request: Request
    cut: dict[str, Any]

    def explain(self, task: Task) -> list[Explanation]:
        """Explains clips by the labels that they come with."""
        clips, labels = task
        explanations = self.request.explanations(self.model, clips, labels)[0] if clips else []
        return [replace(one, settings=_of_all_windows(one.settings) | self.cut) for one in explanations]


_OF_ONE_WINDOW = ("clip", "start", "frames_sha256", "labels_sha256")


def _of_all_windows(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that all windows of a video share."""
    return {name: value for name, value in settings.items() if name not in _OF_ONE_WINDOW}


def tasks(groups: Iterable[Group]) -> Iterator[tuple[Group, Task]]:
    """Groups with what is to be explained of each."""
    return ((group, (group.clips, group.labels)) for group in groups)


def assign(results: Iterable[tuple[Group, list[Explanation]]]) -> Iterator[Group]:
    """Groups that hold the explanations of their clips."""
    for group, explanations in results:
        remaining = iter(explanations)
        group.explanations = [next(remaining) if window.frames else None for window in group.windows]
        yield group


def render(
    groups: Iterable[Group], job: Job, history: History, pool: FramePool, summary: Summary
) -> Iterator[Drawn | Group]:
    """Pictures as the encoder takes them, with their times and durations, and each group behind its own.

    The timeline is filled, and drawn, where the video tells how many frames it has.
    """
    track, picture, stride = job.track, job.picture, job.windows.stride
    is_value = job.model.answers.task == "regression"
    length, timeline = job.video.expected_frames, history.timeline
    footer = None if picture.footer == "none" else job.footer(timeline)
    for group in groups:
        clips = iter(group.clips)
        for window, explanation in zip(group.windows, group.explanations, strict=True):
            if explanation is None:
                untouched = Untouched(picture, footer, track.planes)
                for frame in window.written:
                    yield _drawn(frame, untouched, 0, track, pool), frame.time, frame.duration
                continue
            summary.held += explanation.held
            target, probability = explanation.target, explanation.probability
            first, last = window.written[0], window.written[-1]
            history.classes.add(
                float(first.time), float(last.time + (last.duration or 0)), target, probability
            )
            place = (first.index / length, (last.index + 1) / length) if length else None
            if place and timeline is not None and picture.timeline and not is_value:
                timeline.add(*place, target, probability)
            if picture.when:
                shown = (window.first + np.arange(len(window.written))) // stride
                heights = curve(explanation, is_value=is_value)[shown]
                history.moments.add_curve(_edges(window.written), heights, target)
                if place and timeline is not None:
                    timeline.add_curve(*place, heights)
            blended = history.blender(next(clips).start, explanation)
            painter = Painter(blended, picture, footer=footer, convert=track.planes)
            for offset, frame in enumerate(window.written, window.first):
                yield _drawn(frame, painter, offset // stride, track, pool), frame.time, frame.duration
        if group.last:
            group.state |= history.drawn()
        yield group


def _edges(frames: list[Frame]) -> list[float]:
    """When each frame begins to be shown, and when the last one ends, in seconds."""
    begins = [float(frame.time) for frame in frames]
    step = (begins[-1] - begins[0]) / (len(begins) - 1) if len(begins) > 1 else 0.0
    return [*begins, begins[-1] + float(frames[-1].duration or step)]


def _drawn(
    frame: Frame, painter: Painter | Untouched, t: int, track: TrackFormat, pool: FramePool
) -> av.VideoFrame:
    """A frame as the encoder takes it, drawn on by the labels of index `t`."""
    stored = frame.stored()
    if stored is None or not track.takes(stored):
        return track.picture(painter(frame.rgb(), t))
    picture = pool.blank()
    painter.on_planes(planes(stored), planes(picture), t)
    return picture


def encode(
    pictures: Iterable[Drawn | Group],
    writer: ResumableWriter,
    saver: Saver | None,
    pool: FramePool,
    summary: Summary,
    done: Callable[[], None],
) -> Iterator[int]:
    """Writes what `render` made, and ends a segment where one is full; yields the number of frames so far.

    `done` is called behind each group.
    """
    for item in pictures:
        if not isinstance(item, Group):
            writer.write(*item)
            pool.give_back(item[0])
            summary.frames += 1
            yield summary.frames
            continue
        if saver is not None:
            item.save(saver)
        if item.last:
            if saver is not None:
                saver.commit(item.end)
            writer.commit(item.end, item.state)
            give_back()
        del item
        done()
    if summary.frames > writer.frames:
        if saver is not None:
            saver.commit(summary.frames)
        writer.commit(summary.frames, {})
