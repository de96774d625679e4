"""The command line: what a user sees when all is well and when something is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videxplain.cli import main


def videxplain(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "videxplain", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys, videxplain.cli as c\ntry: c.main(['--help'])\nfinally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("demo", "annotate", "explain", "evaluate", "check", "models", "methods", "info"):
        assert command in done.stdout


def test_info_methods_and_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in ("torch", "segment_reduce", "ffmpeg", "c3d-motion", "cuda"):
        assert word in text
    assert main(["methods"]) == 0
    assert "guided-act-grad-cam" in capsys.readouterr().out
    assert main(["models"]) == 0
    listed = capsys.readouterr().out
    for name in ("c3d", "vgg16", "resnet50", "r2plus1d_18", "swin3d_t", "efficientnet-lite0"):
        assert f"\n{name} " in f"\n{listed}"
    assert main(["models", "--layers", "c3d-motion"]) == 0
    assert "2x7x7" in capsys.readouterr().out


def test_explain_writes_a_picture_and_data(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import videxplain as vx

    out, data = tmp_path / "out.png", tmp_path / "data"
    arguments = ["explain", photo, "-o", out, "--model", "resnet18", "--weights", "random", "--save", data]
    assert main([str(a) for a in arguments]) == 0
    assert "supervoxels" in capsys.readouterr().out
    with Image.open(out) as picture:
        assert picture.width >= 60
    assert vx.Explanation.load(data).settings["model"] == "resnet18"


def test_levels_are_drawn_one_under_the_other(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import videxplain as vx

    arguments = ["explain", str(photo), "--model", "c3d-motion", "--segmentation", "grid", "--method"]
    heights = []
    for name, method, levels in (
        ("a", "vanilla", []),
        ("b", "vanilla", ["--levels", "4,9"]),
        ("c", "random", ["--levels", "4,9"]),
    ):
        out = tmp_path / f"{name}.png"
        assert main([*arguments, method, *levels, "-o", str(out), "--save", str(tmp_path / name)]) == 0
        with Image.open(out) as picture:
            heights.append(picture.height)
    assert heights == [heights[0], 2 * heights[0], heights[0]]  # random scores do not add up
    saved = vx.Explanation.load(tmp_path / "b")
    assert saved.settings["levels"] == [4, 9] and saved.at(4).num_segments == 4
    capsys.readouterr()
    for wrong, sentence in (
        (["--levels", "9,4"], "levels have to be rising numbers"),
        (["--levels", "4,x"], "levels has to be whole numbers"),
        (["--levels", "4,9", "--segments", "9"], "n_segments means nothing beside levels"),
        (["--coarse-to-fine"], "coarse_to_fine needs two levels"),
    ):
        out = tmp_path / "none.png"
        assert main([*arguments, "vanilla", *wrong, "-o", str(out)]) == 1
        assert sentence in capsys.readouterr().err and not out.exists()


def test_several_layers_and_their_layouts_are_recorded(photo: Path, tmp_path: Path) -> None:
    import videxplain as vx

    arguments = ["explain", photo, "-o", tmp_path / "out.png", "--model", "resnet18", "--weights", "random"]
    arguments += ["--method", "grad-cam", "--cam-layer", "layer3,layer4", "--cam-layout", "bchw"]
    assert main([str(a) for a in (*arguments, "--save", tmp_path / "data")]) == 0
    settings = vx.Explanation.load(tmp_path / "data").settings
    assert settings["cam_layer"] == ["layer3", "layer4"] and settings["cam_layout"] == "bchw"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["explain", "nowhere.png", "-o", "{tmp}/o.png"], "nowhere.png"),
        (["explain", "{photo}", "-o", "{tmp}/o.jpg"], "not a .png name"),
        (["explain", "{photo}", "-o", "{tmp}"], "{tmp}"),
        (["explain", "{photo}", "-o", "{tmp}/no/such/folder/o.png"], "cannot write"),
        (["explain", "{photo}", "-o", "{tmp}/o.png", "--model", "resnet19"], "resnet1"),
        (["explain", "{photo}", "-o", "{tmp}/o.png", "--method", "gradcam"], "'grad-cam'"),
        (["explain", "{photo}", "-o", "{tmp}/o.png", "--target", "lefft"], "left"),
        (["explain", "{photo}", "-o", "{tmp}/o.png", "--weights", "none.safetensors"], "none.safetensors"),
        pytest.param(
            ["explain", "{photo}", "-o", "{tmp}/o.png", "--device", "cuda:7"], "cuda", marks=pytest.mark.slow
        ),
        (["explain", "{photo}", "-o", "{tmp}/o.png", "--device", "abacus"], "abacus"),
        (["explain", "{photo}", "-o", "{tmp}/o.png", "--samples", "x"], "samples has to be a whole number"),
        (["annotate", "{photo}", "-o", "{tmp}/o.mp4", "--segments", "0"], "n_segments must be at least 1"),
        (["annotate", "nowhere.mp4", "-o", "{tmp}/o.mp4"], "nowhere.mp4"),
        pytest.param(
            ["annotate", "{photo}.txt", "-o", "{tmp}/o.mp4"], "photo.png.txt", marks=pytest.mark.slow
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_no_file(
    arguments: list[str], message: str, photo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(f"{photo}.txt").write_text("not a video")
    before = sorted(p.name for p in tmp_path.iterdir())
    assert main([a.format(photo=photo, tmp=tmp_path) for a in arguments]) == 1
    said = capfd.readouterr().err
    assert message.format(tmp=tmp_path) in said
    assert said.strip().splitlines()[-1].startswith("videxplain: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_a_process_says_one_sentence_too(tmp_path: Path) -> None:
    done = videxplain("explain", "nowhere.png", "-o", tmp_path / "o.png")
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("videxplain: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["explain", "annotate"])
def test_a_gpu_without_memory_gets_one_sentence(
    command: str,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import torch

    import videxplain as vx

    def used_up(*_: object) -> None:
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of 8."
        )

    monkeypatch.setattr(vx.Classifier, "frame_logits", used_up)
    out = tmp_path / ("o.png" if command == "explain" else "o.mp4")
    assert main([command, str(photo), "-o", str(out), "--model", "c3d-motion"]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(
        "videxplain: the GPU's memory is used up (CUDA out of memory. Tried to allocate 2.00 GiB);"
    )
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments", [[], ["explain"], ["explain", "x.png", "-o", "y.png", "--stride", "0"], ["fly"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
