"""explain(): the method of section 3 put together, on clips, batches and images."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

import videxplain as vx
from videxplain.attribution import METHODS


class Net3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1)
        self.grid = nn.Conv3d(8, 8, 3, stride=2, padding=1)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.grid(F.relu(self.conv(x)))).mean(dim=(2, 3, 4)))


class Net2d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.grid = nn.Conv2d(3, 8, 3, stride=4)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(F.relu(self.grid(x)).mean(dim=(2, 3)))


CLASS_NAMES = ["arm wrestling", "cooking", "javelin throw", "skateboarding"]


@pytest.fixture
def model() -> vx.Classifier:
    return vx.Classifier(
        Net3d(), clip_length=8, size=(32, 32), cam_layer="grid", class_names=CLASS_NAMES, name="net3d"
    )


@pytest.fixture
def image_model() -> vx.Classifier:
    return vx.Classifier(
        Net2d(),
        layout="BCHW",
        clip_length=1,
        size=(32, 32),
        cam_layer="grid",
        class_names=CLASS_NAMES,
        name="net2d",
    )


def frames(length: int = 8, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth random clip, so that it has regions to find."""
    coarse = torch.rand(1, 3, 4, 5, 6, generator=torch.Generator().manual_seed(seed))
    fine = F.interpolate(coarse, (length, height, width), mode="trilinear")[0]
    return (fine * 255).byte().permute(1, 2, 3, 0).contiguous().numpy()


@pytest.mark.parametrize("method", ["vanilla", "guided", "grad-cam", "guided-grad-cam", "relu-activation"])
def test_scores_are_section_2_of_the_method(model: vx.Classifier, method: str) -> None:
    """score[k] = sum over the voxels of k of |up(cam) * dense|, recomputed by eager torch in float64."""
    explanation = vx.explain(model, frames(), method, "javelin throw", n_segments=20, keep_maps=True)
    voxels = torch.ones(explanation.labels.shape, dtype=torch.float64)
    if explanation.dense is not None:
        voxels = voxels * torch.from_numpy(explanation.dense).double().abs().sum(dim=0)
    if explanation.cam is not None:
        cam = torch.from_numpy(explanation.cam).double()[None, None]
        voxels = voxels * F.interpolate(cam, voxels.shape, mode="trilinear")[0, 0].abs()
    expected = np.bincount(
        explanation.labels.ravel(), voxels.numpy().ravel(), minlength=explanation.num_segments
    )
    np.testing.assert_allclose(explanation.scores, expected, rtol=1e-5, atol=1e-6 * expected.max())
    assert explanation.target == 2 and explanation.target_name == "javelin throw"


@pytest.mark.parametrize(
    ("reduction", "signed"), [("sum", False), ("sum", True), ("mean", False), ("max", True)]
)
@pytest.mark.parametrize("method", ["vanilla", "grad-cam", "guided-grad-cam"])
def test_supervoxels_finer_than_the_input(
    model: vx.Classifier, method: str, reduction: str, signed: bool
) -> None:
    """Each voxel's dense score is shared by the finer ones in it; a CAM is sampled on the finer grid."""
    source = frames(height=96, width=128)
    options: Any = {"reduction": reduction, "signed": signed, "n_segments": 20, "keep_maps": True}
    explanation = vx.explain(model, source, method, "javelin throw", scale=3, **options)
    assert explanation.labels.shape == (8, 96, 96) and explanation.geometry.network == (96, 96)
    assert explanation.settings["scale"] == 3
    voxels = np.ones(explanation.labels.shape)
    if explanation.dense is not None:
        dense = explanation.dense.astype(np.float64)
        dense = (dense if signed else np.abs(dense)).sum(axis=0)
        voxels = np.repeat(np.repeat(dense, 3, axis=1), 3, axis=2)
    if explanation.cam is not None:
        cam = torch.from_numpy(explanation.cam).double()[None, None]
        cam = F.interpolate(cam, voxels.shape, mode="trilinear")[0, 0].numpy()
        voxels = voxels * (cam if signed else np.abs(cam))
    ids = np.arange(explanation.num_segments)
    if reduction == "sum":
        expected = ndimage.sum_labels(voxels / 9, explanation.labels, ids)
    else:
        expected = getattr(ndimage, {"mean": "mean", "max": "maximum"}[reduction])(
            voxels, explanation.labels, ids
        )
    atol = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(explanation.scores, expected, rtol=1e-5, atol=atol)


