"""How much a command tells: `--quiet` without progress bars, `--verbose` also how things were done."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from videxplain.errors import VidexplainError
from videxplain.terminal import detail, shown

if TYPE_CHECKING:
    from videxplain.models import Classifier

ONLY_PRINT = frozenset({"models", "methods", "info", "completion"})
"""Commands that do nothing but print."""


def add_manner(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("what is printed")
    group.add_argument(
        "-q", "--quiet", action="store_true", help="no progress bar: results, notes and errors only"
    )
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="also tell, on stderr, what did the work and why it was taken, and how long each step took",
    )


def is_verbose(args: argparse.Namespace) -> bool:
    """Whether the command is to tell how things were done.

    Raises
    ------
    VidexplainError
        Where less is asked for as well.
    """
    verbose = getattr(args, "verbose", False)
    if verbose and args.quiet:
        raise VidexplainError("--quiet prints less and --verbose more; leave one out")
    return bool(verbose)


def tell_network(model: Classifier) -> None:
    """Which network answers, on what, and what serves the operations beside it."""
    from videxplain.ops import backends

    detail(f"network: {shown(model.name)} on {model.device}, {model.precision}")
    for (backend, why), count in Counter(backends().values()).items():
        detail(f"operations: {count} by {backend} ({why})")


def tell_settings(method: str, settings: Mapping[str, Any], *, named: bool, why_fill: str) -> None:
    """Which method and fill an explanation was made with, and why they were taken.

    Parameters
    ----------
    named
        Whether the user named the method.
    why_fill
        Why its fill was taken.
    """
    became = settings.get("became")
    why = "as asked for" if named else "the default"
    because = why if became is None else f"{why}, became {became}: {settings.get('because')}"
    detail(f"method: {shown(method)}, {shown(because)}")
    if fill := settings.get("fill"):
        detail(f"fill: {shown(fill)}, {why_fill}")
