"""Region gradients against closed forms: Banzhaf values of a multilinear function, completeness, the error's fall."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.attribution.mask_sampling import TANGENTS, rings, turns
from videxplain.attribution.methods import RegionGradient
from videxplain.attribution.query import Query
from videxplain.attribution.region_gradient import (
    COMPARED_RANKS,
    REFINED,
    Estimate,
    _Changes,
    estimates,
)
from videxplain.passes.incremental import Recording, Rows
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Question, Score

K = 6
RANDOM = ("secants", "uniform", "centred", "stratified", "arcsine")


class Multilinear(nn.Module):
    """First logit: sum_i a_i v_i + sum_{i<j} b_ij v_i v_j + c v_0 v_1 v_2, with v_i the mean of column i."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.a = nn.Parameter(torch.randn(K, generator=generator))
        self.b = nn.Parameter(torch.randn(K, K, generator=generator).triu(1))
        self.c = nn.Parameter(torch.tensor(2.0))

    def of(self, v: torch.Tensor) -> torch.Tensor:
        pairs = torch.einsum("ni,ij,nj->n", v, self.b, v)
        return v @ self.a + pairs + self.c * v[:, :3].prod(dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = self.of(x.mean(dim=(1, 2, 3)))
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def masked(output_seed: int = 0, batch_size: int = 512, net: nn.Module | None = None) -> MaskedClip:
    """Six columns of one colour each, which hide to zero."""
    torch.manual_seed(output_seed)
    model = vx.Classifier(
        net or Multilinear(),
        clip_length=2,
        size=(4, K),
        mean=(0,) * 3,
        std=(1,) * 3,
        class_names=["yes", "no"],
    )
    x = (torch.ones(K) if net else torch.rand(K)).expand(3, 2, 4, K).contiguous()
    labels = torch.arange(K).expand(2, 4, K).contiguous()
    return MaskedClip(model, x, labels, K, 0, fill="black", batch_size=batch_size)


def banzhaf(clip: MaskedClip, output: str = "logit") -> torch.Tensor:
    """Mean change of the output by showing k over all 2^(K-1) sets of others."""
    corners = torch.tensor(list(itertools.product([0.0, 1.0], repeat=K)))
    values = clip.values(corners, score=output)
    return torch.stack(
        [values[corners[:, k] == 1].mean() - values[corners[:, k] == 0].mean() for k in range(K)]
    )


def shapley(clip: MaskedClip, output: str = "logit") -> torch.Tensor:
    """Mean change of the output by showing k, over all orders in which supervoxels are shown."""
    orders = list(itertools.permutations(range(K)))
    total = torch.zeros(K, dtype=torch.float64)
    for order in orders:
        masks = torch.zeros(K + 1, K)
        for n, k in enumerate(order):
            masks[n + 1 :, k] = 1
        total[list(order)] += clip.values(masks, score=output).diff()  # type: ignore[arg-type]
    return total / len(orders)


def running(clip: MaskedClip, passes: int, score: Score = "tempered", **options: Any) -> Iterator[Estimate]:
    return estimates(clip, RegionGradient(passes=passes, **options), score)


def last(clip: MaskedClip, passes: int, score: Score = "tempered", **options: Any) -> Estimate:
    *_, estimate = running(clip, passes, score, **options)
    return estimate


@pytest.mark.parametrize(
    ("levels", "leaders"),
    [("secants", 3), pytest.param("secants", 8, marks=pytest.mark.slow), *((name, 0) for name in RANDOM)],
)
def test_converges_to_the_banzhaf_values_of_a_multilinear_function(levels: str, leaders: int) -> None:
    clip = masked()
    exact = banzhaf(clip)
    estimate = last(clip, 4096, mask_sampling=levels, refine_top=leaders, score="logit")
    assert estimate.passes == 4096
    assert (estimate.scores - exact).abs().max() < 0.02 * exact.abs().max()
    assert ((estimate.scores - exact).abs() < 5 * estimate.standard_error + 1e-6).all()


def test_groups_in_turn_converge_to_the_shapley_values_of_a_multilinear_function() -> None:
    clip = masked()
    with torch.no_grad():
        clip.model.net.c.fill_(100.0)  # by products of three the two kinds of values differ
    exact, other = shapley(clip), banzhaf(clip)
    estimate = last(clip, 2048, mask_sampling="in-turn", score="logit")
    error = (estimate.scores - exact).abs()
    assert error.max() < 0.5 * (other - exact)[:3].abs().min()
    assert (error < 5 * estimate.standard_error + 1e-6).all()
    assert torch.isfinite(last(clip, 8, mask_sampling="in-turn").standard_error).all()


@pytest.mark.parametrize("passes", [2, 3, 8, 9, 20, 32])
def test_groups_are_shown_in_turn_and_hidden_in_the_same_order(passes: int) -> None:
    made = list(turns(passes, 12, torch.Generator().manual_seed(0)))
    assert sum(map(len, made)) == passes // 2 * 2 and max(map(len, made)) <= 8
    for ring in made:
        half = len(ring) // 2
        assert (ring[0] == 0).all() and (ring[half] == 1).all()
        assert (ring[half:] == 1 - ring[:half]).all(), "half a ring on is the complement"
        assert (ring[: half + 1].diff(dim=0) >= 0).all(), "the first half only shows"
    together = (made[0][:, :, None] == made[0][:, None]).all(dim=0)
    groups = len(made[0]) // 2
    assert (together == (torch.arange(12)[:, None] - torch.arange(12)).remainder(groups).eq(0)).all()


def test_slopes_in_turn_sum_to_what_the_clip_changes() -> None:
    clip = masked()
    empty, whole = clip.values(torch.stack([torch.zeros(K), torch.ones(K)]), score="logit").tolist()
    for seed in range(3):
        found = last(clip, 8, mask_sampling="in-turn", score="logit", seed=seed).scores
        assert float(found.sum()) == pytest.approx(whole - empty, rel=1e-4)


def test_one_pass_at_one_half_is_exact_for_a_multilinear_function() -> None:
    clip = masked()
    estimate = last(clip, 1, mask_sampling="half", score="logit")
    torch.testing.assert_close(estimate.scores, banzhaf(clip), rtol=1e-5, atol=1e-6)


def test_stated_error_is_the_true_one_and_falls_with_the_root_of_the_passes() -> None:
    clip, exact = masked(), banzhaf(masked())
    stated, true = [], []
    for passes in (64, 1024):
        runs = [last(clip, passes, mask_sampling="uniform", score="logit", seed=seed) for seed in range(30)]
        stated.append(torch.stack([run.standard_error for run in runs]).mean(dim=0))
        true.append(torch.stack([run.scores - exact for run in runs]).square().mean(dim=0).sqrt())
    for s, t in zip(stated, true, strict=True):
        assert 0.7 < (t / s).mean() < 1.3
    assert 3 < (true[0] / true[1]).mean() < 5.3  # sqrt(1024 / 64) = 4


def test_stratified_levels_are_a_latin_hypercube_and_err_less() -> None:
    z, weights = TANGENTS["stratified"](32, 5, torch.Generator().manual_seed(0))
    assert (weights == 1).all()
    for k in range(5):
        assert sorted((z[:, k] * 32).floor().int().tolist()) == list(range(32))
    clip, exact = masked(), banzhaf(masked())
    error = {
        levels: sum(
            (last(clip, 8, mask_sampling=levels, score="logit", seed=s).scores - exact).square().sum()
            for s in range(40)
        )
        for levels in ("uniform", "stratified")
    }
    assert error["stratified"] < 0.5 * error["uniform"]


@pytest.mark.parametrize("passes", [1, 2, 5, 8, 32])
def test_arcsine_levels_are_a_quadrature_of_mirrored_passes(passes: int) -> None:
    """Fejer's rule is exact for polynomials of lower degree than it has nodes."""
    z, weights = TANGENTS["arcsine"](passes, 4, torch.Generator().manual_seed(0))
    assert z.shape == weights.shape == (passes, 4)
    assert not passes > 2 or not torch.equal(z[:, 0], z[:, 1])
    for degree in range(passes):
        integral = (weights * z**degree).mean(dim=0)
        torch.testing.assert_close(integral, torch.full((4,), 1 / (degree + 1), dtype=torch.float64))
    pairs = passes // 2
    torch.testing.assert_close(z[: 2 * pairs : 2], 1 - z[1 : 2 * pairs : 2])
    torch.testing.assert_close(weights[: 2 * pairs : 2], weights[1 : 2 * pairs : 2])
    assert passes % 2 == 0 or torch.allclose(z[-1], torch.tensor(0.5, dtype=torch.float64))


@pytest.mark.parametrize(
    ("levels", "leaders"), [("arcsine", 0), ("secants", 0), ("secants", 3), ("secants", 8)]
)
def test_mirrored_passes_are_exact_where_regions_interact_in_pairs(levels: str, leaders: int) -> None:
    """Without the product of three: the derivatives are linear in the others' levels, and cancel in each pair."""
    clip = masked()
    with torch.no_grad():
        clip.model.net.c.zero_()
    estimate = last(clip, 8, mask_sampling=levels, refine_top=leaders, score="logit")
    torch.testing.assert_close(estimate.scores, banzhaf(clip), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("passes", [1, 2, 3, 4, 5, 9, 32])
def test_rings_hide_and_show_every_supervoxel_once_around(passes: int) -> None:
    made = list(rings(passes, 50, torch.Generator().manual_seed(0)))
    assert sum(map(len, made)) == passes and max(map(len, made)) <= 4
    for z in made:
        if passes == 1:
            assert (z == 0.5).all()
            continue
        assert len(z) > 1
        change = z.roll(-1, dims=0) - z
        assert ((change == 1).sum(dim=0) == 1).all() and ((change == -1).sum(dim=0) == 1).all()
        assert len(z) != 4 or torch.equal(z[2:], 1 - z[:2])


class Pixels(nn.Module):
    """Rectified, pooled: piecewise linear, and far from linear between two masks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.layers = nn.Sequential(
            nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)), nn.Flatten(), nn.Linear(96, 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(4 * x)


def test_slopes_of_a_ring_add_up_to_what_changes_from_mask_to_mask() -> None:
    """Over the supervoxels that change, of a network with rectifiers and max pools."""
    model = vx.Classifier(
        Pixels(), clip_length=2, size=(4, K), mean=(0,) * 3, std=(1,) * 3, class_names=["yes", "no"]
    )
    x = torch.randn(3, 2, 4, K, generator=torch.Generator().manual_seed(2))
    clip = MaskedClip(model, x, torch.arange(K).expand(2, 4, K), K, 0, fill="black", batch_size=5)
    z = torch.cat(list(rings(12, K, torch.Generator().manual_seed(1)))).float()
    values, slopes = clip.gradient(z, score="logit", ring=4)
    step = z.unflatten(0, (-1, 4)).roll(-1, dims=1).flatten(0, 1) - z
    with torch.no_grad():
        logits = model.logits(clip.compose(z))[:, 0]
    torch.testing.assert_close(values.float(), logits)
    changes = logits.unflatten(0, (-1, 4)).roll(-1, dims=1).flatten(0, 1) - logits
    assert changes.abs().min() > 1e-3
    torch.testing.assert_close((slopes * step).sum(dim=1), changes, rtol=1e-4, atol=1e-5)
    _, tangents = clip.gradient(z, score="logit")
    assert ((tangents * step).sum(dim=1) - changes).abs().max() > 0.1 * changes.abs().max()


def pixels() -> MaskedClip:
    model = vx.Classifier(
        Pixels(), clip_length=2, size=(4, K), mean=(0,) * 3, std=(1,) * 3, class_names=["yes", "no"]
    )
    x = torch.randn(3, 2, 4, K, generator=torch.Generator().manual_seed(2))
    return MaskedClip(model, x, torch.arange(K).expand(2, 4, K), K, 0, fill="black", batch_size=512)


@pytest.mark.slow
def test_leaders_are_measured_free_of_the_chords_bias() -> None:
    """Of a network that is far from linear, the exact means over all masks come out for leaders, and for them only.

    One more is measured than compared: the next one may be taken for the second while its chords are ahead.
    """
    clip = pixels()
    exact = banzhaf(clip, "tempered")
    off = {n: last(clip, 2048, refine_top=n).scores - exact for n in (0, 3)}
    best = exact.topk(2).indices
    assert off[0][best].abs().max() > 0.1 * exact.abs().max(), "there is a bias to be free of"
    assert off[3][best].abs().max() < 0.02 * exact.abs().max()
    last_one = exact.argmin()
    torch.testing.assert_close(off[3][last_one], off[0][last_one])


class Bent(nn.Module):
    """The second column does more than the first, but not below one half."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v = x.mean(dim=(1, 2, 3))
        score = 0.1 * v.sum(dim=1) + v[:, 0] + 0.9 * v[:, 1] + (v[:, 1] - 0.5).relu()
        return torch.stack([score, torch.zeros_like(score)], dim=1)


def test_one_pass_is_followed_by_an_exchange_at_one_half() -> None:
    clip = masked(net=Bent())
    assert last(clip, 1, refine_top=0).scores.argmax() == 0
    assert last(clip, 1, refine_top=2).scores.argmax() == 1
    clip = masked()
    torch.testing.assert_close(
        last(clip, 1, refine_top=2, score="logit").scores, banzhaf(clip), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("places", COMPARED_RANKS)
def test_exchange_tells_which_of_two_is_ahead(places: tuple[int, int]) -> None:
    """In 8 passes with it the two differ by what they should more nearly than without.

    Of the tempered probability: pairs cancel in the logit, whose last two would err by rounding alone.
    """
    clip, exact = masked(), banzhaf(masked(), "tempered")
    first, second = exact.argsort(descending=True)[list(places)]
    wanted = exact[first] - exact[second]

    def error() -> float:
        runs = [
            last(clip, 8, refine_top=1 + max(places), score="tempered", seed=seed).scores
            for seed in range(60)
        ]
        return torch.stack([run[first] - run[second] - wanted for run in runs]).square().mean().sqrt().item()

    with_it = error()
    assert with_it > 1e-4 * exact.abs().max(), "more than rounding"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Changes, "exchange", lambda *_: None)
        assert with_it < 0.7 * error()


def test_leaders_are_measured_by_forward_passes_after_each_ring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip, seen = masked(), []
    values = MaskedClip.values

    def counted(self: MaskedClip, z: torch.Tensor, **options: object) -> torch.Tensor:
        seen.append(len(z))
        return values(self, z, **options)

    monkeypatch.setattr(MaskedClip, "values", counted)
    last(clip, 1, refine_top=3)
    assert seen == [2], "one of the first two shown, and the other"
    for passes, rounds in ((4, 1), (8, 2), (9, 3), (32, 8)):
        seen.clear()
        assert last(clip, passes, refine_top=3).measurements == sum(seen)
        assert len(seen) == rounds and seen[::2] == [6] * ((rounds + 1) // 2)
        assert all(1 <= exchanges <= 4 for exchanges in seen[1::2]), (
            "each mask may have one of the two states"
        )
    seen.clear()
    last(clip, 16, refine_top=K)
    assert len(seen) == 6 and seen[0] == seen[3] == 2 * K, "two pairs after the second ring and the fourth"
    seen.clear()
    last(clip, 8, mask_sampling="arcsine"), last(clip, 8, refine_top=0)
    assert seen == []
    assert last(clip, 4).refined == 0 and seen == [], "by default not where it takes whole passes"
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * K, 2))
    model = vx.Classifier(
        net, layout="BCHW", size=(4, K), mean=(0,) * 3, std=(1,) * 3, class_names=["yes", "no"]
    )
    image = MaskedClip(model, torch.rand(3, 1, 4, K), torch.arange(K).expand(1, 4, K), K, 0, fill="black")
    assert last(image, 8).measurements == 0 and seen == []


def test_of_a_convolutional_network_leaders_are_measured_in_all_masks_of_every_ring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In every second one those around the middle of the leaders, and an exchange."""
    clip, seen = pixels(), []
    rescore = MaskedClip.rescore

    def counted(
        self: MaskedClip, recording: Recording, rows: Rows, z: torch.Tensor, *rest, **options: object
    ):
        seen.append((len(z), len(rest[0])))
        return rescore(self, recording, rows, z, *rest, **options)

    monkeypatch.setattr(MaskedClip, "rescore", counted)
    monkeypatch.setattr(MaskedClip, "is_quick", lambda *_: True)  # a network so small is quicker wholly
    found = last(clip, 8, refine_top=4)
    assert seen[:8] == [(4, 1)] * 8 and len(seen) == 9
    assert seen[8][0] in (2, 4) and seen[8][1] == 2, "masks that have one of the two states already"
    assert 0 < found.measurements < sum(rows for rows, _ in seen)
    assert last(clip, 8).refined == REFINED, "by default too"
    seen.clear()
    monkeypatch.setattr(MaskedClip, "is_cheap", lambda *_: False)
    whole = last(clip, 8, refine_top=4)
    assert not seen and whole.measurements in (10, 12)


def test_no_leaders_by_default_where_replayed_passes_turn_out_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured till then counts no more, so that the first clip is explained as others are."""
    without = last(pixels(), 8, refine_top=0)
    monkeypatch.setattr(MaskedClip, "_is_confirmed", lambda *_: False)
    clip = pixels()
    for _ in range(2):
        found = last(clip, 8)
        assert found.refined == 0
        torch.testing.assert_close(found.scores, without.scores)
    assert last(clip, 8, refine_top=4).refined == 4


def test_what_was_measured_is_recorded() -> None:
    """Of each clip, where it was left open and where it was said."""
    net, frames = pixels(), torch.randint(0, 255, (2, 4, K, 3)).byte().numpy()
    columns = torch.arange(K).expand(2, 4, K).int().numpy()
    for model, options, used in (
        (net.model, {}, REFINED),
        (net.model, {"refine_top": 3}, 3),
        (net.model, {"mask_sampling": "arcsine"}, 0),
        (masked().model, {}, 0),
    ):
        made = vx.explain(model, frames, "region-gradient", "no", passes=4, labels=columns, **options)
        assert made.settings["refine_top"] == used


def test_leaders_of_a_clip_with_fewer_supervoxels_than_others() -> None:
    clip = pixels()
    fewer = MaskedClip(clip.model, clip.x, clip.labels.clamp(max=3), K, 0, fill="black", batch_size=512)
    scores = last(fewer, 8, refine_top=K).scores
    assert scores[:4].abs().min() > 0 and scores[4:].abs().max() == 0


@pytest.mark.parametrize("leaders", [0, pytest.param(K, marks=pytest.mark.large)])
def test_stated_error_falls_with_the_root_of_the_passes_on_a_network(leaders: int) -> None:
    clip = pixels()
    stated, true = [], []
    for passes in (32, 512):
        runs = [last(clip, passes, refine_top=leaders, seed=seed) for seed in range(30)]
        stated.append(torch.stack([run.standard_error for run in runs]).mean(dim=0))
        true.append(torch.stack([run.scores for run in runs]).std(dim=0))
    assert 3.3 < (stated[0] / stated[1]).mean() < 4.7  # sqrt(512 / 32) = 4
    for s, t in zip(stated, true, strict=True):
        assert 0.75 < (t / s).mean() < 1.3


def test_weights_of_levels_are_no_error() -> None:
    """Where derivatives are constant the weighted mean is exact, and says so."""
    clip = masked()
    with torch.no_grad():
        clip.model.net.b.zero_()
        clip.model.net.c.zero_()
    estimate = last(clip, 8, mask_sampling="arcsine", score="logit")
    assert estimate.precision < 1e-5
    torch.testing.assert_close(estimate.scores, banzhaf(clip), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("output", ["probability", "log-odds"])
def test_path_is_complete(output: str) -> None:
    """Segment-wise integrated gradients sum to f(clip) - f(fill)."""
    clip = masked()
    ends = clip.probability(torch.stack([torch.zeros(K), torch.ones(K)]))
    empty, whole = (ends if output == "probability" else ends.logit()).tolist()
    scores = last(clip, 64, mask_sampling="path", score=output).scores
    assert abs(scores.sum().item() - (whole - empty)) < 0.01 * abs(whole - empty)


def test_path_equals_integrated_gradients_summed_over_regions() -> None:
    clip = masked()
    dense = vx.pixel_scores(
        clip.model, clip.x[None], "integrated-gradients", 0, score="logit", steps=16
    ).dense.sum(dim=(0, 1))
    expected = torch.bincount(clip.labels.flatten(), dense.flatten().double(), minlength=K)
    torch.testing.assert_close(
        last(clip, 16, mask_sampling="path", score="logit").scores, expected, rtol=1e-4, atol=1e-5
    )


def test_running_estimate_ends_at_the_whole_and_stops_at_a_wanted_precision() -> None:
    clip = masked(batch_size=16)
    made = list(running(clip, 100, score="logit"))
    assert [e.passes for e in made] == [16, 32, 48, 64, 80, 96, 100]
    torch.testing.assert_close(
        made[-1].scores, last(masked(), 100, score="logit").scores, rtol=1e-5, atol=1e-6
    )
    wanted = made[2].precision
    first = next(e for e in made if e.precision <= wanted)
    method = RegionGradient(passes=100, until=wanted, fill="black", batch_size=16)
    question = Question(target=0, score="logit")
    stopped = method.score(Query(clip.model, clip.x[None], clip.labels[None], K, question))
    torch.testing.assert_close(stopped[0], first.scores.float())


@pytest.mark.parametrize("levels", ["secants", "centred"])
@pytest.mark.parametrize("leaders", [0, 3])
def test_what_does_not_fit_into_memory_goes_through_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, levels: str, leaders: int
) -> None:
    whole = last(masked(), 32, mask_sampling=levels, refine_top=leaders)
    clip, forward, sizes = masked(), vx.Classifier.frame_logits, []

    def small(model: vx.Classifier, x: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        if len(x) > 8:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(model, x)

    monkeypatch.setattr(vx.Classifier, "frame_logits", small)
    found = last(clip, 32, mask_sampling=levels, refine_top=leaders)
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-5, atol=1e-6)
    assert found.passes == 32 and max(sizes) > 8 and clip.batch_size <= 8
    monkeypatch.setattr(vx.Classifier, "frame_logits", lambda *_: small(clip.model, torch.zeros(9, 1)))
    with pytest.raises(torch.OutOfMemoryError):
        last(clip, 32, mask_sampling=levels, refine_top=leaders)


def test_seed_decides_and_wrong_arguments_get_one_sentence() -> None:
    clip = masked()
    assert torch.equal(last(clip, 4, seed=1).scores, last(clip, 4, seed=1).scores)
    assert not torch.equal(last(clip, 4, seed=1).scores, last(clip, 4, seed=2).scores)
    with pytest.raises(vx.VidexplainError, match="did you mean 'uniform'"):
        last(clip, 4, mask_sampling="unifrom")
    with pytest.raises(vx.VidexplainError, match="did you mean 'log-odds'"):
        last(clip, 4, score="log_odds")
    with pytest.raises(vx.VidexplainError, match="refine_top"):
        last(clip, 4, refine_top=-1)
    with pytest.raises(vx.VidexplainError, match="passes"):
        last(clip, 0)


def test_explain_anytime_yields_running_explanations_that_end_at_explain() -> None:
    model = masked().model
    frames = torch.randint(0, 255, (2, 4, K, 3), generator=torch.Generator().manual_seed(0)).byte().numpy()
    columns = torch.arange(K).expand(2, 4, K).int().numpy()
    running = list(
        vx.explain_anytime(model, frames, "no", passes=10, labels=columns, fill="black", batch_size=4)
    )
    assert [r.passes for r in running] == [4, 7, 10]  # rings of 4, 3 and 3
    assert [r.explanation.settings["passes"] for r in running] == [4, 7, 10]
    assert {r.explanation.settings["refine_top"] for r in running} == {0}, "what was taken by default"
    whole = vx.explain(
        model, frames, "region-gradient", "no", passes=10, labels=columns, fill="black", batch_size=4
    )
    last = running[-1].explanation
    assert last.target_name == whole.target_name == "no" and last.probability == whole.probability
    torch.testing.assert_close(torch.from_numpy(last.scores), torch.from_numpy(whole.scores))
    error = running[-1].standard_error
    assert error.shape == (K,) and (error > 0).all()
    assert running[-1].precision == pytest.approx(error.max() / abs(last.scores).max(), rel=1e-5)


def test_explain_anytime_passes_on_what_is_wrong() -> None:
    frames = torch.zeros(2, 4, K, 3).byte().numpy()
    for options, words in (
        ({"mask_sampling": "unifrom"}, "uniform"),
        ({"passes": 0}, "passes"),
        ({"target": "maybe"}, "maybe"),
    ):
        with pytest.raises(vx.VidexplainError, match=words):
            next(vx.explain_anytime(masked().model, frames, segmentation="grid", n_segments=4, **options))
