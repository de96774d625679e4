"""`videxplain explain` on each registered network at full size; takes an hour, so it runs when asked for: -m large."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data
from skimage.io import imread, imsave

from videxplain.models import MODELS

pytestmark = [pytest.mark.large, pytest.mark.timeout(900)]


@pytest.mark.parametrize("method", ["vanilla", "grad-cam"])
@pytest.mark.parametrize("name", MODELS)
def test_explain(name: str, method: str, tmp_path: Path, bikes: Path) -> None:
    source = bikes
    if MODELS[name].kind == "image":
        source = tmp_path / "cat.png"
        imsave(source, skimage.data.chelsea())
    out = tmp_path / "out.png"
    command = [sys.executable, "-m", "videxplain", "explain", str(source), "-o", str(out)]
    command += ["--model", name, "--weights", "random", "--method", method, "--segmentation", "grid"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert imread(out).std() > 1  # a picture, not one colour
