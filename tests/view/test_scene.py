from __future__ import annotations

import base64
import json
import re
import shutil
import zipfile
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

import videxplain as vx
from videxplain.annotate.windows import cut
from videxplain.cli import main
from videxplain.errors import VidexplainError
from videxplain.view.clip_scene import ClipScene
from videxplain.view.opening import open_scene
from videxplain.view.page import one_module, static
from videxplain.view.scene import packed_labels, region_table, window_json
from videxplain.view.video_scene import VideoScene


def page_data(path: Path) -> dict:
    text = path.read_text("utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


def test_regions_are_measured(explained_clip):
    labels = explained_clip[0].labels
    count = len(explained_clip[0].scores)
    table = region_table(labels, count)
    ids = np.arange(count)
    assert table["voxels"] == np.bincount(labels.ravel()).tolist()
    boxes = ndimage.find_objects(labels + 1)
    assert table["first"] == [box[0].start for box in boxes]
    assert table["last"] == [box[0].stop - 1 for box in boxes]
    centres = np.array(ndimage.center_of_mass(np.ones_like(labels), labels, ids))
    np.testing.assert_allclose(np.array([table["y"], table["x"]]).T, centres[:, 1:], atol=0.006)


def test_labels_are_packed(explained_clip):
    labels = explained_clip[0].labels
    unpacked = np.frombuffer(zlib.decompress(packed_labels(labels)), "<u2").reshape(labels.shape)
    np.testing.assert_array_equal(unpacked, labels)
    with pytest.raises(VidexplainError, match="65,536 regions"):
        packed_labels(np.full((1, 2, 2), 70_000, np.int32))


def test_a_clip_of_several_explanations(explained_clip):
    scene = ClipScene(explained_clip)
    summary = scene.summary()
    assert summary["size"] == [180, 240] and summary["frames"] == 16 and len(summary["layers"]) == 2
    guided, lime = window_json(scene, 0)["layers"]
    assert guided["errors"] is None and len(lime["errors"]) == len(lime["scores"])
    assert guided["scores"] == explained_clip[0].scores.tolist()
    json.dumps(summary, allow_nan=False)
    other = replace(explained_clip[0], frames=explained_clip[0].frames[:, ::-1])
    with pytest.raises(VidexplainError, match="same frames"):
        ClipScene([explained_clip[0], other])
    with pytest.raises(VidexplainError, match="no explanation"):
        ClipScene([])


def test_windows_of_a_video_are_drawn_when_annotate_draws_them(explained_video):
    folder, video = explained_video
    scene = open_scene([folder], video)
    assert isinstance(scene, VideoScene)
    times = [float(frame.time) for frame in scene.video.frames()]
    spans = scene.summary()["windows"]
    drawn = list(cut(range(len(times)), 32, 32))
    assert len(drawn) == len(spans) == 3 and drawn[-1].first > 0
    step = times[1]
    for window, span in zip(drawn, spans, strict=True):
        assert span["begin"] == pytest.approx(times[window.written[0]], abs=1e-6)
        assert span["end"] == pytest.approx(times[window.written[-1]] + step, abs=1e-6)


def test_several_methods_of_a_video_are_layers(explained_video, another_method):
    folder, video = explained_video
    scene = open_scene([folder, another_method], video)
    summary = scene.summary()
    assert summary["layers"] == ["guided", "grad-cam"] and summary["moments"][1] is None
    for index, windows in enumerate(zip(scene.saved, vx.open_explanations(another_method), strict=True)):
        for number, (layer, window) in enumerate(zip(scene.layers(index), windows, strict=True)):
            np.testing.assert_array_equal(layer.scores, window.scores)
            np.testing.assert_array_equal(layer.labels, window.labels[: len(layer.labels)])
            each = window.scores / np.bincount(window.labels.ravel())  # as Explanation.when shares them out
            expected = each[window.labels].sum(axis=(1, 2))[: len(layer.labels)]
            told = summary["windows"][index]["when"][number]
            np.testing.assert_allclose(told, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    number = int(scene.layers(1)[1].numbers[0])
    rows = vx.open_explanations(another_method).table("supervoxels").to_pylist()
    shares = {row["window"]: row["share"] for row in rows if row["number"] == number}
    assert scene.shares_of(number, 1) == [shares.get(window.start) for window in scene.windows]
    with pytest.raises(VidexplainError, match="one explanation is exported"):
        vx.export([folder, another_method], folder.parent / "out.csv", "csv")


def test_moments_are_those_of_the_manifest(explained_video):
    folder, video = explained_video
    kept = json.loads((folder / "manifest.json").read_text())["moments"]
    assert kept and open_scene([folder], video).summary()["moments"] == [kept]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"input_sha256": "0" * 64}, "different videos"),
        ({"model": "another"}, "different networks"),
        ("labels", "different supervoxels"),
        ({"moments": [{"begin": "soon"}]}, "moments in"),
    ],
)
def test_folders_that_do_not_go_together_are_refused(
    explained_video, another_method, tmp_path, damage, words
):
    folder, video = explained_video
    changed = shutil.copytree(another_method, tmp_path / "changed")
    if damage == "labels":
        with zipfile.ZipFile(another_method / "labels.zip") as old:
            names = old.namelist()
            contents = {name: bytearray(old.read(name)) for name in names}
        contents[names[-1]][-1] ^= 1
        with zipfile.ZipFile(changed / "labels.zip", "w") as new:
            for name in names:
                new.writestr(name, bytes(contents[name]))
    else:
        manifest = json.loads((changed / "manifest.json").read_text())
        (changed / "manifest.json").write_text(json.dumps(manifest | damage))
    with pytest.raises(VidexplainError, match=words):
        open_scene([folder, changed], video).summary()


