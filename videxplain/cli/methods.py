"""`videxplain methods`."""

from __future__ import annotations

import argparse
from dataclasses import fields

from videxplain.attribution.choice import CHOICES, Auto
from videxplain.attribution.methods import METHODS
from videxplain.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    """It takes none."""


def run(args: argparse.Namespace) -> None:
    for name in METHODS:
        method = METHODS[name]
        say(f"{name:22s} {method.summary()}")
        asks = f"score={'|'.join(method.asks)}" if len(method.asks) > 1 else ""
        options = [f"{f.name}={f.default}" for f in fields(method) if f.metadata.get("flag") != ""]
        if words := ", ".join(filter(None, [asks, *options])):
            say(f"{'':22s}   {words}")
        if method is Auto:
            for (budget, kind), choice in CHOICES.items():
                say(f"{'':22s}   {budget}, {kind}: {choice}")
