"""Files are opened as what they are, whatever they are called, and nothing else is opened in their place."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import av
import ffmpeg_oracle as oracle
import numpy as np
import pytest
from PIL import Image

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.errors import VidexplainError
from videxplain.video import open_video
from videxplain.video.opening import Source
from videxplain.video.segments import ResumableWriter

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1")
SOUND = ("-f", "lavfi", "-i", "sine=duration=1")
NAMES = [
    "2024-05-01T12:30:00.mp4", "http:127.0.0.1:8765.mp4", "concat:base.mp4", "subfile,,start,0,end,9,,:base.mp4",
    "udp:127.0.0.1:9.mp4", "-i.mp4", "a%03d.mp4", "new\nline.mp4", "pipe:0.mp4", "data:,x.mp4", "file:base.mp4",
    "'; true.mp4", b"bytes\xff.mp4", "\N{SNOWMAN} \N{HIRAGANA LETTER A}.mp4", "[0:v].mp4", "*?{1}.mp4",
]  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "base.mp4"
    oracle.run(*PICTURE, *SOUND, *X264, path)
    return path


def explained(source: Any, output: Any, **options: Any) -> vx.annotate.Summary:
    own = {"segmentation": "grid", "n_segments": 8, "preset": "ultrafast", "footer": "over"}
    return annotate(vx.load_model("c3d-motion"), source, output, **own | options)


def check(path: Path, base: Path) -> None:
    assert len(oracle.decoded(path)) == 25
    sounds = [[md5 for _, md5 in oracle.decoded(p, "a:0")] for p in (path, base)]
    assert sounds[0] == sounds[1]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_any_name_is_that_of_a_file(
    tmp_path: Path, base: Path, name: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a relative name, with another file about that a protocol would find."""
    monkeypatch.chdir(tmp_path)
    oracle.run(*PICTURE, *X264, "-frames:v", 3, "base.mp4")
    shutil.copy(base, name)
    assert explained(name, "out.mp4").frames == 25
    check(tmp_path / "out.mp4", base)


