"""Peak resident memory of `videxplain annotate` for videos of several lengths, with a network of no cost.

    python benchmarks/annotate_memory.py [--minutes 2 60] [--rate 5] [--size 1920x1080]

A test pattern of two minutes, repeated as often as needed, is explained in a process of its own for each length.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench_annotate import NoCost

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.video import ffmpeg_executable


def run(source: Path, output: Path) -> tuple[int, float]:
    """Frames written, and the peak of this process in MiB."""
    model = vx.Classifier(NoCost(), clip_length=16, size=(112, 112), name="no-cost")
    summary = annotate(model, source, output, method="vanilla")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return summary.frames, peak / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, nargs="+", default=[2, 60])
    parser.add_argument("--rate", default="5")
    parser.add_argument("--size", default="1920x1080")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ffmpeg = [ffmpeg_executable(), "-nostdin", "-y", "-loglevel", "error"]
        pattern = ["-f", "lavfi", "-i", f"testsrc2=size={args.size}:rate={args.rate}", "-t", "120"]
        coding = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"]
        subprocess.run([*ffmpeg, *pattern, *coding, str(folder / "part.mp4")], check=True)
        for minutes in args.minutes:
            source = folder / "in.mp4"
            repeat = ["-stream_loop", "-1", "-i", str(folder / "part.mp4"), "-t", str(60 * minutes)]
            subprocess.run([*ffmpeg, *repeat, "-c", "copy", str(source)], check=True)
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                frames, peak = pool.submit(run, source, folder / "out.mp4").result()
            print(f"{minutes:4d} minutes, {frames:6d} frames: peak {peak:7.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