def test_blocks_of_finer_voxels_score_like_the_voxels_they_are(model: vx.Classifier) -> None:
    source = frames(height=96, width=128)
    coarse = vx.explain(model, source, "vanilla", n_segments=20)
    blocks = coarse.labels.repeat(2, axis=1).repeat(2, axis=2)
    for reduction in ("sum", "mean", "max"):
        one = vx.explain(model, source, "vanilla", labels=coarse.labels, reduction=reduction)
        fine = vx.explain(model, source, "vanilla", labels=blocks, reduction=reduction)
        np.testing.assert_allclose(fine.scores, one.scores, rtol=1e-5)
        np.testing.assert_array_equal(fine.source_labels(), one.source_labels())


@pytest.mark.parametrize(
    ("height", "wanted", "given"), [(96, 2, 2), (96, 9, 3), (60, 9, 2), (40, 9, 1), (20, 2, 1)]
)
def test_supervoxels_are_no_finer_than_the_frames(
    model: vx.Classifier, height: int, wanted: int, given: int
) -> None:
    source = frames(height=height, width=128)
    explanation = vx.explain(model, source, n_segments=20, scale=wanted)
    assert explanation.labels.shape == (8, 32 * given, 32 * given)
    if given == 1:
        plain = vx.explain(model, source, n_segments=20)
        np.testing.assert_array_equal(explanation.labels, plain.labels)
        np.testing.assert_array_equal(explanation.scores, plain.scores)
        assert explanation.settings == plain.settings


def test_finer_supervoxels_are_as_many_and_as_long(model: vx.Classifier) -> None:
    """The grid of SLIC's centres is that of the network's input: finer is not flatter in time."""
    source = frames(height=128, width=128)
    lengths = []
    for scale in (1, 4):
        explanation = vx.explain(model, source, n_segments=64, scale=scale, segmentation="grid")
        lengths.append(sorted(region.box[1][0] - region.box[0][0] for region in explanation.top(64)))
    assert lengths[0] == lengths[1] and 40 < len(lengths[0]) <= 64


@pytest.mark.parametrize("method", ["lime", "region-gradient", "random"])
def test_methods_that_hide_supervoxels_need_those_of_the_input(model: vx.Classifier, method: str) -> None:
    with pytest.raises(vx.VidexplainError, match="scale of 1"):
        vx.explain(model, frames(height=96, width=128), method, n_segments=20, scale=2)
    with pytest.raises(vx.VidexplainError, match="scale of 1"):
        blocks = np.arange(64 * 64).reshape(1, 64, 64).repeat(8, axis=0)
        next(vx.explain_anytime(model, frames(height=96, width=128), labels=blocks))


@pytest.mark.parametrize("method", list(METHODS))
def test_every_method_explains_a_clip_and_an_image(
    model: vx.Classifier, image_model: vx.Classifier, method: str
) -> None:
    few = {"samples": 8} if method in ("lime", "kernel-shap", "rise") else {}
    for net, clip in ((model, frames()), (image_model, frames(1)[0])):
        explanation = vx.explain(net, clip, method, segmentation="slic", n_segments=12, **few)
        assert explanation.scores.shape == (explanation.labels.max() + 1,)
        assert explanation.scores.dtype == np.float32 and np.isfinite(explanation.scores).all()
        assert explanation.scores.std() > 0
        assert explanation.labels.dtype == np.int32
        assert explanation.heatmap().shape[-2:] == clip.shape[-3:-1]
        assert abs(explanation.heatmap()).max() == 1


def test_batch_is_a_list_that_equals_single_clips(model: vx.Classifier) -> None:
    clips = [frames(seed=s) for s in range(3)]
    together = vx.explain_batch(model, clips, "guided-grad-cam", ["cooking", 0, None], n_segments=20)
    for clip, target, explanation in zip(clips, ["cooking", 0, None], together, strict=True):
        alone = vx.explain(model, clip, "guided-grad-cam", target, n_segments=20)
        assert np.array_equal(alone.labels, explanation.labels)
        np.testing.assert_allclose(
            alone.scores, explanation.scores, rtol=1e-4, atol=1e-5 * alone.scores.max()
        )
        assert alone.target == explanation.target


