"""A sample of damaged files: explained as far as ffmpeg decodes them, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import ffmpeg_oracle as oracle
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


def test_a_clock_finer_than_any_output_can_tell(tmp_path: Path, model: vx.Classifier) -> None:
    source, output = tmp_path / "in.avi", tmp_path / "out.mp4"
    oracle.make(source, "-c:v", "mpeg4", seconds="0.8")
    data = bytearray(source.read_bytes())
    rate = data.index(b"strh") + 32  # behind type, codec, flags, priority, language, first frame and scale
    assert int.from_bytes(data[rate : rate + 4], "little") == 25
    data[rate : rate + 4] = (1_442_840_601).to_bytes(4, "little")
    source.write_bytes(data)
    summary = annotate(model, source, output, segmentation="grid", n_segments=8, preset="ultrafast")
    assert summary.frames == len(oracle.decoded(output)) == 20
    assert any("timestamp" in note for note in summary.notes)
