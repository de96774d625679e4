"""`videxplain evaluate`: its arguments, and what it does. Imports nothing heavy before it runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from videxplain.cli.arguments import add_model, add_settings, check_files, load, positive
from videxplain.errors import VidexplainError
from videxplain.evaluation.experiments import EXPERIMENTS
from videxplain.evaluation.rows import EvaluationSettings, parse_rows
from videxplain.segmentation import check_segmentation, without_idle
from videxplain.settings import Execution, Run, Segmentation
from videxplain.terminal import say, shown, timed


def add_arguments(command: argparse.ArgumentParser) -> None:
    *names, last = EXPERIMENTS
    command.add_argument("experiment", help=f"{', '.join(names)} or {last}", metavar="NAME")
    command.add_argument(
        "--data",
        default="generated",
        help="a folder of images, videos or arrays by class, a CSV of path,label[,mask], photographs (those that "
        "dependencies ship) or generated (clips; the default)",
    )
    command.add_argument(
        "--count", type=int, default=200, help="how many generated clips (default: %(default)s)"
    )
    command.add_argument("--out", type=Path, help="folder of the results (default: evaluation/NAME)")
    command.add_argument(
        "--methods",
        dest="rows",
        metavar="A,B,...",
        help='rows of the table: a method, or one with a number of samples, passes or steps such as "lime-100", and '
        'options such as "lime-100:score=log-odds"; or "all" (default: those of the paper\'s tables)',
    )
    command.add_argument(
        "--segments", default="100", metavar="N,...", help="numbers of supervoxels (default: %(default)s)"
    )
    add_settings(command, EvaluationSettings)
    command.add_argument("--limit", type=int, help="only the first so many items")
    command.add_argument("--shard", default="1/1", metavar="I/N", help="only every N-th item, from the I-th")
    command.add_argument("--cache", type=Path, help="folder of LIME references (default: in --out)")
    command.add_argument("--engine", default="local", help="local or ray (default: %(default)s)")
    command.add_argument("--workers", type=int, default=2, help="with ray, how many processes")
    command.add_argument(
        "--pages",
        type=positive,
        metavar="N",
        help="also write a page, which plays the clip, for each of the N best and N worst explained items; the report "
        "links them",
    )
    add_model(command)


def run(args: argparse.Namespace) -> None:
    """Run the experiment and write `table.csv`, `items.csv` and `report.html` into the folder."""
    check_files(args)
    shown_bar = not args.quiet and sys.stderr.isatty()
    execution = Execution(engine=args.engine, workers=args.workers, progress=shown_bar)
    settings = _settings(args)
    from videxplain.evaluation.datasets import open_dataset
    from videxplain.evaluation.report import Pages, has_items, write_report
    from videxplain.evaluation.runner import evaluate
    from videxplain.evaluation.summary import caveats, measure_agreement, to_text
    from videxplain.view.page import export_page

    if args.pages and not has_items(args.experiment, settings.rows):
        raise VidexplainError(
            f"--pages is of items that methods explain, and {args.experiment} of these methods has none; leave it out"
        )
    pages = None if args.pages is None else Pages(args.pages, export_page)
    dataset = open_dataset(args.data, count=args.count)
    shard = _whole_numbers(args.shard, "/", "--shard")
    if len(shard) != 2:
        raise VidexplainError(f"--shard is two numbers such as 1/4, not {args.shard!r}.")
    part = Run(limit=args.limit, shard=(shard[0], shard[1]), cache=args.cache)
    folder = args.out or Path("evaluation") / args.experiment
    model = load(args)
    with timed("evaluating"):
        results = evaluate(args.experiment, model, dataset, folder, settings, part, execution)
    if results.skipped and not results.items:
        name, reason = results.skipped[0]
        raise VidexplainError(
            f"none of {len(results.skipped)} items could be evaluated; of the first, {shown(name)}: {reason}"
        )
    compared = f", reference LIME-{settings.reference}" if args.experiment == "agreement" else ""
    say(
        f"{args.experiment}: {EXPERIMENTS[args.experiment].summary}\n{results.model} on {results.data}; "
        f"{results.items} of {results.wanted} items, fill {settings.fill}{compared}\n"
    )
    say(to_text(results))
    for sentence in (*caveats(results), *measure_agreement(results)):
        say(sentence)
    for name, reason in results.skipped[:10]:
        say(f"skipped {shown(name)}: {reason}")
    for method, reason in results.notes.items():
        say(f"left out {method}: {reason}")
    with timed("writing the report"):
        report = write_report(results, model, dataset, folder, pages)
    say(f"\n{report}")


def _settings(args: argparse.Namespace) -> EvaluationSettings:
    """What was asked for, checked before anything heavy is loaded."""
    _ = EXPERIMENTS[args.experiment]  # which refuses an unknown one
    from videxplain.evaluation.datasets import check_data

    check_data(args.data)
    options = {
        name: value
        for name in EvaluationSettings.options()
        if (value := getattr(args, name, None)) is not None
    }
    options["rows"] = tuple(parse_rows(args.rows))
    options["segments"] = tuple(_whole_numbers(args.segments, ",", "--segments"))
    settings = EvaluationSettings(**options)
    if settings.segmentation != "auto":
        check_segmentation(without_idle(Segmentation(name=settings.segmentation)))
    return settings


def _whole_numbers(text: str, separator: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(separator)]
    except ValueError:
        raise VidexplainError(f"{option} takes whole numbers, not {text!r}.") from None
