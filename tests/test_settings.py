"""Options: used, recorded with their defaults, or refused in a sentence."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import videxplain as vx
from videxplain.attribution import methods as builtin
from videxplain.attribution.mask_sampling import IN_TURN, SECANTS, TANGENTS
from videxplain.attribution.methods import METHODS, Method, OnePass, RegionMethod
from videxplain.attribution.query import Query
from videxplain.attribution.region_gradient import REFINED
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import CANDIDATES
from videxplain.settings import Question, Score, Segmentation, Settings


def tiny() -> vx.Classifier:
    """A small network for quick calls."""
    from torch import nn

    pooled = nn.AdaptiveAvgPool3d(1)
    net = nn.Sequential(
        nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 8, 3), nn.ReLU(), pooled, nn.Flatten(), nn.Linear(8, 4)
    )
    return vx.Classifier(net, clip_length=8, size=(32, 32))


SHORT_CLIP = np.random.default_rng(1).integers(0, 256, (8, 32, 40, 3)).astype(np.uint8)
CLIP = np.random.default_rng(0).integers(0, 256, (16, 32, 40, 3)).astype(np.uint8)


def test_names_that_need_no_torch_are_those_of_what_does() -> None:
    import torch

    assert set(get_args(builtin.MaskSampling)) == {SECANTS, IN_TURN, *TANGENTS}
    logits = torch.randn(2, 1, 3, dtype=torch.float64)
    assert all(Aim(0).score(logits, score).shape == (2,) for score in get_args(Score))
    from videxplain.attribution import cam

    for name in METHODS:
        if issubclass(METHODS[name], OnePass) and METHODS[name].cam is not None:
            assert callable(getattr(cam, METHODS[name].cam))


def test_what_type_checkers_see_is_up_to_date() -> None:
    script = Path(__file__).parents[1] / ".ci" / "make_options.py"
    subprocess.run([sys.executable, script, "--check"], check=True)


def every_settings(cls: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for sub in cls.__subclasses__():
        yield sub
        yield from every_settings(sub)


@pytest.mark.parametrize(
    "cls",
    [cls for cls in every_settings() if cls.__module__.startswith("videxplain.")],
    ids=lambda c: c.__name__,
)
def test_settings_check_themselves(cls: type[Settings]) -> None:
    """Defaults are of the kinds that annotations say, and nothing else is taken."""
    made = cls()
    assert dataclasses.replace(made) == made and hash(made) == hash(cls())
    for field in dataclasses.fields(cls):
        with pytest.raises(vx.VidexplainError, match=field.name):
            cls(**{field.name: object()})
        least = field.metadata.get("least")
        if least is not None:
            with pytest.raises(vx.VidexplainError, match=f"{field.name} must be at least"):
                cls(**{field.name: least - 1})


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("region-gradient", {"score": "nonsense"}, "unknown score 'nonsense'; choose one of probability"),
        (
            "guided",
            {"samples": 5},
            "option 'samples' means nothing to method 'guided'; its options are reduction, signed, guide_smooth",
        ),
        ("lime", {"fill": "grey", "batched": False}, "fill means nothing to the lime package"),
        (
            "grad-cam",
            {"score": "probability"},
            "means nothing to method 'grad-cam', which explains the logit",
        ),
        (
            "random",
            {"score": "logit"},
            "score 'logit' means nothing to method 'random', which asks about none",
        ),
        ("lime", {"score": "log-odds", "batched": False}, "'log-odds' means nothing to the lime package"),
        ("vanilla", {"guide_smooth": True}, "option 'guide_smooth' means nothing"),
        ("occlusion", {"reduction": "mean"}, "option 'reduction' means nothing to method 'occlusion'"),
        ("random", {"signed": True}, "option 'signed' means nothing"),
        ("guided", {"reduction": "median"}, "unknown reduction 'median'; .*mean"),
        ("lime", {"samples": 0}, "samples must be at least 1, not 0"),
        ("lime", {"samples": "many"}, "samples has to be a whole number, not 'many'"),
        ("rise", {"shown": "half"}, "shown has to be a number, not 'half'"),
        ("kernel-shap", {"fill": "gray"}, "unknown fill 'gray'; did you mean 'grey'"),
        ("integrated-gradients", {"steps": 2.5}, "steps has to be a whole number, not 2.5"),
        ("smoothgrad", {"guide_smooth": True}, "guide_smooth means nothing to smoothgrad of 'vanilla'"),
        ("region-gradient", {"until": float("nan")}, "until has to be"),
        ("nonsense", {}, "unknown method 'nonsense'"),
    ],
)
def test_what_an_option_cannot_do_is_refused(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.explain(vx.load_model("c3d-motion"), CLIP, method, **options)


@pytest.mark.parametrize("method", METHODS)
def test_all_options_are_recorded_with_their_defaults(method: str) -> None:
    if method.startswith("lrp"):
        pytest.importorskip("zennit")
    few = {"samples": 3, "passes": 2, "steps": 2}
    given = {name: n for name, n in few.items() if name in METHODS[method].options()}
    model = tiny()
    explanation = vx.explain(model, SHORT_CLIP, method, n_segments=6, **given)
    expected = METHODS[method](**given).recorded()
    if METHODS[method].asks:
        expected["score"] = METHODS[method].asks[0]
    if expected.get("fill") == "auto":  # what was chosen is recorded
        expected["fill"] = next(fill for fill in CANDIDATES[True] if fill == explanation.settings["fill"])
    if "mask_sampling" in expected:  # and which suits the network
        expected["mask_sampling"] = SECANTS
    if "refine_top" in expected:  # and how many were measured
        expected["refine_top"] = next(n for n in (0, REFINED) if n == explanation.settings["refine_top"])
    assert {name: explanation.settings.get(name, "none") for name in expected} == expected
    assert explanation.settings["n_segments"] == 6 and explanation.settings["compactness"] == 10.0
    assert len(explanation.settings["model_sha256"]) == len(explanation.settings["frames_sha256"]) == 64
    whole = vx.explain(model, SHORT_CLIP, METHODS[method](**given), segmentation=Segmentation(n_segments=6))
    np.testing.assert_array_equal(whole.scores, explanation.scores)
    assert whole.settings == explanation.settings


@pytest.mark.parametrize("score", get_args(Score))
def test_a_whole_question_is_its_fields(score: Any) -> None:
    model = tiny()
    given: dict[str, Any] = {"n_segments": 6, "passes": 2}
    whole = vx.explain(model, SHORT_CLIP, "region-gradient", Question(target=1, score=score), **given)
    short = vx.explain(model, SHORT_CLIP, "region-gradient", 1, score=score, **given)
    assert whole.settings == short.settings and whole.settings["score"] == score and whole.target == 1
    np.testing.assert_array_equal(whole.scores, short.scores)


def test_smoothgrad_of_a_guided_gradient_takes_the_advice_that_is_given() -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.GELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    model = vx.Classifier(net, clip_length=4, size=(16, 16))
    x = torch.randn(1, 3, 4, 16, 16)
    with pytest.raises(vx.VidexplainError, match="guide_smooth"):
        vx.pixel_scores(model, x, "smoothgrad", 0, base="guided", samples=2)
    assert (
        vx.pixel_scores(model, x, "smoothgrad", 0, base="guided", samples=2, guide_smooth=True).dense
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
    "given",
    [
        {"n_segments": 5},
        {"compactness": 3.0},
        {"segmentation": "grid"},
        {"source": "both"},
        {"n_segments": 200},
    ],
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
        (lambda m: vx.explain(m, []), r"explain_batch\(\) takes a list"),
        (lambda m: vx.explain_batch(m, []), "there is no clip"),
        (lambda m: vx.explain(m, CLIP, ["guided"]), r"compare\(\) takes several"),
        (
            lambda m: vx.explain(m, CLIP, 3),
            r"a method is a name or a method such as Lime\(samples=500\), not 3",
        ),
        (
            lambda m: vx.explain(m, CLIP, segmentation=8),
            r"segmentation has to be a Segmentation\(...\), not 8",
        ),
        (lambda m: vx.compare(m, CLIP, "guided"), "methods has to be a list"),
        (lambda m: vx.compare(m, CLIP, target=3), "targets=\\[...\\]"),
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

    @METHODS.register("by-size")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class BySize(RegionMethod):
        """by the number of voxels"""

        power: float = 1.0

        def score(self, query: Query) -> torch.Tensor:
            sizes = [
                torch.bincount(labels.flatten(), minlength=query.num_segments) for labels in query.labels
            ]
            return torch.stack(sizes) ** self.power

    try:
        model = vx.load_model("c3d-motion")
        explanation = vx.explain(model, CLIP, "by-size", n_segments=8, power=2.0)  # type: ignore[call-arg]
        np.testing.assert_allclose(explanation.scores, np.bincount(explanation.labels.ravel()) ** 2.0)
        assert explanation.settings["power"] == 2.0
        with pytest.raises(vx.VidexplainError, match="its options are power"):
            vx.explain(model, CLIP, "by-size", samples=3)
        with pytest.raises(vx.VidexplainError, match="power has to be a number"):
            BySize(power="much")  # type: ignore[arg-type]
    finally:
        del METHODS._items["by-size"]
    with pytest.raises(vx.VidexplainError, match="has to be a class made from PixelMethod or RegionMethod"):
        METHODS.register("no-method")(Method.score)  # type: ignore[type-var]


def test_settings_are_what_dir_and_editors_show() -> None:
    assert {"Lime", "Segmentation", "explain", "compare"} <= set(dir(vx))
    assert all(getattr(vx, name) is not None for name in vx.__all__)
    tree = ast.parse(Path(vx.__file__).read_text())
    checked = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {name.name: node.module for node in checked.body for name in node.names}  # type: ignore[attr-defined]
    assert seen == vx._MODULE_OF and sorted(vx.__all__) == sorted([*seen, "__version__"])