def test_folders_without_curves_still_open(explained_video, tmp_path):
    import pyarrow.parquet as parquet

    folder, video = explained_video
    older = shutil.copytree(folder, tmp_path / "older")
    table = parquet.read_table(older / "windows.parquet")
    parquet.write_table(table.drop_columns(["when"]), older / "windows.parquet")
    summary = open_scene([older], video).summary()
    assert [window["when"] for window in summary["windows"]] == [[None]] * 3


def test_evidence_and_a_when_curve_come_with_a_clip(explained_clip, measured, tmp_path):
    evidence, curve = measured
    first = explained_clip[0]
    told = ClipScene(explained_clip, evidence=evidence, when=curve).summary()
    assert told["evidence"]["keeps"]["regions"] == list(evidence.keeps.ids)
    assert told["evidence"]["destroys"]["words"] == evidence.destroys_words()
    assert told["when"]["scores"] == curve.scores.tolist() and len(told["when"]["edges"]) == 9
    best = curve.best()
    assert told["when"]["stretches"][0] == {"begin": best.begin, "end": best.end, "share": best.share}
    with pytest.raises(VidexplainError, match="other supervoxels"):
        ClipScene([replace(first, labels=first.labels[::-1])], evidence=evidence)
    with pytest.raises(VidexplainError, match="other frames"):
        ClipScene([replace(first, frames=first.frames[::-1])], when=curve)
    with pytest.raises(VidexplainError, match=r"what vx.when\(\) gives"):
        ClipScene(explained_clip, when=first)
    (page,) = vx.export_page(evidence, tmp_path / "evidence.html")
    assert page_data(page)["summary"]["evidence"] == told["evidence"]


def test_json_of_the_commands_is_read(explained_clip, measured, tmp_path, capsys):
    """What `--json` prints of a clip shows the same as the answers themselves."""
    evidence, curve = measured
    first = explained_clip[0]
    first.save(tmp_path / "data")
    for name, answer in (("evidence", evidence), ("when", curve)):
        (tmp_path / f"{name}.json").write_text(answer.to_json())
    options = {name: tmp_path / f"{name}.json" for name in ("evidence", "when")}
    told = open_scene([tmp_path / "data"], **options).summary()
    expected = ClipScene([first], evidence=evidence, when=curve).summary()
    assert told["when"] == expected["when"]
    for part in ("keeps", "destroys"):
        assert told["evidence"][part] == expected["evidence"][part]
    page = tmp_path / "page.html"
    command = ["view", str(tmp_path / "data"), "--evidence", str(options["evidence"]), "--export", str(page)]
    assert main(command) == 0 and "evidence" in page_data(page)["summary"]
    other = json.loads(options["when"].read_text())
    other["settings"]["frames_sha256"] = "0"
    damaged = json.loads(options["evidence"].read_text())
    damaged["keeps"]["ids"] = [len(first.scores)]
    for name, text, words in (
        ("when", json.dumps(other), "other frames"),
        ("when", "[]", "not what `videxplain when"),
        ("evidence", json.dumps(damaged), "names supervoxels other than"),
        ("evidence", "{", "not what `videxplain evidence"),
    ):
        options[name].write_text(text)
        with pytest.raises(VidexplainError, match=words):
            open_scene([tmp_path / "data"], **{name: options[name]})


def test_frames_of_a_window_are_the_videos(explained_video):
    scene = open_scene([explained_video[0]], explained_video[1])
    everything = [frame.rgb() for frame in scene.video.frames()]
    for index, window in enumerate(scene.windows):
        clip = scene.clip(index)
        np.testing.assert_array_equal(clip.frames, everything[window.start : window.start + 32 : 2])


