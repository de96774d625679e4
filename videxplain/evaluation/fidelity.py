"""F-Fidelity (Zheng et al. 2024): removal from a network that was fine-tuned to clips with random parts missing.

Hidden supervoxels look like nothing that a network was trained on, so that an answer may change for the look of the
fill and not for what is gone. A copy of the network therefore learns from clips of which a random share up to `CAP` is
hidden, whatever explanations say of them, and no more than that is hidden when explanations are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import softplus

from videxplain.errors import VidexplainError
from videxplain.evaluation.item import Item
from videxplain.evaluation.measures import best_first
from videxplain.models import Classifier
from videxplain.models.randomized import with_own_weights
from videxplain.passes.masked_clip import MaskedClip

CAP = 0.25
"""The most that is hidden, as a share of all supervoxels; the paper's beta."""
SIZES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of supervoxels that are taken for the explanation, over which the measure is averaged (the paper's alpha)."""
DRAWS = 8
"""Random removals for each of them."""
STEPS, CLIPS_A_STEP = 60, 4
TRAINING_ITEMS, FEWEST = 64, 8
"""How many items that are not judged a network is fine-tuned on: at the most, and at the least."""
LEARNING_RATE = 1e-4


def training_items(count: int, judged: int) -> range:
    """Which of `count` items a network is fine-tuned on where the first `judged` are judged: the next ones.

    Raises
    ------
    VidexplainError
        If too few are left.
    """
    left = range(judged, min(count, judged + TRAINING_ITEMS))
    if len(left) < FEWEST:
        raise VidexplainError(
            f"fidelity fine-tunes the network on items that it does not judge, at least {FEWEST}, and only {len(left)} "
            f"of {count} are left; judge fewer with --limit, or give more data."
        )
    return left


def fine_tuned(
    model: Classifier, items: Sequence[int], load: Callable[[int], Item], *, seed: int = 0, steps: int = STEPS
) -> Classifier:
    """A copy of the model that has learned to keep its own answers with up to `CAP` of the supervoxels hidden.

    Parameters
    ----------
    items, load
        Numbers of items, and what makes one of them; their labels are not used.
    seed
        Of the order of items and of what is hidden.
    steps
        Batches of `CLIPS_A_STEP` clips.

    Returns
    -------
    Classifier
        In evaluation mode. Normalisation keeps its statistics and dropout is off, as where it is judged.

    Raises
    ------
    VidexplainError
        If none of the items can be read, or the network has no weights that can be trained.
    """
    tuned = with_own_weights(model)
    tuned.net.eval().requires_grad_(True)
    weights = [p for p in tuned.net.parameters() if p.requires_grad]
    if not weights:
        raise VidexplainError(f"{model.name!r} has no weights that can be fine-tuned, which fidelity needs.")
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    draw = np.random.default_rng(seed)
    clips: dict[int, Item | None] = {}
    for _ in range(steps):
        optimiser.zero_grad()
        for index in map(int, draw.choice(items, CLIPS_A_STEP)):
            if index not in clips:
                clips[index] = _or_none(load, index)
            item = clips[index]
            if item is None:
                continue
            masked = item.masked()
            hidden = draw.permutation(item.num_segments)[: int(draw.uniform(0, CAP) * item.num_segments)]
            shown = torch.ones(1, item.num_segments).to(item.x)
            shown[:, hidden] = 0
            with torch.enable_grad():
                log_odds = masked.aim.score(tuned.frame_logits(masked.compose(shown)), "log-odds")
                (softplus(-log_odds).mean() / CLIPS_A_STEP).backward()  # -log p, of one class or of many
        optimiser.step()
    if not any(clips.values()):
        raise VidexplainError("none of the items that the network was to be fine-tuned on can be read.")
    tuned.net.requires_grad_(False)
    return tuned


def _or_none(load: Callable[[int], Item], index: int) -> Item | None:
    try:
        return load(index)
    except (VidexplainError, OSError, ValueError):
        return None


def f_fidelity(clip: MaskedClip, scores: np.ndarray, draw: np.random.Generator) -> dict[str, float]:
    """What removing from the explanation takes from the answer, and what removing from all else does.

    Parameters
    ----------
    clip
        Of a fine-tuned network.
    scores
        (K,).
    draw
        What random removals come from.

    Returns
    -------
    dict
        "plus": fall of the class's probability where supervoxels of the explanation, the best by `scores`, are removed
        at random; "minus": where others are; each the mean over `SIZES`, with at most `CAP` of all removed.
        "fidelity": their difference.
    """
    order, count = best_first(scores), len(scores)
    masks = []
    for size in SIZES:
        best = max(1, round(size * count))
        for part in (order[:best], order[best:]):
            for _ in range(DRAWS):
                mask = np.ones(count, dtype=np.float32)
                mask[draw.permutation(part)[: max(1, min(len(part), int(CAP * count)))]] = 0
                masks.append(mask)
    values = clip.probability(
        torch.from_numpy(np.stack([np.ones(count, dtype=np.float32), *masks])).to(clip.x)
    )
    falls = (values[0] - values[1:]).cpu().numpy().reshape(len(SIZES), 2, DRAWS).mean(axis=(0, 2))
    return {"fidelity": float(falls[0] - falls[1]), "plus": float(falls[0]), "minus": float(falls[1])}
