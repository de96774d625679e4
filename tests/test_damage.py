"""A sample of damaged files: explained as far as ffmpeg decodes them, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import damaged, judge, make_clips

import videxplain as vx
from videxplain.annotate import annotate

COUNT = 40


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("damaged")
    return list(damaged(make_clips(folder), folder, COUNT))


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("c3d-motion")


@pytest.mark.parametrize("number", range(COUNT))
def test_damaged_file(tmp_path: Path, files: list[Path], model: vx.Classifier, number: int) -> None:
    output, status, said = tmp_path / "out.mp4", 0, ""
    try:
        annotate(model, files[number], output, segmentation="grid", n_segments=8, preset="ultrafast")
    except vx.VidexplainError as error:
        status, said = 1, str(error)
    assert judge(files[number], output, status, said) in ("explained", "refused"), files[number].name
    assert [path.name for path in tmp_path.iterdir()] == ([] if status else ["out.mp4"])
