r"""Which measures of faithfulness rank explainers of known quality rightly: the study of docs/studies/metrics.md.

    python benchmarks/metrics_study.py FOLDER --network c3d-motion --items 20
    python benchmarks/metrics_study.py FOLDER --network r2plus1d --weights WEIGHTS --items 40
    python benchmarks/metrics_study.py FOLDER --table

Five explainers are one good one, 16 passes of region gradients, mixed with noise: the ranks of its scores times 1 - a,
plus random ranks times a, for a = 0, 1/4, 1/2, 3/4, 1. A measure ranks them rightly if it puts less noise first.
Appends a line of JSON per item to FOLDER/NETWORK.jsonl, and goes on where it stopped. The network for F-Fidelity is
fine-tuned once, on other clips, and kept in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from scipy.stats import kendalltau, rankdata

import videxplain as vx
from videxplain.evaluation.datasets import GeneratedClips, Sample
from videxplain.evaluation.experiments import FILLS
from videxplain.evaluation.fidelity import f_fidelity, fine_tuned
from videxplain.evaluation.item import Item
from videxplain.evaluation.measures import (
    area_under_curve,
    best_first,
    localization,
    rank_correlation,
    removed_until_change,
)
from videxplain.evaluation.rows import EvaluationSettings
from videxplain.models import train_small
from videxplain.models.randomized import with_own_weights

NOISE = (0.0, 0.25, 0.5, 0.75, 1.0)
FIRST_JUDGED, FIRST_TRAINED_ON = 5000, 9000
STEPS = 10
LESS_IS_BETTER = ("FFid-", "removal, best first", *(f"deletion, {fill}" for fill in FILLS))
RESAMPLES = 2000


def clips_of(network: str) -> Callable[[vx.Classifier, int], Sample]:
    if network == "c3d-motion":
        return lambda model, seed: GeneratedClips(1, seed).load(0, clip_length=model.clip_length)

    def load(_: vx.Classifier, seed: int) -> Sample:
        clip = train_small.clip_of(seed)
        return Sample(vx.Clip.from_array(clip.frames), None, clip.mask)

    return load


def measures(item: Item, tuned: vx.Classifier, scores: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Every measure of one explainer's scores."""
    order, values = best_first(scores), {}
    fidelity = f_fidelity(item.masked("grey", tuned), scores, np.random.default_rng(item.seed("fidelity")))
    values |= {"F-Fidelity": fidelity["fidelity"], "FFid+": fidelity["plus"], "FFid-": fidelity["minus"]}
    plain = f_fidelity(item.masked("grey"), scores, np.random.default_rng(item.seed("fidelity")))
    values["the same, not fine-tuned"] = plain["fidelity"]
    for fill in FILLS:
        clip = item.masked(fill)
        inserted, deleted = (
            area_under_curve(clip, order, insertion=kind, steps=STEPS) for kind in (True, False)
        )
        values |= {
            f"insertion, {fill}": inserted,
            f"deletion, {fill}": deleted,
            f"gain, {fill}": inserted - deleted,
        }
    clip = item.masked("grey")
    values["removal, best first"] = removed_until_change(clip, order)
    values["removal, worst first"] = removed_until_change(clip, order[::-1])
    values["agreement with LIME-500"] = rank_correlation(scores, reference)
    assert item.mask is not None
    found = localization(item.labels, scores, item.mask)
    return values | {"true mask: energy": found["energy"], "true mask: IoU": found["iou"]}


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    args.folder.mkdir(parents=True, exist_ok=True)
    path = args.folder / f"{args.network}.jsonl"
    load = clips_of(args.network)
    if args.network == "c3d-motion":
        model = vx.load_model("c3d-motion")
    else:
        weights = args.weights / f"{args.network}-1.safetensors"
        model = vx.load_model(f"videxplain.models.train_small:{args.network}", weights=weights)
    settings = EvaluationSettings(rows=("region-gradient-16",), segments=(60,), fill="grey", reference=500)

    def item_of(seed: int) -> Item:
        return Item(model, load(model, seed), f"seed {seed}", settings, 60)

    kept = args.folder / f"{args.network}-tuned.pt"
    if kept.exists():
        tuned = with_own_weights(model)
        tuned.net.load_state_dict(torch.load(kept, weights_only=True))
    else:
        start = time.process_time()
        tuned = fine_tuned(model, range(FIRST_TRAINED_ON, FIRST_TRAINED_ON + 64), item_of)
        torch.save(tuned.net.state_dict(), kept)
        print(f"fine-tuned in {time.process_time() - start:.0f} s", flush=True)
    done = {line["seed"] for line in read(path)}
    for seed in range(FIRST_JUDGED, FIRST_JUDGED + args.items):
        if seed in done:
            continue
        item = item_of(seed)
        draw = np.random.default_rng(item.seed("degraded"))
        good = rankdata(item.explained("region-gradient-16:fill=auto").scores)
        noise = rankdata(draw.random(len(good)))
        reference = item.reference()
        rows = [measures(item, tuned, (1 - a) * good + a * noise, reference) for a in NOISE]
        with path.open("a") as file:
            file.write(json.dumps({"seed": seed, "supervoxels": len(good), "rows": rows}) + "\n")
        print(args.network, seed, "done", flush=True)


def read(path: Path) -> list[dict]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def tau(values: np.ndarray) -> float:
    """Kendall's tau of a measure's five values, the higher the better, with the true order; 0 where all are equal."""
    statistic = kendalltau(values, -np.asarray(NOISE)).statistic
    return float(statistic) if np.isfinite(statistic) else 0.0


def table(folder: Path) -> None:
    for path in sorted(folder.glob("*.jsonl")):
        lines = read(path)
        print(f"\n## {path.stem}: {len(lines)} clips\n")
        print(
            "| measure | tau of the means | 95% interval | mean tau of a clip | "
            + " | ".join(map(str, NOISE))
            + " |"
        )
        print("|---|---|---|---|" + "---|" * len(NOISE))
        draw = np.random.default_rng(0).integers(len(lines), size=(RESAMPLES, len(lines)))
        for name in lines[0]["rows"][0]:
            sign = -1 if name in LESS_IS_BETTER else 1
            values = sign * np.array([[row[name] for row in line["rows"]] for line in lines])
            means = values.mean(axis=0)
            low, high = np.quantile([tau(values[chosen].mean(axis=0)) for chosen in draw], (0.025, 0.975))
            each = np.mean([tau(row) for row in values])
            cells = " | ".join(f"{sign * mean:.3f}" for mean in means)
            print(f"| {name} | {tau(means):+.2f} | {low:+.2f} to {high:+.2f} | {each:+.2f} | {cells} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=("c3d-motion", "r2plus1d", "transformer"), default="c3d-motion")
    parser.add_argument("--weights", type=Path, help="folder of the small networks' weights")
    parser.add_argument("--items", type=int, default=40)
    parser.add_argument("--table", action="store_true", help="print the tables of what is there")
    args = parser.parse_args()
    table(args.folder) if args.table else run(args)


if __name__ == "__main__":
    main()
