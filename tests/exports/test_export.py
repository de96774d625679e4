"""What is refused before work, and that files are whole or not there."""

from __future__ import annotations

import gc
import shutil
import weakref
from dataclasses import replace

import numpy as np
import pytest

import videxplain as vx
from videxplain.annotate.windows import cut
from videxplain.cli import main
from videxplain.errors import VidexplainError
from videxplain.exports.explained import Explained
from videxplain.exports.export import FORMATS
from videxplain.view.clip_scene import ClipScene
from videxplain.view.opening import open_scene

SUFFIXES = {"csv": ".csv", "cvat": ".xml", "rerun": ".rrd", "webvtt": ".vtt"}
NAMES = ["coco", "csv", "cvat", "fiftyone", "napari", "rerun", "tensorboard", "webvtt"]


def test_the_formats():
    assert sorted(FORMATS) == NAMES
    assert {name: FORMATS[name].suffix for name in NAMES if FORMATS[name].suffix} == SUFFIXES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["gone", "-o", "out.csv", "--to", "csv"], "no folder 'gone'"),
        (["{data}", "-o", "out.csv", "--to", "cocoa"], "did you mean 'coco'"),
        (["{data}", "-o", "out.json", "--to", "csv"], "csv is written as .csv"),
        (["{data}", "-o", "out.xml", "--to", "coco"], "coco is written as a folder"),
        (["{data}", "-o", "gone/out.csv", "--to", "csv"], "no folder 'gone'"),
        (["{data}", "-o", "{data}", "--to", "coco"], "is there already"),
        (["{data}", "-o", "out.csv", "--to", "csv", "--top-k", "3"], "top_k means nothing to csv"),
        (["{data}", "-o", "out", "--to", "coco", "--top-k", "-1"], "not -1"),
        (["{data}", "-o", "out.csv", "--to", "csv", "--video", "gone.mp4"], "gone.mp4"),
    ],
)
def test_bad_input(video_truth, tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(["export", *(part.format(data=video_truth.what) for part in arguments)]) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["coco", "rerun", "tensorboard"])
def test_a_missing_package_is_told(clip_truth, tmp_path, monkeypatch, name):
    from videxplain.exports import export as module

    monkeypatch.setattr(module, "find_spec", lambda package: None)
    with pytest.raises(VidexplainError, match=r"which is not installed; .*videxplain\[export\]"):
        vx.export(clip_truth.what, tmp_path / f"out{SUFFIXES.get(name, '')}", name)


@pytest.mark.parametrize("name", NAMES)
def test_a_fault_leaves_nothing(video_truth, tmp_path, name):
    """The labels of the last window are gone."""
    data = tmp_path / "data"
    shutil.copytree(video_truth.what, data)
    (data / "labels.zip").write_bytes(b"")
    (tmp_path / "out").mkdir()
    output = tmp_path / "out" / f"out{SUFFIXES.get(name, '')}"
    video = video_truth.what.parent / "video.mp4"
    if name == "webvtt":  # which reads no labels
        vx.export(data, output, name, video=video)
        return
    with pytest.raises(VidexplainError, match="no labels of a window"):
        vx.export(data, output, name, video=video)
    assert not list(output.parent.iterdir())


