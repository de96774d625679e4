"""A few of the faults of tests/kill.py, and a disk that fills up."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kill
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kill.make_source(tmp_path_factory.mktemp("source"), 2)


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], float]:
    return kill.undisturbed(tmp_path_factory.mktemp("whole"), source)


def test_killed_at_random(tmp_path: Path, source: Path, whole: tuple[list[Any], float]) -> None:
    kills, different = kill.trial(tmp_path, source, 2, whole, seed=1)
    assert kills and not different


def test_two_processes_at_once(tmp_path: Path, source: Path, whole: tuple[list[Any], float]) -> None:
    """One of them explains the video, the other says so."""
    own = kill.Trial(tmp_path / "own", source, True)
    first = own.start()
    while first.poll() is None and not (own.hidden / "journal.json").exists():
        time.sleep(0.005)
    second = own.start()
    said = second.communicate(timeout=120)[0], first.communicate(timeout=120)[0]
    assert first.returncode == 0, said
    if second.returncode:
        assert "right now" in said[0] and "Traceback" not in said[0]
    assert own.result() == whole[0] and not own.leftovers()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)], capture_output=True
    )
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(source: Path, small_disk: Path, whole: tuple[list[Any], float]) -> None:
    """One sentence; with room again the same command ends with what an undisturbed run makes."""
    own = kill.Trial(small_disk / "own", source, True)
    process = own.start()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and "Traceback" not in said, said
    assert "disk is full" in said or "No space left" in said
    promised = "goes on behind frame" in said
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    assert ("by an earlier run" in own.run()) == promised
    assert own.result() == whole[0] and not own.leftovers()


def test_files_that_become_too_large(tmp_path: Path, source: Path) -> None:
    """A limit on files instead of a full disk."""
    own = kill.Trial(tmp_path / "own", source, False)
    limited = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *own.command]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert not own.out.exists() and not list(own.folder.glob("*.partial*"))
    assert "explained" in own.run()
