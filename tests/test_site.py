"""The documentation's site: it builds without a warning, and holds every public name and example.

The examples themselves run in test_examples.py.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import videxplain as vx

ROOT = Path(__file__).parents[1]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the clone's docs"),
]
for package in ("sphinx", "furo", "myst_parser", "numpydoc", "sphinx_gallery"):
    pytest.importorskip(package)


def test_the_site_builds_without_a_warning(tmp_path):
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        tmp_path / "trees",
        ROOT / "docs",
        site,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name in set(vx.__all__) - {"__version__"}:
        assert (site / "reference" / "generated" / f"videxplain.{name}.html").exists(), name
    for example in (ROOT / "examples").glob("*.py"):
        assert (site / "gallery" / f"{example.stem}.html").exists(), example.name
