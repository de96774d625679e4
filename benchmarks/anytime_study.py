r"""How close to LIME-1000 each method comes, and at what cost: the study of docs/studies/anytime.md.

    python benchmarks/anytime_study.py run RESULTS.jsonl --clips 100 --segments 100 300 --lime-draws 4 --removal grey
    python benchmarks/anytime_study.py run RESULTS.jsonl --model efficientnet-lite0 --data photographs --segments 60 \
        --removal grey --curves --levels leaders secants arcsine --shapley 100 500 1000
    python benchmarks/anytime_study.py table RESULTS.jsonl
    python benchmarks/anytime_study.py differences RESULTS.jsonl region-gradient-8/lime-500 region-gradient-16/lime-1000
    python benchmarks/anytime_study.py plot RESULTS.jsonl PICTURE.png

`run` appends a line per item and row as it goes, and skips the items that are there. All rows of an item share its
supervoxels, its class and its fill, which is LIME's own by default, each supervoxel's mean colour; removal, insertion
and deletion may have another one, since a network may not care for what the mean hides. LIME's rows are the first N of
a draw, independent of the reference's, of the probability and ("lime-logit") of its log-odds; KernelSHAP's have draws
of their own. A pass counts as three forward passes, one there and two back, the usual count of multiplications.
"region-gradient" is the method as it ships, "leaders" is it with measured leaders, and levels by their own names go
without, of the log-odds. Of rows with several draws of masks the tables show the mean over them.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

import videxplain as vx
from videxplain.attribution.mask_sampling import SECANTS, TANGENTS
from videxplain.attribution.methods import RegionGradient
from videxplain.attribution.region_gradient import REFINED, estimates
from videxplain.evaluation.datasets import open_dataset
from videxplain.evaluation.item import Item
from videxplain.evaluation.measures import (
    agreement,
    area_under_curve,
    best_first,
    localization,
    removed_until_change,
    shared_first,
)
from videxplain.evaluation.rows import PAPER_ROWS, EvaluationSettings
from videxplain.evaluation.summary import bootstrap
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Score

PASSES = (1, 2, 4, 8, 16, 32, 64)
SHIPPED = "region-gradient"
ESTIMATORS: dict[str, dict[str, Any]] = {
    SHIPPED: {"mask_sampling": SECANTS},
    "leaders": {"mask_sampling": SECANTS, "refine_top": REFINED},
    **{name: {"mask_sampling": name, "refine_top": 0, "score": "log-odds"} for name in (SECANTS, *TANGENTS)},
}
SCHEDULE = {
    **dict.fromkeys((SHIPPED, "leaders", "secants", "centred", "stratified", "arcsine"), PASSES),
    "half": (1,),
}
DRAWS = {(SHIPPED, 8): 8, (SHIPPED, 16): 4}
"""Rows whose masks are drawn more than once, since one draw is worth a few clips of a hundred in top 1."""
TRIAL_PASSES = 8
LIME = (25, 50, 100, 500, 1000)
ONE_PASS = [name for name in PAPER_ROWS if not name.startswith("lime-")]
COLUMNS = ("top1", "top5", "overlap", "rank", "removal", "insertion", "deletion", "pointing")
Scores = tuple[str, int, np.ndarray, float]  # row, cost in forward passes, scores of one draw, seconds


def trials(clip: MaskedClip, passes: int, seed: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Estimators that were tried and are not in the package, at equal numbers of passes."""
    generator = torch.Generator().manual_seed(seed)
    z, _ = TANGENTS["stratified"](passes, clip.num_segments, generator)
    pairs = torch.cat([z[: passes // 2], 1 - z[: passes // 2]])
    common = torch.rand(passes, 1, generator=generator, dtype=torch.float64)

    def mean(levels: torch.Tensor, score: Score = "probability") -> torch.Tensor:
        return clip.gradient(levels.to(clip.x), score=score)[1].double().mean(dim=0)

    def shrunk() -> torch.Tensor:
        middle = mean(torch.full((1, clip.num_segments), 0.5))
        return (mean(z[: passes - 1]) * (passes - 1) + 2 * middle) / (passes + 1)

    return {
        "antithetic": lambda: mean(pairs),
        "beta(1/2,1/2)": lambda: mean(torch.sin(0.5 * torch.pi * z).square()),
        "beta(2,2)": lambda: mean(0.5 - torch.sin(torch.asin(1 - 2 * z) / 3)),
        "half common level": lambda: mean((z + common) / 2),
        "logit": lambda: mean(z, "logit"),
        "shrunk to half": shrunk,
    }


def scored(item: Item, args: argparse.Namespace) -> Iterator[Scores]:
    """Every row's scores for one item, LIME first."""
    for draw, kind, samples in itertools.product(range(args.lime_draws), ("lime", "lime-logit"), LIME):
        row = f"lime-{samples}" if kind == "lime" else f"lime-{samples}:score=log-odds"
        found = item.scored(row, draw=draw)
        yield f"{kind}-{samples}", samples, found.scores, found.seconds
    for samples in args.shapley:
        found = item.scored(f"kernel-shap-{samples}")
        yield f"kernel-shap-{samples}", samples, found.scores, found.seconds
    for name in args.methods:
        try:
            found = item.scored(name)
        except vx.VidexplainError:  # a method that this network cannot serve
            continue
        yield name, 0 if name == "random" else 3, found.scores, found.seconds
    clip = item.masked()
    clip.batch_size = 8
    for name, output in itertools.product(args.levels, args.outputs):
        options = ESTIMATORS[name] | ({"score": output} if output else {})
        row = f"{name}/{output}" if output else name
        for passes in SCHEDULE.get(name, (4, 16)):
            for draw in range(DRAWS.get((name, passes), 1)):
                start = time.perf_counter()
                seed = item.seed(f"{options['mask_sampling']}-{passes}" + (f"-{draw}" if draw else ""))
                score = options.get("score", "tempered")
                settings = {key: value for key, value in options.items() if key != "score"}
                *_, last = estimates(clip, RegionGradient(passes=passes, seed=seed, **settings), score)
                cost = 3 * passes + last.measurements
                yield f"{row}-{passes}", cost, last.scores.numpy(), time.perf_counter() - start
    tried = trials(clip, TRIAL_PASSES, item.seed("trials")) if args.trials else {}
    for name, score in tried.items():
        start = time.perf_counter()
        found = score().numpy()
        yield f"{name}-{TRIAL_PASSES}", 3 * TRIAL_PASSES, found, time.perf_counter() - start


def measured(
    item: Item, scores: np.ndarray, reference: np.ndarray, removal: MaskedClip | None, curves: bool
) -> dict[str, float]:
    order = best_first(scores)
    row = {**agreement(scores, reference), "overlap": shared_first(scores, reference)}
    if removal is not None:
        row["removal"] = removed_until_change(removal, order)
        if curves:
            row["insertion"] = area_under_curve(removal, order, insertion=True)
            row["deletion"] = area_under_curve(removal, order, insertion=False)
    if item.mask is not None:
        row["pointing"] = localization(item.labels, scores, item.mask)["pointing"]
    return row


def run(args: argparse.Namespace) -> None:
    model = vx.load_model(args.model)
    data = open_dataset(args.data, count=args.clips)
    path = Path(args.results)
    lines = path.read_text().splitlines() if path.exists() else []
    done = {tuple(json.loads(line)["item"]) for line in lines}
    for index in range(args.first, len(data)):
        for segments in args.segments:
            key = (args.model, data.name(index), segments, args.fill, args.reference, args.removal)
            if key in done:
                continue
            rows = tuple(f"lime-{n}" for n in LIME)
            settings = EvaluationSettings(
                rows=rows, segments=(segments,), fill=args.fill, reference=args.reference
            )
            sample = data.load(index, clip_length=model.clip_length)
            item = Item(model, sample, data.name(index), settings, segments)
            reference = item.reference()
            removal = None
            if args.removal:
                item.settings = replace(settings, fill=args.removal)
                removal = item.masked()
                item.settings = settings
            lines = []
            for name, cost, scores, seconds in scored(item, args):
                values = measured(item, scores, reference, removal, args.curves)
                line = {"item": key, "K": item.num_segments, "row": name, "cost": cost, "seconds": seconds}
                lines.append(json.dumps({**line, **values}))
            with path.open("a") as file:  # an item whole or not at all
                file.write("\n".join(lines) + "\n")
            print(f"{data.name(index)}, {item.num_segments} supervoxels", flush=True)


def groups(path: str) -> dict[tuple, dict[str, list[dict]]]:
    """(model, segments, fill, reference, removal) -> row -> a line for each item, the mean over its draws."""
    draws: dict[tuple, dict[str, dict[str, list[dict]]]] = {}
    for text in Path(path).read_text().splitlines():
        line = json.loads(text)
        model, item, segments, fill, reference, removal = line["item"]
        rows = draws.setdefault((model, segments, fill, reference, removal), {})
        rows.setdefault(line["row"], {}).setdefault(item, []).append(line)
    return {
        key: {row: [_mean(lines) for lines in items.values()] for row, items in rows.items()}
        for key, rows in draws.items()
    }


def _mean(lines: list[dict]) -> dict:
    numbers = [name for name in ("cost", "seconds", *COLUMNS) if name in lines[0]]
    return {**lines[0], **{name: float(np.mean([line[name] for line in lines])) for name in numbers}}


def table(args: argparse.Namespace) -> None:
    for (model, segments, fill, reference, _), rows in groups(args.results).items():
        lines = next(iter(rows.values()))
        columns = [c for c in COLUMNS if c in lines[0]]
        regions = np.median([line["K"] for line in lines])
        print(
            f"\n{model}, {segments} supervoxels asked for, median {regions:.0f}, fill {fill}, "
            f"{len(lines)} items, reference LIME-{reference}\n"
        )
        print("| | forward passes | seconds | " + " | ".join(columns) + " |")
        print("|---|---|---|" + "---|" * len(columns))
        for name, own in rows.items():
            cells = []
            for column in columns:
                found = bootstrap([line[column] for line in own])
                cells.append(f"{found.mean:.2f} ({found.low:.2f}-{found.high:.2f})")
            cost = np.median([line["cost"] for line in own])
            times = [line["seconds"] for line in own if "seconds" in line]  # not where scores were taken over
            seconds = f"{np.median(times):.3g}" if times else "-"
            print(f"| {name} | {cost:.0f} | {seconds} | " + " | ".join(cells) + " |")


def differences(args: argparse.Namespace) -> None:
    """Paired differences, item by item, with bootstrap intervals."""
    for (model, segments, *_), rows in groups(args.results).items():
        for pair in args.pairs:
            first, second = (rows[name] for name in pair.split("/"))
            cells = []
            for column in COLUMNS:
                if column in first[0] and column in second[0]:
                    theirs = {line["item"][1]: line[column] for line in second}
                    found = bootstrap([line[column] - theirs[line["item"][1]] for line in first])
                    cells.append(f"{column} {found.mean:+.2f} ({found.low:.2f} to {found.high:.2f})")
            print(f"{model}, {segments}, {len(first)} items, {pair}: " + " | ".join(cells))


def plot(args: argparse.Namespace) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = groups(args.results)
    figure, axes = plt.subplots(len(found), 2, figsize=(11, 3.6 * len(found)), squeeze=False)
    for (key, rows), pair in zip(found.items(), axes, strict=True):
        for axis, column in zip(pair, ("overlap", "rank"), strict=True):
            for family in ("lime", "lime-logit", "kernel-shap", *ESTIMATORS):
                points = [own for name, own in rows.items() if name.rpartition("-")[0] == family]
                if not points:
                    continue
                values = [bootstrap([line[column] for line in own]) for own in points]
                means = [v.mean for v in values]
                errors = [[v.mean - v.low for v in values], [v.high - v.mean for v in values]]
                costs = [np.median([line["cost"] for line in own]) for own in points]
                axis.errorbar(costs, means, errors, marker="o", markersize=3, capsize=2, label=family)
            for name in ("vanilla", "guided", "grad-cam"):
                if name in rows:
                    axis.plot(3, np.mean([line[column] for line in rows[name]]), "x", label=name)
            axis.set(xscale="log", xlabel="cost, forward passes", ylabel=column)
            own = rows["lime-50"]
            regions = np.median([line["K"] for line in own])
            axis.set_title(f"{key[0]}, about {regions:.0f} supervoxels, {len(own)} items", fontsize=9)
    axes[0, 0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(args.picture, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for work in (run, table, differences, plot):
        command = commands.add_parser(work.__name__)
        command.add_argument("results")
        command.set_defaults(work=work)
        if work is run:
            command.add_argument("--model", default="c3d-motion")
            command.add_argument("--data", default="generated")
            command.add_argument("--clips", type=int, default=100)
            command.add_argument("--first", type=int, default=0, help="clips before this one are left out")
            command.add_argument("--segments", type=int, nargs="+", default=[100])
            command.add_argument("--fill", default="mean")
            command.add_argument("--reference", type=int, default=1000)
            command.add_argument(
                "--lime-draws", type=int, default=1, help="LIME's rows are means over so many"
            )
            command.add_argument("--removal", metavar="FILL", help="removal as well, with this fill")
            command.add_argument("--curves", action="store_true", help="insertion and deletion as well")
            command.add_argument("--shapley", type=int, nargs="*", default=[], help="KernelSHAP's samples")
            command.add_argument("--levels", nargs="+", choices=ESTIMATORS, default=[SHIPPED, SECANTS])
            command.add_argument("--outputs", nargs="+", choices=get_args(Score), default=[None])
            command.add_argument("--methods", nargs="*", default=ONE_PASS, help="methods of one pass")
            command.add_argument("--trials", action="store_true", help="estimators that were tried, as well")
        if work is differences:
            command.add_argument("pairs", nargs="+", metavar="ROW/ROW")
        if work is plot:
            command.add_argument("picture")
    args = parser.parse_args()
    args.work(args)


if __name__ == "__main__":
    main()
