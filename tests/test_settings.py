"""Options: used, recorded with their defaults, or refused in a sentence."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import videxplain as vx
from videxplain.attribution.mask_sampling import LEVELS
from videxplain.attribution.methods import METHODS, PixelMethod
from videxplain.evaluation.command import EXPERIMENTS
from videxplain.evaluation.experiments import EXPERIMENTS as MEASURED
from videxplain.passes.masked_clip import FILLS
from videxplain.segmentation import SEGMENTATIONS
from videxplain.settings import (
    METHOD_SETTINGS,
    SEGMENTATION_SETTINGS,
    Fill,
    Gradient,
    Levels,
    recorded,
    settings_for,
)

CLIP = np.random.default_rng(0).integers(0, 256, (16, 32, 40, 3)).astype(np.uint8)


def test_names_that_need_no_torch_are_those_of_what_does() -> None:
    assert set(METHOD_SETTINGS) == set(METHODS)
    assert set(SEGMENTATION_SETTINGS) == set(SEGMENTATIONS)
    assert Fill.__args__ == FILLS and set(Levels.__args__) == set(LEVELS)
    assert sorted(EXPERIMENTS) == sorted(MEASURED)


@pytest.mark.parametrize("name", [n for n in METHODS if not isinstance(METHODS[n], PixelMethod)])
def test_defaults_are_those_of_the_functions(name: str) -> None:
    parameters = inspect.signature(METHODS[name].score).parameters.values()
    theirs = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    ours = vars(METHOD_SETTINGS[name]())
    common = set(Gradient.__dataclass_fields__)
    assert {k: v for k, v in ours.items() if k in theirs} == theirs
    assert set(ours) - set(theirs) <= common


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("region-gradient", {"output": "nonsense"}, "unknown output 'nonsense'; choose one of tempered"),
        (
            "guided",
            {"samples": 5},
            "option 'samples' means nothing to method 'guided'; its options are guided_any",
        ),
        ("lime", {"fill": "grey"}, "option 'fill' means nothing to method 'lime'"),
        ("grad-cam", {"output": "logit"}, "option 'output' means nothing to method 'grad-cam'"),
        ("vanilla", {"guided_any": True}, "option 'guided_any' means nothing"),
        ("occlusion", {"reduction": "mean"}, "option 'reduction' means nothing to method 'occlusion'"),
        ("random", {"signed": True}, "option 'signed' means nothing"),
        ("guided", {"reduction": "median"}, "unknown reduction 'median'; .*mean"),
        ("lime-batched", {"samples": 0}, "samples must be at least 1, not 0"),
        ("lime-batched", {"samples": "many"}, "samples has to be a whole number, not 'many'"),
        ("rise", {"shown": "half"}, "shown has to be a number, not 'half'"),
        ("kernel-shap", {"fill": "gray"}, "unknown fill 'gray'; did you mean 'grey'"),
        ("integrated-gradients", {"steps": 2.5}, "steps has to be a whole number, not 2.5"),
        ("smoothgrad", {"guided_any": True}, "guided_any means nothing to smoothgrad of 'vanilla'"),
        ("region-gradient", {"until": float("nan")}, "until has to be"),
        ("nonsense", {}, "unknown method 'nonsense'"),
    ],
)
def test_what_an_option_cannot_do_is_refused(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.explain(vx.load_model("c3d-motion"), CLIP, method, **options)


@pytest.mark.parametrize("method", METHOD_SETTINGS)
def test_all_options_are_recorded_with_their_defaults(method: str) -> None:
    if method.startswith("lrp"):
        pytest.importorskip("zennit")
    few = {"samples": 3, "passes": 2, "steps": 2}
    given = {name: n for name, n in few.items() if name in METHOD_SETTINGS[method].__dataclass_fields__}
    explanation = vx.explain(vx.load_model("c3d-motion"), CLIP, method, n_segments=6, **given)
    expected = recorded(settings_for([method], given)[method])
    assert {name: explanation.settings.get(name, "none") for name in expected} == expected
    assert explanation.settings["n_segments"] == 6 and explanation.settings["compactness"] == 10.0
    assert len(explanation.settings["model_sha256"]) == len(explanation.settings["frames_sha256"]) == 64


def test_smoothgrad_of_a_guided_gradient_takes_the_advice_that_is_given() -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    model = vx.Classifier(net, clip_length=4, size=(16, 16))
    x = torch.randn(1, 3, 4, 16, 16)
    with pytest.raises(vx.VidexplainError, match="guided_any"):
        vx.pixel_scores(model, x, "smoothgrad", 0, base="guided", samples=2)
    assert (
        vx.pixel_scores(model, x, "smoothgrad", 0, base="guided", samples=2, guided_any=True).dense
        is not None
    )


def test_a_changed_network_has_another_hash_and_an_unchanged_one_the_same() -> None:
    import torch

    model = vx.load_model("c3d-motion")
    first = model.fingerprint()
    assert model.fingerprint() == first == vx.load_model("c3d-motion").fingerprint()
    with torch.no_grad():
        next(model.net.parameters()).mul_(1.5)
    second = model.fingerprint()
    next(model.net.parameters()).data.mul_(1.5)
    assert len({first, second, model.fingerprint()}) == 3


@pytest.mark.parametrize(
    "given", [{"n_segments": 5}, {"compactness": 3.0}, {"segmentation": "grid"}, {"segments_from": "both"}]
)
def test_supervoxels_that_are_given_are_not_cut(given: dict[str, Any]) -> None:
    labels = np.zeros((16, 112, 112), np.int32)
    with pytest.raises(vx.VidexplainError, match="means nothing where the supervoxels are given"):
        vx.explain(vx.load_model("c3d-motion"), CLIP, labels=labels, **given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: vx.explain(m, "clip.mp4"), "a path was given where a clip is wanted.*open_video"),
        (lambda m: vx.explain("c3d", CLIP), r"not a path or name \('c3d'\); load_model\('c3d'\) makes one"),
        (lambda m: vx.explain(m.net, CLIP), r"not a C3D; Classifier\(network\) makes one"),
        (lambda m: vx.explain(m, []), "there is no clip"),
        (lambda m: vx.explain(m, CLIP, ["guided"]), r"methods=\[...\]"),
        (lambda m: vx.explain(m, CLIP, methods="guided"), r"methods=\[...\]"),
        (lambda m: vx.open_video(CLIP), "takes the path of a video, not a ndarray"),
        (lambda m: vx.load_model(m.net), r"not a C3D; Classifier\(network\)"),
        (lambda m: vx.Explanation.load(5), "not from a int"),
    ],
)
def test_wrong_kinds_are_named(call: Any, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        call(vx.load_model("c3d-motion"))


def test_parts_of_names_are_looked_for_first() -> None:
    from videxplain.errors import unknown_name

    names = ["goldfinch", "golden retriever", "golf ball", "marigolden"]
    assert "did you mean 'golden retriever' or" in str(unknown_name("class", "golden", names))
    assert "did you mean 'golf ball'" in str(unknown_name("class", "golf", names))


def test_a_method_that_is_registered_elsewhere_brings_its_options() -> None:
    import torch

    from videxplain.attribution.methods import RegionMethod

    def by_size(model, x, labels, num_segments, target, *, power: float = 1.0) -> torch.Tensor:  # type: ignore[no-untyped-def]
        return torch.stack([torch.bincount(own.flatten(), minlength=num_segments) ** power for own in labels])

    METHODS.register("by-size")(RegionMethod("by the number of voxels", by_size))
    try:
        model = vx.load_model("c3d-motion")
        explanation = vx.explain(model, CLIP, "by-size", n_segments=8, power=2.0)
        np.testing.assert_allclose(explanation.scores, np.bincount(explanation.labels.ravel()) ** 2.0)
        assert explanation.settings["power"] == 2.0
        with pytest.raises(vx.VidexplainError, match="its options are power"):
            vx.explain(model, CLIP, "by-size", samples=3)
    finally:
        del METHODS._items["by-size"], METHOD_SETTINGS["by-size"]
