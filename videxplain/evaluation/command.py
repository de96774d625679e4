"""`videxplain evaluate`: its arguments, and what it does. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from videxplain.errors import VidexplainError, unknown_name
from videxplain.settings import Fill, segmentation_for
from videxplain.terminal import say, shown

EXPERIMENTS = ("removal", "agreement", "timing", "localization", "curves", "sanity")
DATA = ("generated", "photographs")


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Arguments of `videxplain evaluate`, but those that choose the network."""
    command.add_argument(
        "experiment", help=f"{', '.join(EXPERIMENTS[:-1])} or {EXPERIMENTS[-1]}", metavar="NAME"
    )
    command.add_argument(
        "--data",
        default="generated",
        help="a folder of images or videos by class, a CSV of path,label[,mask], photographs (those that "
        "dependencies ship) or generated (clips; the default)",
    )
    command.add_argument(
        "--count", type=int, default=200, help="how many generated clips (default: %(default)s)"
    )
    command.add_argument("--out", type=Path, help="folder of the results (default: evaluation/NAME)")
    command.add_argument(
        "--methods",
        metavar="A,B,...",
        help='rows of the table; "lime-N", "lime-logit-N", "lime-package-N", "kernel-shap-N", "region-gradient-N", '
        'or "all"',
    )
    command.add_argument(
        "--segments", default="100", metavar="N,...", help="numbers of supervoxels (default: %(default)s)"
    )
    command.add_argument("--segmentation", help="slic (default for clips), quickshift (for images) or grid")
    command.add_argument("--compactness", type=float, default=10.0)
    command.add_argument(
        "--fill",
        default="grey",
        help="what takes a hidden supervoxel's place: grey, mean, black, blur or noise (default: %(default)s)",
    )
    command.add_argument(
        "--reference", type=int, default=1000, help="samples of the LIME compared with (default: %(default)s)"
    )
    command.add_argument("--stride", type=int, default=1, help="take every N-th frame of a video")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--guided-any", action="store_true", help="let guided methods treat GELU like ReLU")
    command.add_argument("--limit", type=int, help="only the first so many items")
    command.add_argument("--shard", default="1/1", metavar="I/N", help="only every N-th item, from the I-th")
    command.add_argument("--cache", type=Path, help="folder of LIME references (default: in --out)")
    command.add_argument("--engine", default="local", help="local or ray (default: %(default)s)")
    command.add_argument("--workers", type=int, default=2, help="actors of the Ray engine")
    command.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace, load: Callable[[argparse.Namespace], Any]) -> None:
    """Run the experiment and write `table.csv`, `items.csv` and `report.html` into the folder."""
    _check(args)
    from videxplain.evaluation.datasets import open_dataset
    from videxplain.evaluation.experiments import EXPERIMENTS as MEASURED
    from videxplain.evaluation.item import Settings, parse_rows
    from videxplain.evaluation.report import write_report
    from videxplain.evaluation.runner import evaluate
    from videxplain.evaluation.summary import caveats, to_text

    measured = MEASURED[args.experiment]
    settings = Settings(
        rows=tuple(parse_rows(args.methods)),
        segments=tuple(_whole_numbers(args.segments, ",", "--segments")),
        segmentation=args.segmentation,
        compactness=args.compactness,
        fill=args.fill,
        reference=args.reference,
        seed=args.seed,
        stride=args.stride,
        guided_any=args.guided_any,
    )
    dataset = open_dataset(args.data, count=args.count)
    shard = _whole_numbers(args.shard, "/", "--shard")
    if len(shard) != 2:
        raise VidexplainError(f"--shard is two numbers such as 1/4, not {args.shard!r}.")
    folder = args.out or Path("evaluation") / args.experiment
    model = load(args)
    results = evaluate(
        args.experiment,
        model,
        dataset,
        folder,
        settings,
        limit=args.limit,
        shard=(shard[0], shard[1]),
        cache=args.cache,
        engine=args.engine,
        workers=args.workers,
        progress=not args.quiet and sys.stderr.isatty(),
    )
    compared = f", reference LIME-{settings.reference}" if args.experiment == "agreement" else ""
    say(
        f"{args.experiment}: {measured.summary}\n{results.model} on {results.data}; "
        f"{results.items} of {results.wanted} items, fill {settings.fill}{compared}\n"
    )
    say(to_text(results))
    for caveat in caveats(results):
        say(caveat)
    for name, reason in results.skipped[:10]:
        say(f"skipped {shown(name)}: {reason}")
    for method, reason in results.notes.items():
        say(f"left out {method}: {reason}")
    say(f"\n{write_report(results, model, dataset, folder)}")


def _check(args: argparse.Namespace) -> None:
    """What can be told before anything heavy is loaded."""
    for kind, name, choices in (
        ("experiment", args.experiment, EXPERIMENTS),
        ("fill", args.fill, get_args(Fill)),
        ("engine", args.engine, ("local", "ray")),
    ):
        if name not in choices:
            raise unknown_name(kind, name, choices)
    if args.segmentation is not None:
        segmentation_for(args.segmentation)
    _whole_numbers(args.segments, ",", "--segments")
    if args.data not in DATA and not Path(args.data).exists():
        raise VidexplainError(
            f"there is no data {args.data!r}: give a folder, a CSV file, or {' or '.join(DATA)}."
        )


def _whole_numbers(text: str, separator: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(separator)]
    except ValueError:
        raise VidexplainError(f"{option} takes whole numbers, not {text!r}.") from None
