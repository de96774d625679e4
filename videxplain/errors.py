"""The one exception that users are meant to read."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable


class VidexplainError(Exception):
    """Something the user can put right, in one sentence: what is wrong, where, what to do.

    The command line prints the sentence and exits with status 1; everything else that is raised is a defect.
    """


class VidexplainWarning(UserWarning):
    """Something that makes a result slower or less sure, in one sentence."""


def kind_of(value: object) -> str:
    """What a value is, for sentences about wrong ones."""
    if isinstance(value, str | os.PathLike):
        return f"a path or name ({os.fspath(value)!r})"
    return f"a {type(value).__name__}"


def out_of_memory(error: BaseException) -> VidexplainError | None:
    """Error for a GPU whose memory was not enough, from torch's; None for any other."""
    if type(error).__name__ != "OutOfMemoryError":  # torch's, which need not have been imported
        return None
    what = str(error).split(". GPU", 1)[0].rstrip(".")
    return VidexplainError(
        f"the GPU's memory is used up ({what}); explain fewer clips at once (batch, batch_size), in bfloat16 "
        "(precision), or on another device."
    )


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> VidexplainError:
    """Error for a name that is not among `choices`, with the nearest ones suggested.

    Those are names that have it for a part of theirs, whole words first; else those with the most letters alike.
    """
    known = list(choices)
    asked = str(name).strip().lower()
    parts = [c for c in known if len(asked) > 2 and asked in c.lower()]
    parts.sort(key=lambda c: (asked not in re.split(r"[^a-z0-9]+", c.lower()), len(c)))
    near = difflib.get_close_matches(asked, [c.lower() for c in known], n=3, cutoff=0.5)
    nearest = parts[:3] or [c for c in known if c.lower() in near]
    if nearest:
        hint = f"did you mean {' or '.join(map(repr, nearest))}?"
    elif len(known) <= 20:
        hint = f"choose one of {', '.join(known)}."
    else:
        hint = f"there are {len(known)} to choose from, such as {', '.join(known[:3])}."
    return VidexplainError(f"unknown {kind} {name!r}; {hint}")
