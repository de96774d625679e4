"""Several videos in one go: what is wrong with one does not keep the others from being explained."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from videxplain.annotate import Summary, annotate
from videxplain.annotate.cluster import ENGINES, on_ray
from videxplain.errors import VidexplainError, unknown_name
from videxplain.files import VIDEO_SUFFIXES
from videxplain.terminal import shown

if TYPE_CHECKING:
    from videxplain.models import Classifier


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
    found: list[Path] = []
    for path in map(Path, inputs):
        inside = sorted(filter(_is_video, path.iterdir())) if path.is_dir() else []
        found += inside or [path]
    return found


def _is_video(path: Path) -> bool:
    """By its name; hidden files are what some archivers put beside each, and what unfinished runs leave."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def annotate_many(
    model: Classifier,
    inputs: Sequence[str | os.PathLike[str]],
    folder: str | os.PathLike[str],
    *,
    save: str | os.PathLike[str] | None = None,
    engine: str = "local",
    workers: int = 2,
    **options: Any,
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
    engine, workers
        "local" explains one after the other in this process, "ray" that many at a time over a Ray cluster, whose
        machines have to share the folders. Of a lone video "ray" explains that many groups of windows at a time.
    **options
        As for `annotate`.

    Returns
    -------
    list of Outcome
        One for each video, in order. Only Ctrl-C ends it early.

    Raises
    ------
    VidexplainError
        If the folder cannot be made, two videos would get the same name, or the engine cannot work.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    videos = find_videos(inputs)
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
            options if save is None else options | {"save": Path(os.path.abspath(save)) / video.stem},
        )
        for video, output in zip(videos, outputs, strict=True)
    ]
    if engine == "local" or len(jobs) == 1:
        own = {"engine": engine, "workers": workers}
        return [_outcome(model, (video, output, given | own)) for video, output, given in jobs]
    gpu = model.device.type == "cuda"
    jobs = [(video, output, given | {"progress": False}) for video, output, given in jobs]
    found: dict[int, Outcome] = {}
    for index, outcome in on_ray(_outcome, model, jobs, workers=workers, gpu=gpu):
        lost = isinstance(outcome, str)
        found[index] = Outcome(*jobs[index][:2], 0.0, error=outcome) if lost else outcome  # type: ignore[arg-type,assignment]
    return [found[index] for index in range(len(jobs))]


def _outcome(model: Classifier, job: tuple[Path, Path, dict[str, Any]]) -> Outcome:
    """Explains one video."""
    video, output, options = job
    began = perf_counter()
    outcome = Outcome(video, output, 0.0)
    try:
        outcome.summary = annotate(model, video, output, **options)
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
