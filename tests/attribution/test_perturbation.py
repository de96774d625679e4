"""Region methods against the lime package, exact Shapley values and closed forms."""

from __future__ import annotations

import itertools
import math
import warnings
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from lime.lime_base import LimeBase
from sklearn.metrics import pairwise_distances
from torch import nn

import videxplain as vx
from videxplain.attribution.methods import METHODS, KernelShap, Lime, Method, Occlusion, Rise
from videxplain.attribution.perturbation import lime_coefficients, shapley_regression
from videxplain.attribution.query import Query
from videxplain.passes.aim import TEMPERATURE
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Fill, Question, Score

K, SIZE = 12, (3, 12, 16)


def scores_of(
    method: Method,
    model: vx.Classifier,
    x: torch.Tensor,
    labels: torch.Tensor,
    target: int | list[int] = 0,
    score: Score | None = None,
) -> torch.Tensor:
    return method.score(Query(model, x, labels, K, Question(target=target, score=score)))


def blocks() -> torch.Tensor:
    """(T, H, W) labels: 12 blocks of 3 frames x 4 x 4 pixels."""
    y, x = torch.meshgrid(torch.arange(12) // 4, torch.arange(16) // 4, indexing="ij")
    return (y * 4 + x).expand(3, 12, 16).contiguous().int()


class Bright(nn.Module):
    """Logits (s, 0) with s a weighted sum of the clip, so that the effect of every block is known."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.weight = nn.Parameter(torch.randn(3, *SIZE, generator=generator) * 0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = (x * self.weight).sum(dim=(1, 2, 3, 4))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


@pytest.fixture
def model() -> vx.Classifier:
    return vx.Classifier(Bright(), clip_length=3, size=SIZE[1:], class_names=["yes", "no"], name="bright")


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(6))


def test_coefficients_equal_the_lime_package(model: vx.Classifier) -> None:
    """Same masks, same values: the ridge regression of lime_base with lime_image's kernel."""
    rng = np.random.RandomState(0)
    masks = rng.randint(0, 2, (200, 40))
    masks[0] = 1
    values = rng.rand(200) + masks @ rng.randn(40) * 0.1
    distances = pairwise_distances(masks, masks[:1], metric="cosine").ravel()
    base = LimeBase(lambda d: np.sqrt(np.exp(-(d**2) / 0.25**2)), verbose=False)
    _, found, _, _ = base.explain_instance_with_data(masks, values[:, None], distances, 0, 100000)
    theirs = np.array([weight for _, weight in sorted(found)])
    ours = lime_coefficients(torch.from_numpy(masks), torch.from_numpy(values)).numpy()
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


@pytest.mark.parametrize("score", ["probability", "log-odds"])
def test_batched_lime_agrees_with_the_package_end_to_end(
    model: vx.Classifier, x: torch.Tensor, monkeypatch, score: Score
) -> None:
    """The package's own draws fed to ours: masks, composition, fill and regression all have to agree."""
    labels = blocks()[None]
    with monkeypatch.context() as patch:
        if score == "log-odds":  # of two classes the first one's log-odds are the difference of the logits
            contrast = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
            patch.setattr(model, "predict", lambda x: model.logits(x).detach() @ contrast)
        theirs = scores_of(Lime(samples=100, seed=3, batched=False), model, x, labels)
    drawn = np.random.RandomState(3).randint(0, 2, 100 * K).reshape(100, K)
    monkeypatch.setattr(torch, "randint", lambda *_a, **_k: torch.from_numpy(drawn.copy()))
    ours = scores_of(Lime(samples=100, seed=3), model, x, labels, score=score)
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_lime_package_explains_an_image(x: torch.Tensor) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 16, 2))
    image_model = vx.Classifier(
        net, layout="BCHW", clip_length=1, size=SIZE[1:], cam_layer="0", class_names=["a", "b"], name="i"
    )
    scores = scores_of(Lime(samples=50, batched=False), image_model, x[:, :, :1], blocks()[None, :1], 1)
    assert scores.shape == (1, K) and scores.abs().max() > 0


