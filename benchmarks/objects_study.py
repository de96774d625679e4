"""Objects instead of supervoxels: which one decides, and whether each keeps its number through a long video.

    python benchmarks/objects_study.py first FOLDER --clips 200 --methods region-gradient
    python benchmarks/objects_study.py first FOLDER --table
    python benchmarks/objects_study.py video --minutes 2 20

`first` explains generated clips of two objects that move, of which each speaks for a class, with their true masks as
regions. The deciding object is the one whose class the bundled network names; clips of which it names neither are left
out. Appends a line of JSON per clip and method to FOLDER/first.jsonl, and goes on where it stopped.

`video` explains videos of two objects, with numbers in a video of FFV1 as regions, in a process of its own for each
length, by a network of no cost. It prints the peak of memory, and how many names each object had: one is right.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from bench_annotate import NoCost

import videxplain as vx
from videxplain.annotate import annotate as annotate_video
from videxplain.evaluation.summary import bootstrap
from videxplain.synthetic.moving_objects import generate_pair, generate_video

NINE = (
    *("vanilla", "guided", "input-x-gradient", "grad-cam", "guided-grad-cam", "grad-cam++", "act-grad-cam"),
    *("guided-act-grad-cam", "relu-activation"),
)
SIDE, SHOT = 64, 32
"""Pixels, and frames of one motion."""
MASKS = (1, 9000)
"""Numbers of the two objects in the video of masks."""


def first(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / "first.jsonl"
    done = {(line["seed"], line["method"]) for line in read(path)}
    model = vx.load_model("c3d-motion")
    taken = 0
    for seed in count(args.first):
        if taken == args.clips:
            break
        pair = generate_pair(seed)
        answer = int(model.predict(model.prepare(pair.frames))[0].argmax())
        if answer not in pair.labels:
            continue
        taken += 1
        regions = vx.Regions.from_masks(pair.masks, names=["0", "1"])
        for method in args.methods:
            if (seed, method) in done:
                continue
            name, _, samples = method.partition("-1000")
            options: dict[str, Any] = {"samples": 1000} if samples or method == "lime-1000" else {}
            start = time.process_time()
            explanation = vx.explain(model, pair.frames, name, answer, regions=regions, **options)
            best = explanation.top(1)[0].name
            line = {
                "seed": seed,
                "method": method,
                "right": best == str(pair.labels.index(answer)),
                "best": best,
                "seconds": time.process_time() - start,
            }
            with path.open("a") as file:
                file.write(json.dumps(line) + "\n")
    table(args)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def table(args: argparse.Namespace) -> None:
    lines = read(args.folder / "first.jsonl")
    print("| method | deciding object first | other object | background | s |\n|---|---|---|---|---|")
    for method in dict.fromkeys(line["method"] for line in lines):
        rows = [line for line in lines if line["method"] == method]
        right = bootstrap([float(row["right"]) for row in rows])
        background = sum(row["best"] == "background" for row in rows)
        print(
            f"| {method} | {right.mean:.1%} ({right.low:.1%} to {right.high:.1%}) of {len(rows)} | "
            f"{len(rows) - background - sum(row['right'] for row in rows)} | {background} | "
            f"{np.median([row['seconds'] for row in rows]):.2f} |"
        )


def shots(minutes: float, rate: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames (H, 2 W, 3) with one object in either half, and their numbers."""
    motions = -(-int(60 * minutes * rate) // SHOT)
    halves = (generate_video(seed, motions=motions, frames=SHOT, size=SIDE) for seed in (1, 2))
    for left, right in zip(*halves, strict=True):
        frames = np.concatenate([left.frames, right.frames], axis=2)
        numbers = np.concatenate([left.mask * MASKS[0], right.mask * MASKS[1]], axis=2).astype(np.uint16)
        yield from zip(frames, numbers, strict=True)


def write(folder: Path, minutes: float, rate: int) -> None:
    with av.open(str(folder / "in.mp4"), "w") as film, av.open(str(folder / "masks.mkv"), "w") as masks:
        pictures = film.add_stream("libx264", rate, {"preset": "ultrafast"})
        numbers = masks.add_stream("ffv1", rate)
        for stream, form in ((pictures, "yuv420p"), (numbers, "gray16le")):
            stream.width, stream.height, stream.pix_fmt = 2 * SIDE, SIDE, form
        for frame, labels in shots(minutes, rate):
            film.mux(pictures.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
            masks.mux(numbers.encode(av.VideoFrame.from_ndarray(labels, "gray16le")))
        film.mux(pictures.encode())
        masks.mux(numbers.encode())


def annotate(folder: Path) -> tuple[int, float]:
    """Frames written, and the peak of this process in MiB."""
    torch.set_num_threads(1)
    model = vx.Classifier(NoCost(), clip_length=16, size=(SIDE, 2 * SIDE), name="no-cost")
    regions = vx.Regions.open(folder / "masks.mkv")
    summary = annotate_video(
        model,
        folder / "in.mp4",
        folder / "out.mp4",
        method="vanilla",
        regions=regions,
        save=folder / "saved",
        stride=8,
        preset="ultrafast",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return summary.frames, peak / (2**20 if sys.platform == "darwin" else 2**10)


def video(args: argparse.Namespace) -> None:
    for minutes in args.minutes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write(folder, minutes, args.rate)
            start = time.process_time()
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                frames, peak = pool.submit(annotate, folder).result()
            seen: dict[str, set[int]] = {}
            halves: dict[str, set[int]] = {}
            windows = vx.open_explanations(folder / "saved")
            for window in windows:
                labels = window.labels
                for row in window.supervoxels:
                    seen.setdefault(row["name"], set()).add(row["number"])
                    if row["name"] != "background":
                        places = np.nonzero(labels == row["id"])[2]
                        halves.setdefault(row["name"], set()).update(
                            (places >= labels.shape[2] // 2).tolist()
                        )
            print(
                f"{minutes:g} minutes, {frames} frames, {len(windows)} windows: peak {peak:.0f} MiB; numbers by name "
                f"{seen}; halves in which they were {halves}; {time.process_time() - start:.0f} s here",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    one = parts.add_parser("first")
    one.add_argument("folder", type=Path)
    one.add_argument("--clips", type=int, default=200)
    one.add_argument("--first", type=int, default=40_000, help="seed of the first clip")
    one.add_argument("--methods", nargs="+", default=["region-gradient", *NINE])
    one.add_argument("--table", action="store_true", help="print what is there")
    one.set_defaults(run=lambda args: table(args) if args.table else first(args))
    other = parts.add_parser("video")
    other.add_argument("--minutes", type=float, nargs="+", default=[2, 20])
    other.add_argument("--rate", type=int, default=24)
    other.set_defaults(run=video)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
