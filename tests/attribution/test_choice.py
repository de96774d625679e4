"""What method "auto" becomes, and what it costs."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.attribution.choice import CHOICES, Budget, Kind, kind_of_network
from videxplain.attribution.methods import METHODS
from videxplain.cli import main

KINDS = get_args(Kind)
FRAMES, SIZE = 4, 16


class Small(nn.Module):
    """Counts the clips that go through it."""

    def __init__(self, *, image: bool = False, attention: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.LayerNorm(6) if attention else nn.Identity()
        self.body = nn.Conv2d(3, 6, 3, 2, 1) if image else nn.Conv3d(3, 6, 3, (1, 2, 2), 1)
        self.relu, self.fc = nn.GELU() if attention else nn.ReLU(), nn.Linear(6, 3)
        self.forward_clips = self.backward_clips = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forward_clips += len(x)
        if x.requires_grad:
            x.register_hook(self._count)
        return 20 * self.fc(self.norm(self.relu(self.body(x)).flatten(2).mean(2)))

    def _count(self, gradient: torch.Tensor) -> None:
        self.backward_clips += len(gradient)


def small(kind: Kind = "convolutions on clips", *, image: bool = False) -> vx.Classifier:
    image |= kind == "convolutions on images"
    net = Small(image=image, attention=kind == "attention")
    layout = "BCHW" if image else "BCTHW"
    return vx.Classifier(net, layout=layout, clip_length=1 if image else FRAMES, size=(SIZE, SIZE))


def clip(*, image: bool = False) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (1 if image else FRAMES, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", get_args(Budget))
def test_it_gives_what_the_chosen_method_gives(budget: Budget, kind: Kind) -> None:
    model, shown = small(kind), clip(image=kind == "convolutions on images")
    found = vx.explain(model, shown, vx.Auto(budget=budget, seed=3), segmentation="grid", n_segments=12)
    choice = CHOICES[budget, kind]
    alone = vx.explain(model, shown, choice.method, segmentation="grid", n_segments=12, seed=3)
    assert np.array_equal(found.scores, alone.scores)
    assert (alone.standard_error is None) == (found.standard_error is None)
    assert found.method == "auto" and found.settings["budget"] == budget
    assert found.settings["became"] == alone.method and found.settings["because"] == choice.why
    for name in ("score", "passes", "fill", "refine_top", "mask_sampling", "seed"):
        assert found.settings[name] == alone.settings[name], name


@pytest.mark.parametrize(("budget", "most"), [("fast", 5), ("balanced", 8), ("thorough", 20)])
@pytest.mark.parametrize("kind", KINDS)
def test_budgets_are_kept(kind: Kind, budget: Budget, most: int) -> None:
    """The fill's choice included; one pass to know the class is every method's. A backward pass counts twice."""
    model, shown = small(kind), clip(image=kind == "convolutions on images")
    net = model.net
    assert isinstance(net, Small)
    vx.explain(model, shown, "vanilla", segmentation="grid", n_segments=12)  # looks at the network
    net.forward_clips = net.backward_clips = 0
    vx.explain(model, shown, "auto", budget=budget, segmentation="grid", n_segments=12)
    assert net.backward_clips > 0
    assert net.forward_clips - 1 + 2 * net.backward_clips <= 3 * most


def test_every_budget_has_a_method_for_every_kind_of_network() -> None:
    assert set(CHOICES) == {(budget, kind) for budget in get_args(Budget) for kind in KINDS}
    assert not any(isinstance(choice.method, vx.Auto) for choice in CHOICES.values())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("resnet18", "convolutions on images"),
        ("vit_b_32", "attention"),
        ("convnext_tiny", "attention"),
        ("r3d_18", "convolutions on clips"),
        ("c3d-motion", "convolutions on clips"),
    ],
)
def test_kinds_of_known_networks(name: str, kind: Kind) -> None:
    """ConvNeXt normalises layers, as networks with attention do."""
    assert kind_of_network(vx.load_model(name, weights="random")) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_chords_are_followed_where_they_can_be(kind: Kind) -> None:
    """Also where `region-gradient` is asked for by name, and step by step; through attention tangents are."""
    model, shown = small(kind), clip(image=kind == "convolutions on images")
    suited = "arcsine" if kind == "attention" else "secants"
    options: dict[str, Any] = {"segmentation": "grid", "n_segments": 12, "passes": 8}
    found = vx.explain(model, shown, "region-gradient", **options)
    named = vx.explain(model, shown, "region-gradient", mask_sampling=suited, **options)
    *_, last = vx.explain_anytime(model, shown, **options)
    other = "secants" if kind == "attention" else "arcsine"
    assert not np.array_equal(
        found.scores, vx.explain(model, shown, "region-gradient", mask_sampling=other, **options).scores
    )
    for explanation in (named, last.explanation):
        np.testing.assert_array_equal(explanation.scores, found.scores)
        assert explanation.settings["mask_sampling"] == found.settings["mask_sampling"] == suited


def test_what_is_noticed_of_chords_is_recorded_where_they_are_followed() -> None:
    model, shown = small("attention"), clip()
    options: dict[str, Any] = {"segmentation": "grid", "n_segments": 12}

    def noted(method: str, **more: Any) -> list[str]:
        settings = vx.explain(model, shown, method, **options, **more).settings
        return [note for note in settings.get("notes", []) if "less sure" in note]

    with pytest.warns(vx.VidexplainWarning, match="less sure"):
        assert noted("region-gradient", mask_sampling="secants")
    assert noted("region-gradient", mask_sampling="in-turn")
    assert not noted("region-gradient") and not noted("auto") and not noted("lime", samples=8)


@pytest.mark.parametrize("kind", ["convolutions on clips", "attention"])
def test_motion_and_evidence_record_where_gradients_were_taken(kind: Kind) -> None:
    model, shown = small(kind), clip()
    suited = "arcsine" if kind == "attention" else "secants"
    options: dict[str, Any] = {"segmentation": "grid", "n_segments": 12}
    for answer in (vx.motion(model, shown, **options), vx.evidence(model, shown, **options)):
        assert answer.explanation.settings["mask_sampling"] == suited


@pytest.mark.parametrize(("kind", "method"), [("convolutions on clips", "guided"), ("attention", "vanilla")])
def test_finer_supervoxels_get_a_method_of_voxels(kind: Kind, method: str) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (FRAMES, 4 * SIZE, 4 * SIZE, 3), dtype=np.uint8)
    found = vx.explain(small(kind), frames, "auto", scale=2, n_segments=8)
    assert found.settings["became"] == method
    assert np.array_equal(found.scores, vx.explain(small(kind), frames, method, scale=2, n_segments=8).scores)


@pytest.mark.parametrize("budget", get_args(Budget))
def test_a_score_that_is_asked_for_is_explained(budget: Budget) -> None:
    found = vx.explain(small(), clip(), "auto", budget=budget, score="log-odds", n_segments=8)
    assert found.settings["score"] == "log-odds"
    assert found.settings["became"] == "region-gradient"


def test_maps_are_refused_before_the_work() -> None:
    with pytest.raises(vx.VidexplainError, match=r"keep_maps means nothing to method 'auto'.*guided"):
        vx.explain(small(), clip(), keep_maps=True)


def test_a_verdict_is_given_on_it() -> None:
    model = small()
    explanation = vx.explain(model, clip(), "auto", segmentation="grid", n_segments=30)
    assert vx.trust(model, clip(), explanation).verdict


def test_classes_against_each_other_have_opposite_scores() -> None:
    one = vx.explain(small(), clip(), "auto", 0, against=1, budget="balanced", n_segments=8)
    other = vx.explain(small(), clip(), "auto", 1, against=0, budget="balanced", n_segments=8)
    np.testing.assert_allclose(one.scores, -other.scores, rtol=1e-4, atol=1e-6)


def test_a_batch_is_as_its_clips() -> None:
    model, clips = small(), [clip(), clip()[::-1].copy()]
    for budget in get_args(Budget):
        together = vx.explain_batch(model, clips, "auto", budget=budget, segmentation="grid", n_segments=12)
        for shown, explanation in zip(clips, together, strict=True):
            alone = vx.explain(model, shown, "auto", budget=budget, segmentation="grid", n_segments=12)
            np.testing.assert_allclose(explanation.scores, alone.scores, rtol=1e-3, atol=1e-6)
            assert explanation.settings["became"] == alone.settings["became"]


def test_the_command_line_says_which_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    for (budget, kind), choice in CHOICES.items():
        assert f"{budget}, {kind}: {choice.method.title()}: {choice.why}" in said


@pytest.mark.parametrize("name", ["budget", "passes"])
def test_options_that_mean_nothing_are_refused(name: str) -> None:
    method, value = ("guided", "fast") if name == "budget" else ("auto", 4)
    with pytest.raises(vx.VidexplainError, match=rf"{name}.* means nothing to method {method!r}"):
        vx.explain(small(), clip(), method, **{name: value})
    with pytest.raises(vx.VidexplainError, match=r"budget.*cheap"):
        vx.explain(small(), clip(), "auto", budget="cheap")
    assert "auto" in METHODS