@pytest.mark.parametrize("fill", [fill for fill in get_args(Fill) if fill != "auto"])
def test_composition_by_hand(model: vx.Classifier, x: torch.Tensor, fill: str) -> None:
    clip = MaskedClip(model, x[0], blocks(), K, 0, fill=fill)
    z = torch.rand(5, K)
    composed = clip.compose(z)
    for m, k in itertools.product(range(5), range(K)):
        where = (blocks() == k).expand(3, *SIZE)
        expected = clip.fill[where] + z[m, k] * (x[0][where] - clip.fill[where])
        torch.testing.assert_close(composed[m][where], expected)
    if fill == "mean":
        for k, c in itertools.product(range(K), range(3)):
            where = blocks() == k
            torch.testing.assert_close(clip.fill[c][where], x[0, c][where].mean().expand(int(where.sum())))


@pytest.mark.parametrize("output", ["probability", "log-odds", "tempered"])
def test_gradient_is_the_derivative_by_z(model: vx.Classifier, x: torch.Tensor, output: str) -> None:
    clip = MaskedClip(model, x[0], blocks(), K, 0)

    def score(z: torch.Tensor) -> torch.Tensor:
        p = clip.probability(z)
        warm, cold = p ** (1 / TEMPERATURE), (1 - p) ** (1 / TEMPERATURE)
        return {"probability": p, "log-odds": p.logit(), "tempered": warm / (warm + cold)}[output]

    z = torch.rand(3, K)
    values, slopes = clip.gradient(z, score=output)
    torch.testing.assert_close(values, score(z))
    step = 1e-2
    for k in range(K):
        shift = torch.zeros(K)
        shift[k] = step
        difference = (score(z + shift) - score(z - shift)) / (2 * step)
        torch.testing.assert_close(slopes[:, k], difference.float(), atol=2e-4, rtol=1e-2)


def test_a_confident_network_answers_beyond_float32(model: vx.Classifier, x: torch.Tensor) -> None:
    """Probabilities that float32 rounds to 1 still tell what a supervoxel does: it lowers what is missing to 1."""
    clip = MaskedClip(model, x[0], blocks(), K, 0)
    z = torch.rand(20, K, generator=torch.Generator().manual_seed(0))

    def sure(x: torch.Tensor) -> torch.Tensor:
        logits = x.new_zeros(len(x), 1, 2)
        logits[:, 0, 0] = 20 + x.mean(dim=(1, 2, 3, 4))
        return logits

    clip.model = SimpleNamespace(frame_logits=sure)
    values, slopes = clip.gradient(z)
    assert (values.float() == 1).all()
    margin = 20 + clip.compose(z).double().mean(dim=(1, 2, 3, 4))
    torch.testing.assert_close(1 - values, torch.sigmoid(-margin), rtol=1e-4, atol=0)
    torch.testing.assert_close(values, clip.probability(z), rtol=0, atol=0)
    effect = torch.stack([clip.contrast[:, blocks() == k].double().sum() for k in range(K)]) / x[0].numel()
    torch.testing.assert_close(
        slopes.double(), torch.sigmoid(-margin)[:, None] * effect, rtol=1e-3, atol=1e-14
    )


def test_shapley_regression_equals_the_definition() -> None:
    """All coalitions of six players with the kernel's weights by repetition against the permutation formula."""
    k = 6
    rng = np.random.RandomState(1)
    worth = {s: rng.rand() for r in range(k + 1) for s in itertools.combinations(range(k), r)}
    exact = np.zeros(k)
    for i in range(k):
        others = [j for j in range(k) if j != i]
        for r in range(k):
            weight = math.factorial(r) * math.factorial(k - r - 1) / math.factorial(k)
            for s in itertools.combinations(others, r):
                exact[i] += weight * (worth[tuple(sorted((*s, i)))] - worth[s])
    rows, values = [], []
    for s, value in worth.items():
        if 0 < len(s) < k:
            # kernel weight (k-1) / (C(k,s) s (k-s)) as a number of repetitions
            repeats = round(72 * (k - 1) / (math.comb(k, len(s)) * len(s) * (k - len(s))))
            rows += [[float(j in s) for j in range(k)]] * repeats
            values += [value] * repeats
    ours = shapley_regression(torch.tensor(rows), torch.tensor(values), worth[()], worth[tuple(range(k))])
    np.testing.assert_allclose(ours.numpy(), exact, atol=1e-6)


