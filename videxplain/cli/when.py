"""`videxplain when`."""

from __future__ import annotations

import argparse

from videxplain.cli.answers import add_answer, answered
from videxplain.cli.arguments import positive
from videxplain.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    add_answer(command, "region-gradient, 8 passes of the log-odds", cuts=False)
    command.add_argument(
        "--parts",
        type=positive,
        default=16,
        metavar="N",
        help="how many stretches of time the clip is cut into (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    from videxplain.explanations.when import DEFAULT, when

    def ask(model, clip, options):  # type: ignore[no-untyped-def]
        return when(model, clip, args.parts, args.target, **options)

    curve = answered(args, DEFAULT, ask, cuts=False)
    if not args.json:
        for stretch in curve.stretches():
            say(f"  {stretch.begin:.2f} to {stretch.end:.2f} s  share {stretch.share:6.1%}")
