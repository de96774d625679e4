"""How much commands tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from videxplain.cli import COMMANDS, main
from videxplain.cli.manner import ONLY_PRINT


@pytest.fixture
def explain(tmp_path: Path) -> list[str]:
    """A command that takes little time."""
    clip = tmp_path / "clip.npy"
    np.save(clip, np.random.default_rng(0).integers(0, 255, (16, 32, 32, 3), dtype=np.uint8))
    return ["explain", str(clip), "-o", str(tmp_path / "out.png"), "--segments", "8"]


def test_quiet_leaves_results_notes_and_errors(explain: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*explain, "--method", "lime", "--samples", "12", "-q"]) == 0
    printed = capfd.readouterr()
    assert "supervoxel" in printed.out and "no --model was given" in printed.err and "it/s" not in printed.err
    assert main([*explain, "--method", "vanila", "--quiet"]) == 1
    assert "did you mean 'vanilla'" in capfd.readouterr().err


def test_verbose_tells_how_it_was_done_on_stderr(
    explain: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    command = [*explain, "--method", "occlusion", "--json"]
    assert main(command) == 0
    usual = json.loads(capfd.readouterr().out)
    assert main([*command, "-v"]) == 0
    printed = capfd.readouterr()
    told = json.loads(printed.out)
    assert told == usual
    for words in (
        "loading the network: ", "network: c3d-motion on ", "operations: ", "explaining: ", "drawing: ",
        "method: occlusion, as asked for", f"fill: {told['settings']['fill']}, taken by the first passes",
    ):  # fmt: skip
        assert words in printed.err
    assert main([*explain, "--method", "occlusion", "--fill", "black", "-v"]) == 0
    assert "fill: black, as asked for" in capfd.readouterr().err


def test_the_stages_of_a_video_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = tmp_path / "film"
    clip.mkdir()
    from PIL import Image

    for n in range(16):
        Image.fromarray(np.full((32, 32, 3), 10 * n, np.uint8)).save(clip / f"{n:02d}.png")
    command = ["annotate", f"{clip}/%02d.png", "-o", str(tmp_path / "out.mp4"), "--method", "vanilla"]
    command += ["--segments", "8", "--preset", "ultrafast"]
    assert main([*command, "-v"]) == 0
    printed = capfd.readouterr()
    assert "slowest stage: " in printed.err and "slowest stage: " not in printed.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "-q", "-v"], "leave one out"),
    ],
)
def test_what_cannot_be_followed_together_is_refused(
    arguments: list[str], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    assert words in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_works_has_them(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help-all"])
    printed = capfd.readouterr().out
    for flag in ("-q, --quiet", "-v, --verbose"):
        assert (flag in printed) == (command not in ONLY_PRINT)
