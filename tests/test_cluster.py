"""Work over a Ray cluster on this machine: the same results as here, also where workers are lost."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

import videxplain as vx
from videxplain.cluster import by_actors, cluster, shares

ROOT = Path(__file__).parents[1]
needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra videxplain[ray] is not installed")


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


def test_too_few_workers_are_refused_also_where_there_is_nothing_to_do() -> None:
    pytest.importorskip("ray", reason="the extra videxplain[ray] is not installed")
    for call in (lambda: cluster(0).__enter__(), lambda: list(by_actors(pow, 2, [], workers=0, gpu=False))):
        with pytest.raises(vx.VidexplainError, match="cannot work with 0 workers"):
            call()


def environment(*folders: Path) -> dict[str, str]:
    """Of a process whose workers find the package, and modules in these folders."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), *map(str, folders), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }


KINDS = """
import os, sys, time
from pathlib import Path
from videxplain.cluster import Workers, by_actors, cluster, in_processes

folder = Path(sys.argv[1])

def work(shared, job):
    count = len(list(folder.glob(f"{job}-*")))
    if count < shared.get(job, 0):  # so many times the process is gone, as if its machine were
        (folder / f"{job}-{count}").touch()
        os._exit(1)
    if job < 0:
        raise ValueError(job)
    time.sleep(0.05 * (job % 3))
    return job * job

def ordered(lost, jobs):
    with cluster(2) as ray:
        team = Workers(ray, work, lost, workers=2, gpu=False)
        return list(team.in_order((f"tag {job}", job) for job in jobs))

with cluster(2):
    expected = [n * n for n in range(12)]
    assert sorted(by_actors(work, {3: 3}, range(12), workers=2, gpu=False)) == expected
    assert ordered({20: 2}, range(20, 26)) == [(f"tag {n}", n * n) for n in range(20, 26)]
    results = dict(in_processes(work, {30: 1, 31: 2}, range(30, 34), workers=2, gpu=False))
    assert results == {0: 900, 1: results[1], 2: 1024, 3: 1089}
    assert results[1].startswith("its process was lost twice"), results
    try:
        ordered({}, [1, -1, 2])
    except ValueError as error:
        assert error.args == (-1,)
    else:
        raise AssertionError
    try:
        ordered({40: 9}, [40])
    except Exception as error:
        print(error)
"""


@pytest.mark.large
@needs_ray
def test_each_kind_of_work_does_again_what_was_lost(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KINDS, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=280,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "workers of the Ray cluster were lost" in done.stdout


EVALUATION = """
import os
from dataclasses import dataclass
from pathlib import Path
import torch
from conftest import LENGTH, SIZE, Blobs, Quadrants
from videxplain.evaluation.rows import EvaluationSettings
from videxplain.evaluation.runner import evaluate
from videxplain.evaluation.summary import to_csv
from videxplain.models import Classifier
from videxplain.settings import Execution

@dataclass(frozen=True)
class Deadly(Blobs):
    marker: str = ""

    def load(self, index, **options):
        if index == 4 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os._exit(1)  # the process is gone, as if its machine were
        return super().load(index, **options)

torch.set_num_threads(1)
folder = Path({folder!r})
model = Classifier(Quadrants(), clip_length=LENGTH, size=SIZE, name="quadrants")
settings = EvaluationSettings(rows=("random", "lime-50"), segments=(30,), segmentation="grid", reference=100)
for engine in ("local", "ray"):
    data = Blobs(12, damaged=(7,)) if engine == "local" else Deadly(12, (7,), str(folder / "died"))
    execution = Execution(engine=engine, workers=2)
    results = evaluate("agreement", model, data, folder / engine, settings, execution=execution)
    assert results.items == 11 and len(results.skipped) == 1
    (folder / (engine + ".csv")).write_text(to_csv(results))
"""


@pytest.mark.slow
@needs_ray
def test_an_evaluation_that_loses_a_worker_gives_the_same_table(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", EVALUATION.format(folder=str(tmp_path))],
        check=True,
        timeout=280,
        env=environment(ROOT / "tests" / "evaluation"),
    )
    assert (tmp_path / "died").exists()
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()


@pytest.mark.large
@needs_ray
def test_several_videos_are_explained_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "c.mkv"):
        oracle.make(folder / name, "-c:v", "mpeg4", seconds="0.4")
    (folder / "b.mp4").write_bytes(b"no video at all")
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
@needs_ray
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
@needs_ray
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
    numbers = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                numbers.append(path.parent.name)
    return numbers
