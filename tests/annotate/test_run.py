"""Videos in, explained videos out: every frame at its time, the sound kept, nothing half-written."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg_oracle as oracle
import numpy as np
import pytest
from PIL import Image

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.annotate.run import GROUPS
from videxplain.annotate.windows import cut
from videxplain.cli import main
from videxplain.settings import Encoding, Execution, Picture, VideoSource, Windows
from videxplain.video import Video
from videxplain.video.segments import ResumableWriter

X264_444 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv444p")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("c3d-motion")


def times(path: Path) -> list:
    return [time for time, _ in oracle.decoded(path)]


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"hop": 8}, {"hop": 24}, {"batch": 2, "stride": 2}])
def test_every_frame_at_its_time(tmp_path: Path, model: vx.Classifier, count: int, settings: dict) -> None:
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", count, *X264, source)
    summary = annotate(model, source, out, n_segments=12, **settings)
    assert times(out) == times(source)
    assert summary.frames == count
    span = 16 * settings.get("stride", 1)
    assert bool(summary.held) == (count < span - settings.get("stride", 1) + 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_frames_wait_in_bounded_number(
    tmp_path: Path, model: vx.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the encoder is, the rest does not run ahead of it by more than a few windows."""
    source = tmp_path / "in.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 160, *X264, source)
    decoded, written, waiting = 0, 0, []
    frames, write = Video.frames, ResumableWriter.write

    def counted(self: Video) -> Iterator[Any]:
        nonlocal decoded
        for frame in frames(self):
            decoded += 1
            yield frame

    def slow(self: ResumableWriter, *args: Any) -> None:
        nonlocal written
        time.sleep(0.01)
        write(self, *args)
        written += 1
        waiting.append(decoded - written)

    monkeypatch.setattr(Video, "frames", counted)
    monkeypatch.setattr(ResumableWriter, "write", slow)
    annotate(model, source, tmp_path / "out.mp4", segmentation="grid", n_segments=12)
    assert written == 160
    assert max(waiting) <= (GROUPS + 1) * 16, "and the frames of the window that is being cut"


@pytest.mark.parametrize("length", range(1, 60))
@pytest.mark.parametrize(("span", "hop"), [(16, 16), (16, 5), (16, 24), (8, 1), (1, 1)])
def test_windows_write_each_frame_once_and_see_what_they_write(length: int, span: int, hop: int) -> None:
    windows = list(cut(range(length), span, hop))
    assert [frame for window in windows for frame in window.written] == list(range(length))
    starts = [window.frames[0] for window in windows if window.frames]
    assert starts == sorted(set(starts)), "none is explained twice"
    for window in windows:
        assert len(window.frames) + len(window.written) <= 2 * span
        if not window.frames:
            assert hop > span
            continue
        assert len(window.frames) == min(span, length), "only a short video has a window that is not whole"
        assert window.written[0] == window.frames[0] + window.first
        if hop <= span:
            assert set(window.written) <= set(window.frames)


def test_sound_size_and_odd_sizes_are_kept(tmp_path: Path, model: vx.Classifier) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    video = ("-f", "lavfi", "-i", "color=red:size=75x51:rate=25:duration=1,format=yuv444p")
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:duration=1")
    oracle.run(*video, *sound, "-c:v", "ffv1", "-c:a", "aac", source)
    annotate(model, source, out, n_segments=12)
    assert oracle.decoded(source, "a:0") == oracle.decoded(out, "a:0")
    with vx.open_video(source) as before, vx.open_video(out) as after:
        assert (before.width, before.height) == (75, 51)
        assert after.width == 76 and after.height > 60, (
            "4:2:0 sampling needs even sizes, and there is a footer"
        )
        assert after.height % 2 == 0
        assert len(list(after.frames())) == len(list(before.frames()))


