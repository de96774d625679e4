"""`videxplain evidence`."""

from __future__ import annotations

import argparse
from pathlib import Path

from videxplain.cli.answers import add_answer, answered
from videxplain.terminal import say, shown


def add_arguments(command: argparse.ArgumentParser) -> None:
    add_answer(command, "region-gradient, 4 passes under each fill", "fill")
    command.add_argument(
        "--fills",
        default="mean,grey,blur,still",
        metavar="A,B,...",
        help="what hides supervoxels; a set is verified where all agree (default: %(default)s)",
    )
    command.add_argument(
        "--clips",
        type=Path,
        metavar="STEM",
        help="also write STEM-keeps.mp4 and STEM-destroys.mp4: what keeps the class alone, and the clip without what "
        "destroys it",
    )


def run(args: argparse.Namespace) -> None:
    from videxplain.explanations.evidence import DEFAULT, evidence

    fills = [part.strip() for part in args.fills.split(",") if part.strip()]
    if args.clips:
        from videxplain.video import check_output

        for name in ("keeps", "destroys"):
            check_output(f"{args.clips}-{name}.mp4", args.input)

    def ask(model, clip, options):  # type: ignore[no-untyped-def]
        return evidence(model, clip, fills, args.target, **options)  # type: ignore[arg-type]

    answer = answered(args, DEFAULT, ask)
    if not args.json:
        say(f"  {shown(answer.keeps_words())}\n  {shown(answer.destroys_words())}")
    if args.clips:
        for path in answer.save_clips(args.clips):
            if not args.json:
                say(f"  {shown(path)}")
