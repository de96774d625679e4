"""The `videxplain` command. Nothing heavy is imported before a command needs it: `--help` must answer at once."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videxplain import __version__
from videxplain.arguments import (
    add_explanation,
    add_model,
    add_picture,
    check_files,
    explanation_options,
    load,
    positive,
)
from videxplain.errors import VidexplainError, VidexplainWarning, out_of_memory, unknown_name
from videxplain.evaluation.caveats import CAVEATS
from videxplain.evaluation.command import add_arguments as add_evaluation
from videxplain.interrupt import STATUS, guarded
from videxplain.settings import SEGMENTS_FROM, segmentation_for
from videxplain.terminal import complain, say, shown

_MOST_STRETCHES = 20  # lines of classes that are printed of a video
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def entry() -> None:
    """The command as a process."""
    status = main()
    if status == STATUS:  # a thread that hangs would keep Python from ending
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 1 an error said in one sentence, 2 wrong usage, 130 Ctrl-C."""
    try:
        with guarded(), _harmless_warnings():
            args = build_parser().parse_args(argv)
            return args.run(args) or 0
    except VidexplainError as error:
        complain(error)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        complain(f"{error.strerror or error}{where}")
        return 1
    except RuntimeError as error:
        shortage = out_of_memory(error)
        if shortage is None:
            raise
        complain(shortage)
        return 1
    except KeyboardInterrupt as error:
        complain(str(error) or "interrupted")
        return STATUS


@contextlib.contextmanager
def _harmless_warnings() -> Iterator[None]:
    """Warnings repeat names of files and classes as well."""
    plain = warnings.formatwarning

    def harmless(message: Any, category: Any, *args: Any, **options: Any) -> str:
        if issubclass(category, VidexplainWarning):
            return f"videxplain: note: {shown(message)}\n"
        return shown(plain(message, category, *args, **options), lines=True)

    warnings.formatwarning = harmless
    try:
        yield
    finally:
        warnings.formatwarning = plain


