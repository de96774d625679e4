"""Several videos in one go: what is wrong with one does not keep the others from being explained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from videxplain.annotate.job import Summary
from videxplain.annotate.run import annotate
from videxplain.cluster import in_processes
from videxplain.errors import VidexplainError
from videxplain.files import VIDEO_SUFFIXES
from videxplain.settings import Execution, take_settings
from videxplain.terminal import shown

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.attribution.methods import Method
    from videxplain.models import Classifier
    from videxplain.options import AnnotateOptions
    from videxplain.settings import Question, Segmentation


@dataclass
class Outcome:
    """What came of one of several videos: a summary, or the sentence that says why there is none."""

    input: Path
    output: Path
    seconds: float
    summary: Summary | None = None
    error: str | None = None


def find_videos(inputs: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The inputs, with each folder that holds videos replaced by those, sorted by name."""
    videos: list[Path] = []
    for path in map(Path, inputs):
        inside = sorted(filter(_is_video, path.iterdir())) if path.is_dir() else []
        videos += inside or [path]
    return videos


def _is_video(path: Path) -> bool:
    """By its name; hidden files are what some archivers put beside each, and what unfinished runs leave."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def annotate_many(
    model: Classifier,
    inputs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    method: str | Method = "guided",
    target: int | str | Question | None = None,
    *,
    segmentation: str | Segmentation | None = None,
    save: str | os.PathLike[str] | None = None,
    **options: Unpack[AnnotateOptions],
) -> list[Outcome]:
    """Explains several videos into a folder, each under its own name with the ending .mp4.

    Parameters
    ----------
    inputs
        Videos, or folders of videos.
    folder
        Made if there is none.
    save
        A folder for their data, each in a folder of its own in it.
    method, target, segmentation, **options
        As for `annotate`. The engine "local" explains one after the other in this process, "ray" so many at a time as
        there are workers over a Ray cluster, whose machines have to share the folders. Of a lone video "ray" explains
        that many groups of windows at a time.

    Returns
    -------
    list of Outcome
        One for each video, in order. Only Ctrl-C ends it early.

    Raises
    ------
    VidexplainError
        If the folder cannot be made, two videos would get the same name, or the engine cannot work.
    """
    rest = {"method": method, "target": target, "segmentation": segmentation, **options}
    (execution,) = take_settings(rest, Execution)
    videos = find_videos(inputs)
    if rest.get("regions") is not None and len(videos) != 1:
        raise VidexplainError("regions are of one video; run several apart, each with its own.")
    outputs = [Path(folder) / f"{video.stem}.mp4" for video in videos]
    for output in outputs:
        if outputs.count(output) > 1:
            raise VidexplainError(
                f"several of the videos would be written to {output}; rename one, or run them apart."
            )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VidexplainError(
            f"the folder {os.fspath(folder)!r} cannot be made ({error.strerror})."
        ) from error
    jobs = [
        (
            Path(os.path.abspath(video)),
            Path(os.path.abspath(output)),
            rest if save is None else rest | {"save": Path(os.path.abspath(save)) / video.stem},
        )
        for video, output in zip(videos, outputs, strict=True)
    ]
    if execution.engine == "local" or len(jobs) == 1:
        return [_outcome(model, (*job, execution)) for job in jobs]
    alone = Execution()  # in its process, where no bar shows
    gpu = model.device.type == "cuda"
    outcomes: dict[int, Outcome] = {}
    for index, outcome in in_processes(
        _outcome, model, [(*job, alone) for job in jobs], workers=execution.workers, gpu=gpu
    ):
        lost = isinstance(outcome, str)
        outcomes[index] = Outcome(*jobs[index][:2], 0.0, error=outcome) if lost else outcome  # type: ignore[arg-type,assignment]
    return [outcomes[index] for index in range(len(jobs))]


def _outcome(model: Classifier, job: tuple[Path, Path, dict[str, Any], Execution]) -> Outcome:
    """Explains one video."""
    video, output, options, execution = job
    began = perf_counter()
    outcome = Outcome(video, output, 0.0)
    try:
        outcome.summary = annotate(model, video, output, execution=execution, **options)
    except VidexplainError as error:
        outcome.error = str(error)
    except Exception as error:  # a defect, but not one that the other videos have to suffer for
        outcome.error = f"failed: {type(error).__name__}: {error}"
    outcome.seconds = perf_counter() - began
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    """One line per video, and how many could be explained."""
    names = [shown(outcome.input.name) for outcome in outcomes]
    width = max(map(len, names))
    lines = [f"{'video':{width}s}  {'frames':>7s} {'windows':>7s} {'seconds':>8s}  outcome"]
    for name, outcome in zip(names, outcomes, strict=True):
        summary = outcome.summary or Summary()
        said = shown(outcome.error or " ".join(summary.notes) or "explained")
        lines.append(
            f"{name:{width}s}  {summary.frames:7d} {summary.windows:7d} {outcome.seconds:8.1f}  {said}"
        )
    done = sum(outcome.error is None for outcome in outcomes)
    return "\n".join([*lines, f"{done} of {len(outcomes)} videos explained"])
