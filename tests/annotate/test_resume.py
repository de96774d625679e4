"""Faults on the way: what was made is kept, and the same call ends with the frames of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ffmpeg_oracle as oracle
import numpy as np
import pytest

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.annotate import run as module
from videxplain.video import TrackFormat
from videxplain.video.segments import ResumableWriter

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
SETTINGS: dict[str, Any] = {"n_segments": 12, "preset": "ultrafast"}


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("c3d-motion")


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 16)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.mkv"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=2.8")
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:duration=2.8")
    oracle.run(*picture, *sound, *X264, "-c:a", "aac", path)
    return path


@pytest.fixture(scope="module")
def undisturbed(source: Path, model: vx.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEGMENT_FRAMES", 16)
        path = tmp_path_factory.mktemp("undisturbed") / "out.mp4"
        annotate(model, source, path, **SETTINGS)
    return path


def fail_at(monkeypatch: pytest.MonkeyPatch, frame: int, error: BaseException) -> None:
    whole = ResumableWriter.write
    count = 0

    def write(self: ResumableWriter, *args: Any) -> None:
        nonlocal count
        if count == frame:
            raise error
        count += 1
        whole(self, *args)

    monkeypatch.setattr(ResumableWriter, "write", write)


@pytest.mark.parametrize(
    ("error", "frame"),
    [(KeyboardInterrupt(), 10), (KeyboardInterrupt(), 40), (RuntimeError("out of memory"), 32)],
)
def test_a_fault_leaves_a_partial_file_and_the_call_goes_on(
    tmp_path: Path,
    model: vx.Classifier,
    source: Path,
    undisturbed: Path,
    error: BaseException,
    frame: int,
) -> None:
    out, partial = tmp_path / "out.mp4", tmp_path / "out.partial.mp4"
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else vx.VidexplainError
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, frame, error)
        with pytest.raises(expected) as told:
            annotate(model, source, out, **SETTINGS)
    assert not out.exists()
    assert oracle.decoded(partial) == oracle.decoded(undisturbed)[:frame]
    assert "out.partial.mp4" in str(told.value)
    kept = frame // 16 * 16
    assert (f"behind frame {kept}" in str(told.value)) == bool(kept)
    summary = annotate(model, source, out, **SETTINGS)
    assert (summary.frames, summary.resumed) == (70, kept)
    assert oracle.decoded(out) == oracle.decoded(undisturbed)
    assert oracle.decoded(out, "a:0") == oracle.decoded(undisturbed, "a:0")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4"]


@pytest.mark.parametrize(("rate", "late"), [("28", 0), ("28", 13), ("30000/1001", 7)])
def test_times_are_exact_in_every_segment(tmp_path: Path, model: vx.Classifier, rate: str, late: int) -> None:
    """Also where they are no whole milliseconds, and where the first frame is shown late."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    picture = ("-f", "lavfi", "-i", f"testsrc2=size=96x64:rate={rate}:duration=2")
    clock = ("-video_track_timescale", 14336, "-movie_timescale", 14336)
    oracle.run(*picture, "-vf", f"setpts=PTS+{late}", "-copyts", *X264, *clock, source)
    annotate(model, source, out, **SETTINGS)
    times = [time for time, _ in oracle.decoded(source)]
    assert (times[0] > 0) == (late > 0) and any(time * 1000 % 1 for time in times)
    assert [time for time, _ in oracle.decoded(out)] == times


@pytest.mark.parametrize("change", [{"n_segments": 13}, {"method": "vanilla"}, {"top_k": 2}, {"crf": 30}])
def test_segments_of_another_job_are_not_used(
    tmp_path: Path, model: vx.Classifier, source: Path, change: dict[str, Any]
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, 20, RuntimeError("gone"))
        with pytest.raises(vx.VidexplainError, match="behind frame 16"):
            annotate(model, source, out, **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, 5, RuntimeError("gone"))
        with pytest.raises(vx.VidexplainError, match="gone") as told:
            annotate(model, source, out, **{**SETTINGS, **change})
        assert "goes on" not in str(told.value)


@pytest.mark.parametrize("damage", ["journal", "segment", "state"])
def test_a_damaged_folder_is_begun_anew(
    tmp_path: Path, model: vx.Classifier, source: Path, undisturbed: Path, damage: str
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, 50, RuntimeError("gone"))
        with pytest.raises(vx.VidexplainError):
            annotate(model, source, out, **SETTINGS)
    (victim,) = sorted((tmp_path / ".out.mp4.videxplain").glob(f"{damage}*"))[-1:]
    victim.write_bytes(victim.read_bytes()[:-7])
    assert annotate(model, source, out, **SETTINGS).resumed == 0
    assert oracle.decoded(out) == oracle.decoded(undisturbed)


def broken_off(model: vx.Classifier, source: Path, out: Path, frame: int, **settings: Any) -> str:
    """What a run says that fails at a frame."""
    with pytest.MonkeyPatch.context() as patch:
        fail_at(patch, frame, RuntimeError("gone"))
        with pytest.raises(vx.VidexplainError) as told:
            annotate(model, source, out, **{**SETTINGS, **settings})
    return str(told.value)


