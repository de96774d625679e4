"""Hidden folders: no link is followed, nobody else's file is deleted, one process at a time."""

from __future__ import annotations

import multiprocessing
import multiprocessing.synchronize
import os
from pathlib import Path

import pytest

import videxplain as vx
from videxplain.annotate.saver import Saver
from videxplain.own_folder import OwnFolder, checksum
from videxplain.video.encoder import TrackFormat
from videxplain.video.segments import ResumableWriter

NAMES = r"piece-\d+|journal"


def own(path: Path) -> OwnFolder:
    return OwnFolder(path, NAMES, "'out.mp4'")


def writer(output: Path) -> ResumableWriter:
    from fractions import Fraction

    return ResumableWriter(output, TrackFormat(96, 64, Fraction(1, 25), Fraction(25)), source=None, job={})


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "victim"
    folder.mkdir()
    for name in ("lock", "journal", "journal.json", "segment-00000.mp4", "0000000016", "thesis.txt"):
        (folder / name).write_text("years of work")
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_link_for_the_folder(tmp_path: Path, victim: Path) -> None:
    before = contents(victim)
    (tmp_path / ".out.mp4.videxplain").symlink_to(victim)
    with pytest.raises(vx.VidexplainError, match="is a link, or somebody else's"):
        writer(tmp_path / "out.mp4")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".parts").symlink_to(victim)
    with pytest.raises(vx.VidexplainError, match="is a link, or somebody else's"):
        Saver(tmp_path / "data", {})
    assert contents(victim) == before


@pytest.mark.parametrize("kind", ["symbolic", "hard", "dangling", "pipe", "folder"])
def test_the_lock_is_no_file_of_its_own(tmp_path: Path, victim: Path, kind: str) -> None:
    before = contents(victim)
    folder = tmp_path / ".out.mp4.videxplain"
    folder.mkdir()
    if kind == "hard":
        os.link(victim / "thesis.txt", folder / "lock")
    elif kind == "pipe":
        os.mkfifo(folder / "lock")
    elif kind == "folder":
        (folder / "lock").mkdir()
    else:
        (folder / "lock").symlink_to(victim / ("thesis.txt" if kind == "symbolic" else "nothing"))
    with pytest.raises(vx.VidexplainError, match="is a link, or somebody else's"):
        writer(tmp_path / "out.mp4")
    assert contents(victim) == before


def test_a_folder_that_somebody_else_made(tmp_path: Path, victim: Path) -> None:
    before = contents(victim)
    victim.rename(tmp_path / ".out.mp4.videxplain")
    with pytest.raises(vx.VidexplainError, match="was not made by videxplain"):
        writer(tmp_path / "out.mp4")
    assert contents(tmp_path / ".out.mp4.videxplain") == before


def test_only_names_of_ours_are_deleted_and_links_not_followed(tmp_path: Path, victim: Path) -> None:
    before = contents(victim)
    folder = tmp_path / "own"
    first = own(folder)
    first.write("journal", b"1")
    (folder / "piece-1").symlink_to(victim)
    (folder / "piece-2").mkdir()
    (folder / "piece-2" / "inside").symlink_to(victim)
    (folder / "notes.txt").write_text("mine")
    first.discard()
    assert contents(victim) == before
    assert sorted(p.name for p in folder.iterdir()) == ["lock", "notes.txt"], "what is not ours stays"
    again = own(folder)
    (folder / "notes.txt").unlink()
    again.discard()
    assert not folder.exists()


def _hold(
    path: str, ready: multiprocessing.synchronize.Event, end: multiprocessing.synchronize.Event
) -> None:
    held = own(Path(path))
    ready.set()
    end.wait(30)
    held.discard()


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path / "own"), ready, end))
    process.start()
    assert ready.wait(60)
    with pytest.raises(vx.VidexplainError, match="by another videxplain right now"):
        own(tmp_path / "own")
    end.set()
    process.join(30)
    own(tmp_path / "own").discard()
    assert not list(tmp_path.iterdir())


def test_two_videos_with_one_save_folder(tmp_path: Path) -> None:
    first = Saver(tmp_path / "data", {"job": 1})
    with pytest.raises(vx.VidexplainError, match="right now"):
        Saver(tmp_path / "data", {"job": 2})
    first.close()
    assert not list(tmp_path.iterdir())


def test_checksums_are_of_files_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert checksum(tmp_path / "file").startswith("ba7816bf")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "link", "nothing"):
        with pytest.raises(OSError):
            checksum(tmp_path / name)


def test_an_output_with_the_longest_name(tmp_path: Path) -> None:
    output = tmp_path / f"{'x' * 251}.mp4"
    held = writer(output)
    with pytest.raises(vx.VidexplainError, match="right now"):
        writer(output)
    held.close()
    assert not list(tmp_path.iterdir())
