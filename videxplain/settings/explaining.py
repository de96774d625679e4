"""What is asked of a network, and how clips are cut into supervoxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from videxplain.errors import VidexplainError
from videxplain.settings.base import Settings, option

Fill: TypeAlias = Literal[
    "auto", "mean", "grey", "black", "blur", "noise", "still", "neighbours", "frozen", "shuffled", "reversed"
]
"""What takes a hidden supervoxel's place; see `MaskedClip`."""
Score: TypeAlias = Literal["probability", "log-odds", "tempered", "logit"]
"""Which number of a class is explained; see `videxplain.passes.aim.Aim`."""
Target: TypeAlias = int | str | Sequence[int | str | None] | None
"""The class to explain: index, name, rank such as "#2", None for the predicted one; or one of those for each clip."""


@dataclass(frozen=True, kw_only=True)
class Question(Settings):
    """What is asked of a network.

    Attributes
    ----------
    target
        The class: its index, its name, or its rank ("#2" is the second prediction); by default the predicted class.
        For several clips one for all, or a list of one each.
    against
        Another class: what is explained is why the first one rather than this one, the log-odds of the one against the
        other. Scores are signed, and those of the classes the other way round are minus these.
    frame
        Of a network with an answer for each frame, which one; by default the mean over all.
    objective
        A function of what the network returns that gives a number a sample (B,), which is explained instead of a class.
    score
        Which number of that class is explained: its "probability", its "log-odds", the "tempered" probability between
        them or its "logit" (`videxplain.passes.aim.Aim` defines them). By default the first that the
        method lists.
    """

    kind: ClassVar[str] = "question"
    target: Target = option(None, short=False)
    against: int | str | None = option(None, "another class: why the first one rather than this one")
    frame: int | None = option(None, "which answer of a network that has one for each frame", least=0)
    objective: Callable[..., Any] | None = option(None, flag="")
    score: Score | None = option(
        None, "score of the class that is explained: probability, log-odds, tempered or logit"
    )


def as_question(target: Target | Question) -> Question:
    """A question about a class, or the question itself."""
    return target if isinstance(target, Question) else Question(target=target)


@dataclass(frozen=True, kw_only=True)
class Segmentation(Settings):
    """How a clip is cut into supervoxels.

    Attributes
    ----------
    name
        "slic", "quickshift" (for images, as in the paper), "grid", or one that is registered elsewhere. "auto" is slic
        for clips and quickshift for images.
    n_segments
        About how many; quickshift finds its own number.
    compactness
        SLIC's weight of shape against colour.
    scale
        Cut frames on a grid so many times as fine as the network's input along both axes, as far as the frames' own
        resolution goes: outlines follow the picture more closely. For methods that score voxels.
    source
        What is cut: the "image" (the paper), the "gradient" of the target as grey levels, or "both", half and half.
        The last two are the idea of SWAG (Hartley et al., WACV 2021), whose `reduction` is "mean"; they cost one
        forward and backward pass more.
    """

    kind: ClassVar[str] = "segmentation"
    name: str = option("auto", "slic (auto for clips), quickshift (auto for images) or grid", short=False)
    n_segments: int = option(200, "about how many supervoxels", least=1, flag="segments")
    compactness: float = option(10.0, "shape against colour in SLIC", above=0)
    scale: int = option(
        1,
        "supervoxels on a grid N times as fine as the network's input, where frames are",
        least=1,
        flag="segment-scale",
    )
    source: Literal["image", "gradient", "both"] = option(
        "image", "what is cut into supervoxels: image, gradient or both", flag="segments-from"
    )


@dataclass(frozen=True, kw_only=True)
class Nesting(Settings):
    """Supervoxels at several levels, each of which is a union of those of the next.

    Attributes
    ----------
    levels
        How many supervoxels there are at each level, such as (20, 80, 320). About the last number are cut, which are
        explained; the levels before have exactly as many as they say.
    coarse_to_fine
        Hide the first level's supervoxels, then the parts of the best of them, and so on. For methods that hide
        supervoxels and whose scores add up; their passes or samples are shared among the levels. It finds the best of
        the finest no sooner than without, on the networks that were tried (docs/studies/supervoxels.md).
    """

    kind: ClassVar[str] = "nested supervoxels"
    levels: tuple[int, ...] | None = option(
        None,
        "supervoxels at each level, such as 20,80,320; each is a union of the next level's, and scores add up",
    )
    coarse_to_fine: bool = option(False, "hide coarse supervoxels as a whole, but for the parts of the best")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels is not None:
            object.__setattr__(self, "levels", tuple(map(int, self.levels)))
            rising = all(low < high for low, high in zip(self.levels, self.levels[1:], strict=False))
            if not self.levels or self.levels[0] < 1 or not rising:
                raise VidexplainError(
                    f"levels have to be rising numbers, such as (20, 80, 320), not {self.levels}"
                )
        if self.coarse_to_fine and len(self.levels or ()) < 2:
            raise VidexplainError("coarse_to_fine needs two levels or more, such as levels=(20, 80, 320)")
