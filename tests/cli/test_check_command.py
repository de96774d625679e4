"""`videxplain check`: a table or JSON, and an exit status that scripts can ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videxplain.cli import main

CODE = """
import torch
from torch import nn
import videxplain as vx

def layers(*more):
    pooled = nn.AdaptiveAvgPool3d(1)
    return nn.Sequential(nn.Conv3d(3, 4, 3), nn.ReLU(), pooled, nn.Flatten(), nn.Linear(4, 3), *more)

class Detached(nn.Module):
    def forward(self, y):
        return y.detach()

def right():
    return vx.Classifier(layers(), clip_length=8, size=(32, 32))

def wrong():
    return vx.Classifier(layers(Detached()), clip_length=8, size=(32, 32))

def broken():
    return {}["weights"]
"""


@pytest.fixture(autouse=True)
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks_to_check.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_network_that_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--model", "networks_to_check:right"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "a generated clip" in lines[0]
    starts = [line.split()[0] for line in lines if line.startswith(("ok", "note", "warning", "failed"))]
    assert len(starts) > 12 and set(starts) <= {"ok", "note"}
    assert max(map(len, lines)) <= 110


def test_a_network_that_is_wrong_and_a_clip(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "clip.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8))
    assert main(["check", str(path), "--json", "--model", "networks_to_check:wrong"]) == 1
    read = json.loads(capsys.readouterr().out)
    assert read["clip"] == str(path) and not read["ok"]
    failed = [row["question"] for row in read["rows"] if row["verdict"] == "failed"]
    assert failed == ["gradients"]


def test_what_is_no_network_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["check", "--model", "networks_to_check:broken"]) == 1
    assert "makes no network: KeyError: 'weights'" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "missing.mp4")]) == 1
    assert main(["check", "--model", "networks_to_check:right", "--target", "no such class"]) == 1
    out = capsys.readouterr()
    assert "no such class" in out.out + out.err