def test_kernel_shap_is_complete_and_ranks_a_nearly_additive_game(
    model: vx.Classifier, x: torch.Tensor
) -> None:
    labels = blocks()[None]
    scores = scores_of(KernelShap(samples=400), model, x, labels)[0]
    clip = MaskedClip(model, x[0], blocks(), K, 0)
    whole, empty = clip.probability(torch.stack([torch.ones(K), torch.zeros(K)])).tolist()
    assert abs(scores.sum().item() - (whole - empty)) < 1e-5
    alone = scores_of(Occlusion(), model, x, labels)[0]
    assert np.corrcoef(scores.numpy(), alone.numpy())[0, 1] > 0.95


def test_kernel_shap_of_log_odds_that_are_a_sum_is_each_supervoxels_part(
    model: vx.Classifier, x: torch.Tensor
) -> None:
    scores = scores_of(KernelShap(samples=60), model, x, blocks()[None], score="log-odds")[0]
    difference = MaskedClip(model, x[0], blocks(), K, 0).contrast * model.net.weight.detach()
    parts = torch.stack([difference[:, blocks() == k].sum() for k in range(K)])
    torch.testing.assert_close(scores, parts, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["lime", "kernel-shap"])
def test_an_unknown_score_is_named(model: vx.Classifier, method: str) -> None:
    frames = np.zeros((3, 12, 16, 3), dtype=np.uint8)
    with pytest.raises(vx.VidexplainError, match=r"unknown score 'logits'; did you mean.*'logit'"):
        vx.explain(model, frames, method=method, labels=blocks().numpy(), score="logits")


def test_occlusion_by_hand(model: vx.Classifier, x: torch.Tensor) -> None:
    scores = scores_of(Occlusion(), model, x, blocks()[None])[0]
    for k in range(K):
        hidden = x[0].clone()
        for c in range(3):
            hidden[c][blocks() == k] = hidden[c][blocks() == k].mean()
        expected = model.predict(x)[0, 0] - model.predict(hidden[None])[0, 0]
        torch.testing.assert_close(scores[k], expected, atol=1e-6, rtol=1e-4)


def test_rise_by_its_definition(model: vx.Classifier, x: torch.Tensor) -> None:
    scores = scores_of(Rise(samples=64, seed=9), model, x, blocks()[None])[0]
    masks = (torch.rand(64, K, generator=torch.Generator().manual_seed(9)) < 0.5).float()
    values = MaskedClip(model, x[0], blocks(), K, 0).probability(masks)
    for k in range(K):
        torch.testing.assert_close(
            scores[k].double(), values[masks[:, k] > 0].mean() - values.mean(), atol=1e-6, rtol=1e-4
        )


@pytest.mark.parametrize("method", ["lime", "kernel-shap", "rise", "occlusion"])
def test_batch_with_fewer_regions_is_padded(model: vx.Classifier, x: torch.Tensor, method: str) -> None:
    coarse = blocks() // 2
    labels = torch.stack([blocks(), coarse])
    options = {} if method == "occlusion" else {"samples": 40}
    both = scores_of(METHODS[method](**options), model, x.expand(2, -1, -1, -1, -1), labels, [0, 1])
    assert both.shape == (2, K)
    assert both[0].abs().min() > 0
    assert both[1, 6:].abs().max() == 0


def test_seed_decides(model: vx.Classifier, x: torch.Tensor) -> None:
    def scores(seed: int) -> torch.Tensor:
        return scores_of(Lime(samples=30, seed=seed), model, x, blocks()[None])

    assert torch.equal(scores(1), scores(1)) and not torch.equal(scores(1), scores(2))


@pytest.mark.parametrize("method", ["lime", "region-gradient"])
def test_a_named_fill_that_asks_nothing_is_told(method: str, model: vx.Classifier) -> None:
    """Blocks of one colour are their own mean."""
    colours = np.random.default_rng(0).integers(0, 256, (1, 3, 4, 3)).astype(np.uint8)
    frames = colours.repeat(3, 0).repeat(4, 1).repeat(4, 2)
    effort = {"samples": 12} if method == "lime" else {"passes": 2}
    labels = (np.arange(12)[:, None] // 4 * 4 + np.arange(16) // 4).astype(np.int32)[None].repeat(3, 0)
    with pytest.warns(vx.VidexplainWarning, match="fill 'mean' hardly asks 'bright' anything: .* moved by "):
        vx.explain(model, frames, method, 0, labels=labels, fill="mean", **effort)
    with warnings.catch_warnings():
        warnings.simplefilter("error", vx.VidexplainWarning)
        vx.explain(model, frames, method, 0, labels=labels, fill="black", **effort)
