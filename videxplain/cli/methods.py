"""`videxplain methods`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from videxplain.attribution.choice import CHOICES, Auto
from videxplain.attribution.methods import METHODS, Masking, Method
from videxplain.cli.tables import print_table
from videxplain.evaluation.caveats import CAVEATS
from videxplain.terminal import say

_RECOMMENDED = ("auto", "guided", "grad-cam", "region-gradient", "lime")


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--json", action="store_true", help="print JSON instead of tables")


def run(args: argparse.Namespace) -> None:
    names = [name for name in _RECOMMENDED if name in METHODS]
    names += [name for name in METHODS if name not in names]
    rows = [_row(name, METHODS[name]) for name in names]
    if args.json:
        print_table(rows, as_json=True)
        return
    print_table([{k: v for k, v in row.items() if k not in _LONG} for row in rows], as_json=False)
    say("\nOptions, with their defaults")
    for row in rows:
        words = [f"score={'|'.join(row['scores'])}"] if len(row["scores"]) > 1 else []
        words += [f"{name}={value}" for name, value in row["options"].items()]
        if words:
            say(f"  {row['name']:22s} {', '.join(words)}")
    say("\nWhat auto becomes")
    for (budget, kind), choice in CHOICES.items():
        say(f"  {budget}, {kind}: {choice}")
    say("\nNotes")
    for name, note in CAVEATS.items():
        say(f"  {name}: {note.removeprefix('note: ')}")


_LONG = ("scores", "options", "note")


def _row(name: str, method: type[Method]) -> dict[str, Any]:
    return {
        "name": name,
        "passes": passes(method),
        "by class": bool(method.asks),
        "gradients": needs_gradients(method),
        "what it does": method.summary(),
        "scores": list(method.asks),
        "options": {
            f.name: f.default if isinstance(f.default, int | float | str | None) else str(f.default)
            for f in fields(method)
            if f.metadata.get("flag") != ""
        },
        "note": CAVEATS.get(name, "").removeprefix("note: ") or None,
    }


def passes(method: type[Method]) -> str:
    """What one explanation costs by default, in passes of the network."""
    if method is Auto:
        return "up to 5, 8 or 20"
    defaults = {f.name: f.default for f in fields(method)}
    count = next((defaults[name] for name in ("samples", "steps", "passes") if name in defaults), None)
    if count is not None:
        return f"{count} and back" if needs_gradients(method) else str(count)
    if issubclass(method, Masking):
        return "one a region"
    if not method.asks:
        return "0" if method().needs is None else "1"
    return "1 and back"


def needs_gradients(method: type[Method]) -> bool:
    """Whether gradients have to flow in the network; class activation maps look for their layer by them."""
    if issubclass(method, Masking):
        return "passes" in {f.name for f in fields(method)}
    return bool(method.asks) or method().needs is not None
