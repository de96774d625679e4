r"""The studies of docs/studies/fills.md and docs/studies/trust.md.

    python benchmarks/fill_and_trust_study.py moved RESULTS.jsonl --clips 40 --segments 60 \
        --model efficientnet-lite0 --data PHOTOGRAPHS
    python benchmarks/fill_and_trust_study.py object RESULTS.jsonl --clips 30 --segments 80
    python benchmarks/fill_and_trust_study.py trust RESULTS.jsonl --first 100 --clips 14
    python benchmarks/fill_and_trust_study.py table RESULTS.jsonl

"moved" hides half of the supervoxels under every fill; "object" asks whether region gradients under each fill find the
object of generated clips; "trust" makes explanations good and bad, and sets their verdicts beside whether they miss the
object. A line of results is an item and a row; "table" prints means, and the area under the curve of each number.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

import videxplain as vx
from videxplain.evaluation.datasets import open_dataset
from videxplain.evaluation.item import Item
from videxplain.evaluation.measures import localization, overlap
from videxplain.evaluation.rows import EvaluationSettings
from videxplain.models.randomized import randomized, with_own_weights
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import choose_fill
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Fill

FILLS = [fill for fill in get_args(Fill) if fill not in ("auto", "noise")]
MISSED = {"pointing": 0.25, "iou": 0.2}
"""Below these an explanation has missed the object."""
GOOD_AND_BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "guided": ("guided", {}),
    "vanilla": ("vanilla", {}),
    "region-gradient": ("region-gradient", {"passes": 16, "refine_top": 0}),
    "region-gradient, mean fill": ("region-gradient", {"passes": 16, "refine_top": 0, "fill": "mean"}),
    "region-gradient, grey fill": ("region-gradient", {"passes": 16, "refine_top": 0, "fill": "grey"}),
    "region-gradient, 1 pass": ("region-gradient", {"passes": 1, "refine_top": 0}),
    "lime, 20 samples": ("lime", {"samples": 20, "score": "log-odds"}),
    "lime, 150 samples, mean fill": ("lime", {"samples": 150, "fill": "mean"}),
    "random": ("random", {}),
    "last layer random": ("region-gradient", {"passes": 8, "refine_top": 0}),
    "last two layers random": ("guided", {}),
}


def items(args: argparse.Namespace, model: vx.Classifier) -> Iterator[Item]:
    data = open_dataset(args.data, count=args.first + args.clips)
    settings = EvaluationSettings(rows=("random",), segments=(args.segments,))
    for index in range(args.first, min(len(data), args.first + args.clips)):
        sample = data.load(index, clip_length=model.clip_length)
        yield Item(model, sample, data.name(index), settings, args.segments)


def moved(item: Item, models: dict[str, vx.Classifier]) -> Iterator[dict[str, Any]]:
    """By how much the answer changes under every fill, as `choose_fill` measures it, and which it takes."""
    count, labels = item.num_segments, torch.from_numpy(item.labels)
    order = torch.rand(count, generator=torch.Generator().manual_seed(0)).argsort()
    masks = torch.ones(3, count)
    masks[1, order[: count // 2]] = masks[2, order[count // 2 :]] = 0
    for fill in FILLS:
        clip = MaskedClip(item.model, item.x[0], labels, count, item.target, fill=fill)
        odds = clip.values(masks, score="log-odds")
        change = odds.sigmoid()[0] - odds.sigmoid()[1:]
        yield {"row": fill, "p": float(change.abs().mean()), "log_odds": float((odds[0] - odds[1:]).mean())}
    choice = choose_fill(item.model, item.x[0], labels, count, Aim(item.target))
    for fill in get_args(Fill):
        yield {"row": f"auto takes {fill}", "share": float(choice.fill == fill)}


def on_object(item: Item, models: dict[str, vx.Classifier]) -> Iterator[dict[str, Any]]:
    """Where the first supervoxels lie, by region gradients under each fill and by gradients."""
    assert item.mask is not None
    inside, size = overlap(item.labels, item.mask, item.num_segments)
    share = inside / size
    best = np.sort(share)[::-1][:5].mean()
    rows = {fill: ("region-gradient", {"fill": fill, "refine_top": 0, "score": "log-odds"}) for fill in FILLS}
    for row, (method, options) in {**rows, "guided": ("guided", {}), "vanilla": ("vanilla", {})}.items():
        scores = vx.explain(item.model, item.clip, method, item.target, labels=item.labels, **options).scores
        order = np.argsort(-scores, kind="stable")
        mass = np.maximum(scores, 0)
        yield {
            "row": row,
            "first": float(share[order[0]] > MISSED["pointing"]),
            "five": float(share[order[:5]].mean() / best),
            "mass": float((mass * share).sum() / max(mass.sum(), 1e-30)),
        }


def trusted(item: Item, models: dict[str, vx.Classifier]) -> Iterator[dict[str, Any]]:
    """The verdict on explanations good and bad, and whether they miss the object."""
    assert item.mask is not None
    for row, (method, options) in GOOD_AND_BAD.items():
        model = models.get(row, item.model)
        explanation = vx.explain(model, item.clip, method, labels=item.labels, **options)
        card = vx.trust(model, item.clip, explanation)
        where = localization(item.labels, explanation.scores.astype(np.float64), item.mask)
        yield {"row": row, **{k: v for k, v in card.to_dict().items() if k != "reasons"}, **where}


WORK = {"moved": moved, "object": on_object, "trust": trusted}


def run(args: argparse.Namespace) -> None:
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    model = vx.load_model(args.model)
    damaged = {}
    for row, (_, network) in zip(
        ("last layer random", "last two layers random"), randomized(model, seed=1), strict=False
    ):
        damaged[row] = with_own_weights(network)
    for item in items(args, model):
        lines = [{"study": args.study, "item": item.name, **row} for row in WORK[args.study](item, damaged)]
        with Path(args.results).open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        print(item.name, flush=True)


def above(first: list[float], other: list[float]) -> float:
    """The chance that one of the first is above one of the others: the area under the curve."""
    if not first or not other:
        return float("nan")
    difference = np.array(first)[:, None] - np.array(other)[None]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def table(args: argparse.Namespace) -> None:
    studies: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in Path(args.results).read_text().splitlines():
        studies[json.loads(line)["study"]].append(json.loads(line))
    for study, lines in studies.items():
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in lines:
            rows[line["row"]].append(line)
        print(f"\n{study}, {len({line['item'] for line in lines})} items")
        for row, group in rows.items():
            numbers = [k for k, v in group[0].items() if isinstance(v, float)]
            means = "  ".join(f"{name} {np.mean([line[name] for line in group]):.3f}" for name in numbers)
            verdicts = {v: sum(line.get("verdict") == v for line in group) for v in VERDICTS}
            print(f"  {row:30} {means}" + (f"  {list(verdicts.values())}" if study == "trust" else ""))
        if study == "trust":
            for name, limit in MISSED.items():
                bad, good = ([x for x in lines if (x[name] < limit) == miss] for miss in (True, False))
                risks = {
                    "effect": lambda line: -line["effect"],
                    "agreement": lambda line: -line["agreement"],
                    "the lower of both": lambda line: -min(line["effect"], line["agreement"]),
                    "the verdict": lambda line: -float(VERDICTS.index(line["verdict"])),
                }
                areas = {k: above([*map(risk, bad)], [*map(risk, good)]) for k, risk in risks.items()}
                print(
                    f"  missed by {name} < {limit}: {len(bad)} of {len(lines)}; area under the curve:", areas
                )


VERDICTS = ("do not rely on this", "indicative", "firm")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="study", required=True)
    for name in (*WORK, "table"):
        command = commands.add_parser(name)
        command.add_argument("results")
        if name != "table":
            command.add_argument("--model", default="c3d-motion")
            command.add_argument("--data", default="generated")
            command.add_argument("--first", type=int, default=0)
            command.add_argument("--clips", type=int, default=20)
            command.add_argument("--segments", type=int, default=80)
    args = parser.parse_args()
    table(args) if args.study == "table" else run(args)


if __name__ == "__main__":
    main()
