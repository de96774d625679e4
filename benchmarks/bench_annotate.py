"""Throughput of `videxplain annotate` with a network of no cost, beside a plain transcode by ffmpeg.

    python benchmarks/bench_annotate.py [--size 1920x1080] [--frames 240] [--rounds 3] [--preset medium] [--threads 2]

Both read the same H.264 file and write H.264 with the same preset, quality and threads; they take turns in one run.
Printed are medians and the interquartile range of frames per second, and the time of each stage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import torch

import videxplain as vx
from videxplain.annotate import annotate, profile_table
from videxplain.video import ffmpeg_executable


class NoCost(torch.nn.Module):
    """A C3D in shape only: class scores from the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.linspace(-1, 1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3, 4))[:, None] * self.scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--input", type=Path, help="a file instead of a generated pattern")
    args = parser.parse_args()
    model = vx.Classifier(NoCost(), clip_length=16, size=(112, 112), name="no-cost")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.input or folder / "in.mp4"
        ffmpeg = [ffmpeg_executable(), "-nostdin", "-y", "-loglevel", "error"]
        if not args.input:
            pattern = f"testsrc2=size={args.size}:rate=30"
            generate = [*ffmpeg, "-f", "lavfi", "-i", pattern, "-frames:v", str(args.frames)]
            generate += ["-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", str(source)]
            subprocess.run(generate, check=True)
        transcode = [*ffmpeg, "-threads", str(args.threads), "-i", str(source), "-c:v", "libx264"]
        transcode += ["-preset", args.preset, "-crf", "20", "-threads", str(args.threads), "-an"]
        rates: dict[str, list[float]] = {"ffmpeg": [], "annotate": []}
        summary = None
        for round_ in range(args.rounds + 1):
            began = perf_counter()
            subprocess.run([*transcode, str(folder / "plain.mp4")], check=True)
            plain = perf_counter() - began
            began = perf_counter()
            summary = annotate(
                model,
                source,
                folder / "out.mp4",
                method="vanilla",
                crf=20,
                preset=args.preset,
                threads=args.threads,
            )
            own = perf_counter() - began
            if round_:  # the first one warms up
                rates["ffmpeg"].append(summary.frames / plain)
                rates["annotate"].append(summary.frames / own)
    assert summary is not None
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {args.threads} threads, torch {torch.get_num_threads()}, load {load:.1f}")
    for who, found in rates.items():
        low, _, high = quantiles(found, n=4) if len(found) > 1 else (found[0],) * 3
        print(f"{who:9s} {median(found):7.1f} frames/s ({low:.1f} to {high:.1f})")
    ratio = median(a / f for a, f in zip(rates["annotate"], rates["ffmpeg"], strict=True))
    print(f"ratio     {ratio:7.2f}")
    print(profile_table(summary.times, summary.frames))


if __name__ == "__main__":
    main()
