"""`videxplain export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from videxplain.cli.arguments import add_explained_video
from videxplain.terminal import say, shown, timed


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="what `explain --save DIR` or `annotate --save DIR` wrote",
    )
    command.add_argument(
        "-o", "--output", type=Path, required=True, help="file to write, or folder: what the format needs"
    )
    command.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="coco, fiftyone, napari or tensorboard (folders), csv (.csv), cvat (.xml), rerun (.rrd) or webvtt (.vtt)",
    )
    add_explained_video(command)
    command.add_argument(
        "--top-k",
        type=int,
        metavar="N",
        help="how many regions of each window are highlighted or written, best first; 0 for all (default: 5)",
    )


def run(args: argparse.Namespace) -> None:
    from videxplain.exports.export import export

    with timed("writing"):
        written = export(
            args.folder,
            args.output,
            args.to,
            video=args.video,
            top_k=args.top_k,
            progress=not args.quiet,
        )
    say(shown(str(written)))
