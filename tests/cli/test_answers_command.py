"""`videxplain when`, `evidence`, `motion` and `compare`: what is refused, and that figures are those of Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import videxplain as vx
from videxplain.cli import main
from videxplain.cli.compare import listed
from videxplain.synthetic import moving_objects

ASK = ("when", "evidence", "motion", "compare")
TWO = ("--method", "guided,vanilla")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.npy"
    np.save(path, moving_objects.generate(3).frames)
    return path


def refused(arguments: list[Any], words: str, folder: Path, capsys: Any) -> None:
    before = sorted(folder.iterdir())
    assert main([*map(str, arguments), "--model", "c3d-motion"]) == 1
    said = capsys.readouterr()
    assert words in said.err and not said.out
    assert said.err.strip().splitlines()[-1].startswith("videxplain: ")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("command", ASK)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing is asked for"),
        (["-o", "{tmp}/o.jpg"], "is not a .png name"),
        (["-o", "{tmp}/no/o.png"], "there is no folder"),
        (["--json", "--target", "lefft"], "left"),
        (["--json", "--method", "limee,guided"], "lime"),
        (["--json", "--samples", "9"], "samples"),
    ],
)
def test_what_cannot_be_is_refused_without_a_file(
    command: str, arguments: list[str], words: str, clip: Path, tmp_path: Path, capsys: Any
) -> None:
    asked = [part.format(tmp=tmp_path) for part in arguments]
    if command == "compare" and "--method" not in asked:
        asked += TWO
    refused([command, clip, *asked], words, tmp_path, capsys)


@pytest.mark.parametrize("command", ASK)
def test_a_clip_that_is_not_there(command: str, tmp_path: Path, capsys: Any) -> None:
    refused(
        [command, tmp_path / "nowhere.mp4", "--json", *(TWO if command == "compare" else ())],
        "nowhere",
        tmp_path,
        capsys,
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["when", "--parts", "1"], "parts has to be"),
        (["when", "--fill", "gray"], "grey"),
        (["compare", *TWO, "--fill", "grey"], "fill"),
        (["evidence", "--fills", "mean,gray"], "grey"),
        (["evidence", "--fills", ","], "fills has to be a list"),
        (["evidence", "--target", "#8"], "does not decide for"),
        (["compare"], "nothing to compare"),
        (["compare", "--method", "guided"], "nothing to compare"),
        (["compare", "--method", "guided,guided"], "asked for twice"),
    ],
)
def test_what_one_of_them_alone_refuses(
    arguments: list[str], words: str, clip: Path, tmp_path: Path, capsys: Any
) -> None:
    command, *rest = arguments
    refused([command, clip, "--json", *rest], words, tmp_path, capsys)


@pytest.mark.parametrize("command", ["when", "motion"])
def test_one_frame_has_no_time(command: str, tmp_path: Path, capsys: Any) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(photo)
    refused([command, photo, "--json"], "one frame", tmp_path, capsys)


def test_compare_says_what_separate_calls_say(clip: Path, tmp_path: Path, capsys: Any) -> None:
    from scipy.stats import spearmanr

    command = ["compare", str(clip), "--model", "c3d-motion", "--segments", "30", "--json"]
    picture = ["-o", str(tmp_path / "o.png")]
    assert main([*command, *picture, "--method", "guided,vanilla", "--target", "#1,left"]) == 0
    told = json.loads(capsys.readouterr().out)
    model, frames = vx.load_model("c3d-motion"), np.load(clip)
    alone = [
        vx.explain(model, frames, method, target, n_segments=30)
        for target in ("#1", "left")
        for method in ("guided", "vanilla")
    ]
    for said, expected in zip(told["explanations"], alone, strict=True):
        assert (said["title"], said["target_name"]) == (expected.method, expected.target_name)
        np.testing.assert_allclose(said["scores"], expected.scores, rtol=1e-4, atol=1e-6)
    pairs = [(a, b) for n, a in enumerate(alone) for b in alone[n + 1 :]]
    for said, (one, other) in zip(told["agreements"], pairs, strict=True):
        assert said["rank_correlation"] == pytest.approx(spearmanr(one.scores, other.scores)[0], abs=1e-3)
        best = [set(np.argsort(-each.scores)[:5].tolist()) for each in (one, other)]
        assert said["overlap"] == pytest.approx(len(best[0] & best[1]) / 5)
    sheet = np.asarray(Image.open(tmp_path / "o.png"))
    assert sheet.shape[1] == 960 and sheet.shape[0] > 4 * 120


def test_names_with_commas_stand_in_quotes() -> None:
    assert listed('"tench, Tinca tinca", #2,dog') == ["tench, Tinca tinca", "#2", "dog"]
    assert listed(None) == [] and listed(" , ") == []
