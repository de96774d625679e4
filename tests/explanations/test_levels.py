"""explain(levels=...): scores add up along the tree, are kept with it, and are refined where they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.annotate.run import annotate
from videxplain.attribution.coarse_to_fine import coarse_to_fine
from videxplain.attribution.nesting import efforts
from videxplain.attribution.query import Query
from videxplain.passes.fills import make_fill
from videxplain.segmentation.hierarchy import merge_tree

CLIP = np.random.default_rng(0).integers(0, 256, (6, 24, 32, 3)).astype(np.uint8)
LEVELS = (4, 12, 30)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 4, 3, stride=2)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.conv(x)).mean(dim=(2, 3, 4)))


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.Classifier(Net(), clip_length=6, size=(24, 24))


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("guided", {}),
        ("vanilla", {"signed": True}),
        ("region-gradient", {"passes": 4}),
        ("lime", {"samples": 80}),
        ("kernel-shap", {"samples": 80}),
    ],
)
def test_scores_of_parts_sum_to_the_wholes(
    model: vx.Classifier, method: str, options: dict[str, Any]
) -> None:
    finest = vx.explain(model, CLIP, method, levels=LEVELS, fill=None, **options)
    assert finest.hierarchy is not None and finest.hierarchy.count == finest.num_segments > 12
    assert finest.settings["levels"] == list(LEVELS)
    size = float(np.abs(finest.scores).max())
    for k in LEVELS[:2]:
        at = finest.at(k)
        assert at.num_segments == k == at.labels.max() + 1 and at.settings["level"] == k
        for region in range(k):
            parts = np.unique(finest.labels[at.labels == region])
            np.testing.assert_array_equal(finest.hierarchy.parts(region, k), parts)
            assert abs(at.scores[region] - finest.scores[parts].astype(np.float64).sum()) <= 1e-6 * size
    twice = finest.at(12).at(4)
    np.testing.assert_array_equal(twice.labels, finest.at(4).labels)
    np.testing.assert_allclose(twice.scores, finest.at(4).scores, atol=1e-6 * size)
    assert finest.at(finest.num_segments) is finest.at(1000) is finest


def test_sums_are_what_the_method_gives_the_coarser_supervoxels(model: vx.Classifier) -> None:
    at = vx.explain(model, CLIP, "guided", levels=LEVELS).at(4)
    direct = vx.explain(model, CLIP, "guided", labels=at.labels)
    np.testing.assert_allclose(at.scores, direct.scores, rtol=1e-5)


def test_labels_can_be_the_finest_level(model: vx.Classifier) -> None:
    labels = vx.segment(CLIP[:, :, 4:28], "grid", n_segments=27)
    made = vx.explain(model, CLIP, "vanilla", labels=labels, levels=(3, 9))
    np.testing.assert_array_equal(made.labels, labels)
    frames = model.geometry((24, 32)).apply(CLIP)
    np.testing.assert_array_equal(made.hierarchy.parents, merge_tree(labels, frames).parents)  # type: ignore[union-attr]
    finer = labels.repeat(2, axis=1).repeat(2, axis=2)
    assert vx.explain(model, CLIP, "vanilla", labels=finer, levels=(3,)).at(3).labels.shape == (6, 48, 48)


def test_images_have_levels_over_what_quickshift_finds() -> None:
    image_net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    model = vx.Classifier(image_net, layout="BCHW", clip_length=1, size=(72, 72))
    image = CLIP[0].repeat(3, axis=0).repeat(3, axis=1)
    made = vx.explain(model, image, "vanilla", levels=(2, 5))
    assert made.settings["segmentation"] == "quickshift" and made.at(2).num_segments == 2


def test_the_tree_is_kept_with_the_explanation(model: vx.Classifier, tmp_path: Path) -> None:
    made = vx.explain(model, CLIP, "vanilla", levels=LEVELS)
    made.save(tmp_path / "e")
    back = vx.Explanation.load(tmp_path / "e")
    np.testing.assert_array_equal(back.hierarchy.parents, made.hierarchy.parents)  # type: ignore[union-attr]
    np.testing.assert_array_equal(back.at(4).scores, made.at(4).scores)
    arrays = dict(np.load(tmp_path / "e" / "arrays.npz"))
    for parents in (arrays["parents"][:-2], arrays["parents"][::-1]):
        np.savez(tmp_path / "e" / "arrays.npz", **{**arrays, "parents": parents})
        with pytest.raises(vx.VidexplainError, match="tree"):
            vx.Explanation.load(tmp_path / "e")


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("guided", {"levels": (20, 5)}, "levels have to be rising numbers"),
        ("guided", {"levels": ()}, "levels have to be rising numbers"),
        ("guided", {"levels": (0, 5)}, "levels have to be rising numbers"),
        ("guided", {"levels": 20}, "levels has to be"),
        ("guided", {"levels": LEVELS, "n_segments": 200}, "n_segments means nothing beside levels"),
        ("lime", {"coarse_to_fine": True}, "coarse_to_fine needs two levels"),
        ("lime", {"levels": (20,), "coarse_to_fine": True}, "coarse_to_fine needs two levels"),
        (
            "guided",
            {"levels": LEVELS, "coarse_to_fine": True},
            "means nothing to method 'guided'; name region-g",
        ),
        ("occlusion", {"levels": LEVELS, "coarse_to_fine": True}, "means nothing to method 'occlusion'"),
        ("auto", {"levels": LEVELS, "coarse_to_fine": True}, "means nothing to method 'auto'"),
        (vx.Lime(batched=False), {"levels": LEVELS, "coarse_to_fine": True}, "means nothing to method 'lime"),
        (vx.RegionGradient(until=0.1), {"levels": LEVELS, "coarse_to_fine": True}, "until means nothing"),
        (
            vx.Lime(samples=2),
            {"levels": LEVELS, "coarse_to_fine": True},
            "needs samples for each of 3 levels",
        ),
    ],
)
def test_what_levels_cannot_be_is_refused(
    model: vx.Classifier, method: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.explain(model, CLIP, method, **options)


def test_levels_mean_nothing_to_regions_and_videos(model: vx.Classifier, tmp_path: Path) -> None:
    regions = vx.Regions.from_masks(np.ones((6, 24, 32), bool))
    with pytest.raises(vx.VidexplainError, match="levels mean nothing to regions"):
        vx.explain(model, CLIP, "vanilla", levels=LEVELS, regions=regions)
    with pytest.raises(vx.VidexplainError, match="levels are for explain"):
        annotate(model, "in.mp4", tmp_path / "out.mp4", levels=LEVELS)  # type: ignore[call-arg]
    with pytest.raises(vx.VidexplainError, match="leave coarse_to_fine out"):
        next(iter(vx.explain_anytime(model, CLIP, levels=LEVELS, coarse_to_fine=True)))


@pytest.mark.parametrize(
    ("method", "options"), [("occlusion", {}), ("guided", {"reduction": "max"}), ("rise", {})]
)
def test_scores_that_do_not_add_up_are_not_added(
    model: vx.Classifier, method: str, options: dict[str, Any]
) -> None:
    made = vx.explain(
        model, CLIP, method, levels=LEVELS, **{**options, **({"samples": 9} if method == "rise" else {})}
    )
    assert not made.is_additive
    with pytest.raises(vx.VidexplainError, match="are not sums of their parts' scores"):
        made.at(4)
    with pytest.raises(vx.VidexplainError, match="has no coarser supervoxels"):
        vx.explain(model, CLIP, "vanilla").at(4)


class Additive(nn.Module):
    """Its logit is a weighted sum of voxels: scores of supervoxels are known without a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(6, 24, 24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit = (x.mean(dim=1) * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


@pytest.mark.parametrize(
    "method",
    [vx.RegionGradient(passes=8, fill="grey", refine_top=0), vx.KernelShap(samples=400, fill="grey")],
)
def test_coarse_to_fine_finds_the_best_of_a_sum(method: Any) -> None:
    """By hand: five supervoxels that count, each in another coarse region, are found with their scores."""
    net = Additive()
    model = vx.Classifier(net, clip_length=6, size=(24, 24))
    x = model.prepare(vx.Clip.from_array(CLIP))
    labels = vx.segment(CLIP[:, :, 4:28], "grid", n_segments=200)
    tree, count = merge_tree(labels, CLIP[:, :, 4:28]), int(labels.max()) + 1
    coarse = tree.labels(20)
    best = [int(np.flatnonzero(coarse == region)[0]) for region in (1, 4, 8, 12, 17)]
    fill = make_fill(model, x[0], torch.from_numpy(labels).long(), count, "grey", 0)
    contrast = (x[0] - fill).mean(dim=0)
    with torch.no_grad():
        for rank, region in enumerate(best):
            inside = torch.from_numpy(labels == region)
            net.weight[inside] = 0.3 / (rank + 1) * contrast[inside].sign() / inside.sum()
    exact = np.bincount(labels.ravel(), (contrast * net.weight).detach().numpy().ravel())
    score = "logit" if isinstance(method, vx.RegionGradient) else "log-odds"
    query = Query(
        model, x, torch.from_numpy(labels)[None], count, vx.Question(target=0, score=score), methods=[method]
    )
    scores = coarse_to_fine(query, method, [tree], (20, 80, 10**6))[0].double().numpy()
    assert set(np.argsort(-exact)[:5].tolist()) == set(best)
    assert np.argsort(-scores)[:5].tolist() == np.argsort(-exact)[:5].tolist()
    np.testing.assert_allclose(scores[best], exact[best], rtol=0.02)
    rounds = query.used(method, 0)["coarse_to_fine"]
    assert rounds[0]["regions"] == 20 and len(rounds) == 3
    assert rounds[-1]["regions"] < count / 2
    assert sum(next(v for k, v in part.items() if k != "regions") for part in rounds) <= 400


def test_a_coarse_to_fine_explanation_says_what_it_took(model: vx.Classifier) -> None:
    made = vx.explain(
        model, CLIP, "region-gradient", passes=7, levels=LEVELS, coarse_to_fine=True, refine_top=0
    )
    rounds = made.settings["coarse_to_fine"]
    assert [part["passes"] for part in rounds] == efforts(7, 3) == [1, 1, 5] and made.settings["passes"] == 7  # type: ignore[index, union-attr]
    assert made.num_segments == made.hierarchy.count and made.is_additive  # type: ignore[union-attr]
    assert made.standard_error is not None and (made.standard_error >= 0).all()


def test_what_is_not_opened_shares_its_score_by_size(model: vx.Classifier) -> None:
    labels = vx.segment(CLIP[:, :, 4:28], "grid", n_segments=60)
    made = vx.explain(model, CLIP, "lime", samples=100, labels=labels, levels=(12, 60), coarse_to_fine=True)
    regions = made.settings["coarse_to_fine"][-1]["regions"]  # type: ignore[index]
    density = made.scores.astype(np.float64) / np.bincount(made.labels.ravel())
    shared = (
        np.abs(density[:, None] - density).min(axis=1, where=~np.eye(len(density), dtype=bool), initial=1)
        < 1e-9
    )
    assert made.num_segments - shared.sum() < regions < made.num_segments and shared.any()
    assert made.standard_error is not None
    whole = np.array([made.scores[np.isclose(density, d, atol=1e-9)].sum() for d in density])
    assert (made.standard_error[shared] >= np.abs(whole[shared]) * (1 - 1e-5)).all()


def test_each_clip_of_a_batch_is_refined_by_itself(model: vx.Classifier) -> None:
    clips = [CLIP, CLIP[::-1].copy()]
    options: dict[str, Any] = {"samples": 60, "levels": LEVELS, "coarse_to_fine": True}
    both = vx.explain_batch(model, clips, "lime", **options)
    for clip, together in zip(clips, both, strict=True):
        alone = vx.explain(model, clip, "lime", **options)
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-6)
