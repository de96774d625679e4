"""README's examples, run as they stand and in turn, in a folder with the video that its first command makes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the clone's docs"),
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("readme")
    (folder / "docs").symlink_to(ROOT / "docs")
    run(folder, ["videxplain", "demo"])
    return folder


def run(folder: Path, command: list[str]) -> str:
    assert command[0] == "videxplain"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands(folder: Path) -> None:
    lines = [line[2:] for block in blocks("console") for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) >= 5
    for line in lines:
        said = run(folder, shlex.split(line, comments=True))
        assert said.strip()
    for made in ("annotated.mp4", "data/manifest.json", "page.html", "when.png", "why-not.png"):
        assert (folder / made).stat().st_size > 0


def test_python(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    known: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), known)  # each resumes where the last one ended
    assert (folder / "clip.html").stat().st_size > 0
    assert "Supervoxel(" in capsys.readouterr().out
