r"""Whether coarse regions first save passes: the study of docs/studies/supervoxels.md.

    python -m videxplain.models.train_small --network r2plus1d --seed 1 --out WEIGHTS
    python benchmarks/nested_study.py FOLDER --weights WEIGHTS [--known]
    python benchmarks/nested_study.py FOLDER --table
    python benchmarks/nested_study.py FOLDER --cuts

Appends a line of JSON per clip to FOLDER/r2plus1d.jsonl, and goes on where it stopped. About 320 supervoxels are cut,
levels are 20, 80 and 320. The reference is region gradients of `REFERENCE` passes over all of them, from masks that no
row has. "overlap" is the share of its first five among a row's; "halves" that of the reference's two halves with each
other. All rows have the fill that `fill="auto"` chooses, and none measures supervoxels besides (`refine_top=0`). A
pass is one forward and backward pass of the whole clip, a sample of LIME one forward pass.
`--known` asks, in a file of its own, what could be gained at most: the first five are looked for only among parts of
the eight regions of 80 that have the highest sums of the reference. `--cuts` tells how well cuts follow colours, of 20
other generated clips.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.color import rgb2lab

import videxplain as vx
from videxplain.attribution.query import Query
from videxplain.evaluation.summary import bootstrap
from videxplain.models import train_small
from videxplain.segmentation import segment
from videxplain.segmentation.hierarchy import merge_tree
from videxplain.settings import Question
from videxplain.synthetic import moving_objects

LEVELS = (20, 80, 320)
REFERENCE = 96
PASSES = (4, 8, 16, 32)
SAMPLES = (125, 250)
SEED = 1000


def clips(model: vx.Classifier) -> Iterator[tuple[int, np.ndarray, int]]:
    """Generated clips that the network was not trained on and names rightly: their number, frames and class."""
    for index in count(SEED):
        frames, answer = train_small.clip_of(index).frames, index % len(train_small.MOTIONS)
        if int(model.predict(model.prepare(vx.Clip.from_array(frames)))[0].argmax()) == answer:
            yield index, frames, answer


def first_five(scores: np.ndarray) -> set[int]:
    return set(np.argsort(-scores, kind="stable")[:5].tolist())


def line(model: vx.Classifier, clip: tuple[int, np.ndarray, int], known: bool) -> dict[str, Any]:
    index, frames, answer = clip
    x = model.prepare(vx.Clip.from_array(frames))
    labels = segment(model.pictures(model.geometry(frames.shape[1:3]).apply(frames)), n_segments=LEVELS[-1])
    regions = int(labels.max()) + 1
    fill = Query(model, x, torch.from_numpy(labels)[None], regions, Question(target=answer)).fill(0)

    def scores(method: vx.Method, nested: bool = False, score: str | None = None) -> np.ndarray:
        levels: dict[str, Any] = {"levels": LEVELS, "coarse_to_fine": True} if nested else {}
        return vx.explain(
            model,
            frames,
            method,
            Question(target=answer, score=score),
            labels=labels,
            **levels,  # type: ignore[arg-type]
        ).scores

    gradient = vx.RegionGradient(fill=fill, refine_top=0)
    halves = [scores(replace(gradient, passes=REFERENCE // 2, seed=seed)) for seed in (101, 102)]
    reference = np.mean(halves, axis=0, dtype=np.float64)
    best = first_five(reference)
    methods: dict[str, tuple[vx.Method, str | None]] = {
        f"region-gradient {passes}": (replace(gradient, passes=passes, seed=3), None) for passes in PASSES
    }
    agreed = len(first_five(halves[0]) & first_five(halves[1])) / 5
    told = {"index": index, "K": regions, "fill": fill, "halves": agreed}
    if known:
        union = merge_tree(labels, model.geometry(frames.shape[1:3]).apply(frames)).labels(
            min(LEVELS[1], regions)
        )
        inside = np.isin(union, np.argsort(-np.bincount(union, reference), kind="stable")[:8])
        overlap = {}
        for name, (method, _) in methods.items():
            row = scores(method)
            overlap[name] = len(first_five(row) & best) / 5
            overlap[f"{name}, coarse to fine"] = len(first_five(np.where(inside, row, -np.inf)) & best) / 5
        return {**told, "parts": int(inside.sum()), "overlap": overlap}
    for samples in SAMPLES:
        methods[f"lime {samples}"] = vx.Lime(samples=samples, fill=fill, seed=3), "log-odds"
    overlap = {
        f"{name}{', coarse to fine' if nested else ''}": len(first_five(scores(method, nested, score)) & best)
        / 5
        for name, (method, score) in methods.items()
        for nested in (False, True)
    }
    return {**told, "overlap": overlap}


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    args.folder.mkdir(parents=True, exist_ok=True)
    model = vx.load_model(
        "videxplain.models.train_small:r2plus1d", weights=args.weights / "r2plus1d-1.safetensors"
    )
    path = args.folder / f"r2plus1d{'-known' if args.known else ''}.jsonl"
    seen = {row["index"] for row in read(path)}
    for clip in islice(clips(model), args.clips):
        if clip[0] not in seen:
            with path.open("a") as file:
                file.write(json.dumps(line(model, clip, args.known)) + "\n")
            print(clip[0], flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def cell(values: list[float], sign: str = "") -> str:
    """The mean and its 95% bootstrap interval."""
    told = bootstrap(values)
    return f"{told.mean:{sign}.2f} ({told.low:{sign}.2f} to {told.high:{sign}.2f})"


def table(args: argparse.Namespace) -> None:
    for path in sorted(args.folder.glob("*.jsonl")):
        rows = read(path)
        regions, halves = np.median([row["K"] for row in rows]), cell([row["halves"] for row in rows])
        print(f"\n## {path.stem}: {len(rows)} clips, median {regions:.0f} supervoxels, halves {halves}\n")
        if "parts" in rows[0]:
            parts = np.median([row["parts"] for row in rows])
            print(
                f"Here 'coarse to fine' is all at once, looked for among {parts:.0f} parts that are known.\n"
            )
        print(
            "| | all at once | coarse to fine | coarse to fine - all at once with twice as many |\n|---|---|---|---|"
        )
        names = [name for name in rows[0]["overlap"] if "coarse" not in name]
        for name in names:
            flat, nested = ([row["overlap"][n] for row in rows] for n in (name, f"{name}, coarse to fine"))
            method, amount = name.split()
            double = f"{method} {2 * int(amount)}"
            against = [
                row["overlap"].get(double, np.nan) - other for row, other in zip(rows, nested, strict=True)
            ]
            difference = cell([-v for v in against], "+") if double in names else ""
            print(f"| {name} | {cell(flat)} | {cell(nested)} | {difference} |")


def explained(lab: np.ndarray, labels: np.ndarray) -> float:
    """Share of the colours' variance that the regions' means explain."""
    flat, middle = labels.ravel(), lab.mean(axis=(0, 1, 2))
    size = np.bincount(flat)
    means = np.stack([np.bincount(flat, lab[..., c].ravel()) / size for c in range(3)], axis=1)
    return float((size[:, None] * (means - middle) ** 2).sum() / ((lab - middle) ** 2).sum())


def cuts(args: argparse.Namespace) -> None:
    told: dict[tuple[int, str], list[tuple[float, int]]] = {}
    for index in range(20):
        frames = moving_objects.generate(SEED + index).frames
        lab, finest = rgb2lab(frames), segment(frames, n_segments=LEVELS[-1])
        tree = merge_tree(finest, frames)
        for wanted in LEVELS[:-1]:
            by_slic = segment(frames, n_segments=wanted)
            for kind, labels in (("a cut", tree.labels(int(by_slic.max()) + 1)[finest]), ("SLIC", by_slic)):
                told.setdefault((wanted, kind), []).append((explained(lab, labels), int(labels.max()) + 1))
    print("| asked for | | regions | explained variation |\n|---|---|---|---|")
    for (wanted, kind), values in told.items():
        share, regions = np.mean(values, axis=0)
        print(f"| {wanted} | {kind} | {regions:.0f} | {share:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--weights", type=Path, help="folder of train_small's networks")
    parser.add_argument("--known", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--cuts", action="store_true")
    args = parser.parse_args()
    (table if args.table else cuts if args.cuts else run)(args)


if __name__ == "__main__":
    main()
