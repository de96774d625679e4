"""Ctrl-C ends a command also while a network or ffmpeg hangs, a second one at once; nothing broken is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

HANGING = """
import ctypes, os, pathlib, time
import torch
import videxplain as vx
from videxplain.models.c3d import C3D

def lock():
    mutex = ctypes.create_string_buffer(128)
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_lock(mutex)
    pathlib.Path(os.environ["HANGS"]).write_text("")
    libc.pthread_mutex_lock(mutex)  # never returns, and no signal gets it out

class Hanging(C3D):
    def forward(self, x):
        if pathlib.Path(os.environ["COUNT"]).exists():
            if os.environ["HOW"] == "C":
                lock()
            pathlib.Path(os.environ["HANGS"]).write_text("")
            while True:
                time.sleep(0.05)
        return super().forward(x)

def make():
    torch.manual_seed(0)
    return vx.Classifier(Hanging(4, width=2, fc_width=8), clip_length=16, size=(112, 112), cam_layer="features.relu5b")
"""


class Command:
    """A command that will hang, in a process of its own."""

    def __init__(self, folder: Path, how: str, *arguments: str, path: str | None = None) -> None:
        (folder / "hanging.py").write_text(HANGING)
        self.signal = folder / "hangs"
        self.count = folder / "count"
        names = {"HANGS": str(self.signal), "COUNT": str(self.count), "HOW": how}
        python = os.pathsep.join([str(folder), *sys.path])
        environment = os.environ | names | {"PYTHONPATH": python} | ({"PATH": path} if path else {})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "videxplain", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            # not ignored, as behind "&"
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def wait_until_it_hangs(self) -> None:
        deadline = time.monotonic() + 120
        while not self.signal.exists():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)

    def interrupt(self, within: float) -> str:
        """What it says, if it ends in so many seconds."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=within)
        assert self.process.returncode == 130, said
        assert "Traceback" not in said and "interrupted" in said
        return said


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    oracle.run("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1.4", "-c:v", "libx264", path)
    return path


def annotate(video: Path, out: Path) -> list[str]:
    return ["annotate", str(video), "-o", str(out), "--model", "hanging:make", "--quiet", "--device", "cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["Python", "C"])
def test_a_network_that_hangs(tmp_path: Path, video: Path, how: str) -> None:
    out = tmp_path / "out.mp4"
    command = Command(tmp_path, how, *annotate(video, out))
    while command.process.poll() is None and not (tmp_path / ".out.mp4.videxplain").exists():
        time.sleep(0.01)
    command.count.write_text("")
    command.wait_until_it_hangs()
    command.interrupt(15)
    assert not out.exists()


@pytest.mark.slow
def test_a_second_one_ends_at_once(tmp_path: Path, video: Path) -> None:
    command = Command(
        tmp_path, "C", "explain", str(video), "-o", str(tmp_path / "x.png"), "--model", "hanging:make"
    )
    command.count.write_text("")
    command.wait_until_it_hangs()
    command.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert command.process.poll() is None, "it hangs in the main thread, where Python cannot act"
    command.interrupt(2)
    assert not list(tmp_path.glob("*.png")) and not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_ffmpeg_that_hangs(tmp_path: Path, video: Path) -> None:
    """The program is ended as well, and the same command goes on when ffmpeg works again."""
    tools, out = tmp_path / "tools", tmp_path / "out.mp4"
    tools.mkdir()
    fake = tools / "ffmpeg"
    fake.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\ntouch {tmp_path / 'hangs'}\nexec sleep 300\n")
    fake.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    command = Command(tmp_path, "Python", *annotate(video, out), path=path)
    command.wait_until_it_hangs()
    said = command.interrupt(10)
    assert "the same command goes on behind frame 35" in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not out.exists() and not list(tmp_path.glob("out*"))
    (tmp_path / "hangs").unlink()
    again = Command(tmp_path, "Python", *annotate(video, out))
    _, said = again.process.communicate(timeout=120)
    assert again.process.returncode == 0, said
    assert len(oracle.decoded(out)) == 35
    assert not list(tmp_path.glob(".out*"))
