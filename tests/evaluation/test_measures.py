"""The measures against short independent calculations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import LENGTH, SIZE, bright
from scipy.stats import spearmanr

from videxplain.evaluation.measures import (
    agreement,
    area_under_curve,
    best_first,
    localization,
    rank_correlation,
    removed_until_change,
)
from videxplain.models import Classifier
from videxplain.passes.masked_clip import MaskedClip

K = 24


def item(model: Classifier, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames, mask, labels (K random-shaped supervoxels) and scores."""
    rng = np.random.default_rng(seed)
    frames, mask = bright(seed % 4, seed)
    seeds = rng.uniform((0, 0, 0), (LENGTH, *SIZE), (K, 3))
    grid = np.stack(np.meshgrid(*map(np.arange, mask.shape), indexing="ij"), -1)
    labels = np.argmin(((grid[..., None, :] - seeds) ** 2).sum(-1), -1)
    _, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(mask.shape).astype(np.int32)
    return frames, mask, labels, rng.normal(size=int(labels.max()) + 1).round(1)  # rounded: with ties


def probabilities(model: Classifier, frames: np.ndarray) -> np.ndarray:
    """The network in NumPy, float64: normalised uint8-like frames (T, H, W, 3) float to class probabilities."""
    x = (frames.astype(np.float64) / 255 - 0.5) / 0.25
    padded = np.pad(x.sum(-1), ((0, 0), (1, 1), (1, 1)))
    summed = sum(padded[:, dy : dy + SIZE[0], dx : dx + SIZE[1]] for dy in range(3) for dx in range(3)) / 27
    quadrants = [
        (slice(12 * (q // 2), 12 * (q // 2) + 12), slice(12 * (q % 2), 12 * (q % 2) + 12)) for q in range(4)
    ]
    logits = np.array(
        [
            12 * np.maximum(summed, 0)[:, y, x].mean() - 6 * np.maximum(-summed, 0)[:, y, x].mean()
            for y, x in quadrants
        ]
    )
    e = np.exp(logits - logits.max())
    return e / e.sum()


@pytest.mark.parametrize("fill", ["grey", "mean"])
def test_removal_insertion_and_deletion_equal_a_slow_script(model: Classifier, fill: str) -> None:
    changes = 0
    for seed in range(20):
        frames, _, labels, scores = item(model, seed)
        target = int(probabilities(model, frames).argmax())
        x = model.prepare(frames)[0]
        count = len(scores)
        clip = MaskedClip(model, x, torch.from_numpy(labels), count, target, fill=fill, batch_size=5)
        hidden = np.full_like(frames, 0, dtype=np.float64) + 127.5
        if fill == "mean":
            for k in range(count):
                hidden[labels == k] = frames[labels == k].mean(0)
        # scores in descending order, ties by id, with sorted() instead of argsort
        order = sorted(range(count), key=lambda k: (-scores[k], k))
        assert best_first(scores).tolist() == order

        def after(ids: list[int], frames=frames, hidden=hidden, labels=labels) -> np.ndarray:
            shown = np.where(np.isin(labels, ids)[..., None], hidden, frames)
            return probabilities(model, shown)

        for sequence in (order, order[::-1]):
            removed = [n for n in range(1, count + 1) if after(sequence[:n]).argmax() != target]
            expected = removed[0] / count if removed else 1.0
            changes += bool(removed)
            assert removed_until_change(clip, np.array(sequence)) == expected
        for steps in (7, count):
            counts = sorted({round(i * count / steps) for i in range(steps + 1)})
            deletion = [after(order[:n])[target] for n in counts]
            insertion = [after(order[n:])[target] for n in counts]
            for values, flag in ((deletion, False), (insertion, True)):
                area = sum(
                    (values[i] + values[i + 1]) / 2 * (counts[i + 1] - counts[i]) / count
                    for i in range(len(counts) - 1)
                )
                assert area_under_curve(clip, np.array(order), insertion=flag, steps=steps) == pytest.approx(
                    area, abs=1e-5
                )
    # the network sees mean brightness only, so that a supervoxel's own mean never changes its mind
    assert changes == 0 if fill == "mean" else changes >= 10


def test_localization_by_hand() -> None:
    labels = np.array([[[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3]]])
    mask = np.zeros((1, 3, 4), bool)
    mask[0, :2, 1:3] = True  # two voxels of 0, two of 1
    found = localization(labels, np.array([4.0, 3.0, 2.0, -1.0]), mask)
    # 0 covers 4 voxels, as many as the mask: 2 of them common, union 6
    assert found == {"centre": 1.0, "pointing": 0.5, "energy": pytest.approx(3.5 / 9), "iou": 2 / 6}
    found = localization(labels, np.array([0.0, 0.0, 1.0, 0.5]), mask)
    assert found == {"centre": 0.0, "pointing": 0.0, "energy": 0.0, "iou": 0.0}
    assert localization(labels, np.array([-1.0, -1, -1, -2]), mask)["energy"] == 0.0


def test_oracle_wins_localization_and_random_is_at_chance(model: Classifier) -> None:
    oracle, chance, share = [], [], []
    for seed in range(40):
        _, mask, labels, _ = item(model, seed)
        count = int(labels.max()) + 1
        inside = np.array([mask[labels == k].mean() for k in range(count)])
        random = np.random.default_rng(1000 + seed).random(count)
        oracle.append(localization(labels, inside, mask))
        chance.append(localization(labels, random, mask))
        share.append(mask.mean())
        inverted = localization(labels, -inside, mask)
        assert all(oracle[-1][key] >= max(chance[-1][key], inverted[key]) for key in ("pointing", "iou"))
    for key in ("centre", "pointing", "energy", "iou"):
        assert np.mean([o[key] for o in oracle]) > np.mean([c[key] for c in chance]) + 0.2, key
    # a random supervoxel lies in the mask as often as a random voxel
    assert np.mean([c["energy"] for c in chance]) == pytest.approx(np.mean(share), abs=0.04)
    assert np.mean([c["pointing"] for c in chance]) == pytest.approx(np.mean(share), abs=0.12)


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 6, (2, 15))
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert rank_correlation(np.ones(5), rng.random(5)) == 0.0
    assert rank_correlation(np.arange(5), np.arange(5) ** 3) == pytest.approx(1)


def test_agreement_by_hand() -> None:
    reference = np.array([0.1, 0.9, 0.5, 0.4, 0.3, 0.2, 0.0])
    assert agreement(reference * 2, reference) == {"top1": 1.0, "top5": 1.0, "rank": pytest.approx(1)}
    second = np.array([0, 1, 5, 0, 0, 0, 0.0])
    assert {k: v for k, v in agreement(second, reference).items() if k != "rank"} == {"top1": 0, "top5": 1}
    worst = np.array([0, 0, 0, 0, 0, 0, 1.0])
    assert {k: v for k, v in agreement(worst, reference).items() if k != "rank"} == {"top1": 0, "top5": 0}
