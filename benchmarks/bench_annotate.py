"""Throughput of `videxplain annotate`, beside a plain transcode by ffmpeg or beside the network alone.

    python benchmarks/bench_annotate.py [--size 1920x1080] [--frames 240] [--rounds 3] [--preset medium] [--threads 2]
    python benchmarks/bench_annotate.py --network c3d [--size ...] [--input VIDEO]

Without a network there is one of no cost. Both read the same H.264 file and write H.264 with the same preset, quality
and threads; they take turns in one run. Printed are medians and the interquartile range of frames per second, and the
time of each stage.

With a network, of random weights, it is what all stages but the network take: the share of the wall time in which the
network alone would not have been at work, its windows explained one after the other with nothing beside them. ffmpeg's
transcode stands next to it as the processor time that it needs, of all that the machine has in that wall time.
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
from videxplain.annotate import Summary, annotate, profile_table
from videxplain.video import ffmpeg_executable

FFMPEG = [ffmpeg_executable(), "-nostdin", "-y", "-loglevel", "error"]
WINDOWS_ALONE = 9


class NoCost(torch.nn.Module):
    """A C3D in shape only: class scores from the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.linspace(-1, 1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3, 4))[:, None] * self.scale


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--input", type=Path, help="a file instead of a generated pattern")
    parser.add_argument("--network", help="explain by guided backprop through this network")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = args.input or generated(folder / "in.mp4", args.size, args.frames)
        print(f"{os.cpu_count()} cores, {args.threads} threads, torch {torch.get_num_threads()}")
        (beside_network if args.network else beside_ffmpeg)(args, source, folder)


def generated(path: Path, size: str, frames: int) -> Path:
    pattern = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=30", "-frames:v", str(frames)]
    subprocess.run(
        [*FFMPEG, *pattern, "-c:v", "libx264", "-preset", "fast", "-pix_fmt", "yuv420p", path], check=True
    )
    return path


def transcode(args: argparse.Namespace, source: Path, folder: Path) -> tuple[float, float]:
    """Seconds that ffmpeg takes, and seconds of processors."""
    threads = ["-threads", str(args.threads)]
    coded = [
        "-c:v",
        "libx264",
        "-preset",
        args.preset,
        "-crf",
        "20",
        *threads,
        "-an",
        str(folder / "plain.mp4"),
    ]
    before, began = os.times(), perf_counter()
    subprocess.run([*FFMPEG, *threads, "-i", str(source), *coded], check=True)
    wall, after = perf_counter() - began, os.times()
    return wall, sum(after[2:4]) - sum(before[2:4])


def explained(
    model: vx.Classifier, args: argparse.Namespace, source: Path, folder: Path, method: str
) -> tuple[Summary, float]:
    """What `annotate` says of its run, and its seconds."""
    began = perf_counter()
    found = annotate(
        model, source, folder / "out.mp4", method=method, crf=20, preset=args.preset, threads=args.threads
    )
    return found, perf_counter() - began


def beside_ffmpeg(args: argparse.Namespace, source: Path, folder: Path) -> None:
    model = vx.Classifier(NoCost(), clip_length=16, size=(112, 112), name="no-cost")
    rates: dict[str, list[float]] = {"ffmpeg": [], "annotate": []}
    for round_ in range(args.rounds + 1):
        plain, _ = transcode(args, source, folder)
        summary, own = explained(model, args, source, folder, "vanilla")
        if round_:  # the first one warms up
            rates["ffmpeg"].append(summary.frames / plain)
            rates["annotate"].append(summary.frames / own)
    for who, found in rates.items():
        low, _, high = quantiles(found, n=4) if len(found) > 1 else (found[0],) * 3
        print(f"{who:9s} {median(found):7.1f} frames/s ({low:.1f} to {high:.1f})")
    ratio = median(a / f for a, f in zip(rates["annotate"], rates["ffmpeg"], strict=True))
    print(f"ratio     {ratio:7.2f}, load {os.getloadavg()[0]:.1f}")
    print(profile_table(summary.times, summary.frames))


def beside_network(args: argparse.Namespace, source: Path, folder: Path) -> None:
    model = vx.load_model(args.network, weights="random")
    clip = next(vx.open_video(source).clips(model.clip_length))
    labels = vx.segment(model.geometry(clip.size).apply(clip.frames), n_segments=200)
    for _ in range(args.rounds):
        alone = []
        for _ in range(1 + WINDOWS_ALONE):
            began = perf_counter()
            vx.explain(model, clip, method="guided", labels=labels)
            alone.append(perf_counter() - began)
        summary, wall = explained(model, args, source, folder, "guided")
        network = summary.windows * median(alone[1:])
        _, processors = transcode(args, source, folder)
        print(
            f"{summary.frames} frames: {wall:.1f} s, the network alone {network:.1f} s, all else "
            f"{1 - network / wall:.1%} of the time; ffmpeg's transcode {processors / os.cpu_count() / wall:.1%}; "
            f"load {os.getloadavg()[0]:.1f}"
        )
    print(profile_table(summary.times, summary.frames))


if __name__ == "__main__":
    main()
