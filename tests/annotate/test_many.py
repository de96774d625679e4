"""Several videos in one go: a bad one is told and does not stop the others."""

from __future__ import annotations

from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

import videxplain as vx
from videxplain.annotate import many
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


def test_a_defect_in_one_video_is_a_row_of_the_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def annotate(model: object, video: Path, output: Path, **_: object) -> many.Summary:
        if video.name == "a.mp4":
            raise ValueError("31 is not a valid Type")
        return many.Summary(frames=3)

    monkeypatch.setattr(many, "annotate", annotate)
    (folder / "._a.mp4").write_bytes(b"what an archiver left")
    outcomes = annotate_many(None, [folder], tmp_path / "out")  # type: ignore[arg-type]
    assert [outcome.input.name for outcome in outcomes] == ["a.mp4", "b.mp4", "c.mkv"]
    assert outcomes[0].error == "failed: ValueError: 31 is not a valid Type"
    assert "2 of 3 videos explained" in many.table(outcomes)


def test_folders_of_images_stay_one_video(folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "0.png").touch()
    assert find_videos([folder, images]) == [folder / "a.mp4", folder / "b.mp4", folder / "c.mkv", images]


def test_two_videos_of_one_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(vx.VidexplainError, match=r"a\.mp4"):
        annotate_many(None, [folder / "a.mp4", tmp_path / "other" / "a.mov"], tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_options_are_those_of_one_video(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(vx.VidexplainError, match="unknown engine 'rya'"):
        annotate_many(None, [folder], tmp_path / "out", engine="rya")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
