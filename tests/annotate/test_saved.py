"""The data kept beside an explained video, also across a fault on the way."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import ffmpeg_oracle as oracle
import numpy as np
import pyarrow.parquet as parquet
import pytest

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.annotate import run as module
from videxplain.video.segments import ResumableWriter

SETTINGS: dict[str, Any] = {"n_segments": 12, "preset": "ultrafast"}


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("c3d-motion")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.mkv"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=2", "-c:v", "libx264", path)
    return path


def test_windows_supervoxels_and_labels_are_those_of_explain(
    tmp_path: Path, source: Path, model: vx.Classifier
) -> None:
    annotate(model, source, tmp_path / "out.mp4", save=tmp_path / "data", **SETTINGS)
    saved = vx.open_explanations(tmp_path / "data")
    assert len(saved) == 4 and saved.manifest["frames"] == 50
    assert [window.start for window in saved] == [0, 16, 32, 34]
    frames = [frame.image for frame in vx.open_video(source).frames()]
    window = saved[0]
    expected = vx.explain(model, np.stack(frames[:16]), "guided", labels=window.labels)
    assert window.target_name == expected.target_name
    assert window.probability == pytest.approx(expected.probability, abs=1e-5)
    assert [name for name, _ in window.predictions] == [name for name, _ in expected.predictions]
    np.testing.assert_allclose(window.scores, expected.scores, rtol=1e-3, atol=1e-3 * expected.scores.max())
    best, row = expected.top(1)[0], window.supervoxels[0]
    assert (row["id"], row["voxels"]) == (best.id, best.voxels)
    assert (row["t"], row["y"], row["x"]) == pytest.approx(best.centre)
    assert ((row["t0"], row["y0"], row["x0"]), (row["t1"], row["y1"], row["x1"])) == best.box
    assert row["start"] == window.times[row["t0"]] and row["end"] == window.times[row["t1"] - 1]
    rows = saved.table("supervoxels").to_pylist()
    assert len(rows) == sum(int(window.labels.max()) + 1 for window in saved)
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == [
        "labels.zip",
        "manifest.json",
        "supervoxels.parquet",
        "windows.parquet",
    ]


def test_finer_supervoxels_share_what_the_network_found(tmp_path: Path, model: vx.Classifier) -> None:
    source = oracle.make(tmp_path / "in.mp4", "-c:v", "mpeg4", size="320x240", seconds="1.4")
    saved = []
    for scale in (1, 9):
        data = tmp_path / str(scale)
        annotate(model, source, tmp_path / "out.mp4", save=data, scale=scale, **SETTINGS)
        saved.append(vx.open_explanations(data))
    assert [s.geometry.network for s in saved] == [(112, 112), (224, 224)], "as fine as the frames"
    for coarse, fine in zip(*saved, strict=True):
        assert coarse.labels.shape == (16, 112, 112) and fine.labels.shape == (16, 224, 224)
        assert fine.scores.sum() == pytest.approx(coarse.scores.sum(), rel=1e-4)
        assert fine.probability == coarse.probability


def test_a_run_that_goes_on_ends_with_the_same_data(
    tmp_path: Path, source: Path, model: vx.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 16)
    annotate(model, source, tmp_path / "whole.mp4", save=tmp_path / "whole", **SETTINGS)
    write, count = ResumableWriter.write, 0

    def failing(self: ResumableWriter, *args: Any) -> None:
        nonlocal count
        count += 1
        if count == 40:
            raise RuntimeError("gone")
        write(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableWriter, "write", failing)
        with pytest.raises(vx.VidexplainError, match="behind frame 32"):
            annotate(model, source, tmp_path / "out.mp4", save=tmp_path / "data", **SETTINGS)
    with pytest.raises(vx.VidexplainError, match="not finished"):
        vx.open_explanations(tmp_path / "data")
    summary = annotate(model, source, tmp_path / "out.mp4", save=tmp_path / "data", **SETTINGS)
    assert summary.resumed == 32
    whole, resumed = vx.open_explanations(tmp_path / "whole"), vx.open_explanations(tmp_path / "data")
    for name in ("windows", "supervoxels"):
        assert whole.table(name).equals(resumed.table(name))
    for window in whole:
        assert np.array_equal(window.labels, resumed.labels(window.start))


def broken_off(model: vx.Classifier, source: Path, out: Path, data: Path, frame: int = 40) -> str:
    write, count = ResumableWriter.write, 0

    def failing(self: ResumableWriter, *args: Any) -> None:
        nonlocal count
        count += 1
        if count == frame:
            raise RuntimeError("gone")
        write(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableWriter, "write", failing)
        with pytest.raises(vx.VidexplainError) as told:
            annotate(model, source, out, save=data, **SETTINGS)
    return str(told.value)


def same(one: Path, other: Path) -> bool:
    first, second = vx.open_explanations(one), vx.open_explanations(other)
    tables = all(first.table(name).equals(second.table(name)) for name in ("windows", "supervoxels"))
    return tables and all(np.array_equal(w.labels, second.labels(w.start)) for w in first)


@pytest.mark.slow
def test_parts_know_their_job(
    tmp_path: Path, source: Path, model: vx.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two videos break off with the same folder; the folder is removed in between; parts are damaged."""
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 16)
    other, data = tmp_path / "other.mkv", tmp_path / "data"
    oracle.run("-f", "lavfi", "-i", "mandelbrot=size=96x64:rate=25", "-t", 2, "-c:v", "libx264", other)
    annotate(model, source, tmp_path / "whole.mp4", save=tmp_path / "whole", **SETTINGS)
    out = tmp_path / "a.mp4"

    broken_off(model, source, out, data)
    broken_off(model, other, tmp_path / "b.mp4", data)
    assert annotate(model, source, out, save=data, **SETTINGS).resumed == 0
    assert same(data, tmp_path / "whole")

    assert "behind frame 32" in broken_off(model, source, out, data)
    shutil.rmtree(data)
    assert annotate(model, source, out, save=data, **SETTINGS).resumed == 0
    assert same(data, tmp_path / "whole")

    for victim in ("labels.zip", "windows.parquet", "sums.json"):
        broken_off(model, source, out, data)
        place = data / ".parts" / "0000000016" / victim
        place.write_bytes(place.read_bytes()[:-1] + b"?")
        assert annotate(model, source, out, save=data, **SETTINGS).resumed == 0
        assert same(data, tmp_path / "whole")
    assert annotate(model, other, tmp_path / "b.mp4", save=data, **SETTINGS).windows
    assert vx.open_explanations(data).manifest["input"] == "other.mkv"
    assert not same(data, tmp_path / "whole")


