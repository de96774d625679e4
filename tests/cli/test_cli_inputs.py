"""Files that are no films, and networks that take no films, through the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import videxplain as vx
from videxplain.cli import main

NETWORKS = """
import numpy as np, torch
from torch import nn
import videxplain as vx

class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.body, self.relu, self.head = nn.Conv3d(channels, 4, 3, padding=1), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.relu(self.body(x)).mean((2, 3, 4)))

SHAPE = {"clip_length": 8, "size": (16, 16), "layout": "BCTHW"}

def scan():
    return vx.Classifier(Net(1), channels=1, value_range=(0, 4095), **SHAPE)

def grey():
    return vx.Classifier(Net(1), channels=1, **SHAPE)

def streams():
    groups = {"rgb": slice(0, 3), "flow": slice(3, 5)}
    picture = lambda frames: (255 * frames[..., :3]).astype(np.uint8)
    return vx.Classifier(Net(5), channels=5, channel_groups=groups, picture=picture, **SHAPE)
"""
VOLUME = np.random.default_rng(0).integers(0, 4096, (10, 20, 24)).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "other_inputs.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "scan.npz", frames=VOLUME)
    Image.fromarray(VOLUME[0]).save(
        "scan.tif", save_all=True, append_images=[*map(Image.fromarray, VOLUME[1:])]
    )
    np.save(tmp_path / "streams.npy", np.random.default_rng(0).random((8, 20, 24, 5)).astype(np.float32))
    (tmp_path / "pages").mkdir()
    for n, frame in enumerate(VOLUME):
        Image.fromarray(frame).save(tmp_path / "pages" / f"{n}.png")
    return tmp_path


def explain(path: str, network: str, *options: str) -> int:
    named = ["--model", f"other_inputs:{network}", "--method", "vanilla", "--segments", "12"]
    return main(["explain", path, "-o", "out.png", *named, "--save", "saved", *options])


@pytest.mark.parametrize("path", ["scan.npz", "scan.tif", "pages", "pages/%d.png"])
def test_volumes_of_12_bits(path: str, folder: Path) -> None:
    assert explain(path, "scan", "--at", "0.04") == 0
    found = vx.Explanation.load("saved")
    # the network's weights are those of the factory, whoever calls it
    model = vx.load_model("other_inputs:scan")
    right = vx.explain(model, VOLUME[1:9], "vanilla", n_segments=12)
    np.testing.assert_array_equal(found.scores, right.scores)
    np.testing.assert_array_equal(found.labels, right.labels)
    assert found.settings["frames_sha256"] == right.settings["frames_sha256"]
    with Image.open("out.png") as picture:
        assert picture.width == 4 * 24 and picture.height > 2 * 20, "frames over a footer"


def test_several_inputs_are_told_apart(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert explain("streams.npy", "streams") == 0
    said = capsys.readouterr().out
    assert "input rgb  share" in said and "input flow  share" in said
    assert set(vx.Explanation.load("saved").input_scores) == {"rgb", "flow"}


@pytest.mark.parametrize(
    ("path", "network", "message"),
    [
        ("scan.npz", "streams", "takes 5 channels"),
        ("streams.npy", "scan", "takes 1 channel,"),
        ("none.npy", "scan", "no file"),
        ("other_inputs.npz", "scan", "cannot be read as an array"),
    ],
)
def test_what_does_not_fit_gets_one_sentence(
    path: str, network: str, message: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "other_inputs.npz").write_text("no array")
    assert explain(path, network) == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert message in said[-1] and said[-1].startswith("videxplain: ")
    assert not (folder / "out.png").exists()


def test_films_go_through_networks_of_one_channel_and_no_others(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for n in range(9):
        Image.fromarray(np.full((20, 24, 3), 20 * n, np.uint8)).save(folder / "pages" / f"{n}.png")
    (folder / "pages" / "9.png").unlink()

    def annotate(network: str) -> int:
        named = ["--model", f"other_inputs:{network}", "--method", "vanilla", "--segments", "12", "--quiet"]
        return main(["annotate", "pages/%d.png", "-o", "out.mp4", *named])

    assert annotate("grey") == 0 and (folder / "out.mp4").exists()
    (folder / "out.mp4").unlink()
    for network, message in {"scan": "cannot fill the value range", "streams": "takes 5 channels"}.items():
        assert annotate(network) == 1
        assert message in capfd.readouterr().err
        assert not (folder / "out.mp4").exists()
