"""What an explanation rests on, beside networks whose deciding region is known and draws that are made again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.attribution.perturbation import lime_regression
from videxplain.explanations.verdict import repeatability

LABELS = (np.arange(32)[:, None] // 8 * 4 + np.arange(32) // 8).astype(np.int32)[None].repeat(8, axis=0)
"""Sixteen columns of a clip."""
DECIDING = [5, 6]
FRAMES = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)


class Corner(nn.Module):
    """Two classes; the logit of the first one is `gain` times the variance of two supervoxels."""

    def __init__(self, gain: float = 6.0) -> None:
        super().__init__()
        self.gain = gain
        self.mask = torch.from_numpy(np.isin(LABELS, DECIDING))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit = self.gain * x[..., self.mask].var(dim=-1).mean(dim=-1)
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


def classifier(gain: float = 6.0) -> vx.Classifier:
    return vx.Classifier(Corner(gain), clip_length=8, size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)


def explained(model: vx.Classifier, scores: Any, **parts: Any) -> vx.Explanation:
    """An explanation of the first class with these scores."""
    from dataclasses import replace

    made = vx.explain(model, FRAMES, "random", 0, labels=LABELS)
    return replace(made, scores=np.asarray(scores, dtype=np.float32), **parts)


def test_scores_that_tell_what_decides_are_firm() -> None:
    model = classifier()
    scores = np.isin(np.arange(16), DECIDING) + 0.0
    scores[[0, 3, 12]] = [0.03, 0.02, 0.01]
    card = vx.trust(model, FRAMES, explained(model, scores))
    # hiding others changes nothing
    assert card.effect == pytest.approx(1) and card.agreement > 0.95 and card.verdict == "firm"


CUBES = np.arange(16.0) ** 3


class Shares(nn.Module):
    """A logit to which each supervoxel adds the cube of its number."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.from_numpy(CUBES).float()[torch.from_numpy(LABELS).long()] / 15_000_000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit = (x.square().sum(dim=1) * self.weights).sum(dim=(1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