def test_volumes_that_do_not_fit_are_refused(video_truth, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(VidexplainError, match="GB free"):
        vx.export(video_truth.what, tmp_path / "volumes", "napari")
    assert not list(tmp_path.iterdir())


def test_several_explanations_are_refused(explained, tmp_path):
    with pytest.raises(VidexplainError, match="one explanation"):
        vx.export(ClipScene([explained, explained]), tmp_path / "out.csv", "csv")
    with pytest.raises(VidexplainError, match="not of a int"):
        vx.export(3, tmp_path / "out.csv", "csv")


def test_an_explanation_in_memory_is_exported_like_its_folder(explained, clip_truth, tmp_path):
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    vx.export(explained, one, "csv")
    vx.export(clip_truth.what, other, "csv")
    assert one.read_text() == other.read_text()


def test_an_empty_folder_is_taken_and_a_file_replaced(clip_truth, tmp_path, capsys):
    (tmp_path / "coco").mkdir()
    (tmp_path / "out.csv").write_text("old")
    assert (
        main(["export", str(clip_truth.what), "-o", str(tmp_path / "coco"), "--to", "coco", "--quiet"]) == 0
    )
    assert main(["export", str(clip_truth.what), "-o", str(tmp_path / "out.csv"), "--to", "csv"]) == 0
    assert (tmp_path / "coco" / "labels.json").is_file()
    assert (tmp_path / "out.csv").read_text().startswith("window,")
    assert str(tmp_path / "out.csv") in capsys.readouterr().out


def test_frames_at_the_networks_size_are_brought_back(explained, tmp_path):
    """Network pixels go where the geometry has them, and what the network did not see is black."""
    geometry = explained.geometry
    small = geometry.apply(explained.frames)
    explained = replace(explained, frames=small)
    (window,) = Explained(ClipScene([explained])).windows(pictures=True)
    picture = window.picture(2)
    assert picture.shape == (*geometry.source, 3)
    seen = window.source_labels(2) >= 0
    assert not picture[~seen].any()
    for y, x in [(5, 30), (70, 90), (40, 64)]:
        assert seen[y, x]
        row, column = np.floor(geometry.to_network((y + 0.5, x + 0.5))).astype(int)
        np.testing.assert_array_equal(picture[y, x], small[2, row, column])


def test_windows_that_are_done_are_let_go(video_truth):
    """So that memory does not grow with the video: the scene keeps labels of a few windows, and no frames."""
    windows = Explained(open_scene([video_truth.what])).windows(pictures=True)
    first = next(windows)
    frames = weakref.ref(first.explanation.frames)
    del first
    next(windows)
    gc.collect()
    assert frames() is None


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names(explained, tmp_path, name):
    """Class names are other people's: half a character, a null, markup, lines, a path."""
    hostile = "\ud800\0 <b>&amp;\n\n00:00.000 --> 00:01.000\n/../x]]>\x1b"
    predictions = [(hostile, 0.5), ("", 0.3)]
    output = tmp_path / f"out{SUFFIXES.get(name, '')}"
    vx.export(replace(explained, target_name=hostile, predictions=predictions), output, name)
    assert output.exists()
    if name == "cvat":
        from xml.etree import ElementTree

        labels = ElementTree.parse(output).findall("meta/task/labels/label/name")
        told = "?\ufffd <b>&amp;  00:00.000 --> 00:01.000 /../x]]>\ufffd"
        assert [label.text for label in labels] == [told]
    if name == "webvtt":
        assert output.read_text("utf-8").count("-->") == 1
    assert not [path for path in tmp_path.rglob("*") if "<b>" in path.name]


@pytest.mark.parametrize("hop", [6, 20])
def test_windows_that_overlap_or_leave_gaps(explained_video, hop):
    """Each frame is the window's that `annotate` draws it by; those in gaps are nobody's."""
    data = explained_video(f"hop{hop}", method="guided", hop=hop)
    windows = list(Explained(open_scene([data], data.parent / "video.mp4")).windows(pictures=True))
    parts = [part for part in cut(range(33), 16, hop) if part.frames]
    images = [frame.rgb() for frame in vx.open_video(data.parent / "video.mp4").frames()]
    assert len(windows) == len(parts) > 1
    for window, part in zip(windows, parts, strict=True):
        assert [frame.number for frame in window.shown] == part.written
        assert window.begin == pytest.approx(part.written[0] / 25)
        for frame in window.shown:
            assert frame.index == (frame.number - part.frames[0]) // 2
        for frame in window.seen:
            assert frame.time == pytest.approx(frame.number / 25)
            np.testing.assert_array_equal(window.picture(frame.index), images[frame.number])
