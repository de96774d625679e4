"""Writes videxplain/options.py: the short form of settings, as type checkers want it.

python .ci/make_options.py [--check]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from videxplain import settings
from videxplain.attribution.methods import METHODS
from videxplain.settings import Settings, whole_name

TARGET = Path(__file__).parents[1] / "videxplain" / "options.py"
HEAD = '''"""Fields of settings as keywords, for type checkers. Made by `python .ci/make_options.py`; do not edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from videxplain.attribution.choice import Budget
from videxplain.attribution.methods import MaskSampling
from videxplain.regions import Regions
from videxplain.settings import (
    Arrangement,
    ChannelGroups,
    Encoding,
    EngineName,
    Execution,
    Fill,
    FooterPlace,
    Framing,
    Layout,
    Outputs,
    Picture,
    PictureOf,
    Precision,
    Score,
    Style,
    Task,
    TokenGrid,
    VideoSource,
    Windows,
)
'''


CLIP_OPTIONS = '''class ClipOptions(ExplainOptions, total=False):
    """Of `explain`, whose clips may come with regions, or be cut at several levels."""

    coarse_to_fine: bool | None
    levels: Sequence[int] | None
    regions: Regions | Sequence[Regions] | None
'''


def typed_dict(name: str, about: str, classes: Iterable[type[Settings]], base: str = "TypedDict") -> str:
    """A TypedDict with the fields of all classes that have a short form; one of several types takes any of them."""
    hints: dict[str, list[str]] = {}
    for cls in classes:
        short = set(cls.options())
        for owner in reversed(cls.__mro__):
            for field, hint in vars(owner).get("__annotations__", {}).items():
                if field in short and hint not in hints.setdefault(field, []):
                    hints[field].append(hint)
    lines = [
        f"class {name}({base}, total=False):",
        f'    """{about}"""',
        "",
    ]
    if base == "ExplainOptions":  # whole settings as well, and nothing that it has already
        hints = {field: hint for field, hint in hints.items() if field != "progress"}
        hints |= {whole_name(cls): [cls.__name__] for cls in classes}
    for field in sorted(hints):
        parts = list(dict.fromkeys(part for hint in hints[field] for part in hint.split(" | ")))
        lines.append(f"    {field}: {' | '.join([p for p in parts if p != 'None'] + ['None'])}")
    return "\n".join(lines).replace("'", '"') + "\n"


def text() -> str:
    builtin = [METHODS[name] for name in METHODS if METHODS[name].__module__.startswith("videxplain.")]
    return "\n\n".join(
        [
            HEAD,
            typed_dict("MethodOptions", "Of methods, and of the question.", [*builtin, settings.Question]),
            typed_dict(
                "ExplainOptions", "Of `explain`, but for regions.", [settings.Segmentation], "MethodOptions"
            ),
            CLIP_OPTIONS,
            typed_dict("AnnotateOptions", "Of `annotate`.", settings.OF_VIDEOS, "ExplainOptions"),
            typed_dict("NetworkOptions", "Of `Classifier`.", [settings.NetworkSettings]),
        ]
    )


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.read_text() == text() else f"{TARGET} is out of date; run this without --check")
    TARGET.write_text(text())
