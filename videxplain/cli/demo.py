"""`videxplain demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

from videxplain.terminal import say, shown, timed


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("explained.mp4"),
        help="explained video (default: %(default)s)",
    )
    command.add_argument(
        "--input",
        type=Path,
        default=Path("demo.mp4"),
        help="where the generated video goes (default: %(default)s)",
    )
    command.add_argument(
        "--seconds", type=float, default=10.0, help="length of the generated video (default: %(default)s)"
    )
    command.add_argument("--seed", type=int, default=6, help="another seed, another video")


def run(args: argparse.Namespace) -> None:
    from videxplain import demo

    with timed("making and explaining the video"):
        page = demo.run(
            args.input, args.output, seconds=args.seconds, seed=args.seed, progress=not args.quiet
        )
    say(
        f"{shown(args.output)} explains {shown(args.input)}: the highlighted supervoxels drove the network's decision."
    )
    if page is None:
        say("A page to look at it needs pyarrow: pip install 'videxplain[save]'.")
    else:
        say(f"{shown(page)} is a page to look at it: open it in a browser.")
