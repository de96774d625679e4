"""What an explanation rests on as far as it tells itself, and the verdict."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

Verdict = Literal["firm", "indicative", "do not rely on this"]

FIRST = 5
"""How many supervoxels are looked at, those that are highlighted by default."""
BELOW: dict[str, tuple[float, float]] = {
    "effect": (0.4, 0.7),
    "agreement": (0.4, 0.7),
    "repeatability": (0.4, 0.7),
    "probability": (0.0, 0.5),
}
"""Below the first number an explanation is not to be relied on, below the second it is indicative."""
HEAD_UNCHANGED, ALL_UNCHANGED = 0.9, 0.5
"""Rank correlations above which a method fails the sanity check: with the last layer random, with all of them."""
UNSEEN = 0.4
"""Share of the picture above which what the network does not see is told as a reason."""


@dataclass(frozen=True)
class Trust:
    """What an explanation rests on, and a verdict.

    Attributes
    ----------
    verdict
        "firm", "indicative" or "do not rely on this": the worst of what `BELOW` says of each number.
    reasons
        A sentence for each number that keeps the verdict from being firm, and for what else the reader should know.
    effect
        What hiding the first five supervoxels together changes, e, beside the mean of what hiding as many others does,
        r: ``(e - r) / (|e| + |r|)``, in [-1, 1]; 0 is chance. None where it was not measured.
    agreement
        Pearson's correlation of scores with what hiding each supervoxel alone changes, of the first five and twelve
        others, as Sensitivity-n has it (Ancona et al. 2018) for n = 1. None where it was not measured.
    repeatability
        Expected share of the first five that another draw of the method's masks would find; None of methods that draw
        nothing, or that do not tell their error.
    probability
        The class's, or 1 of a regression.
    unseen
        Share of the source's pixels that the network does not see.
    fill
        What hid supervoxels here (`choose_fill`), whatever the method itself took; None where none were hidden.
    passes
        Forward passes that this took, those for `sanity` left out.
    sanity
        Rank correlations of the scores per voxel with those that the same method gives for the network with its last
        layer random, and with all of them (Adebayo et al. 2018); None where that was not asked for.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    effect: float | None
    agreement: float | None
    repeatability: float | None
    probability: float
    unseen: float
    fill: str | None
    passes: int
    sanity: tuple[float, float] | None = None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"reasons": list(self.reasons)}

    def __str__(self) -> str:
        again = "not known" if self.repeatability is None else f"{self.repeatability:.0%} of the first five"
        lines = [f"verdict       {self.verdict}"]
        if self.effect is not None and self.agreement is not None:
            lines += [
                f"effect        {self.effect:+.2f}, of the first five beside five others (fill {self.fill})",
                f"agreement     {self.agreement:+.2f}, of scores with what hiding each alone changes",
            ]
        if self.sanity is not None:
            head, whole = self.sanity
            lines.append(
                f"sanity        {head:+.2f} with the last layer random, {whole:+.2f} with all (rank correlation)"
            )
        lines += [
            f"repeatability {again}",
            f"confidence    {self.probability:.1%}",
            f"not seen      {self.unseen:.0%} of the picture",
            *(f"- {reason}" for reason in self.reasons),
        ]
        return "\n".join(lines)


def known(explanation: Explanation) -> Trust:
    """What an explanation rests on as far as it tells itself, without another pass of the network.

    Without a look at what hiding its first supervoxels does the verdict is never firm.

    Returns
    -------
    Trust
        With no `effect`, `agreement`, `sanity` and `fill`.
    """
    is_value = explanation.settings.get("task") == "regression"
    probability = 1.0 if is_value else explanation.probability
    repeated = repeatability(explanation.scores, explanation.standard_error)
    verdict, reasons = verdict_of(None, None, repeated, probability)
    unseen = unseen_share(explanation, reasons)
    if verdict == "firm":
        verdict = "indicative"
        reasons.append("What hiding the first supervoxels does was not measured (vx.trust does).")
    return Trust(verdict, tuple(reasons), None, None, repeated, probability, unseen, None, 0)


def unseen_share(explanation: Explanation, reasons: list[str]) -> float:
    """Share of the source that the network does not see, which is a reason where it is large."""
    unseen = float((explanation.source_labels()[0] < 0).mean())
    if unseen > UNSEEN:
        reasons.append(f"The network does not see {unseen:.0%} of the picture.")
    return unseen


def repeatability(
    scores: npt.NDArray[Any], standard_error: npt.NDArray[Any] | None, k: int = FIRST, draws: int = 400
) -> float | None:
    """Expected share of the `k` highest scores that another draw with these standard errors would find.

    Scores are taken for normal around their true values, and these for normal around their mean (an empirical Bayes
    estimate, Efron and Morris 1973): the more of the scores' spread is error, the nearer to the mean the next draw is
    expected.

    Returns
    -------
    A share, or None where no finite errors are known.
    """
    if standard_error is None or not np.isfinite(standard_error).all():
        return None
    scores, variance = scores.astype(np.float64), np.square(standard_error, dtype=np.float64)
    k = min(k, len(scores))
    spread = max(float(scores.var()) - float(variance.mean()), 0.0)
    kept = spread / np.maximum(spread + variance, 1e-300)
    expected = scores.mean() + kept * (scores - scores.mean())
    noise = np.random.default_rng(0).standard_normal((draws, len(scores)))
    again = expected + np.sqrt(variance * (1 + kept)) * noise
    found = np.argpartition(-again, k - 1, axis=1)[:, :k]
    return float(np.isin(found, np.argsort(-scores, kind="stable")[:k]).mean())


def verdict_of(
    effect: float | None,
    agreement: float | None,
    repeated: float | None,
    probability: float,
    sanity: tuple[float, float] | None = None,
) -> tuple[Verdict, list[str]]:
    """The worst that any number says, and why."""
    said = {
        "effect": (
            effect,
            f"Hiding the first five changes the answer little more than hiding others ({effect or 0:+.2f}; 1 is the "
            "most).",
        ),
        "agreement": (
            agreement,
            f"Scores agree little with what hiding each supervoxel changes (correlation {agreement or 0:+.2f}).",
        ),
        "repeatability": (
            repeated,
            f"Another draw would find {repeated or 0:.0%} of the first five; more passes or samples help.",
        ),
        "probability": (probability, f"The network itself is not sure: {probability:.0%}."),
    }
    worst, reasons = 2, []
    for name, (value, sentence) in said.items():
        if value is None:
            continue
        grade = sum(value >= limit for limit in BELOW[name])
        if grade < 2:
            reasons.append(sentence)
        worst = min(worst, grade)
    if sanity is not None and (sanity[0] > HEAD_UNCHANGED or sanity[1] > ALL_UNCHANGED):
        worst = 0
        layers = "its last layer" if sanity[0] > HEAD_UNCHANGED else "all of its layers"
        reasons.append(
            f"The method fails the sanity check on this network: with {layers} random, scores hardly change."
        )
    verdicts: tuple[Verdict, ...] = ("do not rely on this", "indicative", "firm")
    return verdicts[worst], reasons
