"""`videxplain completion`."""

from __future__ import annotations

import argparse

from videxplain.errors import VidexplainError


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="whose script to print")


def run(args: argparse.Namespace) -> None:
    try:
        import shtab
    except ImportError as error:
        raise VidexplainError(
            "completion needs shtab; install it with pip install 'videxplain[completion]'."
        ) from error
    from videxplain.cli import build_parser, fill

    parser = build_parser()
    fill(parser)
    print(shtab.complete(parser, args.shell))