def test_pictures_at_other_times_are_refused(explained_video):
    video = vx.open_video(explained_video[1])
    with pytest.raises(VidexplainError, match="no frames at"):
        video.pictures_at([0.0, 0.0123])
    with pytest.raises(VidexplainError, match="no frames at"):
        video.pictures_at([100.0])


def test_another_video_is_refused(explained_video, tmp_path):
    folder, video = explained_video
    changed = tmp_path / "video.mp4"
    changed.write_bytes(video.read_bytes() + b"\0")
    with pytest.raises(VidexplainError, match="checksum"):
        open_scene([folder], changed)


def test_an_exported_page_has_all_its_data(explained_clip, tmp_path):
    named = replace(explained_clip[0], target_name='</script><img src=x onerror="document.title=1">')
    (page,) = vx.export_page([named, explained_clip[1]], tmp_path / "page.html")
    text = page.read_text("utf-8")
    assert "<img src=x" not in text
    data = page_data(page)
    assert data["summary"]["windows"][0]["target_name"] == named.target_name
    from io import BytesIO

    from PIL import Image

    for t in (0, 15):
        image = Image.open(BytesIO(base64.b64decode(data["frames"][t]["data"])))
        np.testing.assert_array_equal(np.asarray(image), named.frames[t])
    assert "http:" not in re.sub(r'id="data">.*?</script>', "", text, flags=re.S).replace("http-equiv", "")


def test_a_single_file_imports_nothing(explained_clip):
    text = one_module()
    assert 'from "./' not in text
    inner = re.findall(r"base64,([A-Za-z0-9+/=]+)", text)
    assert inner and all('from "./' not in base64.b64decode(part).decode() for part in inner)


def test_a_large_video_goes_beside_the_page(explained_video, tmp_path, monkeypatch):
    monkeypatch.setattr("videxplain.view.page.INSIDE_BYTES", 10)
    scene = open_scene([explained_video[0]], explained_video[1])
    page, beside = vx.export_page(scene, tmp_path / "my page.html")
    assert beside.read_bytes() == explained_video[1].read_bytes()
    assert page_data(page)["video"] == {"name": "my%20page.mp4"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--export", "page.html"], "no folder 'nowhere'"),
        (["{data}", "--export", "page.txt"], "is written as .html"),
        (["{data}", "--export", "no/page.html"], "no folder"),
        (["{data}", "--export", "page.html", "--port", "80"], "no --port"),
        (["{empty}", "--export", "page.html"], "no explanation that can be read"),
        (["{data}", "{data}", "--export", "page.html"], "given twice"),
        (["{data}", "--when", "when.json", "--export", "page.html"], "not of a video"),
        (["{data}", "--video", "gone.mp4", "--export", "page.html"], "gone.mp4"),
    ],
)
def test_what_cannot_be_shown_is_said(arguments, words, explained_video, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    filled = [part.format(data=explained_video[0], empty="empty") for part in arguments]
    assert main(["view", *filled]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_the_command_exports(explained_video, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert (
        main(["view", str(explained_video[0]), "--video", str(explained_video[1]), "--export", str(page)])
        == 0
    )
    assert str(page) in capsys.readouterr().out
    assert page_data(page)["summary"]["kind"] == "video"


def test_held_frames_are_left_out(network):
    frames = np.random.default_rng(0).integers(0, 255, (5, 112, 112, 3), dtype=np.uint8)
    explanation = vx.explain(network, frames, "guided", n_segments=20)
    scene = ClipScene([explanation])
    assert explanation.held == 11 and scene.summary()["frames"] == 5
    assert len(scene.summary()["windows"][0]["times"]) == len(scene.layers(0)[0].labels) == 5
    assert len(scene.clip(0)) == 16


def _lightness(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_enough_contrast():
    """WCAG 2.1, 1.4.3: at least 4.5 for text; 1.4.11: at least 3 for what marks."""
    themes = re.findall(r"(--ink:.*?--mark: #\w{6})", static("style.css"), re.S)
    assert len(themes) == 2
    for theme in themes:
        colours = dict(re.findall(r"--(\w+): (#\w{6})", theme))
        for name, ground, least in (
            ("ink", "paper", 4.5), ("ink", "pale", 4.5), ("soft", "paper", 4.5), ("accent", "paper", 4.5),
            ("mark", "pale", 3.0), ("line", "paper", 3.0), ("accent", "pale", 3.0), ("line", "pale", 2.5),
        ):  # fmt: skip
            high, low = sorted((_lightness(colours[name]), _lightness(colours[ground])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= least, (name, ground)


def test_times_are_fractions_of_the_file(explained_video):
    scene = open_scene([explained_video[0]], explained_video[1])
    assert all(isinstance(time, Fraction) for time in scene.clip(0).times)
