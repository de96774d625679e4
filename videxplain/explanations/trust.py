"""What an explanation rests on: whether its first supervoxels do what it says, and whether another draw finds them."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from videxplain.attribution.methods import Method
from videxplain.errors import VidexplainError, VidexplainWarning
from videxplain.explanations.comparison import rank_correlation
from videxplain.explanations.explain import explain
from videxplain.explanations.inputs import ClipLike, prepare
from videxplain.explanations.levels import made_by
from videxplain.explanations.verdict import FIRST, Trust, repeatability, unseen_share, verdict_of
from videxplain.models.randomized import layers_with_weights, randomized
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import choose_fill
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Question, Segmentation

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier

OTHERS, SETS = 12, 4
"""Others that are hidden for comparison, drawn at random, and sets of as many others as there are first ones."""


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
    verdict, reasons = verdict_of(effect, agreement, repeated, probability, insane)
    unseen = unseen_share(explanation, reasons)
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


_SANITY: dict[tuple[str, Method, int], tuple[float, float]] = {}
"""What was measured, by network, method and seed."""


def _sanity(
    model: Classifier, clip: ClipLike, explanation: Explanation, question: Question, seed: int
) -> tuple[float, float]:
    """Rank correlations of an explanation with those of the network with its last layer random, and with all."""
    method = made_by(explanation)
    key = model.fingerprint(), method, seed
    if key not in _SANITY:
        size = np.bincount(explanation.labels.ravel(), minlength=explanation.num_segments).clip(min=1)
        question = replace(question, target=explanation.target)
        found: list[float] = []
        last = len(layers_with_weights(model.net))
        if not last:
            raise VidexplainError(
                f"{model.name!r} has no layers whose weights could be random; leave sanity out"
            )
        for place, (_, changed) in enumerate(randomized(model, seed), 1):
            if place in (1, last):
                with warnings.catch_warnings():  # of a network that is made to fail
                    warnings.simplefilter("ignore", VidexplainWarning)
                    other = explain(changed, clip, method, question, labels=explanation.labels)
                found.append(rank_correlation(explanation.scores / size, other.scores / size))
        head, whole = (value if math.isfinite(value) else 0.0 for value in (found[0], found[-1]))
        _SANITY[key] = head, whole
    return _SANITY[key]


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
