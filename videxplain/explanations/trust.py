"""What an explanation rests on: whether its first supervoxels do what it says, and whether another draw finds them."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr

from videxplain.attribution.methods import METHODS, Method
from videxplain.errors import VidexplainError, VidexplainWarning
from videxplain.explanations.explain import explain
from videxplain.explanations.inputs import ClipLike, prepare
from videxplain.models.randomized import layers_with_weights, randomized
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import choose_fill
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Question, Segmentation

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier

Verdict = Literal["firm", "indicative", "do not rely on this"]

FIRST = 5
"""How many supervoxels are looked at, those that are highlighted by default."""
OTHERS, SETS = 12, 4
"""Others that are hidden for comparison, drawn at random, and sets of as many others as there are first ones."""
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


def trust(
    model: Classifier,
    clip: ClipLike,
    explanation: Explanation,
    question: Question | None = None,
    *,
    seed: int = 0,
    sanity: bool = False,
) -> Trust:
    """Asks the network whether an explanation's first supervoxels matter, by about thirty forward passes.

    The first five are hidden, each by itself and together, and so are others, with the fill that moves this network's
    answer; the method may have had another one, or none. How well the verdict tells explanations that miss the object
    is in docs/studies/trust.md.

    Parameters
    ----------
    model, clip
        What was explained.
    explanation
        By any method.
    question
        What was asked, where it had an `objective`; otherwise the explanation tells.
    seed
        Of the supervoxels that are compared with, and of random weights.
    sanity
        Also make the explanation for the network with its last layer random, and with all of them. It is a property of
        the method and the network, and so it is measured once for both, on the first clip.

    Returns
    -------
    Trust
        The verdict, its reasons, and the numbers that it rests on.

    Raises
    ------
    VidexplainError
        If the explanation is not of this clip and network, or its question cannot be known.
    """
    question = question or _asked(explanation)
    inputs = prepare(model, [clip], Segmentation(), [explanation.labels], question)
    asked = model.asking(question, inputs.x)
    labels = _at_input(inputs.segments[0], inputs.scale)
    aim = Aim(explanation.target, _against(asked, explanation), asked.answers.task)
    count, here = explanation.num_segments, np.unique(labels)
    x, regions = inputs.x[0], torch.from_numpy(labels).to(inputs.x.device)
    choice = choose_fill(asked, x, regions, count, aim, seed)
    masked = MaskedClip(asked, x, regions, count, aim, fill=choice.fill, seed=seed)

    first = np.intersect1d(explanation.top_ids(FIRST), here)
    rest, draw = np.setdiff1d(here, first), np.random.default_rng(seed)
    alone = np.concatenate([first, draw.permutation(rest)[:OTHERS]])
    sets = [first, *(draw.permutation(rest)[: len(first)] for _ in range(SETS))]
    masks = torch.ones(1 + len(alone) + len(sets), count)
    for mask, hidden in zip(masks[1:], [*alone[:, None], *sets], strict=True):
        mask[hidden] = 0
    values = masked.values(masks.to(x), score="logit" if aim.task == "regression" else "log-odds")
    changes = (values[0] - values[1:]).cpu().numpy()
    effect = _contrast(changes[len(alone)], changes[len(alone) + 1 :])
    agreement = _correlation(explanation.scores[alone], changes[: len(alone)])

    repeated = repeatability(explanation.scores, explanation.standard_error)
    probability = 1.0 if aim.task == "regression" else explanation.probability
    insane = _sanity(model, clip, explanation, question, seed) if sanity else None
    verdict, reasons = _verdict(effect, agreement, repeated, probability, insane)
    unseen = _unseen(explanation, reasons)
    if not choice.is_enough:
        reasons.append(
            f"No fill moves the answer much when half of the supervoxels are hidden (the most: "
            f"{max(choice.moved.values()):.2g} of it): the network is saturated here, and effects are small."
        )
    return Trust(
        verdict,
        tuple(reasons),
        effect,
        agreement,
        repeated,
        probability,
        unseen,
        choice.fill,
        choice.passes + len(masks),
        insane,
    )


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
    verdict, reasons = _verdict(None, None, repeated, probability)
    unseen = _unseen(explanation, reasons)
    if verdict == "firm":
        verdict = "indicative"
        reasons.append("What hiding the first supervoxels does was not measured (vx.trust does).")
    return Trust(verdict, tuple(reasons), None, None, repeated, probability, unseen, None, 0)


def _unseen(explanation: Explanation, reasons: list[str]) -> float:
    """Share of the source that the network does not see, which is a reason where it is large."""
    unseen = float((explanation.source_labels()[0] < 0).mean())
    if unseen > UNSEEN:
        reasons.append(f"The network does not see {unseen:.0%} of the picture.")
    return unseen


_SANITY: dict[tuple[str, Method, int], tuple[float, float]] = {}
"""What was measured, by network, method and seed."""


def _sanity(
    model: Classifier, clip: ClipLike, explanation: Explanation, question: Question, seed: int
) -> tuple[float, float]:
    """Rank correlations of an explanation with those of the network with its last layer random, and with all."""
    method = _method(explanation)
    key = model.fingerprint(), method, seed
    if key not in _SANITY:
        size = np.bincount(explanation.labels.ravel(), minlength=explanation.num_segments).clip(min=1)
        question = replace(question, target=explanation.target)
        found: list[float] = []
        last = len(layers_with_weights(model.net))
        for place, (_, changed) in enumerate(randomized(model, seed), 1):
            if place in (1, last):
                with warnings.catch_warnings():  # of a network that is made to fail
                    warnings.simplefilter("ignore", VidexplainWarning)
                    other = explain(changed, clip, method, question, labels=explanation.labels)
                found.append(float(spearmanr(explanation.scores / size, other.scores / size).statistic))
        head, whole = (value if math.isfinite(value) else 0.0 for value in (found[0], found[-1]))
        _SANITY[key] = head, whole
    return _SANITY[key]


def _method(explanation: Explanation) -> Method:
    """The method that made an explanation, with its options."""
    settings = explanation.settings
    kind = METHODS[str(settings.get("became", explanation.method))]
    return kind(**{name: settings[name] for name in kind.options() if name in settings})


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


def _contrast(change: float, others: npt.NDArray[Any]) -> float:
    """(e - r) / (|e| + |r|) of one change and the mean size of others; 0 where nothing changes."""
    usual = float(np.abs(others).mean())
    total = abs(float(change)) + usual
    return (float(change) - usual) / total if total > 0 else 0.0


def _correlation(scores: npt.NDArray[Any], changes: npt.NDArray[Any]) -> float:
    """Pearson's; 0 where either does not vary."""
    a, b = (values.astype(np.float64) - values.astype(np.float64).mean() for values in (scores, changes))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _verdict(
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


def _asked(explanation: Explanation) -> Question:
    settings = explanation.settings
    if "objective" in settings:
        raise VidexplainError(
            "the explanation is of an objective, which it cannot record; give question=Question(objective=...)"
        )
    frame = settings.get("frame")
    against = settings.get("against")
    return Question(
        target=explanation.target,
        frame=frame if isinstance(frame, int) else None,
        against=against if isinstance(against, str) else None,
    )


def _against(model: Classifier, explanation: Explanation) -> int | None:
    name = explanation.settings.get("against")
    return None if name is None else list(model.class_names).index(str(name))


def _at_input(labels: npt.NDArray[np.int32], scale: int) -> npt.NDArray[np.int32]:
    """Supervoxels on a finer grid, at the middle of each of the network's own voxels."""
    return np.ascontiguousarray(labels[:, scale // 2 :: scale, scale // 2 :: scale])