def test_the_true_order_is_firm_and_its_reverse_is_not_to_be_relied_on() -> None:
    model = vx.Classifier(Shares(), clip_length=8, size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    right, wrong = (
        vx.trust(model, FRAMES, explained(model, scores)) for scores in (range(16), range(16, 0, -1))
    )
    # of all sixteen, but for one: what each adds is as its weight, to the noise of its pixels
    assert right.agreement > 0.85 and right.repeatability is None and right.passes <= 30
    # 1331 to 3375 beside what is drawn from 0 to 1000
    assert 0.7 < right.effect < 0.95 and right.verdict == "firm" and not right.reasons
    assert wrong.verdict == "do not rely on this" and wrong.effect < 0 and wrong.agreement < -0.9
    assert "changes the answer little" in wrong.reasons[0] and wrong.verdict in str(wrong)


def test_a_network_that_is_not_sure_is_indicative() -> None:
    model = vx.Classifier(Shares(), clip_length=8, size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    card = vx.trust(model, FRAMES, explained(model, CUBES, probability=0.3))
    assert card.verdict == "indicative" and "not sure: 30%" in card.reasons[0]


def test_what_another_draw_would_change_is_told() -> None:
    model = vx.Classifier(Shares(), clip_length=8, size=(32, 32), mean=(0.5,) * 3, std=(0.25,) * 3)
    chance = vx.trust(model, FRAMES, explained(model, CUBES, standard_error=np.full(16, 5000, np.float32)))
    assert chance.verdict == "do not rely on this" and chance.repeatability < 0.5
    sure = vx.trust(model, FRAMES, explained(model, CUBES, standard_error=np.full(16, 0.01, np.float32)))
    assert sure.verdict == "firm" and sure.repeatability > 0.99


def test_scores_that_ignore_the_weights_fail_the_sanity_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random ones agree with themselves; hiding each supervoxel tells one network from another. Measured once each."""
    torch.manual_seed(0)
    layers = nn.Conv3d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool3d((1, 4, 4)), nn.Flatten()
    model = vx.Classifier(nn.Sequential(*layers, nn.Linear(128, 4)), clip_length=8, size=(32, 32))
    cards = {}
    for method in ("random", "occlusion"):
        made = vx.explain(model, FRAMES, method, 1, labels=LABELS)
        assert vx.trust(model, FRAMES, made).sanity is None
        cards[method] = vx.trust(model, FRAMES, made, sanity=True)
    assert (
        cards["random"].sanity == pytest.approx((1, 1)) and cards["random"].verdict == "do not rely on this"
    )
    assert "sanity check" in cards["random"].reasons[-1] and "sanity        +1.00" in str(cards["random"])
    assert max(map(abs, cards["occlusion"].sanity)) < 0.8 and "sanity check" not in str(
        cards["occlusion"].reasons
    )
    monkeypatch.setattr("videxplain.explanations.trust.randomized", None)
    assert vx.trust(model, FRAMES, made, sanity=True).sanity == cards["occlusion"].sanity


def test_a_network_without_weights_has_no_sanity_check() -> None:
    model = classifier()
    with pytest.raises(vx.VidexplainError, match="no layers whose weights could be random"):
        vx.trust(model, FRAMES, explained(model, CUBES), sanity=True)


def test_what_is_known_takes_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier()
    sure = explained(model, CUBES, standard_error=np.full(16, 0.01, np.float32), probability=0.9)
    monkeypatch.setattr(Corner, "forward", None)
    assert sure.trust().verdict == "indicative" and "not measured" in sure.trust().reasons[-1]
    assert (
        sure.trust().passes == 0 and sure.trust().effect is None and "effect" not in str(sure.trust()).split()
    )
    chance = explained_again(sure, standard_error=np.full(16, 5000, np.float32))
    assert chance.trust().verdict == "do not rely on this" and chance.trust().repeatability < 0.5


def explained_again(explanation: vx.Explanation, **parts: Any) -> vx.Explanation:
    from dataclasses import replace

    return replace(explanation, **parts)


def test_an_objective_has_to_be_given_again() -> None:
    def objective(logits: torch.Tensor) -> torch.Tensor:
        return logits[:, 0]

    model = classifier()
    made = vx.explain(model, FRAMES, "occlusion", objective=objective, labels=LABELS)
    with pytest.raises(vx.VidexplainError, match="objective"):
        vx.trust(model, FRAMES, made)
    assert vx.trust(model, FRAMES, made, vx.Question(objective=objective)).effect > 0.6


@pytest.mark.parametrize(
    ("method", "options"), [("lime", {"samples": 60}), ("region-gradient", {"passes": 8})]
)
def test_repeatability_is_that_of_draws_that_are_made_again(method: str, options: dict[str, int]) -> None:
    torch.manual_seed(0)
    layers = nn.Conv3d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv3d(8, 8, 3), nn.ReLU()
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 4))
    model = vx.Classifier(net, clip_length=8, size=(32, 32))
    draws = [
        vx.explain(
            model, FRAMES, method, 1, n_segments=30, fill="grey", score="log-odds", seed=seed, **options
        )
        for seed in range(6)
    ]
    said = np.mean([repeatability(draw.scores, draw.standard_error) for draw in draws])
    first = [set(draw.top_ids(5).tolist()) for draw in draws]
    seen = np.mean([len(a & b) / 5 for i, a in enumerate(first) for b in first[:i]])
    assert abs(said - seen) < seen / 4


def test_errors_of_limes_weights_are_the_spread_of_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(12, generator=generator, dtype=torch.float64)
    weights, errors = [], []
    for _ in range(300):
        masks = torch.randint(0, 2, (60, 12), generator=generator)
        masks[0] = 1
        noise = torch.randn(60, generator=generator, dtype=torch.float64) * (0.2 + masks[:, 0])
        weight, error = lime_regression(masks, masks.double() @ truth + noise, ridge=1e-6)
        weights.append(weight)
        errors.append(error)
    spread, said = torch.stack(weights).std(dim=0), torch.stack(errors).square().mean(dim=0).sqrt()
    assert ((said / spread - 1).abs() < 0.25).all()
    assert torch.isinf(lime_regression(masks[:12], masks[:12].double() @ truth)[1]).all()


def test_errors_are_saved(tmp_path: Path) -> None:
    made = vx.explain(classifier(), FRAMES, "lime", 0, labels=LABELS, samples=40)
    again = vx.Explanation.load(made.save(tmp_path / "out"))
    assert made.standard_error is not None and made.standard_error.shape == (16,)
    np.testing.assert_array_equal(again.standard_error, made.standard_error)
