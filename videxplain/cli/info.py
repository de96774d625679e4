"""`videxplain info`."""

from __future__ import annotations

import argparse

from videxplain.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> None:
    from videxplain.info import report

    say(report())
