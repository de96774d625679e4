"""`videxplain annotate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from videxplain.attribution.choice import Auto
from videxplain.cli.arguments import (
    add_explanation,
    add_model,
    add_picture,
    add_settings,
    check_files,
    explanation_settings,
    load,
    refuse_cutting,
)
from videxplain.errors import VidexplainError
from videxplain.evaluation.caveats import CAVEATS
from videxplain.settings import (
    OF_VIDEOS,
    Encoding,
    Execution,
    VideoSource,
    Windows,
    take_settings,
    whole_name,
)
from videxplain.terminal import detail, say, shown

_MOST_STRETCHES = 20  # lines of classes that are printed of a video


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("input", type=Path, nargs="+", metavar="IN", help="videos, or folders of videos")
    command.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.mp4", help="for several videos a folder"
    )
    add_model(command)
    add_explanation(command, "guided")
    add_picture(command)
    add_settings(command, Windows, VideoSource, Execution)
    command.add_argument(
        "--save", type=Path, metavar="DIR", help="also write each window's classes, scores and labels as data"
    )
    command.add_argument(
        "--regions",
        type=Path,
        metavar="PATH",
        help="explain objects instead of supervoxels: numbers in .npy, a folder of PNGs, a video without "
        "loss (FFV1), COCO (.json), MOTS (.txt) or CVAT for video (.xml)",
    )
    command.add_argument(
        "--profile", action="store_true", help="print each stage's time, and who waited for whom"
    )
    add_settings(command.add_argument_group("encoding"), Encoding)


def run(args: argparse.Namespace) -> int:
    check_files(args)
    method, question, segmentation = explanation_settings(args, "slic")
    of_video = _of_video(args)
    if args.save:
        _need_pyarrow()
    from videxplain.video import check_output, check_source

    if len(args.input) == 1:  # of several each has its own row in the table of outcomes
        check_source(args.input[0])
        if not args.input[0].is_dir():
            check_output(args.output, args.input[0])
    from videxplain.annotate import annotate, profile_table
    from videxplain.annotate.many import annotate_many, find_videos, table

    settings: dict[str, Any] = {"segmentation": segmentation, "save": args.save, **of_video}
    several = find_videos(args.input) != args.input or len(args.input) > 1
    if args.regions is not None:
        if several:
            raise VidexplainError("--regions are of one video; run several apart, each with its own")
        refuse_cutting(args)
        from videxplain.regions import Regions

        settings |= {"regions": Regions.open(args.regions, of=str(args.input[0])), "segmentation": None}
    if several:
        outcomes = annotate_many(load(args), args.input, args.output, method, question, **settings)
        say(table(outcomes))
        return int(any(outcome.error for outcome in outcomes))
    model = load(args)
    summary = annotate(model, args.input[0], args.output, method, question, **settings)
    resumed = f", {summary.resumed} of them by an earlier run" if summary.resumed else ""
    say(
        f"{shown(args.output)}: {_counted(summary.frames, 'frame')}{resumed}, "
        f"{_counted(summary.windows, 'window')} explained by {args.method} for {shown(model.name)}"
    )
    is_value = model.answers.task == "regression"
    for stretch in summary.classes[:_MOST_STRETCHES]:
        say(
            f"  {_clock(stretch.begin)} to {_clock(stretch.end)}  {shown(stretch.name)}  "
            f"up to {f'{stretch.probability:.4g}' if is_value else f'{stretch.probability:.1%}'}"
        )
    if len(summary.classes) > _MOST_STRETCHES:
        say(
            f"  and {_counted(len(summary.classes) - _MOST_STRETCHES, 'more change')} of class; --save keeps all"
        )
    named = args.method
    if isinstance(method, Auto):
        choice = method.choose(model, segmentation.scale)
        say(f"method auto became {choice}")
        named = choice.method.name
    if named in CAVEATS:
        say(CAVEATS[named])
    for note in summary.notes:
        say(note)
    profile = profile_table(summary.times, summary.frames - summary.resumed)
    if args.profile:
        say(profile)
    else:
        detail(f"times of the stages, which run at the same time\n{profile}")
    return 0


def _of_video(args: argparse.Namespace) -> dict[str, Any]:
    """Settings besides those of explanations, whole, by the names that `annotate` has for them."""
    options = {name: getattr(args, name, None) for kind in OF_VIDEOS for name in kind.options()}
    options["progress"] = not args.quiet
    return dict(zip(map(whole_name, OF_VIDEOS), take_settings(options, *OF_VIDEOS), strict=True))


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _clock(seconds: float) -> str:
    """As minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def _need_pyarrow() -> None:
    """Raises before the work where the data could not be written after it."""
    from importlib.util import find_spec

    if find_spec("pyarrow") is None:
        raise VidexplainError(
            "--save of a video needs pyarrow; install it with pip install 'videxplain[save]'"
        )
