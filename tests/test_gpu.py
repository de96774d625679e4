"""The package on a GPU: what it finds there is what it finds on the CPU."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.attribution import METHODS
from videxplain.cli import main
from videxplain.demo import write_moving_objects
from videxplain.settings import Fill
from videxplain.synthetic.moving_objects import generate

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
QUICK: dict[str, dict[str, Any]] = {
    "integrated-gradients": {"steps": 8},
    "smoothgrad": {"samples": 4},
    "lime": {"samples": 200},
    "kernel-shap": {"samples": 200},
    "rise": {"samples": 100},
}
UNEVEN, ROUNDING = 1e-3, 1e-6
"""How far scores may lie apart: in units of the largest, and as probabilities of a network that is sure."""


@pytest.fixture(autouse=True)
def full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without TensorFloat-32, which the CPU does not have."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    return [generate(seed).frames for seed in (3, 4)]


def both(name: str = "c3d-motion", **settings: Any) -> tuple[vx.Classifier, vx.Classifier]:
    """The same network on the CPU and on the GPU."""
    networks = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        networks.append(vx.load_model(name, device=device, **settings))
    return networks[0], networks[1]


def check(ours: Any, theirs: Any, uneven: float = UNEVEN) -> None:
    assert np.array_equal(ours.labels, theirs.labels)
    assert ours.target == theirs.target
    assert ours.probability == pytest.approx(theirs.probability, abs=1e-4)
    largest = np.abs(theirs.scores).max()
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=0, atol=uneven * largest + ROUNDING)


@pytest.mark.parametrize("method", METHODS)
def test_every_method(method: str, clips: list[np.ndarray]) -> None:
    if method.startswith("lrp"):
        pytest.importorskip("zennit")
    cpu, gpu = both()
    options = QUICK.get(method, {})
    on_cpu = vx.explain_batch(cpu, clips, method=method, n_segments=60, **options)
    on_gpu = vx.explain_batch(gpu, clips, method=method, n_segments=60, **options)
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        check(ours, theirs)


@pytest.mark.parametrize("passes", [1, 8, 16])
@pytest.mark.parametrize("levels", ["secants", "centred", "arcsine"])
def test_region_gradient(passes: int, levels: str, clips: list[np.ndarray]) -> None:
    cpu, gpu = both()
    options: dict[str, Any] = {"method": "region-gradient", "passes": passes, "levels": levels}
    options |= {"n_segments": 60}
    check(vx.explain(gpu, clips[0], **options), vx.explain(cpu, clips[0], **options))


@pytest.mark.parametrize("fill", get_args(Fill))
def test_fills(fill: str, clips: list[np.ndarray]) -> None:
    cpu, gpu = both()
    options: dict[str, Any] = {"method": "lime", "samples": 100, "fill": fill, "n_segments": 40}
    check(vx.explain(gpu, clips[0], **options), vx.explain(cpu, clips[0], **options))


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "r3d_18", "mvit_v2_s"])
@pytest.mark.parametrize("method", ["vanilla", "grad-cam", "region-gradient"])
def test_networks(name: str, method: str, clips: list[np.ndarray]) -> None:
    cpu, gpu = both(name, weights="random")
    clip = clips[0][:1] if cpu.is_image_model else clips[0]
    options: dict[str, Any] = {"method": method, "n_segments": 20, "target": 3}
    options |= {"passes": 2, "leaders": 2} if method == "region-gradient" else {}
    # inputs of rectifiers are nearer to 0 than in trained networks, and fall to either side
    check(vx.explain(gpu, clip, **options), vx.explain(cpu, clip, **options), uneven=0.02)


@pytest.mark.parametrize("source", ["gradient", "both"])
def test_supervoxels_of_gradients(source: str, clips: list[np.ndarray]) -> None:
    _, gpu = both()
    found = vx.explain(gpu, clips[0], source=source, n_segments=40)
    assert found.num_segments > 10 and np.isfinite(found.scores).all()


def test_finer_supervoxels(clips: list[np.ndarray]) -> None:
    cpu, gpu = both()
    large = clips[0].repeat(2, axis=1).repeat(2, axis=2)
    check(*(vx.explain(m, large, method="grad-cam", n_segments=40, scale=2) for m in (gpu, cpu)))


def test_results_come_again(clips: list[np.ndarray]) -> None:
    _, gpu = both()
    first = vx.explain(gpu, clips, method="region-gradient", passes=8)
    again = vx.explain(gpu, clips, method="region-gradient", passes=8)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-5 * np.abs(one.scores).max())


def test_until_precise_enough(clips: list[np.ndarray]) -> None:
    _, gpu = both()
    *_, last = vx.explain_anytime(gpu, clips[0], passes=32, n_segments=60)
    assert last.passes == 32 and 0 < last.precision < 0.2


def test_bfloat16(clips: list[np.ndarray]) -> None:
    cpu, _ = both()
    lower = vx.load_model("c3d-motion", device="cuda", precision="bfloat16")
    ours = vx.explain(lower, clips[0], n_segments=60)
    theirs = vx.explain(cpu, clips[0], n_segments=60)
    assert np.corrcoef(ours.scores, theirs.scores)[0, 1] > 0.98


def test_annotate(tmp_path: Path) -> None:
    video = tmp_path / "in.mp4"
    write_moving_objects(video, motions=4)
    found = []
    for model in both():
        folder, out = tmp_path / model.device.type, tmp_path / f"{model.device.type}.mp4"
        annotate(model, video, out, save=folder, n_segments=60, batch=4, method="guided-act-grad-cam")
        with vx.open_video(out) as annotated:
            assert [frame.time for frame in annotated.frames()] == [Fraction(i, 30) for i in range(128)]
        found.append(vx.open_explanations(folder))
    assert len(found[0]) == len(found[1]) == 8
    for theirs, ours in zip(*found, strict=True):
        check(ours, theirs)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video, picture = tmp_path / "in.mp4", tmp_path / "out.png"
    write_moving_objects(video, motions=1)
    assert main(["explain", str(video), "-o", str(picture), "--device", "cuda:0"]) == 0
    assert picture.stat().st_size > 0
    capsys.readouterr()
    assert main(["info"]) == 0
    assert torch.cuda.get_device_name() in capsys.readouterr().out
