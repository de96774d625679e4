from __future__ import annotations

import base64
import json
import re
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
from videxplain.view.page import one_module, static
from videxplain.view.scene import ClipScene, VideoScene, open_scene, packed_labels, region_table, window_json


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
        (["{data}", "{data}", "--export", "page.html"], "one video"),
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
