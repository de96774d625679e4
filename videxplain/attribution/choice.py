"""`auto`: which method it becomes, and why. The figures are those of docs/studies/judged.md. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from videxplain.attribution.methods import METHODS, Guided, Masking, Method, RegionGradient, Vanilla
from videxplain.settings import option

if TYPE_CHECKING:
    import torch

    from videxplain.attribution.query import Query
    from videxplain.models import Classifier

Budget: TypeAlias = Literal["fast", "balanced", "thorough"]
"""What an explanation may cost, the choice of a fill included: at most 5 forward and backward passes, 8, or 20."""
Kind: TypeAlias = Literal["convolutions on images", "convolutions on clips", "attention"]
"""Of networks: those with attention or layer normalisation, where tangents agree more with LIME, and others."""


@dataclass(frozen=True)
class Choice:
    """A method, and what speaks for it in a few words."""

    method: Method
    why: str

    def __str__(self) -> str:
        return f"{self.method.title()}: {self.why} (docs/studies/judged.md)"


_SLOPES = RegionGradient(passes=4, refine_top=0)
CHOICES: dict[tuple[Budget, Kind], Choice] = {
    ("fast", "convolutions on images"): Choice(
        replace(_SLOPES, passes=2),
        "two passes order superpixels far more as LIME does than any method of one",
    ),
    ("fast", "convolutions on clips"): Choice(
        replace(_SLOPES, passes=2),
        "two passes find more of LIME's first five than guided, and order more as it does",
    ),
    ("fast", "attention"): Choice(
        replace(_SLOPES, passes=2),
        "two passes (tangents) find more of LIME's first five than vanilla; guided is for rectifiers",
    ),
    ("balanced", "convolutions on images"): Choice(
        _SLOPES, "four passes are as near to LIME-1000 as LIME-100, in an eighth of its time"
    ),
    ("balanced", "convolutions on clips"): Choice(
        _SLOPES,
        "four passes are nearer to LIME-1000 than LIME-100; measuring supervoxels as well costs more than it wins",
    ),
    ("balanced", "attention"): Choice(
        _SLOPES,
        "four passes (tangents, which agree more than chords there) are nearer to LIME-1000 than LIME-100",
    ),
    ("thorough", "convolutions on images"): Choice(
        replace(_SLOPES, passes=16),
        "sixteen passes are nearer to LIME-1000 than LIME-100, in half of its time",
    ),
    ("thorough", "convolutions on clips"): Choice(
        replace(_SLOPES, passes=16),
        "sixteen passes order supervoxels as LIME-500 does, in an eighth of its time",
    ),
    ("thorough", "attention"): Choice(
        replace(_SLOPES, passes=16),
        "sixteen passes (tangents) agree with LIME-1000 as LIME-500 does, in an eighth of its time",
    ),
}
_FINER = "supervoxels finer than the network's input need a method that scores voxels"


def kind_of_network(model: Classifier) -> Kind:
    """By its modules."""
    if model.has_attention:
        return "attention"
    return "convolutions on images" if model.is_image_model else "convolutions on clips"


@METHODS.register("auto")
@dataclass(frozen=True, kw_only=True)
class Auto(Method):
    """What did best on networks of this kind, within a budget.

    Attributes
    ----------
    budget
        "fast" takes at most 5 forward and backward passes, "balanced" 8, "thorough" 20, the choice of a fill included.
    seed
        Of what is drawn at random.
    """

    asks = ("tempered", "log-odds", "probability", "logit")
    budget: Budget = option("balanced", "what it may cost: fast, balanced or thorough")
    seed: int = option(0, "of what is drawn at random")

    def choose(self, model: Classifier, scale: int = 1) -> Choice:
        """What it becomes for a network, of supervoxels `scale` times as fine as the input."""
        kind = kind_of_network(model)
        if scale > 1:  # the guided rule is one for rectifiers
            return Choice(Vanilla() if kind == "attention" else Guided(), _FINER)
        return CHOICES[self.budget, kind]

    def follows_chords(self, model: Classifier) -> bool:
        return self.choose(model).method.follows_chords(model)

    def score(self, query: Query) -> torch.Tensor:
        """Scores of what it becomes, which is recorded."""
        from videxplain.attribution.query import Query

        choice = self.choose(query.model, query.scale)
        chosen = choice.method
        if isinstance(chosen, Masking):
            chosen = replace(chosen, seed=self.seed)
        chosen.check(query.question)
        if chosen.needs is not None:  # methods of voxels have a forward pass that records more
            question = replace(query.question, target=query.target.tolist())
            parts = query.model, query.x, query.labels, query.num_segments, question
            asked = Query(*parts, scale=query.scale, methods=[chosen])
        else:
            asked = query
        scores = chosen.score(asked)
        options = {
            name: value for name, value in chosen.suited(query.model).recorded().items() if name != "seed"
        }
        for b in range(len(query.x)):
            used = options | asked.used(chosen, b) | {"score": asked.score_of(chosen)}
            query.record(self, b, became=chosen.name, because=choice.why, **used)
            if (errors := asked.standard_errors.get((chosen, b))) is not None:
                query.standard_errors[self, b] = errors
        return scores
