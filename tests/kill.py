"""Runs killed at random moments and run again: media and data must equal an undisturbed run's.

python tests/kill.py COUNT      # every second run with --save; ends with 1 if one differs, and keeps what does
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ffmpeg_oracle as oracle
import numpy as np

import videxplain as vx

SEGMENT_FRAMES = 16
_RUN = f"""
import sys
from videxplain import cli
from videxplain.annotate import run
run.SEGMENT_FRAMES = {SEGMENT_FRAMES}
sys.exit(cli.main(sys.argv[1:]))
"""


def make_source(folder: Path, seconds: float) -> Path:
    """A video with sound whose class changes on the way."""
    path = folder / "in.mkv"
    picture = ("-f", "lavfi", "-i", f"testsrc2=size=96x64:rate=25:duration={seconds}")
    sound = ("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}")
    oracle.run(*picture, *sound, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


class Trial:
    """One output, with or without data, in a folder of its own."""

    def __init__(self, folder: Path, source: Path, save: bool) -> None:
        folder.mkdir()
        self.folder, self.out, self.data = folder, folder / "out.mp4", folder / "data"
        self.hidden = folder / ".out.mp4.videxplain"
        self.command = [sys.executable, "-c", _RUN, "annotate", str(source), "-o", str(self.out), "--quiet"]
        self.command += ["--segments", "12", "--preset", "ultrafast"]
        self.command += ["--save", str(self.data)] if save else []

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self) -> str:
        """To its end; what it printed."""
        process = self.start()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def kill(self, after: float) -> bool:
        """A run that is killed so many seconds after it began to write; whether it was still there."""
        process = self.start()
        while process.poll() is None and not self.hidden.exists():
            time.sleep(0.002)
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        return process.returncode == -signal.SIGKILL

    def seconds(self) -> float:
        """How long an undisturbed run writes."""
        process = self.start()
        while process.poll() is None and not self.hidden.exists():
            time.sleep(0.002)
        began = time.monotonic()
        assert process.wait(timeout=300) == 0
        return time.monotonic() - began

    def result(self) -> list[Any]:
        """The file's bytes, frames with times, samples of the sound, tables, and labels."""
        digest = hashlib.sha256(self.out.read_bytes()).hexdigest()
        found: list[Any] = [digest, oracle.decoded(self.out), oracle.decoded(self.out, "a:0")]
        if self.data.exists():
            saved = vx.open_explanations(self.data)
            found += [saved.table(name).to_pylist() for name in ("windows", "supervoxels")]
            found += [np.asarray(window.labels).tobytes() for window in saved]
        return found

    def leftovers(self) -> list[str]:
        """What should not be there at the end."""
        known = {"out.mp4", "data", "labels.zip", "manifest.json", "supervoxels.parquet", "windows.parquet"}
        return [str(path) for path in self.folder.rglob("*") if path.name not in known]


def undisturbed(folder: Path, source: Path) -> tuple[list[Any], float]:
    """What a run without a fault makes, and how many seconds it writes."""
    whole = Trial(folder / "whole", source, True)
    length = whole.seconds()
    return whole.result(), length


def trial(
    folder: Path,
    source: Path,
    count: int,
    whole: tuple[list[Any], float],
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> tuple[int, int]:
    """How many of so many runs were killed, each once to three times, and how many differed at the end."""
    expected, length = whole
    kills = different = 0
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        save = number % 2 == 1
        own = Trial(folder / f"run-{number}", source, save)
        moments = [rng.uniform(0, 1.1 * length) for _ in range(rng.choice((1, 1, 2, 3)))]
        killed = [own.kill(moment) for moment in moments if not own.out.exists()]
        kills += sum(killed)
        said = own.run()
        same, left = own.result() == expected[: None if save else 3], own.leftovers()
        say(f"{number}: save {save}, killed {sum(killed)} times, {said.splitlines()[0].split(': ')[-1]}")
        if same and not left:
            shutil.rmtree(own.folder)
        else:
            different += 1
            equal = [one == other for one, other in zip(own.result(), expected, strict=False)]
            say(f"  DIFFERENT: equal {equal}, left {left}, moments {moments}, kept in {own.folder}")
    return kills, different


def main() -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="kill-"))
    source = make_source(folder, 8)
    whole = undisturbed(folder, source)
    kills, different = trial(folder, source, int(sys.argv[1]), whole, int((*sys.argv, 0, 0)[2]))
    print(f"{sys.argv[1]} runs, {kills} kills, {different} different")
    if not different:
        shutil.rmtree(folder)
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