@pytest.mark.parametrize(
    "name", ["http:o.mp4", "-o.mp4", "a%d.mp4", "new\nline.mov", b"bytes\xff.mkv"], ids=repr
)
def test_any_name_may_be_written(
    tmp_path: Path, base: Path, name: str | bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    explained(base, name)
    assert len(list(Path().iterdir())) == 1
    shutil.move(name, "plain")
    check(tmp_path / "plain", base)


def test_a_folder_whose_name_is_no_text(tmp_path: Path, base: Path) -> None:
    folder = os.path.join(os.fsencode(tmp_path), b"f\xff:")
    os.mkdir(folder)
    shutil.copy(base, os.path.join(folder, b"a.mp4"))
    assert explained(os.path.join(folder, b"a.mp4"), os.path.join(folder, b"b.mkv")).frames == 25
    assert sorted(os.listdir(folder)) == [b"a.mp4", b"b.mkv"]


@pytest.mark.parametrize("suffix", ["mp4", "m3u8", "txt"])
@pytest.mark.parametrize("kind", ["concat", "playlist", "session", "dash", "text"])
def test_scripts_are_not_followed(tmp_path: Path, base: Path, kind: str, suffix: str) -> None:
    oracle.run(*PICTURE, *X264, tmp_path / "part.ts")
    shutil.copy(base, tmp_path / "base.mp4")
    script = {
        "concat": "ffconcat version 1.0\nfile base.mp4\n",
        "playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\npart.ts\n#EXT-X-ENDLIST\n",
        "session": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
        '<Representation id="0" bandwidth="1"><BaseURL>base.mp4</BaseURL></Representation></AdaptationSet></Period>'
        "</MPD>",
        "text": "a page of text\n" * 200,
    }[kind]
    path = tmp_path / f"script.{suffix}"
    path.write_text(script)
    with pytest.raises(VidexplainError, match="not a video that ffmpeg can read"):
        open_video(path)


def test_only_pixels_are_images(tmp_path: Path) -> None:
    """Pillow would run Ghostscript on this, whatever it is called."""
    (tmp_path / "f1.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n")
    with pytest.raises(VidexplainError, match="its format is none that is read here"):
        vx.Clip.from_image(tmp_path / "f1.png")
    with pytest.raises(VidexplainError, match=r"f1\.png"):
        open_video(tmp_path)
    with pytest.raises(VidexplainError, match="not a video"):
        open_video(tmp_path / "f1.png")
    for name in ("a.jpg", "a.tif", "a.webp", "a.gif", "a.ppm", "a.bmp"):
        Image.fromarray(np.full((9, 12, 3), 130, np.uint8)).save(tmp_path / name)
        assert abs(int(vx.Clip.from_image(tmp_path / name).frames.mean()) - 130) <= 2
        assert next(open_video(tmp_path / name).frames()).image.shape == (9, 12, 3)


def test_pipes_and_devices_are_refused_at_once(tmp_path: Path, base: Path) -> None:
    for name in ("fifo.mp4", "fifo.png"):
        os.mkfifo(tmp_path / name)
    for path in (tmp_path / "fifo.mp4", tmp_path / "fifo.png", "/dev/null", "/dev/zero"):
        with pytest.raises(VidexplainError, match="is a pipe or a device"):
            open_video(path)
    with pytest.raises(VidexplainError, match="regular file"):
        vx.Clip.from_image(tmp_path / "fifo.png")
    with pytest.raises(VidexplainError, match="is a pipe or a device"):
        explained(base, tmp_path / "fifo.mp4")


@pytest.mark.parametrize(
    "suffix, what",
    [
        ("mp4", "deleted"),
        ("mp4", "rewritten"),
        ("mp4", "touched"),
        ("ts", "cut"),
        ("ts", "rewritten"),
        ("ts", "replaced"),
    ],
)
def test_a_source_that_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, what: str
) -> None:
    """What was read of the old file is delivered, nothing of a new one, and a note says what is not there."""
    source, other, output = (tmp_path / f"{name}.{suffix}" for name in ("in", "other", "out"))
    output = output.with_suffix(".mp4")
    picture = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=6.4")
    oracle.run(*picture, "-f", "lavfi", "-i", "sine=duration=6.4", *X264, "-movflags", "+faststart", source)
    oracle.run("-f", "lavfi", "-i", "color=red:size=96x64:rate=25:duration=6.4", *X264, other)
    whole = [time for time, _ in oracle.decoded(source)]
    changes = {
        "deleted": lambda: source.unlink(),
        "cut": lambda: os.truncate(source, source.stat().st_size // 2),
        "rewritten": lambda: shutil.copyfile(other, source),
        "replaced": lambda: os.replace(other, source),
        "touched": lambda: os.utime(source),
    }
    write, written = ResumableWriter.write, []

    def write_and_change(self: ResumableWriter, *frame: Any) -> None:
        written.append(frame)
        if len(written) == 10:
            changes[what]()
        write(self, *frame)

    monkeypatch.setattr(ResumableWriter, "write", write_and_change)
    summary = explained(source, output)
    pictures = oracle.pixels(output, 64, 96)
    assert len(pictures) == summary.frames
    if what in ("cut", "rewritten"):
        assert 10 <= summary.frames < 160 and "reading ended early: the file was" in summary.notes[0]
    else:
        assert summary.frames == len(whole) == 160
    red = (pictures[..., 0] > 200) & (pictures[..., 1] < 60) & (pictures[..., 2] < 60)
    assert red.mean(axis=(1, 2)).max() < 0.5, "a frame of the other file"
    with av.open(str(output)) as container:
        sound = bool(container.streams.audio)
    assert sound == (what == "touched")
    assert any("left out" in note for note in summary.notes) == (what != "touched")


def test_a_source_may_grow(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    path.write_bytes(os.urandom(200_000))
    source = Source(path)
    with open(path, "ab") as file:
        file.write(b"more")
    assert source.change() is None and not source.rewritten()
    path.write_bytes(os.urandom(300_000))
    assert source.change() == "was replaced or rewritten" and source.rewritten()
    path.unlink()
    assert "deleted" in str(source.change()) and not source.rewritten()
