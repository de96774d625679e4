"""`videxplain motion`."""

from __future__ import annotations

import argparse

from videxplain.cli.answers import add_answer, answered
from videxplain.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    add_answer(command, "region-gradient, 8 passes of the log-odds", "fill")


def run(args: argparse.Namespace) -> None:
    from videxplain.explanations.motion import DEFAULT, motion

    def ask(model, clip, options):  # type: ignore[no-untyped-def]
        return motion(model, clip, args.target, **options)

    answer = answered(args, DEFAULT, ask)
    if not args.json:
        lost = ", ".join(f"{name} {value:.3g}" for name, value in answer.lost.items())
        say(f"  lost when the whole clip is changed: {lost}")
        for k in answer.explanation.top_ids(5).tolist():
            if answer.shares[k] == answer.shares[k]:
                say(f"  supervoxel {k:4d}  motion {answer.shares[k]:4.0%}")
