"""Long videos: decode | segment | explain | render | encode, in memory that does not grow with the length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from videxplain.annotate import moments, stages
from videxplain.annotate.job import History, Job, Summary, broken_off, requested
from videxplain.annotate.pipeline import Pipeline
from videxplain.annotate.saver import Saver
from videxplain.cluster import Workers, cluster
from videxplain.errors import VidexplainError
from videxplain.files import whole_file
from videxplain.models.frames import check_frames
from videxplain.settings import OF_VIDEOS, Execution, take_settings
from videxplain.terminal import shown
from videxplain.video import check_output, open_video
from videxplain.video.encoder import FramePool
from videxplain.video.segments import ResumableWriter, State

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.attribution.methods import Method
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier
    from videxplain.options import AnnotateOptions
    from videxplain.settings import Question, Segmentation

SEGMENT_FRAMES = 240
"""About how many frames a fault can cost: so long are the segments that a later run need not make again."""
PICTURES_AHEAD = 8
GROUPS = 5
"""Of windows, that are in memory at a time: one for each stage that works on whole ones, and one more."""


def annotate(
    model: Classifier,
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    /,
    method: str | Method = "guided",
    target: int | str | Question | None = None,
    *,
    segmentation: str | Segmentation | None = None,
    save: str | os.PathLike[str] | None = None,
    **options: Unpack[AnnotateOptions],
) -> Summary:
    """Explains a video from its first frame to its last.

    Whole segments of the output are kept beside it until it is done: after a crash, a full disk or Ctrl-C the same call
    goes on behind them, to the same result.

    Parameters
    ----------
    model
        The classifier.
    input, output
        The video, and where the explained one goes; it keeps frame times, sound, subtitles and metadata, and
        appears under its name only when it is whole.
    method, target, segmentation
        As for `explain`.
    save
        A folder for the data behind the picture: classes, scores, supervoxels and labels of every window, to be read
        by `videxplain.open_explanations`.
    **options
        Fields of the method, the segmentation and the question, as for `explain`; of `Windows` (stride, hop, batch),
        `Picture` (style, top_k, timeline, when), `Encoding` (codec, crf, preset, threads), `VideoSource` (stream,
        deinterlace) and `Execution` (engine, workers, progress) of `videxplain.settings`. Or such objects as
        `windows`, `picture`, `encoding`, `video_source` and `execution`: `windows=Windows(stride=2)` is `stride=2`.
        A run may go on behind what another engine did. And `regions`, a `Regions` of the whole video, of a long one by
        `Regions.open`: objects instead of supervoxels.

    Raises
    ------
    VidexplainError
        If a file cannot be read or written, or `explain` refuses. Where frames had been written, the sentence tells
        where they are; so does the KeyboardInterrupt that Ctrl-C raises.
    """
    rest: dict[str, Any] = dict(options)
    windows, picture, encoding, video_source, execution = take_settings(rest, *OF_VIDEOS)
    request, cut, regions = requested(method, target, segmentation, rest)
    _check_network(model)
    input, output = os.fsdecode(input), os.fsdecode(output)
    check_output(output, input)
    if picture.when and chapters_path(output).is_dir():
        raise VidexplainError(
            f"{chapters_path(output)} is a folder, and the chapters' file has that name; move it."
        )
    video = open_video(input, video_source.stream, deinterlace=video_source.deinterlace)
    cut = replace(cut, scale=model.geometry((video.height, video.width)).finest(cut.scale))
    if regions is not None:
        regions.check_size((video.height, video.width), "video")
    model.check_target(request.question.target)
    for asked in request.methods:
        asked.require_network_grid(cut.scale)
    job = Job(
        model=model,
        video=video,
        output=output,
        save=save,
        request=request,
        segmentation=cut,
        windows=windows,
        picture=picture,
        encoding=encoding,
        video_source=video_source,
        regions=regions,
    )
    return _run(job, execution)


def _check_network(model: Classifier) -> None:
    """Raises where a network cannot take the frames of a video, or wants them drawn otherwise."""
    try:
        check_frames(model, np.zeros((1, 1, 1, 3), np.uint8))
    except VidexplainError as error:
        raise VidexplainError(
            f"annotate reads videos as 8-bit RGB, which {model.name!r} does not take ({str(error).rstrip('.')}); "
            "explain reads its clips, from .npy, .npz and images of 16 bits"
        ) from error
    if model.settings.picture is not None:
        raise VidexplainError(
            f"annotate draws on the frames of a video as they are, and {model.name!r} has a picture of its own; leave "
            "that out, or use explain"
        )


def _run(job: Job, execution: Execution) -> Summary:
    history = History(job)
    saver = None if job.save is None else Saver(job.save, job.identity)

    def accept(ends: list[int], state: State) -> bool:
        """Whether what an earlier run has left fits together."""
        return (saver is None or saver.covers(ends)) and history.fits(state)

    try:
        writer = ResumableWriter(
            job.output, job.track, source=job.video.source, job=job.identity, accept=accept
        )
        if saver is not None:
            saver.go_on(writer.ends)
    except BaseException:
        if saver is not None:
            saver.close()
        raise
    history.restore(writer.state)
    summary = Summary(frames=writer.frames, resumed=writer.frames)
    pipeline = Pipeline(first="explain" if job.model.device.type == "cpu" else None)
    bar = tqdm(
        total=job.video.expected_frames,
        initial=summary.resumed,
        unit="frame",
        desc=shown(os.path.basename(job.output)),
        disable=not execution.progress,
    )
    over = cluster(execution.workers) if execution.engine == "ray" else nullcontext()
    try:
        with bar, over as ray, pipeline:
            ahead = GROUPS + (2 * execution.workers if ray else 0)
            groups = stages.decode(job, SEGMENT_FRAMES, writer.frames, summary)
            groups = pipeline.stage("decode", groups, 1, limit=ahead)
            groups = pipeline.stage("segment", stages.segment(groups, job, history), 1)
            results = _explained(groups, job, ray, execution.workers, pipeline)
            groups = pipeline.stage("explain", stages.assign(results), 1)
            pool = FramePool(job.track, PICTURES_AHEAD)
            pictures = stages.render(groups, job, history, pool, summary)
            pictures = pipeline.stage("render", pictures, PICTURES_AHEAD)
            frames = stages.encode(pictures, writer, saver, pool, summary, pipeline.done)
            for _ in pipeline.stage("encode", frames, 1):
                bar.update()
            summary.times = pipeline.times
        summary.classes = history.classes.named(job.model.class_names)
        summary.moments = history.moments.named(job.model.class_names)
        if saver is not None:
            saver.finish(job.manifest(summary))
        writer_notes = _finish(job, writer, summary)
        if saver is not None:
            saver.discard_parts()
    except BaseException as error:
        raise broken_off(error, job, writer, saver, pipeline, summary.frames) from error
    summary.notes = [*job.video.report.sentences(), *writer_notes, *_of_regions(job, history, summary)]
    if summary.held:
        summary.notes.append(f"the video is short: its last frame was held {summary.held} times.")
    return summary


def chapters_path(output: str) -> Path:
    """The WebVTT file of a video's chapters, which has a name that no player takes for subtitles."""
    return Path(output).with_suffix(".chapters.vtt")


