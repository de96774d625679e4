"""What is evaluated: the rows of a table, each a method with its options, and the settings that all rows share.

Imports no torch.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from videxplain.attribution.methods import METHODS, Method, chosen, with_effort
from videxplain.errors import VidexplainError
from videxplain.settings import Fill, Question, Settings, from_text, option

PAPER_ROWS = (
    "random",
    "lime-50",
    "lime-75",
    "lime-100",
    "lime-500",
    "lime-1000",
    "vanilla",
    "guided",
    "input-x-gradient",
    "grad-cam",
    "guided-grad-cam",
    "grad-cam++",
    "act-grad-cam",
    "guided-act-grad-cam",
    "relu-activation",
)
"""The rows of the paper's tables, in its order."""


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes
    ----------
    text
        As it was written: NAME, NAME-N for N samples, passes or steps, and options, as in
        "lime-100:score=log-odds:fill=grey".
    method, question
        What that means.
    stated
        The options that it states, which others do not change.
    """

    text: str
    method: Method
    question: Question
    stated: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Row:
        """Of what was written.

        Raises
        ------
        VidexplainError
            For an unknown method, and an option that means nothing to it.
        """
        name, *parts = text.split(":")
        amount = None
        if name not in METHODS and (numbered := re.fullmatch(r"(.+)-(\d+)", name)) and numbered[1] in METHODS:
            name, amount = numbered[1], int(numbered[2])
        method = METHODS[name]()
        options = {}
        for part in parts:
            option_name, equals, value = part.partition("=")
            if not equals:
                raise VidexplainError(f"{part!r} in the row {text!r} is no option=value")
            options[option_name] = from_text(option_name, value, type(method), Question)
        (method,), question, _ = chosen([method], Question(), options)
        if amount is not None:
            method = with_effort(method, amount)
        return cls(text, method, question, tuple(options))


def parse_rows(text: str | None) -> list[str]:
    """Rows of a table from "a,b,c"; None for the paper's, "all" for those and all other methods.

    Raises
    ------
    VidexplainError
        As `Row.parse`.
    """
    if text is None:
        return list(PAPER_ROWS)
    if text == "all":  # LIME is there by its numbers of samples, and what auto becomes by its name
        there = (*PAPER_ROWS, "lime", "auto")
        return [*PAPER_ROWS, *(name for name in METHODS if name not in there)]
    rows = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for row in rows:
        Row.parse(row)
    if not rows:
        raise VidexplainError("there is no method to evaluate.")
    return rows


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings(Settings):
    """How items are explained; part of a run's identity.

    Attributes
    ----------
    rows
        Methods, as `Row` has them.
    segments
        Numbers of supervoxels to try, each on its own.
    segmentation
        "auto" is SLIC for clips and QuickShift for images, as in the paper.
    fill
        What takes a hidden supervoxel's place, in removal, curves and LIME alike. Grey is nearest to the paper's
        median of the image; "mean", a supervoxel's own mean colour, leaves motion to be seen in the shapes of
        supervoxels, so that a network of motion is not bothered by it.
    reference
        Samples of the LIME that `agreement` compares with.
    seed
        Of everything random.
    stride
        Take every so many frames of a video.
    steps
        Points of the insertion and deletion curves.
    guide_smooth
        Let guided methods treat GELU like ReLU.
    """

    kind = "evaluation"
    rows: Sequence[str] = option(PAPER_ROWS, flag="")
    segments: Sequence[int] = option((100,), flag="")
    segmentation: str = option("auto", "slic (auto for clips), quickshift (auto for images) or grid")
    compactness: float = option(10.0, "shape against colour in SLIC", above=0)
    fill: Fill = option(
        "grey", "what hides a supervoxel: grey, mean, black, blur, noise, neighbours, still or auto"
    )
    reference: int = option(1000, "samples of the LIME compared with", least=1)
    seed: int = option(0, "of all that is drawn at random")
    stride: int = option(1, "take every N-th frame of a video", least=1)
    steps: int = option(20, "points of the curves", least=1, flag="")
    guide_smooth: bool = option(False, "let guided methods treat GELU, SiLU and the like as ReLU")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.segments or min(self.segments) < 2:
            raise VidexplainError("evaluating needs at least 2 supervoxels.")