class _Parser(argparse.ArgumentParser):
    """Its messages repeat arguments."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(shown(message, lines=True), file)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="videxplain", description="Shows which parts of a video made a classifier decide as it did."
    )
    parser.add_argument("--version", action="version", version=f"videxplain {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = _command(
        commands, "demo", _demo, "explain a generated video with the bundled model; needs no file, no network"
    )
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("explained.mp4"),
        help="explained video (default: %(default)s)",
    )
    demo.add_argument(
        "--input",
        type=Path,
        default=Path("demo.mp4"),
        help="where the generated video goes (default: %(default)s)",
    )
    demo.add_argument(
        "--seconds", type=float, default=10.0, help="length of the generated video (default: %(default)s)"
    )
    demo.add_argument("--seed", type=int, default=6, help="another seed, another video")

    annotate = _command(
        commands, "annotate", _annotate, "explain a video from its first frame to its last, into an MP4"
    )
    annotate.add_argument("input", type=Path, nargs="+", metavar="IN", help="videos, or folders of videos")
    annotate.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT.mp4", help="for several videos a folder"
    )
    add_model(annotate)
    add_explanation(annotate, n_segments=200)
    add_picture(annotate)
    annotate.add_argument(
        "--no-timeline",
        dest="timeline",
        action="store_false",
        help="leave out the strip of the classes so far",
    )
    annotate.add_argument(
        "--stride", type=positive, default=1, help="take every N-th frame into a clip (default: %(default)s)"
    )
    annotate.add_argument(
        "--hop", type=positive, help="frames from one clip to the next (default: a clip's span)"
    )
    annotate.add_argument(
        "--batch", type=positive, default=1, help="clips per forward pass (default: %(default)s)"
    )
    annotate.add_argument(
        "--stream", type=int, help="which video stream, counted from 0, where there are several"
    )
    annotate.add_argument(
        "--deinterlace", action="store_true", help="make interlaced frames whole before they are explained"
    )
    annotate.add_argument(
        "--save", type=Path, metavar="DIR", help="also write each window's classes, scores and labels as data"
    )
    annotate.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray spreads several videos, or the windows of one, over a cluster (default: %(default)s)",
    )
    annotate.add_argument(
        "--workers",
        type=positive,
        default=2,
        help="with --engine ray, so many videos at a time, or processes for the windows of one "
        "(default: %(default)s)",
    )
    annotate.add_argument("--quiet", action="store_true", help="no progress bar")
    annotate.add_argument(
        "--profile", action="store_true", help="print each stage's time, and who waited for whom"
    )
    coding = annotate.add_argument_group("encoding")
    coding.add_argument("--codec", help="ffmpeg's name (default: libx264; libvpx-vp9 for .webm)")
    coding.add_argument("--crf", type=float, help="quality; lower is better (default: the codec's own)")
    coding.add_argument("--preset", help="speed against size (default: the codec's own)")

    explain = _command(commands, "explain", _explain, "explain one image or one clip, into a PNG")
    explain.add_argument("input", type=Path, metavar="IMAGE_OR_CLIP")
    explain.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png")
    explain.add_argument(
        "--at",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="where in a video the clip begins (default: 0)",
    )
    explain.add_argument(
        "--stride",
        type=positive,
        default=1,
        help="take every N-th frame into the clip (default: %(default)s)",
    )
    explain.add_argument(
        "--save", type=Path, metavar="DIR", help="also write labels, scores and settings as data"
    )
    explain.add_argument(
        "--segmentation", help="slic (default for clips), quickshift (default for images) or grid"
    )
    explain.add_argument(
        "--segments-from",
        default="image",
        help="what is cut into supervoxels: image (default), gradient, or both",
    )
    add_model(explain)
    add_explanation(explain, n_segments=200)
    add_picture(explain)

    evaluate = _command(
        commands,
        "evaluate",
        _evaluate,
        "rerun the paper's experiments, and newer ones, on a network and data",
    )
    add_evaluation(evaluate)
    add_model(evaluate)

    models = _command(commands, "models", _models, "list the networks that can be explained")
    models.add_argument(
        "--layers", metavar="NAME", help="list a network's layers that can serve Grad-CAM, with their grids"
    )
    models.add_argument(
        "--weights",
        default="random",
        help="weights for --layers (default: random, for the layers are the same)",
    )

    _command(commands, "methods", _methods, "list the scoring methods")
    _command(
        commands,
        "info",
        _info,
        "versions, the backend that serves each operation and why, devices, ffmpeg, weights",
    )
    return parser


def _command(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    command.set_defaults(run=run)
    return command


def _annotate(args: argparse.Namespace) -> int:
    check_files(args)
    chosen = explanation_options(args)
    segmentation_for("slic", n_segments=args.segments, compactness=args.compactness)
    if args.save:
        _need_pyarrow()
    from videxplain.video import check_output, check_source

    if len(args.input) == 1:  # of several each has its own row in the table of outcomes
        check_source(args.input[0])
        if not args.input[0].is_dir():
            check_output(args.output, args.input[0])
    from videxplain.annotate import annotate, profile_table
    from videxplain.annotate.many import annotate_many, find_videos, table

    same = (
        "top_k",
        "style",
        "timeline",
        "stride",
        "hop",
        "batch",
        "stream",
        "deinterlace",
        "codec",
        "crf",
        "preset",
        "save",
        "engine",
        "workers",
    )
    options = {name: getattr(args, name) for name in same} | chosen
    options["progress"] = not args.quiet
    if find_videos(args.input) != args.input or len(args.input) > 1:
        outcomes = annotate_many(load(args), args.input, args.output, **options)
        say(table(outcomes))
        return int(any(outcome.error for outcome in outcomes))
    model = load(args)
    summary = annotate(model, args.input[0], args.output, **options)
    resumed = f", {summary.resumed} of them by an earlier run" if summary.resumed else ""
    say(
        f"{shown(args.output)}: {_counted(summary.frames, 'frame')}{resumed}, "
        f"{_counted(summary.windows, 'window')} explained by {args.method} for {shown(model.name)}"
    )
    for stretch in summary.classes[:_MOST_STRETCHES]:
        say(
            f"  {_clock(stretch.begin)} to {_clock(stretch.end)}  {shown(stretch.name)}  "
            f"up to {stretch.probability:.1%}"
        )
    if len(summary.classes) > _MOST_STRETCHES:
        say(
            f"  and {_counted(len(summary.classes) - _MOST_STRETCHES, 'more change')} of class; --save keeps all"
        )
    if args.method in CAVEATS:
        say(CAVEATS[args.method])
    for note in summary.notes:
        say(note)
    if args.profile:
        say(profile_table(summary.times, summary.frames - summary.resumed))
    return 0


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


def _demo(args: argparse.Namespace) -> None:
    from videxplain import demo

    demo.run(args.input, args.output, seconds=args.seconds, seed=args.seed)
    say(
        f"{shown(args.output)} explains {shown(args.input)}: lit are the supervoxels that made the network decide"
    )


def _explain(args: argparse.Namespace) -> None:
    check_files(args)
    chosen = explanation_options(args)
    if args.segments_from not in SEGMENTS_FROM:
        raise unknown_name("source of segments", args.segments_from, SEGMENTS_FROM)
    single = args.input.suffix.lower() in IMAGE_SUFFIXES
    cut_by = args.segmentation or ("quickshift" if single and args.segment_scale == 1 else "slic")
    segmentation_for(cut_by, n_segments=args.segments, compactness=args.compactness)
    from videxplain.video import check_source

    if args.output.suffix.lower() != ".png":
        raise VidexplainError(f"{args.output} is not a .png name; `videxplain annotate` writes videos")
    check_source(args.input)
    if not args.output.parent.is_dir():
        raise VidexplainError(
            f"cannot write {args.output}: there is no folder {str(args.output.parent)!r}; make it first"
        )
    from PIL import Image

    from videxplain.explanations.explain import explain
    from videxplain.files import whole_file

    model = load(args)
    clip = _read_clip(args, model)
    explanation = explain(
        model,
        clip,
        segmentation=args.segmentation,
        segments_from=args.segments_from,
        **chosen,
    )
    with whole_file(args.output) as scratch:
        Image.fromarray(explanation.sheet(top_k=args.top_k, style=args.style)).save(scratch, "PNG")
    if args.save:
        explanation.save(args.save)
    say(
        f"{shown(args.output)}: {shown(explanation.target_name)} {explanation.probability:.1%}, "
        f"{explanation.num_segments} supervoxels"
    )
    if explanation.held:
        say(f"the clip is short: its last frame was held {explanation.held} times")
    for region in explanation.top(args.top_k):
        t, y, x = region.centre
        say(f"  supervoxel {region.id:4d}  share {region.share:6.1%}  centre t={t:.1f} y={y:.0f} x={x:.0f}")
    if explanation.method in CAVEATS:
        say(CAVEATS[explanation.method])


def _read_clip(args: argparse.Namespace, model: Any) -> Any:
    """The image, or the clip of the model's length that begins at `--at`."""
    from itertools import islice

    import numpy as np

    from videxplain.clip import Clip
    from videxplain.video import open_video

    if args.input.suffix.lower() in IMAGE_SUFFIXES:
        return Clip.from_image(args.input)
    with open_video(args.input) as video:
        wanted = (frame for frame in video.frames() if frame.time >= args.at)
        span = (model.clip_length - 1) * args.stride + 1
        frames = list(islice(wanted, 0, span, args.stride))
    if not frames:
        raise VidexplainError(f"{args.input} has no frame at or after {args.at:g} s; give an earlier --at")
    return Clip(
        np.stack([frame.image for frame in frames]),
        tuple(frame.time for frame in frames),
        start=frames[0].index,
        stride=args.stride,
        source=str(args.input),
    )


def _evaluate(args: argparse.Namespace) -> None:
    from videxplain.evaluation.command import run

    check_files(args)
    run(args, load)


def _models(args: argparse.Namespace) -> None:
    from videxplain.models import MODELS, cam_candidates, load_model

    if args.layers:
        model = load_model(args.layers, weights=args.weights)
        for layer in cam_candidates(model):
            grid = "x".join(map(str, layer.grid))
            say(f"{'*' if layer.chosen else ' '} {layer.name:40s} {grid:10s} {layer.channels} channels")
        say("* is taken where none is named (--cam-layer)")
        return
    for name in MODELS:
        say(f"{name:28s} {MODELS[name].kind:6s} weights: {MODELS[name].weights}")


def _methods(args: argparse.Namespace) -> None:
    from videxplain.attribution import METHODS

    for name in METHODS:
        say(f"{name:22s} {METHODS[name].summary}")


def _info(args: argparse.Namespace) -> None:
    from videxplain.info import report

    say(report())
