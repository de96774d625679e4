"""What a check says: a row for each question."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias, get_args

Verdict: TypeAlias = Literal["ok", "note", "warning", "failed"]
"""As it should be; right, but good to know; less sure or maybe wrong; wrong, or cannot be explained."""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
_WIDTH = 110


@dataclass(frozen=True)
class Row:
    """The answer to one question about a network.

    Attributes
    ----------
    question
        What was looked at, in a few words.
    verdict
        "ok", "note", "warning" or "failed".
    seen
        What was seen.
    remedy
        What to do, where there is something to do.
    figures
        What was measured, by name.
    """

    question: str
    verdict: Verdict
    seen: str
    remedy: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Check:
    """Whether a network is explained rightly; printed, it is a table.

    Attributes
    ----------
    model
        The network's name.
    clip
        What it was checked with.
    rows
        A row for each question.
    """

    model: str
    clip: str
    rows: tuple[Row, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.verdict != "failed"

    @property
    def verdict(self) -> Verdict:
        """The worst of all rows."""
        return max((row.verdict for row in self.rows), key=VERDICTS.index, default="ok")

    def __getitem__(self, question: str) -> Row:
        """The row of a question."""
        for row in self.rows:
            if row.question == question:
                return row
        raise KeyError(question)

    def to_json(self) -> str:
        """All of it, as one JSON object."""
        return json.dumps(
            {
                "model": self.model,
                "clip": self.clip,
                "ok": self.ok,
                "verdict": self.verdict,
                "rows": [asdict(row) for row in self.rows],
            },
            indent=2,
        )

    def __str__(self) -> str:
        questions = max((len(row.question) for row in self.rows), default=0)
        margin = max(map(len, VERDICTS)) + questions + 4
        lines = [f"{self.model}, checked with {self.clip}", ""]
        for row in self.rows:
            start = f"{row.verdict:{max(map(len, VERDICTS))}}  {row.question:{questions}}  "
            lines += _wrapped(start, row.seen, margin)
            if row.remedy:
                lines += _wrapped(f"{'':{margin - 4}}  > ", row.remedy, margin)
        counts = Counter(row.verdict for row in self.rows)
        lines += ["", ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])]
        return "\n".join(lines)

    __repr__ = __str__


def _wrapped(start: str, text: str, margin: int) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=start, subsequent_indent=" " * margin) or [start]
