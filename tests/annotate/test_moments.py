"""When along a video: the curve that is drawn, its peaks as chapters, and the jump list that is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import ffmpeg_oracle as oracle
import numpy as np
import pytest

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.annotate import run as module
from videxplain.annotate.classes import Stretch
from videxplain.annotate.moments import Moments, chapters, webvtt
from videxplain.cli import main
from videxplain.video.segments import ResumableWriter

SETTINGS: dict[str, Any] = {"n_segments": 12, "preset": "ultrafast", "crf": 8, "when": True}
FRAMES, HEIGHT = 40, 240


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("c3d-motion")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with sound and a chapter of its own."""
    folder = tmp_path_factory.mktemp("source")
    titles = folder / "titles.txt"
    titles.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle=Before\n")
    video = ("-f", "lavfi", "-i", f"testsrc2=size=320x{HEIGHT}:rate=25")
    sound = ("-f", "lavfi", "-i", "sine=duration=1.6", "-i", titles, "-map", 0, "-map", 1)
    encoding = ("-frames:v", FRAMES, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
    oracle.run(*video, *sound, "-map_metadata", 2, *encoding, folder / "in.mp4")
    return folder / "in.mp4"


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory, model: vx.Classifier, source: Path) -> Any:
    folder = tmp_path_factory.mktemp("out")
    summary = annotate(model, source, folder / "out.mp4", save=folder / "data", **SETTINGS)
    return summary, folder / "out.mp4", vx.open_explanations(folder / "data")


def heights(saved: Any) -> np.ndarray:
    """What each frame counts for, from the saved scores and labels alone: (frames,)."""
    result = np.zeros(FRAMES)
    for window in saved:
        voxels = np.bincount(window.labels.ravel())
        size = np.array([abs((window.scores / voxels)[labels].sum()) for labels in window.labels])
        result[window.start : window.start + len(size)] = window.probability * size / size.max()
    return result


def test_chapters_cues_and_the_jump_list_tell_the_same(explained: Any) -> None:
    summary, out, saved = explained
    jumps = saved.manifest["moments"]
    assert jumps and [(m.begin, m.end, m.name, m.probability) for m in summary.moments] == [
        tuple(jump.values()) for jump in jumps
    ]
    with av.open(str(out)) as video:
        found = [
            (float(c["start"] * c["time_base"]), float(c["end"] * c["time_base"]), c["metadata"]["title"])
            for c in video.chapters()
        ]
        assert [s.type for s in video.streams][:2] == ["video", "audio"]
    if jumps[0]["begin"] > 0:
        assert found.pop(0)[2] == "start"
    titles = [f"{jump['class']} {jump['height']:.0%}" for jump in jumps]
    assert [title for *_, title in found] == titles
    assert [begin for begin, *_ in found] == pytest.approx([jump["begin"] for jump in jumps], abs=1e-3)
    assert found[-1][1] == pytest.approx(FRAMES / 25, abs=1e-3)
    with av.open(str(out.with_suffix(".chapters.vtt"))) as cues:
        packets = [packet for packet in cues.demux() if packet.size]
        begins = [float(packet.pts * packet.time_base) for packet in packets]
        lasts = [float(packet.duration * packet.time_base) for packet in packets]
    assert begins == pytest.approx([jump["begin"] for jump in jumps], abs=1e-3)
    assert lasts == pytest.approx([jump["end"] - jump["begin"] for jump in jumps], abs=2e-3)
    assert [bytes(packet).decode() for packet in packets] == titles
    assert any("chapters gave way" in note for note in summary.notes)


def test_peaks_hold_the_highest_frame_of_each_window(explained: Any) -> None:
    summary, _, saved = explained
    curve = heights(saved)
    for window in saved:
        highest = (window.start + int(curve[window.start : window.start + 16].argmax())) / 25
        assert any(m.begin <= highest < m.end and m.name == window.target_name for m in summary.moments)


def test_the_curve_is_drawn_below_the_timeline(explained: Any) -> None:
    _, out, saved = explained
    with vx.open_video(out) as video:
        last = list(video.frames())[-1].image.astype(int)
    band = 14  # as high as a letter, twice: bars below the frame, and the curve two rows below them
    top = HEIGHT + band + 2
    drawn = (last[top : top + band] > 150).all(axis=2).sum(axis=0)
    columns = np.arange(4, 316)
    expected = 1 + heights(saved)[columns * FRAMES // 320] * (band - 1)
    assert np.abs(drawn[columns] - expected).mean() < 1
    assert np.corrcoef(drawn[columns], expected)[0, 1] > 0.7


def test_a_run_that_goes_on_marks_the_same(
    tmp_path: Path, model: vx.Classifier, source: Path, explained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 16)
    write, count = ResumableWriter.write, 0

    def failing(self: ResumableWriter, *args: Any) -> None:
        nonlocal count
        count += 1
        if count == 36:
            raise RuntimeError("gone")
        write(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableWriter, "write", failing)
        with pytest.raises(vx.VidexplainError, match="behind frame 32"):
            annotate(model, source, tmp_path / "out.mp4", **SETTINGS)
    assert not (tmp_path / "out.chapters.vtt").exists()
    summary = annotate(model, source, tmp_path / "out.mp4", **SETTINGS)
    assert summary.resumed == 32 and summary.moments == explained[0].moments


def test_peaks_by_hand() -> None:
    moments = Moments(3)
    edges = [n / 10 for n in range(7)]
    moments.add_curve(edges, np.array([0, 0, 0.8, 0.9, 0, 0]), 1)
    moments.add_curve([edge + 0.6 for edge in edges], np.array([0, 0.2, 0, 0, 0, 0.4]), 1)
    moments.add_curve([edge + 1.2 for edge in edges], np.array([0.3, 0, 0, 0, 0, 0]), 1)  # goes on
    moments.add_curve([edge + 1.8 for edge in edges], np.array([0.5, 0, 0, 0, 0, 0.0]), 2)
    found = moments.named(["a", "b", "c"])
    assert [(round(m.begin, 6), round(m.end, 6), m.name, m.probability) for m in found] == [
        (0.2, 0.4, "b", 0.9),
        (1.1, 1.3, "b", 0.4),
        (1.8, 1.9, "c", 0.5),
    ]
    moments.add_curve(edges, np.zeros(6), 0)
    assert len(moments.named(["a", "b", "c"])) == 3, "where nothing counts there is no peak"


def test_titles_are_no_markup() -> None:
    moments = [Stretch(3661.5, 3662.0, "a <b> & c -->\nd", 0.5)]
    assert webvtt(moments, is_value=True) == (
        "WEBVTT\n\n01:01:01.500 --> 01:01:02.000\na &lt;b&gt; &amp; c --&gt; d\n"
    )
    assert chapters(moments, is_value=False)[1].title.endswith("50%")
    assert webvtt([], is_value=False) == "WEBVTT\n" and chapters([], is_value=False) == []


def test_a_folder_has_the_name_of_the_chapters(tmp_path: Path, source: Path, capsys: Any) -> None:
    (tmp_path / "out.chapters.vtt").mkdir()
    arguments = ["annotate", str(source), "-o", str(tmp_path / "out.mp4"), "--model", "c3d-motion", "--when"]
    assert main(arguments) == 1
    assert "is a folder, and the chapters" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out.chapters.vtt"]
