"""A package outside adds a method, a segmentation, a network and a data set, without a change to this one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).parent / "plugin"
PYTHON = """
import numpy as np
import videxplain as vx

model = vx.load_model("tiny")
frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
explanation = vx.explain(model, frames, "brightness", segmentation="stripes", n_segments=8, power=2.0)
assert explanation.num_segments == 8 and explanation.settings["power"] == 2.0
assert (explanation.labels == np.arange(32) // 4).all()
both = vx.compare(model, frames, ["input", "brightness", "guided"], segmentation="stripes", n_segments=8)
assert {method for method, _ in both} == {"input", "brightness", "guided"}
try:
    vx.segment(frames, "stripes", compactness=3.0)
except vx.VidexplainError as error:
    assert "compactness means nothing to the segmentation 'stripes'" in str(error)
else:
    raise AssertionError
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, installed by pip into a folder of its own."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("installed")
    source.mkdir()
    for file in PLUGIN.glob("*.*"):
        (source / file.name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, source]
    subprocess.run(pip, check=True)
    return target


def run(installed: Path, *arguments: object, code: int = 0) -> str:
    places = [str(installed), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, cwd=installed
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_python_and_the_command_find_what_a_package_adds(installed: Path, tmp_path: Path) -> None:
    run(installed, "-c", PYTHON)
    listed = run(installed, "-m", "videxplain", "methods")
    assert "mean brightness of a supervoxel to some power" in listed and "power=1.0" in listed
    assert "tiny" in run(installed, "-m", "videxplain", "models")
    help = run(installed, "-m", "videxplain", "explain", "--help-all")
    assert "--power X" in help and "stripes" in help
    evaluated = run(
        installed,
        *("-m", "videxplain", "evaluate", "removal", "--data", "noise", "--model", "tiny"),
        *("--methods", "random,input,brightness:power=2", "--segmentation", "stripes", "--segments", 8),
        *("--out", tmp_path / "out"),
    )
    assert "3 of 3 items" in evaluated and "brightness:power=2" in evaluated
    assert "left out" not in evaluated and "skipped" not in evaluated


@pytest.mark.slow
def test_a_package_that_cannot_be_loaded_is_named_and_the_rest_goes_on(installed: Path) -> None:
    module = installed / "videxplain_example.py"
    working = module.read_text()
    module.write_text("import no_such_module")
    try:
        listed = run(installed, "-m", "videxplain", "methods")
        assert "region-gradient" in listed and "No module named 'no_such_module'" in listed
        refused = run(
            installed, "-c", "import videxplain as vx; vx.METHODS['brightness']", code=1
        ).splitlines()[-1]
        assert "the method 'brightness' could not be loaded" in refused
    finally:
        module.write_text(working)
