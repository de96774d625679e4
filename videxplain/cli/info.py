"""`videxplain info`."""

from __future__ import annotations

import argparse
import json

from videxplain.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print the same as JSON")


def run(args: argparse.Namespace) -> None:
    from videxplain.info import details, report

    say(json.dumps(details(), indent=1) if args.json else report())
