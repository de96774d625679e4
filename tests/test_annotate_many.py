"""Several videos in one go: a bad one is told and does not stop the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

import videxplain as vx
from videxplain.annotate.many import annotate_many, find_videos
from videxplain.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "c.mkv"):
        oracle.make(folder / name, "-c:v", "mpeg4", seconds="0.4")
    (folder / "b.mp4").write_bytes(b"no video at all")
    (folder / "notes.txt").write_text("not asked for")
    return folder


def test_a_bad_video_does_not_stop_the_rest(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "out"
    command = ["annotate", str(folder), "-o", str(out), "--quiet", "--segments", "8", "--preset", "ultrafast"]
    assert main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["a.mp4", "b.mp4", "c.mkv"]
    assert "not a video" in lines[2] and lines[4] == "2 of 3 videos explained"
    assert sorted(path.name for path in out.iterdir()) == ["a.mp4", "c.mp4"]
    assert len(oracle.decoded(out / "c.mp4")) == 10


def test_folders_of_images_stay_one_video(folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "0.png").touch()
    assert find_videos([folder, images]) == [folder / "a.mp4", folder / "b.mp4", folder / "c.mkv", images]


def test_two_videos_of_one_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(vx.VidexplainError, match=r"a\.mp4"):
        annotate_many(None, [folder / "a.mp4", tmp_path / "other" / "a.mov"], tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_ray_explains_the_same(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra videxplain[ray] is not installed")
    root = str(Path(__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    tables = {}
    for engine in ("local", "ray"):
        command = [sys.executable, "-m", "videxplain", "annotate", str(folder), "-o", str(tmp_path / engine)]
        command += ["--engine", engine, "--quiet", "--segments", "8", "--preset", "ultrafast"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
        assert done.returncode == 1, done.stderr
        tables[engine] = [line.split()[:3] for line in done.stdout.splitlines()]
    assert tables["ray"] == tables["local"] and len(tables["ray"]) == 5
    for name in ("a.mp4", "c.mp4"):
        assert oracle.decoded(tmp_path / "ray" / name) == oracle.decoded(tmp_path / "local" / name)


def test_one_video_is_not_for_a_cluster(folder: Path, tmp_path: Path, capsys) -> None:
    assert main(["annotate", str(folder / "a.mp4"), "-o", str(tmp_path / "a.mp4"), "--engine", "ray"]) == 1
    assert "several" in capsys.readouterr().err