def test_the_input_has_the_name_of_a_partial_file(tmp_path: Path, model: vx.Classifier, source: Path) -> None:
    given = tmp_path / "out.partial.mkv"
    given.write_bytes(source.read_bytes())
    assert "out.partial-2.mkv" in broken_off(model, given, tmp_path / "out.mkv", 20)
    assert given.read_bytes() == source.read_bytes()
    annotate(model, given, tmp_path / "out.mkv", **SETTINGS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mkv", "out.partial.mkv"]


def test_only_the_partial_file_of_this_job_is_replaced(
    tmp_path: Path, model: vx.Classifier, source: Path
) -> None:
    out, other = tmp_path / "out.mp4", tmp_path / "out.partial.mp4"
    other.write_text("somebody's")
    for frame, mine in ((5, "out.partial-2.mp4"), (20, "out.partial-2.mp4")):  # at first there is no segment
        assert mine in broken_off(model, source, out, frame)
    count = len(oracle.decoded(tmp_path / "out.partial-2.mp4"))
    assert count == 20
    (tmp_path / "out.partial-2.mp4").write_text("cut by the user")
    assert "out.partial-3.mp4" in broken_off(model, source, out, 20)  # behind the 16 that there are
    annotate(model, source, out, **SETTINGS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "out.partial-2.mp4", "out.partial.mp4"]
    assert other.read_text() == "somebody's"


IMPOSSIBLE: dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "centres far outside": ("centres", lambda a: np.full_like(a, 1e30)),
    "labels without numbers": ("labels", lambda a: a - 5),
    "centres that are no numbers": ("centres", lambda a: np.full_like(a, np.nan)),
    "labels of another size": ("labels", lambda a: a[:, :7]),
    "few numbers": ("numbers", lambda a: a[:3]),
    "frames without colours": ("frames", lambda a: a[..., :1]),
    "few scores": ("seen0.scores", lambda a: a[:2]),
    "a short timeline": ("timeline", lambda a: a[:1]),
    "another place": ("place", lambda a: a * 0),
}


@pytest.mark.parametrize(
    "kind", [*list(IMPOSSIBLE)[:2], *(pytest.param(k, marks=pytest.mark.slow) for k in list(IMPOSSIBLE)[2:])]
)
def test_a_state_that_no_run_can_have_left(
    tmp_path: Path, model: vx.Classifier, source: Path, undisturbed: Path, kind: str
) -> None:
    """With checksums made to fit."""
    from videxplain.video import segments

    out, folder = tmp_path / "out.mp4", tmp_path / ".out.mp4.videxplain"
    name, changed = IMPOSSIBLE[kind]
    broken_off(model, source, out, 20)
    place = folder / "state-00000.npz"
    state = dict(np.load(place))
    np.savez(place, **{**state, name: changed(state[name])})
    journal = json.loads((folder / "journal.json").read_text())
    del journal["sha256"]
    journal["state"] = segments.checksum(place)
    (folder / "journal.json").write_text(json.dumps(journal | {"sha256": segments._sum(journal)}))
    for partial in tmp_path.glob("out.partial*"):
        partial.unlink()
    assert "behind frame 16" in broken_off(model, source, out, 18), "begun anew"
    assert annotate(model, source, out, **SETTINGS).resumed == 16
    assert oracle.decoded(out) == oracle.decoded(undisturbed)


def test_what_is_said_of_going_on_is_true(tmp_path: Path, model: vx.Classifier, source: Path) -> None:
    given, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    given.write_bytes(source.read_bytes())
    write = ResumableWriter.write

    def removing(self: ResumableWriter, *args: Any) -> None:
        if self.frames == 16:
            given.write_bytes(source.read_bytes() + b"1")
            raise RuntimeError("gone")
        write(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableWriter, "write", removing)
        with pytest.raises(vx.VidexplainError, match="gone") as told:
            annotate(model, given, out, **SETTINGS)
    assert "goes on" not in str(told.value)
    assert annotate(model, given, out, **SETTINGS).resumed == 0


def test_two_writers_of_one_file(tmp_path: Path, source: Path) -> None:
    video = vx.open_video(source)
    track = TrackFormat(96, 64, video.time_base, video.rate)
    first = ResumableWriter(tmp_path / "out.mp4", track, source=None, job={})
    with pytest.raises(vx.VidexplainError, match="right now"):
        ResumableWriter(tmp_path / "out.mp4", track, source=None, job={})
    first.close()
    ResumableWriter(tmp_path / "out.mp4", track, source=None, job={}).close()
    assert not list(tmp_path.iterdir())


_RUN = """
import sys
from videxplain import cli
from videxplain.annotate import run
run.SEGMENT_FRAMES = 16
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_run_again(
    tmp_path: Path, source: Path, undisturbed: Path, number: signal.Signals
) -> None:
    out = tmp_path / "out.mp4"
    command = [sys.executable, "-c", _RUN, "annotate", str(source), "-o", str(out), "--quiet"]
    command += ["--segments", "12", "--preset", "ultrafast"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / ".out.mp4.videxplain"
    deadline = time.monotonic() + 120
    while not (folder / "segment-00000.mp4").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, number)
    _, said = process.communicate(timeout=60)
    if number == signal.SIGINT and process.returncode:
        assert process.returncode == 130 and "Traceback" not in said and "interrupted" in said
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert oracle.decoded(out) == oracle.decoded(undisturbed)
    assert not folder.exists()
