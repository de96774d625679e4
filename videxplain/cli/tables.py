"""Tables that commands print: columns that line up, or the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from videxplain.terminal import say, shown


def print_table(rows: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Prints rows, all with the same keys: the keys head the columns; True and False are yes and no."""
    if as_json:
        say(json.dumps(list(rows), indent=1))
        return
    if not rows:
        return
    heads = list(rows[0])
    cells = [heads, *([_words(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[n]) for line in cells) for n in range(len(heads))]
    for line in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say(text.rstrip())


def _words(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else shown(value)
