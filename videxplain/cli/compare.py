"""`videxplain compare`."""

from __future__ import annotations

import argparse
import csv

from videxplain.attribution.methods import METHODS
from videxplain.cli.answers import add_answer, answered
from videxplain.errors import VidexplainError
from videxplain.terminal import say, shown


def add_arguments(command: argparse.ArgumentParser) -> None:
    add_answer(command, "guided", methods=[METHODS[name] for name in METHODS], several=True)


def run(args: argparse.Namespace) -> None:
    from videxplain.explanations.compare import compare

    methods, targets = listed(args.method) or ["guided"], listed(args.target)
    if len(methods) * max(1, len(targets)) < 2:
        raise VidexplainError(
            "there is nothing to compare; name several methods or classes, as in --method guided,lime or --target a,b"
        )

    def ask(model, clip, options):  # type: ignore[no-untyped-def]
        return compare(model, clip, methods, targets or [None], **options)

    answer = answered(args, methods, ask)
    if not args.json:
        for pair in answer.agreements():
            titles = (f"{method} for {name}" for method, name in (pair.one, pair.other))
            say(
                f"  {shown(' and '.join(titles))}: rank correlation {pair.rank_correlation:.2f}, "
                f"{pair.overlap:.0%} of the best five"
            )


def listed(text: str | None) -> list[str]:
    """What commas divide; a name that has commas itself stands in double quotes."""
    if not text:
        return []
    return [part.strip() for part in next(csv.reader([text], skipinitialspace=True)) if part.strip()]