def test_several_methods_share_the_supervoxels(model: vx.Classifier) -> None:
    both = vx.compare(model, frames(), ["guided", "random"], n_segments=20)
    (guided, name), (random, same) = both
    assert (guided, random) == ("guided", "random") and name == same == both[guided, name].target_name
    assert both[guided, name].labels is both[random, name].labels
    assert both[random, name].method == "random"


def test_several_classes_and_settings_of_one_method(model: vx.Classifier) -> None:
    from videxplain.attribution.methods import Lime

    methods = [Lime(samples=9), Lime(samples=11), "vanilla"]
    several = vx.compare(model, frames(), methods, [0, "cooking"], n_segments=20, seed=3)
    titles = ["lime(seed=3, samples=9)", "lime(seed=3, samples=11)", "vanilla"]
    assert [title for title, _ in several] == titles * 2
    for (title, name), explanation in several.items():
        assert explanation.target_name == name
        method = {"lime(seed=3, samples=9)": Lime(samples=9, seed=3), "vanilla": "vanilla"}.get(title)
        if method is not None:
            alone = vx.explain(model, frames(), method, name, n_segments=20)
            np.testing.assert_array_equal(alone.scores, explanation.scores)
    with pytest.raises(vx.VidexplainError, match="asked for twice"):
        vx.compare(model, frames(), ["vanilla", "vanilla"], n_segments=20)
    with pytest.raises(vx.VidexplainError, match="targets has to be a list"):
        vx.compare(model, frames(), ["vanilla"], 3)


@pytest.mark.parametrize("source", ["gradient", "both"])
def test_supervoxels_from_the_gradient(model: vx.Classifier, source: str) -> None:
    """The same supervoxels as of a picture made here from the gradient that `keep_maps` gives."""
    clip = frames()
    found = vx.explain(model, clip, "vanilla", source=source, n_segments=12, reduction="mean", target=1)
    own = vx.explain(model, clip, "vanilla", n_segments=12, keep_maps=True, target=1)
    assert found.settings["source"] == source and own.settings["source"] == "image"
    assert not np.array_equal(found.labels, own.labels)
    size = np.sqrt(np.abs(own.dense).sum(axis=0))
    grey = 255 * np.minimum(size / np.sort(size.ravel())[round(0.99 * size.size) - 1], 1)[..., None]
    shown = own.geometry.apply(clip)
    picture = grey + 0 * shown if source == "gradient" else (grey + shown) / 2
    expected = vx.segment((picture + 0.5).astype(np.uint8), n_segments=12)
    assert np.mean(found.labels == expected) > 0.99


def test_short_clip_is_held_and_long_clip_refused(model: vx.Classifier) -> None:
    explanation = vx.explain(model, frames(5), "vanilla")
    assert explanation.held == 3 and len(explanation.frames) == 8
    assert np.array_equal(explanation.frames[4], explanation.frames[7])
    with pytest.raises(vx.VidexplainError, match="8 frames and this one has 9"):
        vx.explain(model, frames(9), "vanilla")


def test_the_network_sees_what_is_segmented(model: vx.Classifier) -> None:
    """Also where it crops: an explanation is of the picture that `predict` is given, not of a crop of the crop."""
    cropping = vx.Classifier(model.net, clip_length=8, size=(32, 32), short_side=44, cam_layer="grid")
    clip = vx.Clip.from_array(frames())
    x = cropping.prepare(clip)
    expected = cropping.predict(x)[0]
    seen = cropping.geometry(clip.size).apply(clip.frames)
    ready = dataclasses.replace(clip, frames=seen, geometry=cropping.geometry(clip.size))
    assert torch.equal(cropping.prepare(ready), x)
    dense = vx.pixel_scores(cropping, x, "vanilla", target=1).dense[0].double()
    for given in (clip, ready):
        found = vx.explain(cropping, given, "vanilla", target=1, n_segments=20)
        assert found.probability == pytest.approx(expected[1].item(), rel=1e-6)
        voxels = dense.abs().sum(dim=0).numpy().ravel()
        np.testing.assert_allclose(found.scores, np.bincount(found.labels.ravel(), voxels), rtol=1e-5)
    with pytest.raises(vx.VidexplainError, match="32x32, not 64x48"):
        cropping.prepare(dataclasses.replace(clip, geometry=ready.geometry))


