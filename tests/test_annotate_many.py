"""Several videos in one go: a bad one is told and does not stop the others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

import videxplain as vx
from videxplain.annotate import many
from videxplain.annotate.cluster import shares
from videxplain.annotate.many import annotate_many, find_videos
from videxplain.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "c.mkv"):
        oracle.make(folder / name, "-c:v", "mpeg4", seconds="0.4")
    (folder / "b.mp4").write_bytes(b"no video at all")
    (folder / "notes.txt").write_text("not asked for")
    return folder


def test_a_bad_video_does_not_stop_the_rest(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "out"
    command = ["annotate", str(folder), "-o", str(out), "--quiet", "--segments", "8", "--preset", "ultrafast"]
    assert main(command) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["a.mp4", "b.mp4", "c.mkv"]
    assert "not a video" in lines[2] and lines[4] == "2 of 3 videos explained"
    assert sorted(path.name for path in out.iterdir()) == ["a.mp4", "c.mp4"]
    assert len(oracle.decoded(out / "c.mp4")) == 10


def test_a_defect_in_one_video_is_a_row_of_the_table(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def annotate(model: object, video: Path, output: Path, **_: object) -> many.Summary:
        if video.name == "a.mp4":
            raise ValueError("31 is not a valid Type")
        return many.Summary(frames=3)

    monkeypatch.setattr(many, "annotate", annotate)
    (folder / "._a.mp4").write_bytes(b"what an archiver left")
    outcomes = annotate_many(None, [folder], tmp_path / "out")  # type: ignore[arg-type]
    assert [outcome.input.name for outcome in outcomes] == ["a.mp4", "b.mp4", "c.mkv"]
    assert outcomes[0].error == "failed: ValueError: 31 is not a valid Type"
    assert "2 of 3 videos explained" in many.table(outcomes)


def test_folders_of_images_stay_one_video(folder: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "0.png").touch()
    assert find_videos([folder, images]) == [folder / "a.mp4", folder / "b.mp4", folder / "c.mkv", images]


def test_two_videos_of_one_name(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(vx.VidexplainError, match=r"a\.mp4"):
        annotate_many(None, [folder / "a.mp4", tmp_path / "other" / "a.mov"], tmp_path / "out")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def environment() -> dict[str, str]:
    pytest.importorskip("ray", reason="the extra videxplain[ray] is not installed")
    root = str(Path(__file__).parents[1])
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


@pytest.mark.slow
def test_ray_explains_the_same(folder: Path, tmp_path: Path) -> None:
    tables = {}
    for engine in ("local", "ray"):
        command = [sys.executable, "-m", "videxplain", "annotate", str(folder), "-o", str(tmp_path / engine)]
        command += ["--engine", engine, "--quiet", "--segments", "8", "--preset", "ultrafast"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment())
        assert done.returncode == 1, done.stderr
        tables[engine] = [line.split()[:3] for line in done.stdout.splitlines()]
    assert tables["ray"] == tables["local"] and len(tables["ray"]) == 5
    for name in ("a.mp4", "c.mp4"):
        assert oracle.decoded(tmp_path / "ray" / name) == oracle.decoded(tmp_path / "local" / name)


WINDOWS = """
import os, sys
import torch
import videxplain as vx
from videxplain.annotate import annotate

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Conv3d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv3d(4, 5, 3))
        self.marker, self.calls = "", 0

    def forward(self, x):
        self.calls += 1
        if self.marker and self.calls == 3 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os._exit(1)  # the process is gone, as if its machine were
        return self.layers(x).mean(dim=(2, 3, 4))

folder, source = sys.argv[1:]
torch.set_num_threads(1)
model = vx.Classifier(Net(), clip_length=8, size=(32, 32), name="net")
for engine in ("local", "ray"):
    model.net.marker, model.net.calls = folder + "/died" if engine == "ray" else "", 0
    out = f"{folder}/{engine}.mp4"
    options = {"save": f"{folder}/{engine}", "n_segments": 20, "hop": 6, "engine": engine}
    summary = annotate(model, source, out, workers=2, **options)
    assert (summary.frames, summary.windows) == (75, 13), summary
try:
    annotate(model, source, folder + "/no.mp4", target="class 7", engine="ray")
except vx.VidexplainError as error:
    print(error)
"""


@pytest.mark.slow
def test_windows_of_one_video_over_a_cluster_that_loses_a_worker(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    oracle.make(source, "-c:v", "mpeg4", seconds=3)
    command = [sys.executable, "-c", WINDOWS, str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment())
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    assert oracle.decoded(tmp_path / "ray.mp4") == oracle.decoded(tmp_path / "local.mp4")
    local, ray = (vx.open_explanations(tmp_path / engine) for engine in ("local", "ray"))
    for name in ("windows", "supervoxels"):
        assert ray.table(name).equals(local.table(name))
    assert "unknown class 'class 7'" in done.stdout, "what goes wrong far away is said here"
    assert not (tmp_path / "no.mp4").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_an_interrupted_cluster_leaves_no_process(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    oracle.make(source, "-c:v", "mpeg4", seconds=60)
    command = [sys.executable, "-m", "videxplain", "annotate", str(source), "-o", str(out), "--quiet"]
    command += ["--engine", "ray", "--segments", "8", "--preset", "ultrafast"]
    mark = f"VIDEXPLAIN_TEST={tmp_path}"
    marked = environment() | dict([mark.split("=", 1)])
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=marked,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),  # not ignored, as behind "&"
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / ".out.mp4.videxplain" / "segment-00000.mp4").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    assert len(processes(mark)) > 2
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said
    assert "out.partial.mp4" in said.splitlines()[-1]
    while processes(mark) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not processes(mark)


def processes(mark: str) -> list[str]:
    """Those that were started with this in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found


@pytest.mark.parametrize(
    ("machines", "workers", "expected"),
    [
        ([2], 2, (1, 2)),
        ([8], 3, (2, 3)),
        ([6, 6], 3, (3, 3)),
        ([16, 4], 2, (8, 2)),
        ([2], 5, (1, 2)),
        ([], 2, (0, 0)),
        ([0], 1, (0, 0)),
    ],
)
def test_workers_share_the_machines(machines: list[int], workers: int, expected: tuple[int, int]) -> None:
    assert shares(machines, workers) == expected