@pytest.mark.parametrize("container", ["mp4", "mkv"])  # which does not tell how many frames there are
def test_the_timeline_can_be_left_out(tmp_path: Path, model: vx.Classifier, container: str) -> None:
    source = tmp_path / f"in.{container}"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25", "-frames:v", 16, *X264, source)
    last = {}
    for choice in ("--no-timeline", "--quiet"):
        out = tmp_path / f"{choice}.mp4"
        assert main(["annotate", str(source), "-o", str(out), "--segments", "12", "--quiet", choice]) == 0
        with vx.open_video(out) as video:
            last[choice] = list(video.frames())[-1].image.astype(int)
    more = len(last["--quiet"]) - len(last["--no-timeline"])
    assert 10 <= more <= 20, "a strip as high as a letter"
    assert np.abs(last["--no-timeline"][:240] - last["--quiet"][:240]).mean() < 2, "below the frame"
    strip = last["--quiet"][240 : 240 + more].max(axis=(0, 2)) > 60
    assert strip[:310].all(), "from the first frame to the last"


@pytest.mark.parametrize("size", ["64x48", "75x51"])
@pytest.mark.parametrize("style", ["heat", "side-by-side"])
@pytest.mark.parametrize("footer", ["under", "over", "none"])
def test_a_footer_under_the_frames_makes_them_higher(
    tmp_path: Path, model: vx.Classifier, size: str, style: str, footer: str
) -> None:
    """Windows with a gap between them: frames that nothing is said of are of the same size."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    picture = f"color=red:size={size}:rate=25,format=yuv444p"
    oracle.run("-f", "lavfi", "-i", picture, "-frames:v", 20, *X264_444, source)
    annotate(model, source, out, n_segments=12, hop=18, footer=footer, style=style)
    width, height = map(int, size.split("x"))
    with vx.open_video(out) as video:
        frames = [frame.image for frame in video.frames()]
    assert len(frames) == 20 and len({frame.shape for frame in frames}) == 1
    wide = width * (2 if style == "side-by-side" else 1)
    assert frames[0].shape[1] == wide + wide % 2 and frames[0].shape[0] % 2 == 0
    assert (frames[0].shape[0] > height + 8) == (footer == "under")
    if footer == "under":
        ground = [np.median(frame[height + 2 :]) for frame in (frames[0], frames[17])]
        assert max(ground) < 30, "black behind the words, with an explanation or without"


def test_image_model_explains_frames(tmp_path: Path) -> None:
    model = vx.load_model("resnet18", weights="random")
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 5, *X264, source)
    summary = annotate(model, source, out, n_segments=12)
    assert (summary.frames, summary.windows, summary.held) == (5, 1, 0)
    assert times(out) == times(source)


def test_lit_frames_differ_from_the_source(tmp_path: Path, model: vx.Classifier) -> None:
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=96x96:rate=25", "-frames:v", 16, *X264, source)
    annotate(model, source, out, n_segments=12)
    with vx.open_video(source) as a, vx.open_video(out) as b:
        for before, after in zip(a.frames(), b.frames(), strict=True):
            difference = np.abs(before.image.astype(int) - after.image[:96]).mean()
            assert difference > 5


@pytest.mark.parametrize(
    ("make", "output", "message"),
    [
        (None, "out.mp4", "nowhere.mp4"),
        (b"", "out.mp4", "in.mp4"),
        (b"this is no video, it only has its name", "out.mp4", "in.mp4"),
        ("video", ".", "folder"),
        ("video", "in.mp4", "input"),
        ("video", "out.xyz", "xyz"),
        ("video", "no/such/folder/out.mp4", "folder"),
    ],
)
def test_bad_input_gets_one_sentence(tmp_path: Path, capfd, make, output: str, message: str) -> None:
    source = tmp_path / ("nowhere.mp4" if make is None else "in.mp4")
    if isinstance(make, bytes):
        source.write_bytes(make)
    elif make:
        oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 4, *X264, source)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    assert main(["annotate", str(source), "-o", str(tmp_path / output), "--quiet"]) == 1
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("videxplain: ") and message in error
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "arguments", [["--method", "gided"], ["--target", "lefft"], ["--model", "c3d-motoin"]]
)
def test_wrong_names_leave_no_file(tmp_path: Path, capfd, arguments: list[str]) -> None:
    source = tmp_path / "in.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 4, *X264, source)
    assert main(["annotate", str(source), "-o", str(tmp_path / "out.mp4"), "--quiet", *arguments]) == 1
    assert "did you mean" in capfd.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_full_disk(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    source = tmp_path / "in.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=640x480:rate=25", "-frames:v", 16, *X264, source)
    command = (
        f"ulimit -f 40; exec {sys.executable} -m videxplain annotate {source} -o {tmp_path}/out.mp4 --quiet"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("videxplain: ") and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("kind", ["folder", "pattern", "image", "webp"])
def test_images_become_a_video(tmp_path: Path, model: vx.Classifier, kind: str) -> None:
    """Frames as files, numbered from 100, with what an archiver left beside them; also a second time."""
    folder, out = tmp_path / "in", tmp_path / "out.mp4"
    folder.mkdir()
    oracle.run(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25:duration=0.8",
        "-start_number",
        100,
        folder / "f%04d.png",
    )
    (folder / "._f0100.png").write_bytes(b"no image")
    source, count = {
        "folder": (folder, 20),
        "pattern": (folder / "f%04d.png", 20),
        "image": (folder / "f0100.png", 1),
        "webp": (tmp_path / "in.webp", 20),
    }[kind]
    if kind == "webp":
        images = [Image.new("RGB", (64, 48), (12 * n, 40, 80)) for n in range(20)]
        images[0].save(source, save_all=True, append_images=images[1:], duration=40, lossless=True)
    for _ in range(2):
        summary = annotate(model, source, out, segmentation="grid", n_segments=8, style="outline")
        assert summary.frames == count == len(times(out))
    assert times(out) == [Fraction(n, 25) for n in range(count)]


def test_notes_on_interlaced_video(tmp_path: Path, model: vx.Classifier, capsys) -> None:
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    fields = ("-flags", "+ildct+ilme", "-vf", "tinterlace=interleave_top,fieldorder=tff")
    oracle.make(source, *X264, *fields, rate=50)
    command = ["annotate", str(source), "-o", str(out), "--segments", "8", "--quiet"]
    assert main(command) == 0 and "are interlaced" in capsys.readouterr().out
    assert main([*command, "--deinterlace"]) == 0 and "are interlaced" not in capsys.readouterr().out
    assert len(times(out)) == 25


def test_whole_settings_are_the_short_form(tmp_path: Path, model: vx.Classifier) -> None:
    source = tmp_path / "in.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25", "-frames:v", 40, *X264, source)
    short = {"stride": 2, "hop": 8, "style": "outline", "top_k": 2, "preset": "ultrafast", "crf": 30}
    whole = {
        "windows": Windows(stride=2, hop=8),
        "picture": Picture(style="outline", top_k=2),
        "encoding": Encoding(preset="ultrafast", crf=30),
        "video_source": VideoSource(),
        "execution": Execution(),
    }
    mixed = {**whole, "windows": Windows(stride=3, hop=8), "stride": 2, "crf": None}
    files = []
    for options in (short, whole, mixed, {**short, "top_k": 3}):
        annotate(model, source, tmp_path / "out.mp4", n_segments=12, **options)
        files.append((tmp_path / "out.mp4").read_bytes())
    assert files[0] == files[1] == files[2] != files[3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stile": "heat"}, "option 'stile' means nothing"),
        ({"style": "haet"}, "unknown style 'haet'; did you mean 'heat'"),
        ({"engine": "rya"}, "unknown engine 'rya'; did you mean 'ray'"),
        ({"stride": 0}, "stride must be at least 1, not 0"),
        ({"hop": 2.5}, "hop has to be a whole number or None, not 2.5"),
        ({"windows": {"stride": 2}}, r"windows has to be a Windows\(...\), not"),
        ({"video_source": Windows()}, r"video_source has to be a VideoSource\(...\), not"),
        ({"samples": 5}, "option 'samples' means nothing to method 'guided'"),
        (
            {"segmentation": "grid", "compactness": 1.0},
            "compactness means nothing to the segmentation 'grid'",
        ),
    ],
)
def test_options_are_checked_before_anything_is_opened(
    tmp_path: Path, model: vx.Classifier, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        annotate(model, tmp_path / "nowhere.mp4", tmp_path / "out.mp4", **options)
