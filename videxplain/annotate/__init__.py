"""Long videos: decode | segment | explain | render | encode, in memory that does not grow with the length."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from videxplain import __version__
from videxplain.annotate import stages
from videxplain.annotate.blend import Blender
from videxplain.annotate.classes import Classes, Stretch
from videxplain.annotate.cluster import ENGINES, Workers, cluster
from videxplain.annotate.pipeline import Pipeline, StageTime, profile_table
from videxplain.annotate.saved import Saver
from videxplain.annotate.supervoxels import Supervoxels
from videxplain.errors import VidexplainError, out_of_memory, unknown_name
from videxplain.explanations.explain import Request
from videxplain.render import STYLES, Timeline
from videxplain.segmentation import check_segmentation, used_options
from videxplain.settings import Segmentation
from videxplain.terminal import shown
from videxplain.video import check_output, open_video
from videxplain.video.encoder import Encoding, Pictures
from videxplain.video.images import find_images
from videxplain.video.segments import ResumableWriter, State
from videxplain.video.writer import default_codec

if TYPE_CHECKING:
    from videxplain.attribution.methods import Method
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier
    from videxplain.settings import Question

__all__ = ["Summary", "annotate", "profile_table"]

IMAGE_MODEL_WINDOW = 16
"""Frames that an image model explains together, so that its supervoxels last longer than a frame."""
SEGMENT_FRAMES = 240
"""About how many frames a fault can cost: so long are the segments that a later run need not make again."""
_PICTURES_AHEAD = 8
_GROUPS = (
    5  # of windows, that are in memory at a time: one for each stage that works on whole ones, and one more
)


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
    classes
        The classes that were explained, in order, each with the stretch of time that it is of.
    notes
        What could not be decoded or carried over, in sentences.
    times
        Where each stage's time went.
    """

    frames: int = 0
    windows: int = 0
    resumed: int = 0
    held: int = 0
    classes: list[Stretch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    times: list[StageTime] = field(default_factory=list)


def annotate(
    model: Classifier,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    /,
    *,
    method: str | Method = "guided",
    target: int | str | Question | None = None,
    segmentation: str | Segmentation | None = None,
    top_k: int = 5,
    style: str = "heat",
    timeline: bool = True,
    stride: int = 1,
    hop: int | None = None,
    batch: int = 1,
    stream: int | None = None,
    deinterlace: bool = False,
    codec: str | None = None,
    crf: float | None = None,
    preset: str | None = None,
    threads: int = 0,
    save: str | os.PathLike[str] | None = None,
    engine: str = "local",
    workers: int = 2,
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
    method, target, segmentation, **options
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
    deinterlace
        Make interlaced frames whole; else they are explained with both fields in one picture, and a note says so.
    codec, crf, preset, threads
        ffmpeg's name of the encoder (by default libx264, in WebM libvpx-vp9), its quality (lower is better), its speed,
        and its threads (0: its own choice).
    save
        A folder for the data behind the picture: classes, scores, supervoxels and labels of every window, to be read
        by `videxplain.open_explanations`.
    engine, workers
        "local" explains in this process; "ray" explains the windows in that many processes of a Ray cluster, and does
        all else here. A run may go on behind what the other engine did.
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
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    input, output = os.fsdecode(input), os.fsdecode(output)
    check_output(output, input)
    video = open_video(input, stream, deinterlace=deinterlace)
    cutting, request = _requested(method, target, segmentation, options)
    cutting = replace(cutting, scale=model.geometry((video.height, video.width)).finest(cutting.scale))
    model.check_target(request.question.target)
    for picked in request.methods:
        picked.require_network_grid(cutting.scale)
    settings, cut, scale = request.recorded(), used_options(cutting), cutting.scale
    span = (IMAGE_MODEL_WINDOW if model.is_image_model else model.clip_length) * stride
    encoding = Encoding(
        video.width * (2 if style == "side-by-side" else 1),
        video.height,
        video.time_base,
        video.rate,
        codec or default_codec(output),
        crf,
        preset,
        threads,
        video.sample_aspect_ratio,
        tuple(sorted(video.color.items())),
        tuple(sorted(video.tags.items())),
        video.default,
    )
    job = {
        "videxplain": __version__,
        "input": identity(video.path),
        "stream": [video.stream_index, deinterlace],
        "model": [model.name, model.fingerprint()],
        "windows": [span, stride, hop, batch],
        "picture": [top_k, style, timeline],
        "settings": settings,
        "segmentation": cut,
        "encoding": vars(encoding),
        "save": None if save is None else os.path.abspath(save),
    }
    saver = None if save is None else Saver(save, job)
    size = model.geometry((video.height, video.width)).refined(scale).network
    strip, classes = Timeline((video.height, video.width)), Classes(model.num_classes)

    def accept(ends: list[int], state: State) -> bool:
        """Whether what an earlier run has left fits together."""
        return (
            (saver is None or saver.covers(ends))
            and Supervoxels.fits(state, size)
            and Blender.fits(state, size)
            and strip.fits(state.get("timeline"))
            and classes.fits(state.get("classes"))
        )

    try:
        writer = ResumableWriter(output, encoding, source=video.source, job=job, accept=accept)
        if saver is not None:
            saver.go_on(writer.ends)
    except BaseException:
        if saver is not None:
            saver.close()
        raise
    supervoxels = Supervoxels(cutting, device=model.device)
    supervoxels.restore(writer.state)
    strip.restore(writer.state.get("timeline"))
    classes.restore(writer.state.get("classes"))
    summary = Summary(frames=writer.frames, resumed=writer.frames)
    pipeline = Pipeline(first="explain" if model.device.type == "cpu" else None)
    try:
        with (
            tqdm(
                total=video.expected_frames,
                initial=summary.resumed,
                unit="frame",
                desc=shown(os.path.basename(output)),
                disable=not progress,
            ) as bar,
            cluster(workers) if engine == "ray" else nullcontext() as ray,
            pipeline,
        ):
            groups = stages.decode(video, span, hop or span, batch, SEGMENT_FRAMES, writer.frames, summary)
            groups = pipeline.stage("decode", groups, 1, limit=_GROUPS + (2 * workers if ray else 0))
            groups = stages.segment(groups, model, stride, video, supervoxels, scale)
            groups = pipeline.stage("segment", groups, 1)
            results = _explained(stages.jobs(groups), (model, request, cut), ray, workers, pipeline)
            groups = pipeline.stage("explain", stages.assign(results), 1)
            length = video.expected_frames if timeline else None
            blender = Blender(stride)
            blender.restore(writer.state)
            room = Pictures(encoding, _PICTURES_AHEAD)
            pictures = stages.render(
                groups, stride, top_k, style, summary, strip, classes, length, blender, encoding, room
            )
            pictures = pipeline.stage("render", pictures, _PICTURES_AHEAD)
            for _ in pipeline.stage(
                "encode", stages.encode(pictures, writer, saver, summary, room, pipeline.done), 1
            ):
                bar.update()
            summary.times = pipeline.times
        if saver is not None:
            saver.finish(
                {
                    "input": os.path.basename(video.path),
                    "input_sha256": _sha256(video.path),
                    "model": model.name,
                    "frames": summary.frames,
                    "run": {  # what another run has to be given to explain the same windows alike
                        "stream": stream,
                        "deinterlace": deinterlace,
                        "stride": stride,
                        "hop": hop or span,
                        "batch": batch,
                        **settings,
                        **cut,
                    },
                }
            )
        writer_notes = writer.finish()
        if saver is not None:
            saver.discard_parts()
    except BaseException as error:
        raise _advised(error, writer, saver, pipeline, job, summary.frames) from error
    summary.classes = classes.named(model.class_names)
    summary.notes = [*video.report.sentences(), *writer_notes]
    if summary.held:
        summary.notes.append(f"the video is short: its last frame was held {summary.held} times.")
    return summary


def _requested(
    method: str | Method,
    target: int | str | Question | None,
    segmentation: str | Segmentation | None,
    options: dict[str, Any],
) -> tuple[Segmentation, Request]:
    """How windows are cut, and what is explained of them; supervoxels come with each window."""
    request = Request.of([method], target, segmentation, False, options)
    cutting = request.segmentation
    if cutting.name == "auto":
        cutting = replace(cutting, name="slic")
    check_segmentation(cutting, request.stated)
    if cutting.source != "image":
        raise VidexplainError(f"source {cutting.source!r} is for explain(); videos are cut by their pictures")
    return cutting, replace(request, segmentation=Segmentation(), stated=())


def _explained(
    jobs: Iterator[tuple[stages.Group, stages.Job]],
    shared: tuple[Classifier, Request, dict[str, Any]],
    ray: Any,
    workers: int,
    pipeline: Pipeline,
) -> Iterator[tuple[stages.Group, list[Explanation]]]:
    """Each group with what was found of its windows: in this thread, or, where there is Ray, by its workers."""
    if ray is None:
        yield from ((group, stages.explained(shared, job)) for group, job in jobs)
        return
    gpu = shared[0].device.type == "cuda"
    yield from Workers(ray, stages.explained, shared, workers=workers, gpu=gpu).in_order(jobs, pipeline.check)


def _advised(
    error: BaseException,
    writer: ResumableWriter,
    saver: Saver | None,
    pipeline: Pipeline,
    job: dict[str, Any],
    frames: int,
) -> BaseException:
    """The same error, which also says what there is of the video and how to go on."""
    error = out_of_memory(error) or error
    reason = str(error) or type(error).__name__
    partial = None
    writing = "encode" in pipeline.hanging  # then the folders stay that thread's until the process ends
    if not writing:
        partial = writer.break_off() if frames else None
        writer.close()
    # the same command goes on if it finds all that it needs, and what it was given is still the same
    goes_on = (
        writer.remembered()
        and (saver is None or saver.covers(writer.ends))
        and identity(job["input"][0]) == job["input"]
    )
    if saver is not None and not writing:
        saver.close()
    if not frames:
        return error
    kept = writer.frames if goes_on else 0
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


def identity(path: str) -> list[Any]:
    """What tells one input from another: where it is, and size and time of change of each of its files."""
    found: list[Any] = [os.path.abspath(path)]
    try:
        for file in find_images(path) or [Path(path)]:
            status = os.stat(file)
            found += [os.path.basename(file), status.st_size, status.st_mtime_ns]
    except (OSError, VidexplainError):
        found.append("gone")
    return found


def _sha256(path: str) -> str | None:
    """Of a file, or of the images that are a video, one after the other; None if it is gone."""
    digest = hashlib.sha256()
    try:
        for file in find_images(path) or [Path(path)]:
            with open(file, "rb") as source:
                while part := source.read(1 << 20):
                    digest.update(part)
    except (OSError, VidexplainError):
        return None
    return digest.hexdigest()