def _finish(job: Job, writer: ResumableWriter, summary: Summary) -> list[str]:
    """Puts the video in place, with the peaks as its chapters where they are wanted, and tells what it lacks."""
    if not job.picture.when:
        return writer.finish()
    is_value = job.model.answers.task == "regression"
    chosen = moments.highest(summary.moments)
    notes = writer.finish(moments.chapters(chosen, is_value=is_value))
    with whole_file(chapters_path(job.output)) as scratch:
        scratch.write_text(moments.webvtt(chosen, is_value=is_value), encoding="utf-8")
    left_out = len(summary.moments) - len(chosen)
    if left_out:
        notes.append(f"chapters are the {len(chosen)} highest peaks; --save keeps {left_out} more.")
    return notes


def _of_regions(job: Job, history: History, summary: Summary) -> list[str]:
    """Sentences on regions that the network did not see, and frames without any."""
    regions, notes = job.regions, []
    if regions is None:
        return []
    if history.unseen:
        names = sorted(history.unseen)
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        notes.append(
            f"of some windows the network sees nothing of {', '.join(names[:5])}{more}: they lie outside what is cut "
            "out for it, or are smaller than its pixels."
        )
    if regions.start > 0 or regions.start + len(regions) != summary.frames:
        notes.append(
            f"the regions are of frames {regions.start} to {regions.start + len(regions) - 1}, and the video has "
            f"{summary.frames}; frames without regions are background."
        )
    return notes


def _explained(
    groups: Iterator[stages.Group], job: Job, ray: Any, workers: int, pipeline: Pipeline
) -> Iterator[tuple[stages.Group, list[Explanation]]]:
    """Each group with its windows' explanations: made in this thread, or, where there is Ray, by its workers."""
    explainer = stages.Explainer(job.model, job.request, job.cut)
    tasks = stages.tasks(groups)
    if ray is None:
        yield from ((group, explainer.explain(task)) for group, task in tasks)
        return
    gpu = job.model.device.type == "cuda"
    team = Workers(ray, stages.Explainer.explain, explainer, workers=workers, gpu=gpu)
    yield from team.in_order(tasks, pipeline.check)