def test_own_labels(model: vx.Classifier) -> None:
    halves = np.zeros((8, 32, 32), int)
    halves[:, :, 16:] = 1
    explanation = vx.explain(model, frames(), "vanilla", labels=halves)
    assert explanation.num_segments == 2
    with pytest.raises(vx.VidexplainError, match="holes"):
        vx.explain(model, frames(), "vanilla", labels=halves * 2)
    with pytest.raises(vx.VidexplainError, match="shape"):
        vx.explain(model, frames(), "vanilla", labels=halves[:, :-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "gided"}, "did you mean 'guided'"),
        ({"target": "javelin"}, "javelin throw"),
        ({"target": 4}, "4"),
        ({"target": "#9"}, "#9"),
        ({"reduction": "median"}, "reduction"),
        ({"segmentation": "slick"}, "slic"),
        ({"samples": 4}, "option 'samples'"),
        ({"output": "loss"}, "output"),
        ({"n_segments": 0}, "n_segments"),
    ],
)
def test_wrong_arguments_get_one_sentence(model: vx.Classifier, arguments: dict, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.explain(model, frames(), **arguments)


def test_top_describes_the_best_supervoxels(model: vx.Classifier) -> None:
    explanation = vx.explain(model, frames(), "guided", n_segments=20)
    top = explanation.top(3)
    assert [s.score for s in top] == sorted(explanation.scores.tolist(), reverse=True)[:3]
    for region in top:
        where = np.argwhere(explanation.labels == region.id)
        assert region.voxels == len(where)
        np.testing.assert_allclose(region.centre, where.mean(axis=0))
        assert (where.min(axis=0) == region.box[0]).all() and (where.max(axis=0) + 1 == region.box[1]).all()
        assert region.share == pytest.approx(region.score / explanation.scores.sum(), rel=1e-5)
    assert len(explanation.top(10**6)) == explanation.num_segments


def test_save_and_load_round_trip(model: vx.Classifier, tmp_path) -> None:
    clip = vx.Clip(frames(), tuple(Fraction(i, 30) for i in range(8)), start=16)
    explanation = vx.explain(model, clip, "guided-grad-cam", n_segments=20, keep_maps=True)
    explanation.save(tmp_path / "out")
    explanation.save(tmp_path / "out")  # replaces
    loaded = vx.Explanation.load(tmp_path / "out")
    for name in ("labels", "scores", "frames", "dense", "cam"):
        assert np.array_equal(getattr(loaded, name), getattr(explanation, name))
    for name in (
        "target",
        "target_name",
        "probability",
        "predictions",
        "method",
        "settings",
        "times",
        "geometry",
        "held",
    ):
        assert getattr(loaded, name) == getattr(explanation, name)
    assert np.array_equal(loaded.render(), explanation.render())
    assert [p.name for p in tmp_path.iterdir()] == ["out"], "scratch files were left behind"


def test_load_and_save_errors(model: vx.Classifier, tmp_path) -> None:
    with pytest.raises(vx.VidexplainError, match="no explanation"):
        vx.Explanation.load(tmp_path)
    explanation = vx.explain(model, frames(), "vanilla", n_segments=4)
    (tmp_path / "file").write_text("")
    with pytest.raises(vx.VidexplainError, match="cannot write"):
        explanation.save(tmp_path / "file" / "out")
    folder = explanation.save(tmp_path / "new")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(vx.VidexplainError, match="version 99"):
        vx.Explanation.load(folder)


def test_notebook_picture(model: vx.Classifier) -> None:
    png = vx.explain(model, frames(), "vanilla", n_segments=4)._repr_png_()
    assert png.startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize(
    "first", [f"videxplain.{name}" for name in ("explanations.explain", "evaluation.item", "cli")]
)
def test_explain_stays_the_function_whatever_is_imported_first(first: str) -> None:
    code = f"import {first}, videxplain as vx; vx.explain_anytime; assert callable(vx.explain)"
    subprocess.run([sys.executable, "-c", code], check=True)
