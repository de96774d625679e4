"""Long videos: decode | segment | explain | render | encode, in memory that does not grow with the length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from tqdm import tqdm

from videxplain import __version__
from videxplain.annotate.blend import Blender
from videxplain.annotate.pipeline import Pipeline, StageTime, profile_table
from videxplain.annotate.saved import Saver
from videxplain.annotate.supervoxels import Supervoxels
from videxplain.annotate.windows import Window, cut
from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError, unknown_name
from videxplain.explain import explain
from videxplain.render import STYLES, Painter, Timeline, Untouched
from videxplain.video import Frame, Video, check_output, open_video
from videxplain.video.encoder import DEFAULT_CODEC, Encoding
from videxplain.video.frames import planes
from videxplain.video.segments import ResumableWriter, State

if TYPE_CHECKING:
    from videxplain.explanation import Explanation
    from videxplain.models import Classifier

__all__ = ["Summary", "annotate", "profile_table"]

IMAGE_MODEL_WINDOW = 16
"""Frames that an image model explains together, so that its supervoxels last longer than a frame."""
SEGMENT_FRAMES = 240
"""About how many frames a fault can cost: so long are the segments that a later run need not make again."""
_PICTURES_AHEAD = 8


@dataclass
class Summary:
    """What came of a video.

    Attributes
    ----------
    frames, windows
        How many were written, and explained.
    resumed
        How many of the frames an earlier run had written.
    held
        How many times the last frame of a short video was repeated to fill the network's clip.
    notes
        What could not be decoded or carried over, in sentences.
    times
        Where each stage's time went.
    """

    frames: int = 0
    windows: int = 0
    resumed: int = 0
    held: int = 0
    notes: list[str] = field(default_factory=list)
    times: list[StageTime] = field(default_factory=list)


@dataclass
class _Group:
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


def annotate(
    model: Classifier,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    method: str = "guided",
    target: int | str | None = None,
    segmentation: str = "slic",
    n_segments: int = 200,
    compactness: float = 10.0,
    guided_any: bool = False,
    top_k: int = 5,
    style: str = "heat",
    timeline: bool = True,
    stride: int = 1,
    hop: int | None = None,
    batch: int = 1,
    stream: int | None = None,
    codec: str = DEFAULT_CODEC,
    crf: float | None = None,
    preset: str | None = None,
    threads: int = 0,
    save: str | os.PathLike[str] | None = None,
    progress: bool = False,
    **options: Any,
) -> Summary:
    """Explains a video from its first frame to its last.

    Whole segments of the output are kept beside it until it is done: after a crash, a full disk or Ctrl-C the same call
    goes on behind them, to the same result.

    Parameters
    ----------
    model
        The classifier.
    input, output
        The video, and where the explained one goes; it keeps size, frame times, sound, subtitles and metadata, and
        appears under its name only when it is whole.
    method, target, segmentation, n_segments, compactness, guided_any, **options
        As for `explain`.
    top_k, style
        As for `render_explanation`; "side-by-side" doubles the width.
    timeline
        Draw the classes of the windows so far along the foot, where the container tells how long the video is.
    stride, hop
        The network sees every `stride`-th frame; windows begin `hop` frames apart, by default where the last one ended.
        Between windows that do not touch, frames are written as they are; where windows overlap, the picture shows
        their scores blended (see `Blender`).
    batch
        Windows per forward pass; fewer where they are more than two spans apart, for the frames between them wait.
    stream
        Which of the video streams, counted from 0.
    codec, crf, preset, threads
        ffmpeg's name of the encoder, its quality (lower is better), its speed, and its threads (0: its own choice).
    save
        A folder for the data behind the picture: classes, scores, supervoxels and labels of every window, to be read
        by `videxplain.open_explanations`.
    progress
        Show a progress bar.

    Raises
    ------
    VidexplainError
        If a file cannot be read or written, or `explain` refuses. Where frames had been written, the sentence tells
        where they are; so does the KeyboardInterrupt that Ctrl-C raises.
    """
    if style not in STYLES:
        raise unknown_name("style", style, STYLES)
    video = open_video(input, stream)
    settings = {"method": method, "target": target, "guided_any": guided_any, **options}
    cutting: Any = {"method": segmentation, "n_segments": n_segments, "compactness": compactness}
    span = (IMAGE_MODEL_WINDOW if model.is_image_model else model.clip_length) * stride
    encoding = Encoding(
        video.width * (2 if style == "side-by-side" else 1),
        video.height,
        video.time_base,
        video.rate,
        codec,
        crf,
        preset,
        threads,
        video.sample_aspect_ratio,
        tuple(sorted(video.color.items())),
    )
    check_output(output, input)
    job = {
        "videxplain": __version__,
        "input": _identity(video.path),
        "stream": video.stream_index,
        "model": [model.name, model.fingerprint()],
        "windows": [span, stride, hop, batch],
        "picture": [top_k, style, timeline],
        "settings": settings,
        "segmentation": cutting,
        "encoding": vars(encoding),
        "save": None if save is None else os.path.abspath(save),
    }
    writer = ResumableWriter(output, encoding, source=input, job=job)
    supervoxels = Supervoxels(**cutting)
    supervoxels.restore(writer.state)
    saver = None if save is None else Saver(save, writer.frames)
    summary = Summary(frames=writer.frames, resumed=writer.frames)
    try:
        with (
            tqdm(
                total=video.frame_count,
                initial=summary.resumed,
                unit="frame",
                desc=os.path.basename(output),
                disable=not progress,
            ) as bar,
            Pipeline(first="explain" if model.device.type == "cpu" else None) as pipeline,
        ):
            groups = _decode(video, span, hop or span, batch, writer.frames, summary)
            groups = pipeline.stage("decode", groups, 1)
            groups = pipeline.stage("segment", _segment(groups, model, stride, video, supervoxels), 1)
            groups = pipeline.stage("explain", _explain(groups, model, settings), 1)
            length = video.frame_count if timeline else None
            strip = Timeline((video.height, video.width), writer.state.get("timeline"))
            blender = Blender(stride)
            blender.restore(writer.state)
            pictures = _render(groups, stride, top_k, style, summary, strip, length, blender, encoding)
            pictures = pipeline.stage("render", pictures, _PICTURES_AHEAD)
            for _ in pipeline.stage("encode", _encode(pictures, writer, saver, summary), 1):
                bar.update()
            summary.times = pipeline.times
        if saver is not None:
            saver.finish(
                {"input": os.path.basename(video.path), "model": model.name, "frames": summary.frames}
            )
        writer_notes = writer.finish()
        if saver is not None:
            saver.discard_parts()
    except BaseException as error:
        raise _advised(error, writer, summary.frames) from error
    summary.notes = [*video.report.sentences(), *writer_notes]
    if summary.held:
        summary.notes.append(f"the video is short: its last frame was held {summary.held} times.")
    return summary


def _decode(video: Video, span: int, hop: int, batch: int, done: int, summary: Summary) -> Iterator[_Group]:
    """Groups of `batch` windows; those whose frames were written before are only counted."""
    end = fresh = 0
    for windows in _batched(cut(video.frames(), span, hop), batch, 2 * batch * span):
        count = sum(len(window.written) for window in windows)
        end, fresh = end + count, fresh + count
        summary.windows += sum(bool(window.frames) for window in windows)
        last = fresh >= SEGMENT_FRAMES
        fresh = 0 if last else fresh
        if end <= done:
            continue
        yield _Group(windows, end, last)


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


def _segment(
    groups: Iterable[_Group], model: Classifier, stride: int, video: Video, supervoxels: Supervoxels
) -> Iterator[_Group]:
    """Brings frames to the network's size and cuts them into supervoxels."""
    geometry = model.geometry((video.height, video.width))
    for group in groups:
        for window in group.windows:
            if not window.frames:
                continue
            clip = _clip(window, stride, geometry, video.path)
            clip = clip.hold(0 if model.is_image_model else model.clip_length - len(clip))
            labels, numbers = supervoxels(clip)
            group.clips.append(clip)
            group.labels.append(labels)
            group.numbers.append(numbers)
        if group.last:
            group.state = supervoxels.state()
        yield group