def test_the_folder_goes_while_the_video_is_explained(
    tmp_path: Path, source: Path, model: vx.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 16)
    write, data = ResumableWriter.write, tmp_path / "data"

    def removing(self: ResumableWriter, *args: Any) -> None:
        if self.frames == 16 and data.exists():
            shutil.rmtree(data)
        write(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableWriter, "write", removing)
        with pytest.raises(vx.VidexplainError, match="cannot write to") as told:
            annotate(model, source, tmp_path / "out.mp4", save=data, **SETTINGS)
    assert "goes on" not in str(told.value), "it could not"
    annotate(model, source, tmp_path / "out.mp4", save=data, **SETTINGS)
    assert len(vx.open_explanations(data)) == 4


def test_segments_without_a_window(
    tmp_path: Path, source: Path, model: vx.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows far apart: some parts hold nothing, and are there all the same."""
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 4)
    monkeypatch.setitem(SETTINGS, "hop", 40)
    annotate(model, source, tmp_path / "whole.mp4", save=tmp_path / "whole", **SETTINGS)
    assert "goes on behind" in broken_off(model, source, tmp_path / "out.mp4", tmp_path / "data", 45)
    assert annotate(model, source, tmp_path / "out.mp4", save=tmp_path / "data", **SETTINGS).resumed
    assert same(tmp_path / "data", tmp_path / "whole")


def test_what_cannot_be_used_is_said(tmp_path: Path, source: Path, model: vx.Classifier) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    with pytest.raises(vx.VidexplainError, match="holds other files"):
        annotate(model, source, tmp_path / "out.mp4", save=tmp_path / "full", **SETTINGS)
    with pytest.raises(vx.VidexplainError, match="holds no explanations"):
        vx.open_explanations(tmp_path)


def test_standard_errors_are_kept_where_there_are_any(
    tmp_path: Path, source: Path, model: vx.Classifier
) -> None:
    lime, few = vx.Lime(samples=12, fill="grey"), SETTINGS | {"hop": 50}
    for name, method in (("lime", lime), ("guided", "guided")):
        annotate(model, source, tmp_path / "out.mp4", save=tmp_path / name, method=method, **few)
    saved = vx.open_explanations(tmp_path / "lime")
    assert saved.manifest["version"] == 2
    window = saved[0]
    frames = np.stack([frame.image for frame in vx.open_video(source).frames()][:16])
    expected = vx.explain(model, frames, lime, labels=window.labels).standard_error
    assert expected is not None and (expected > 0).all()
    errors = {row["id"]: row["error"] for row in window.supervoxels}
    np.testing.assert_allclose([errors[k] for k in range(len(errors))], expected, rtol=1e-3)
    rows = vx.open_explanations(tmp_path / "guided")[0].supervoxels
    assert all(row["error"] is None for row in rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, source: Path, model: vx.Classifier) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    annotate(model, source, folder / "out.mp4", save=folder / "data", **SETTINGS)
    return folder / "data"


def test_data_of_version_1_are_read(tmp_path: Path, data: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    scores = vx.open_explanations(tmp_path / "data")[1].scores
    table = parquet.read_table(tmp_path / "data" / "supervoxels.parquet")
    parquet.write_table(table.drop_columns(["error"]), tmp_path / "data" / "supervoxels.parquet")
    with pytest.raises(vx.VidexplainError, match="it lacks columns"):
        vx.open_explanations(tmp_path / "data").table("supervoxels")
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    (tmp_path / "data" / "manifest.json").write_text(json.dumps(manifest | {"version": 1}))
    saved = vx.open_explanations(tmp_path / "data")
    np.testing.assert_array_equal(saved[1].scores, scores)
    assert all(row["error"] is None for row in saved[1].supervoxels)


def test_representations_are_short(data: Path) -> None:
    saved = vx.open_explanations(data)
    told = f"SavedExplanations({str(data)!r}, 4 windows of 'in.mkv', method='guided')"
    assert repr(saved) == told
    name, probability = saved[1].target_name, saved[1].probability
    assert repr(saved[1]) == f"SavedWindow(frame 16, 0.64 to 1.24 s, {name!r}, p={probability:.3f})"
