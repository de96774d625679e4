"""The stages of `annotate`, each a generator that consumes the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import av
import numpy as np

from videxplain.annotate.blend import Blender
from videxplain.annotate.classes import Classes
from videxplain.annotate.saved import Saver
from videxplain.annotate.supervoxels import Supervoxels
from videxplain.annotate.windows import Window, cut
from videxplain.clip import Clip, Geometry
from videxplain.explanations.explain import Request
from videxplain.passes.memory import give_back
from videxplain.render import Painter, Timeline, Untouched
from videxplain.video import Frame, Video
from videxplain.video.encoder import Encoding, Pictures
from videxplain.video.frames import planes
from videxplain.video.segments import ResumableWriter, State

if TYPE_CHECKING:
    from videxplain.annotate import Summary
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier

Job: TypeAlias = "tuple[list[Clip], list[np.ndarray]]"  # clips, and the labels of each


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
        explained = [found for found in self.explanations if found is not None]
        for clip, explanation, numbers in zip(self.clips, explained, self.numbers, strict=True):
            saver.add(clip.start, explanation, numbers)


def decode(
    video: Video, span: int, hop: int, batch: int, segment: int, done: int, summary: Summary
) -> Iterator[Group]:
    """Groups of `batch` windows, about `segment` frames to a segment; those `done` before are only counted."""
    end = fresh = 0
    for windows in _batched(cut(video.frames(), span, hop), batch, 2 * batch * span):
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
    room, waiting = size, 0
    for window in windows:
        group.append(window)
        room -= bool(window.frames)
        waiting += len(window.written)
        if not room or waiting >= frames or room == size:
            yield group
            group, room, waiting = [], size, 0
    if group:
        yield group


def segment(
    groups: Iterable[Group],
    model: Classifier,
    stride: int,
    video: Video,
    supervoxels: Supervoxels,
    scale: int,
) -> Iterator[Group]:
    """Brings frames to the network's size and cuts them, `scale` times as fine, into supervoxels."""
    geometry = model.geometry((video.height, video.width))
    geometries = [geometry, geometry.refined(scale)][: min(scale, 2)]
    for group in groups:
        for window in group.windows:
            if not window.frames:
                continue
            clips = [
                clip.hold(0 if model.is_image_model else model.clip_length - len(clip))
                for clip in _clips(window, stride, geometries, video.path)
            ]
            labels, numbers = supervoxels(clips[-1])
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


def explained(shared: tuple[Classifier, Request, dict[str, Any]], job: Job) -> list[Explanation]:
    """Explains clips by the labels that they come with, and that were cut as the last of what is shared tells."""
    (model, request, cut), (clips, labels) = shared, job
    explanations = request.explanations(model, clips, labels)[0] if clips else []
    return [replace(one, settings=_of_a_window(one.settings) | cut) for one in explanations]


def _of_a_window(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that all windows of a video share."""
    own = ("clip", "start", "frames_sha256", "labels_sha256")
    return {name: value for name, value in settings.items() if name not in own}


def jobs(groups: Iterable[Group]) -> Iterator[tuple[Group, Job]]:
    """Groups with what is to be explained of each."""
    return ((group, (group.clips, group.labels)) for group in groups)


def assign(results: Iterable[tuple[Group, list[Explanation]]]) -> Iterator[Group]:
    """Groups that hold the explanations found for their clips."""
    for group, explanations in results:
        found = iter(explanations)
        group.explanations = [next(found) if window.frames else None for window in group.windows]
        yield group


def render(
    groups: Iterable[Group],
    stride: int,
    top_k: int,
    style: str,
    summary: Summary,
    timeline: Timeline,
    classes: Classes,
    length: int | None,
    blender: Blender,
    encoding: Encoding,
    room: Pictures,
) -> Iterator[Any]:
    """Pictures as the encoder takes them, with their times and durations, and each group behind its own.

    The timeline is filled, and drawn, where the video's `length` in frames is known.
    """
    untouched = Untouched(style)
    for group in groups:
        clips = iter(group.clips)
        for window, explanation in zip(group.windows, group.explanations, strict=True):
            if explanation is None:
                for frame in window.written:
                    yield _picture(frame, untouched, 0, encoding, room), frame.time, frame.duration
                continue
            summary.held += explanation.held
            first, last = window.written[0], window.written[-1]
            classes.add(
                float(first.time),
                float(last.time + (last.duration or 0)),
                explanation.target,
                explanation.probability,
            )
            if length:
                begin, end = first.index / length, (last.index + 1) / length
                timeline.add(begin, end, explanation.target, explanation.probability)
            shown = timeline if length else None
            blended = blender(next(clips).start, explanation)
            painter = Painter(blended, top_k=top_k, style=style, timeline=shown, convert=encoding.planes)
            for offset, frame in enumerate(window.written, window.first):
                yield _picture(frame, painter, offset // stride, encoding, room), frame.time, frame.duration
        if group.last:
            group.state |= {"timeline": timeline.strip.copy(), "classes": classes.state(), **blender.state()}
        yield group


def _picture(
    frame: Frame, painter: Painter | Untouched, t: int, encoding: Encoding, room: Pictures
) -> av.VideoFrame:
    """A frame as the encoder takes it, drawn on by the labels of index `t`."""
    stored = frame.stored()
    if stored is None or not encoding.takes(stored):
        return encoding.picture(painter(frame.rgb(), t))
    picture = room.blank()
    painter.on_planes(planes(stored), planes(picture), t)
    return picture


def encode(
    pictures: Iterable[Any],
    writer: ResumableWriter,
    saver: Saver | None,
    summary: Summary,
    room: Pictures,
    done: Callable[[], None],
) -> Iterator[int]:
    """Writes what `render` made, and ends a segment where one is full; yields the number of frames so far.

    `done` is called behind each group.
    """
    for item in pictures:
        if not isinstance(item, Group):
            writer.write(*item)
            room.give_back(item[0])
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