def _clip(window: Window[Frame], stride: int, geometry: Geometry, source: str) -> Clip:
    """What the network sees of a window."""
    chosen = window.frames[::stride]
    return Clip(
        np.stack([geometry.apply(frame.rgb()) for frame in chosen]),
        tuple(frame.time for frame in chosen),
        start=chosen[0].index,
        stride=stride,
        source=source,
        geometry=geometry,
    )


def _explain(groups: Iterable[_Group], model: Classifier, settings: dict[str, Any]) -> Iterator[_Group]:
    for group in groups:
        found = iter(explain(model, group.clips, labels=group.labels, **settings) if group.clips else ())
        group.explanations = [next(found) if window.frames else None for window in group.windows]
        yield group


def _render(
    groups: Iterable[_Group],
    stride: int,
    top_k: int,
    style: str,
    summary: Summary,
    timeline: Timeline,
    length: int | None,
    blender: Blender,
    encoding: Encoding,
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
                    yield _picture(frame, untouched, 0, encoding), frame.time, frame.duration
                continue
            summary.held += explanation.held
            if length:
                begin, end = window.written[0].index / length, (window.written[-1].index + 1) / length
                timeline.add(begin, end, explanation.target, explanation.probability)
            shown = timeline if length else None
            blended = blender(next(clips).start, explanation)
            painter = Painter(blended, top_k=top_k, style=style, timeline=shown, convert=encoding.planes)
            for offset, frame in enumerate(window.written, window.first):
                yield _picture(frame, painter, offset // stride, encoding), frame.time, frame.duration
        if group.last:
            group.state |= {"timeline": timeline.strip.copy(), **blender.state()}
        yield group


def _picture(frame: Frame, painter: Painter | Untouched, t: int, encoding: Encoding) -> av.VideoFrame:
    """A frame as the encoder takes it, drawn on by the labels of index `t`."""
    stored = frame.stored()
    if stored is None or not encoding.takes(stored):
        return encoding.picture(painter(frame.rgb(), t))
    picture = encoding.blank()
    painter.on_planes(planes(stored), planes(picture), t)
    return picture


def _encode(
    pictures: Iterable[Any], writer: ResumableWriter, saver: Saver | None, summary: Summary
) -> Iterator[int]:
    """Writes what `_render` made, and ends a segment where one is full; yields the number of frames so far."""
    for item in pictures:
        if not isinstance(item, _Group):
            writer.write(*item)
            summary.frames += 1
            yield summary.frames
            continue
        if saver is not None:
            item.save(saver)
        if item.last:
            if saver is not None:
                saver.commit(item.end)
            writer.commit(item.end, item.state)
    if saver is not None:
        saver.commit(summary.frames)
    if summary.frames > writer.frames:
        writer.commit(summary.frames, {})


def _advised(error: BaseException, writer: ResumableWriter, frames: int) -> BaseException:
    """The same error, which also says what there is of the video and how to go on."""
    reason = str(error) or type(error).__name__
    if not frames:
        writer.close()
        return error
    partial = writer.break_off()
    kept = writer.frames
    advice = f"the first {frames} frames are in {partial!r}" if partial else ""
    if kept:
        advice += f"{'; ' if advice else ''}the same command goes on behind frame {kept}"
    if isinstance(error, KeyboardInterrupt):
        return KeyboardInterrupt(f"interrupted; {advice}." if advice else "interrupted.")
    if not isinstance(error, Exception):
        return error
    if not isinstance(error, VidexplainError):
        reason = f"failed at frame {frames}: {type(error).__name__}: {reason}"
    return VidexplainError(f"{reason.rstrip('.')}; {advice}." if advice else reason)


def _identity(path: str) -> list[Any]:
    """What tells one input from another: where it is, its size, and when it was changed."""
    status = os.stat(path) if os.path.exists(path) else None
    return [os.path.abspath(path), *((status.st_size, status.st_mtime_ns) if status else ())]
