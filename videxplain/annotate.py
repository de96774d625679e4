"""Long videos: decode, explain window after window, draw, encode; memory does not grow with the length."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from videxplain.clip import Clip
from videxplain.explain import explain
from videxplain.render import painter
from videxplain.video import Frame, VideoWriter, check_output, open_video

if TYPE_CHECKING:
    from videxplain.explanation import Explanation
    from videxplain.models import Classifier

IMAGE_MODEL_WINDOW = 16
"""Frames that an image model explains together, so that its supervoxels last longer than a frame."""


@dataclass
class Summary:
    """What came of a video.

    Attributes
    ----------
    frames, windows
        How many were written, and explained.
    held
        How many times the last frame of a short video was repeated to fill the network's clip.
    notes
        What could not be decoded or carried over, in sentences.
    """

    frames: int = 0
    windows: int = 0
    held: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Window:
    """Frames to explain, and frames to write, the first of which is number `first` of the window."""

    frames: list[Frame]
    first: int
    written: list[Frame]


def annotate(
    model: Classifier,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    method: str = "guided",
    target: int | str | None = None,
    n_segments: int = 200,
    compactness: float = 10.0,
    guided_any: bool = False,
    top_k: int = 5,
    style: str = "heat",
    stride: int = 1,
    hop: int | None = None,
    batch: int = 1,
    stream: int | None = None,
    progress: bool = False,
    **options: Any,
) -> Summary:
    """Explains a video from its first frame to its last.

    Parameters
    ----------
    model
        The classifier.
    input, output
        The video, and where the explained one goes; it keeps size, frame times, sound, subtitles and metadata, and
        appears under its name only when it is whole.
    method, target, n_segments, compactness, guided_any, **options
        As for `explain`.
    top_k, style
        As for `render_explanation`; "side-by-side" doubles the width.
    stride, hop
        The network sees every `stride`-th frame; windows begin `hop` frames apart, by default where the last one ended.
        Between windows that do not touch, frames are written as they are.
    batch
        Windows per forward pass.
    stream
        Index of the video stream.
    progress
        Show a progress bar.

    Raises
    ------
    VidexplainError
        If a file cannot be read or written, or `explain` refuses.
    """
    video = open_video(input, stream)
    check_output(output, input)
    length = IMAGE_MODEL_WINDOW if model.is_image_model else model.clip_length
    windows = _windows(video.frames(), length * stride, hop or length * stride)
    settings = {"n_segments": n_segments, "compactness": compactness, "guided_any": guided_any, **options}
    summary = Summary()
    bar = tqdm(total=video.frame_count, unit="frame", desc=os.path.basename(output), disable=not progress)
    wide = 2 if style == "side-by-side" else 1
    with (
        bar,
        VideoWriter(
            output,
            wide * video.width,
            video.height,
            source=input,
            rate=video.rate,
            time_base=video.time_base,
            sample_aspect_ratio=video.sample_aspect_ratio,
            color=video.color,
        ) as writer,
    ):
        for group in _batched(windows, batch):
            clips = [_clip(window, stride, video.path) for window in group]
            explained = explain(model, clips, method, target, **settings)
            for window, explanation in zip(group, explained, strict=True):
                draw = painter(explanation, top_k=top_k, style=style)
                for offset, frame in enumerate(window.written, window.first):
                    inside = offset < len(window.frames)
                    picture = draw(frame.image, offset // stride) if inside else _plain(frame.image, wide)
                    writer.write(picture, frame.time, frame.duration)
                    bar.update()
                _count(summary, window, explanation)
    summary.notes = [*video.report.sentences(), *writer.notes]
    if summary.held:
        summary.notes.append(f"the video is short: its last frame was held {summary.held} times.")
    return summary


def _windows(frames: Iterable[Frame], span: int, hop: int) -> Iterator[_Window]:
    """Windows of `span` frames every `hop`; each frame is written once, by the last window that begins before it.

    What is left at the end goes to a window that reaches back as far as it must to be whole.
    """
    kept: list[Frame] = []  # from the start of the last window on
    fresh = 0  # where in it the frames not yet written begin
    for frame in frames:
        kept.append(frame)
        if len(kept) - fresh == max(span, hop):
            yield _Window(kept[fresh : fresh + span], 0, kept[fresh : fresh + hop])
            kept, fresh = kept[max(0, fresh + hop - span) :], min(span, fresh + hop)
    if len(kept) > fresh:
        start = max(0, min(fresh, len(kept) - span))
        yield _Window(kept[start : start + span], fresh - start, kept[fresh:])


def _batched(windows: Iterable[_Window], size: int) -> Iterator[list[_Window]]:
    group: list[_Window] = []
    for window in windows:
        group.append(window)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _clip(window: _Window, stride: int, source: str) -> Clip:
    chosen = window.frames[::stride]
    return Clip(
        np.stack([frame.image for frame in chosen]),
        tuple(frame.time for frame in chosen),
        start=chosen[0].index,
        stride=stride,
        source=source,
    )


def _plain(image: np.ndarray, wide: int) -> np.ndarray:
    return np.concatenate([image] * wide, axis=1)


def _count(summary: Summary, window: _Window, explanation: Explanation) -> None:
    summary.frames += len(window.written)
    summary.windows += 1
    summary.held += explanation.held
