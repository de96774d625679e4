"""When: against exact values, and what it says of whom."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import FRAMES, random_clip, small

import videxplain as vx
from videxplain.errors import VidexplainError
from videxplain.synthetic import moving_objects


def exact_values(model: vx.Classifier, frames: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Shapley and Banzhaf values of the frames (T,), by all 2^T clips; a hidden frame is its neighbours' mean."""
    x = model.prepare(frames)[0].double()
    beside = torch.cat([x[:, 1:2], (x[:, :-2] + x[:, 2:]) / 2, x[:, -2:-1]], dim=1)
    masks = np.array(list(itertools.product([0, 1], repeat=FRAMES)))
    z = torch.tensor(masks).double()[:, None, :, None, None]
    with torch.no_grad():
        logits = model.net((z * x + (1 - z) * beside).float()).double()
    others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
    values = (logits[:, target] - others.logsumexp(dim=1)).numpy()
    shapley, banzhaf = np.zeros(FRAMES), np.zeros(FRAMES)
    for k in range(FRAMES):
        size = masks.sum(axis=1) - masks[:, k]
        weights = np.array([1 / (FRAMES * math.comb(FRAMES - 1, int(n))) for n in size])
        sign = 2 * masks[:, k] - 1
        shapley[k], banzhaf[k] = (weights * sign * values).sum(), (sign * values).mean() * 2
    return shapley, banzhaf


def test_eight_passes_agree_with_exact_values_of_eight_parts() -> None:
    agreement = []
    for seed in range(3):
        model, frames = small(seed), random_clip(seed)
        curve = vx.when(model, frames, parts=FRAMES)
        assert curve.settings["passes"] == 8
        agreement.append(
            [np.corrcoef(curve.scores, exact)[0, 1] for exact in exact_values(model, frames, curve.target)]
        )
    assert np.mean(agreement, axis=0).min() >= 0.95


def test_standard_errors_fall_with_passes() -> None:
    model, frames = small(), random_clip(0)
    few, many = (vx.when(model, frames, parts=FRAMES, passes=passes).standard_error for passes in (8, 64))
    assert few is not None and many is not None and np.isfinite(few).all()
    assert many.mean() < 0.7 * few.mean()


@pytest.mark.parametrize("method", ["lime", "occlusion", "guided", "random"])
def test_other_methods_score_parts_too(method: str) -> None:
    options = {"samples": 40} if method == "lime" else {}
    curve = vx.when(small(), random_clip(0), parts=4, method=method, **options)  # type: ignore[arg-type]
    assert curve.scores.shape == (4,) and curve.method == method
    assert (curve.standard_error is not None) == (method == "lime"), "of those that tell"


def test_questions_of_other_kinds() -> None:
    frames = random_clip(1)
    against = vx.when(small(), frames, 4, 0, against=1)
    turned = vx.when(small(), frames, 4, 1, against=0)
    np.testing.assert_allclose(against.scores, -turned.scores, rtol=1e-4, atol=1e-5)
    value = vx.when(small(outputs=1, task="regression", class_names=["ef"]), frames, 4)
    assert value.target_name == "ef"
    squared = vx.when(small(), frames, 4, objective=lambda out: out[:, 0] ** 2)
    assert np.isfinite(squared.scores).all()


def test_a_short_clip_has_only_its_own_parts() -> None:
    curve = vx.when(small(), random_clip(0)[:5], parts=16)
    assert len(curve.scores) == 5 and curve.held == 3 and curve.edges == (0, 1, 2, 3, 4, 8)
    assert all(stretch.last <= 4 for stretch in curve.stretches())


def test_stretches_are_found_by_size_and_do_not_touch() -> None:
    curve = vx.when(small(), random_clip(0), parts=FRAMES)
    scores = np.array([5, -4, 0, 0, 0, 0, 0, 2], np.float32)
    first, second = replace(curve, scores=scores).stretches()
    assert (first.first, first.last, first.score, first.share) == (0, 1, 1.0, pytest.approx(9 / 11))
    assert (second.first, second.last) == (7, 7)
    assert second.begin == pytest.approx(7 / 25) and second.end == pytest.approx(8 / 25)
    assert replace(curve, scores=0 * scores).best() is None


def test_what_cannot_be_is_refused() -> None:
    model = small()
    with pytest.raises(VidexplainError, match="one frame"):
        vx.when(model, random_clip(0)[:1])
    with pytest.raises(VidexplainError, match="parts has to be"):
        vx.when(model, random_clip(0), parts=1)
    with pytest.raises(VidexplainError, match="n_segments"):
        vx.when(model, random_clip(0), n_segments=4)  # type: ignore[call-arg]
    with pytest.raises(VidexplainError, match="has to be a Classifier"):
        vx.when("c3d", random_clip(0))  # type: ignore[arg-type]


def test_it_is_drawn_and_told() -> None:
    curve = vx.when(small(), random_clip(0), parts=4)
    assert curve.picture().ndim == 3 and curve._repr_png_()[:4] == b"\x89PNG"
    told = json.loads(curve.to_json())
    assert told["edges"] == [0, 2, 4, 6, 8] and len(told["scores"]) == 4
    assert len(repr(curve)) < 100


def test_each_frame_has_its_share_of_an_explanation() -> None:
    explanation = vx.explain(small(), random_clip(0), "guided", n_segments=6)
    expected = [
        sum(explanation.scores[k] / (explanation.labels == k).sum() for k in explanation.labels[t].ravel())
        for t in range(FRAMES)
    ]
    np.testing.assert_allclose(explanation.when(), expected, rtol=1e-5)
    assert explanation.when().sum() == pytest.approx(float(explanation.scores.sum()), rel=1e-5)


def test_an_object_moves_in_an_interval_only() -> None:
    clip = moving_objects.generate(3, motion="right", frames=12, size=48, interval=(4, 8))
    assert clip.moves.tolist() == [4 <= t <= 8 for t in range(12)]
    assert (clip.mask[0] == clip.mask[4]).all() and (clip.mask[8] == clip.mask[11]).all()
    places = [np.nonzero(mask)[1].mean() for mask in clip.mask]
    assert np.diff(places)[4:8].min() > 0.5
    with pytest.raises(VidexplainError, match="cannot move from frame 8"):
        moving_objects.generate(3, frames=12, interval=(8, 4))
