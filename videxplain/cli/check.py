"""`videxplain check`."""

from __future__ import annotations

import argparse
from pathlib import Path

from videxplain.cli.arguments import add_model, add_span, check_files, load, read_input
from videxplain.terminal import say, timed


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "input",
        type=Path,
        nargs="?",
        metavar="IMAGE_OR_CLIP",
        help="a video, an image, a folder of images, .npy or .npz (default: a generated clip)",
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")
    command.add_argument("--target", help="class to ask about (default: the predicted class)")
    command.add_argument("--against", help="another class: why the first one rather than this one")
    command.add_argument("--frame", type=int, help="which answer of a network that has one for each frame")
    add_span(command)
    add_model(command)


def run(args: argparse.Namespace) -> int:
    check_files(args)
    if args.input is not None:
        from videxplain.video import check_source

        check_source(args.input)
    from videxplain.checking.check import check

    model = load(args)
    clip = None if args.input is None else read_input(args, model)
    with timed("checking"):
        checked = check(model, clip, args.target, against=args.against, frame=args.frame)
    say(checked.to_json() if args.json else checked)
    return 0 if checked.ok else 1
