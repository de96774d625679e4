"""The ffmpeg program as the oracle: what it decodes from a file, frame by frame, and files that it makes."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np

from videxplain.video import ffmpeg_executable


def run(*arguments: object) -> bytes:
    command = [ffmpeg_executable(), "-nostdin", "-y", "-loglevel", "error", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def decoded(path: Path | str, stream: str = "v:0", *options: object) -> list[tuple[Fraction, str]]:
    """(presentation time, MD5 of the decoded picture in its own pixel format) of every frame."""
    text = run(
        "-copyts",
        "-noautorotate",
        "-i",
        path,
        "-map",
        f"0:{stream}",
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "demux",
        *options,
        "-f",
        "framemd5",
        "-",
    ).decode()
    base = Fraction(0)
    frames = []
    for line in text.splitlines():
        if line.startswith("#tb 0:"):
            base = Fraction(line.split(":")[1].strip())
        elif line and not line.startswith("#"):
            fields = [field.strip() for field in line.split(",")]
            frames.append((int(fields[2]) * base, fields[5]))
    return frames


def pixels(path: Path | str, height: int, width: int, stream: str = "v:0") -> np.ndarray:
    """Every frame as upright RGB (T, H, W, 3), by the program's own autorotation and conversion."""
    raw = run(
        "-i",
        path,
        "-map",
        f"0:{stream}",
        "-fps_mode",
        "passthrough",
        "-sws_flags",
        "bilinear",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    )
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def make(path: Path, *options: object, size: str = "64x48", rate: object = 25, seconds: object = 1) -> Path:
    """A test pattern with a running counter, encoded as `options` say."""
    run("-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}", *options, path)
    return path
