r"""How methods do on networks and inputs on which nothing was tuned: the study of docs/studies/judged.md.

    for network in r2plus1d gated group_norm; do
        python -m videxplain.models.train_small --network $network --seed 1 --out WEIGHTS; done
    for seed in 1 2; do
        python -m videxplain.models.train_small --network transformer --seed $seed --steps 900 --out WEIGHTS; done
    python benchmarks/judged_study.py FOLDER --networks r2plus1d:43 gated:43 group_norm:43 transformer:43 \
        efficientnet-lite1:40 efficientnet-lite2:40 transnetv2:40 --weights WEIGHTS \
        --photographs PHOTOGRAPHS --films FILMS
    python benchmarks/judged_study.py FOLDER --networks transformer:44 --weights WEIGHTS --seed 2
    python benchmarks/judged_study.py FOLDER --table
    python benchmarks/judged_study.py FOLDER --picture FILE

Appends a line of JSON per item to FOLDER/NETWORK.jsonl, and goes on where it stopped; items of the networks take turns.
Photographs are those numbered 100 to 199, sorted by name: the first 100 are for tuning.

All rows of an item share its supervoxels, its class and the fill that `fill="auto"` chooses for it. The reference is
LIME of the log-odds, from masks that no row has; LIME's rows are the first N masks of another draw. "seconds" leave out
supervoxels and the fill's choice, which is told apart; "pass" is one forward and one backward pass of a clip alone.
Seconds are those of the one thread that is used, whatever else the machine does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import videxplain as vx
from videxplain.attribution.perturbation import lime_coefficients
from videxplain.evaluation.measures import agreement, area_under_curve, best_first, shared_first
from videxplain.evaluation.summary import bootstrap
from videxplain.models import train_small
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import choose_fill
from videxplain.passes.masked_clip import MaskedClip
from videxplain.segmentation import segment
from videxplain.settings import Question, Segmentation

FIRST_PHOTOGRAPH = 100
STEPS = 10
"""Points of the insertion and deletion curves."""
ONE_PASS = ("vanilla", "guided", "input-x-gradient", "grad-cam")
PASSES = (1, 2, 4, 8, 16, 32)
LIME = (100, 500, 1000)
MEASURES = ("top1", "top5", "overlap", "rank", "gain")


@dataclass(frozen=True)
class Subject:
    """What is explained: a clip of a network, its question and how it is cut."""

    model: vx.Classifier
    clip: vx.Clip
    question: Question
    segmentation: Segmentation
    name: str


@dataclass(frozen=True)
class Network:
    """A network of the second set: how it is loaded, its inputs, and the reference's samples."""

    load: Callable[[argparse.Namespace], vx.Classifier]
    subject: Callable[[vx.Classifier, argparse.Namespace, int], Subject | None]
    reference: int = 1000


def photograph(model: vx.Classifier, args: argparse.Namespace, index: int) -> Subject | None:
    paths = sorted(p for p in args.photographs.iterdir() if p.suffix.lower() in (".jpeg", ".jpg", ".png"))
    path = paths[FIRST_PHOTOGRAPH + index]
    return Subject(model, vx.Clip.from_image(path), Question(), Segmentation(name="quickshift"), path.stem)


def generated(model: vx.Classifier, args: argparse.Namespace, index: int) -> Subject | None:
    """Clips that the network was neither trained on nor chosen by, and names rightly."""
    seed = 1000 + index
    clip = vx.Clip.from_array(train_small.clip_of(seed).frames)
    answer = int(model.predict(model.prepare(clip))[0].argmax())
    if answer != seed % len(train_small.MOTIONS):
        return None
    return Subject(
        model, clip, Question(target=answer), Segmentation(name="slic", n_segments=60), f"seed {seed}"
    )


films: dict[Path, list[np.ndarray]] = {}


def joined_films(model: vx.Classifier, args: argparse.Namespace, index: int) -> Subject | None:
    """Two films one after the other, and the answer at their joint."""
    if not films:
        for path in sorted(p for p in args.films.iterdir() if p.suffix in (".mp4", ".mkv", ".mov")):
            frames = [
                np.asarray(Image.fromarray(frame.image).resize((48, 27), Image.Resampling.BILINEAR))
                for frame, _ in zip(vx.open_video(path).frames(), range(300), strict=False)
            ]
            if len(frames) >= model.clip_length:
                films[path] = frames
    draw = np.random.default_rng(index)
    first, second = draw.choice(len(films), 2, replace=False)
    joint = int(draw.integers(model.clip_length // 4, model.clip_length * 3 // 4))
    parts = []
    for which, length in ((first, joint), (second, model.clip_length - joint)):
        frames = list(films.values())[which]
        start = int(draw.integers(len(frames) - length + 1))
        parts += frames[start : start + length]
    clip = vx.Clip.from_array(np.stack(parts))
    with torch.no_grad():
        answers = model.frame_logits(model.prepare(clip))[0, :, 0]
    frame = joint - 2 + int(answers[joint - 2 : joint + 2].argmax())
    if answers[frame] < 0:  # it does not see the joint
        return None
    question = Question(target=0, frame=frame)
    return Subject(model, clip, question, Segmentation(name="slic", n_segments=40), f"joint {index}")


def small(name: str) -> Network:
    def load(args: argparse.Namespace) -> vx.Classifier:
        return vx.load_model(
            f"videxplain.models.train_small:{name}", weights=args.weights / f"{name}-{args.seed}.safetensors"
        )

    return Network(load, generated)


def transnet(args: argparse.Namespace) -> vx.Classifier:
    """On clips of 40 frames instead of 100, for time; it takes any number."""
    whole = vx.load_model("transnetv2")
    return vx.Classifier(whole.net, replace(whole.settings, clip_length=40))


NETWORKS = {
    **{name: small(name) for name in train_small.NETWORKS},
    "efficientnet-lite1": Network(lambda _: vx.load_model("efficientnet-lite1"), photograph),
    "efficientnet-lite2": Network(lambda _: vx.load_model("efficientnet-lite2"), photograph),
    "transnetv2": Network(transnet, joined_films, reference=500),
}


class Item:
    """A subject, cut into supervoxels, under the fill that is chosen for it."""

    def __init__(self, subject: Subject, reference: int) -> None:
        self.subject, self.samples = subject, reference
        model, clip = subject.model, subject.clip
        self.x = model.prepare(clip)
        frames = model.pictures(model.geometry(clip.size).apply(clip.frames))
        self.labels = segment(frames, subject.segmentation)
        self.count = int(self.labels.max()) + 1
        self.model = model.asking(subject.question, self.x)
        probabilities = self.model.predict(self.x)[0]
        target = subject.question.target
        self.aim = Aim(int(probabilities.argmax()) if target is None else target, task=model.answers.task)
        self.probability = float(probabilities[self.aim.target])
        self.question = Question(target=self.aim.target, frame=subject.question.frame)
        labels = torch.from_numpy(self.labels)
        start = time.process_time()
        self.choice = choose_fill(self.model, self.x[0], labels, self.count, self.aim)
        self.choosing = time.process_time() - start
        self.masked = MaskedClip(self.model, self.x[0], labels, self.count, self.aim, fill=self.choice.fill)

    def seed(self, purpose: str) -> int:
        words = f"{self.subject.model.name}/{self.subject.name}/{purpose}"
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")

    def draw(self, purpose: str) -> tuple[torch.Tensor, torch.Tensor, float]:
        """LIME's masks, the log-odds under them, and seconds a mask."""
        generator = torch.Generator().manual_seed(self.seed(purpose))
        masks = torch.randint(0, 2, (self.samples, self.count), generator=generator)
        masks[0] = 1
        start = time.process_time()
        values = self.masked.values(masks.to(self.x), score="log-odds")
        return masks, values, (time.process_time() - start) / self.samples

    @cached_property
    def reference(self) -> np.ndarray:
        masks, values, _ = self.draw("reference")
        return lime_coefficients(masks, values).numpy()

    def scored(self) -> Iterator[tuple[str, np.ndarray, float]]:
        """Every row's scores and its seconds."""
        start = time.process_time()
        self.masked.gradient(torch.ones(1, self.count).to(self.x), score="log-odds")
        self.one_pass = time.process_time() - start
        masks, values, each = self.draw("lime")
        for samples in LIME:
            if samples <= self.samples:
                for row, y in (("lime", values), ("lime-probability", values.sigmoid())):
                    scores = lime_coefficients(masks[:samples], y[:samples]).numpy()
                    yield f"{row}-{samples}", scores, each * samples
        methods: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in ONE_PASS}
        is_clip = self.x.shape[2] > 1
        for passes in PASSES[:-1] if is_clip else PASSES:  # of clips not the most, for time
            options = {"passes": passes, "fill": self.choice.fill, "seed": self.seed("passes")}
            options["mask_sampling"] = "secants"
            methods[f"region-gradient-{passes}"] = ("region-gradient", options)
            if is_clip:  # of images none are measured in any case
                chords = {**options, "refine_top": 0}
                methods[f"region-gradient-{passes}, none measured"] = ("region-gradient", chords)
                tangents = {**chords, "mask_sampling": "arcsine"}
                methods[f"region-gradient-{passes}, tangents"] = ("region-gradient", tangents)
        for row, (method, options) in methods.items():
            start = time.process_time()
            try:
                explanation = vx.explain(
                    self.subject.model,
                    self.subject.clip,
                    method,
                    self.question,
                    labels=self.labels,
                    **options,
                )
            except vx.VidexplainError:  # a method that this network cannot serve
                continue
            yield row, explanation.scores.astype(np.float64), time.process_time() - start

    def line(self) -> dict[str, Any]:
        rows = {}
        for row, scores, seconds in self.scored():
            order = best_first(scores)
            insertion, deletion = (
                area_under_curve(self.masked, order, insertion=kind, steps=STEPS) for kind in (True, False)
            )
            rows[row] = {
                **agreement(scores, self.reference),
                "overlap": shared_first(scores, self.reference),
                "gain": insertion - deletion,
                "seconds": seconds,
            }
        return {
            "item": self.subject.name,
            "K": self.count,
            "probability": self.probability,
            "fill": self.choice.fill,
            "moved": self.choice.moved,
            "choosing": self.choosing,
            "choosing_passes": self.choice.passes,
            "pass": self.one_pass,
            "reference": self.samples,
            "reference_scores": self.reference.tolist(),
            "rows": rows,
        }


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    args.folder.mkdir(parents=True, exist_ok=True)
    wanted = {name: int(count or 40) for name, _, count in (part.partition(":") for part in args.networks)}
    turns = sorted((index / count, name, index) for name, count in wanted.items() for index in range(count))
    models: dict[str, vx.Classifier] = {}
    for _, name, index in turns:
        path = args.folder / f"{name}{'' if args.seed == 1 else f'-{args.seed}'}.jsonl"
        if index in {line["index"] for line in read(path)}:
            continue
        network = NETWORKS[name]
        if name not in models:
            models[name] = network.load(args)
        subject = network.subject(models[name], args, index)
        line = {"index": index, **(Item(subject, network.reference).line() if subject else {})}
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(name, index, "done" if subject else "left out: the network does not see it", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def table(args: argparse.Namespace) -> None:
    for path in sorted(args.folder.glob("*.jsonl")):
        lines = [line for line in read(path) if "rows" in line]
        if not lines:
            continue
        fills = {fill: sum(line["fill"] == fill for line in lines) for fill in {x["fill"] for x in lines}}
        unit = np.median([line["pass"] for line in lines])
        choosing = np.median([line["choosing"] / line["pass"] for line in lines])
        print(
            f"\n## {path.stem}\n\n{len(lines)} items, median {np.median([x['K'] for x in lines]):.0f} supervoxels, "
            f"fills {fills}, reference LIME-{lines[0]['reference']}; one pass {unit:.3g} s, "
            f"choosing the fill {choosing:.1f} passes\n"
        )
        print("| | passes' time | " + " | ".join(MEASURES) + " |\n|---|---|" + "---|" * len(MEASURES))
        for row in dict.fromkeys(row for line in lines for row in line["rows"]):
            found = [line["rows"][row] for line in lines if row in line["rows"]]
            if 2 * len(found) < len(lines):  # rows that came later
                continue
            cost = np.median([x["rows"][row]["seconds"] / x["pass"] for x in lines if row in x["rows"]])
            print(
                f"| {row} | {cost:.1f} | " + " | ".join(cell([f[m] for f in found]) for m in MEASURES) + " |"
            )
        print("\n| difference | " + " | ".join(MEASURES) + " |\n|---|" + "---|" * len(MEASURES))
        for pair in args.differences:
            first, second = pair.split("/")
            both = [line["rows"] for line in lines if {first, second} <= set(line["rows"])]
            if 2 * len(both) >= len(lines):
                cells = (cell([rows[first][m] - rows[second][m] for rows in both], "+") for m in MEASURES)
                print(f"| {first} - {second} | " + " | ".join(cells) + " |")


def curve(lines: list[dict[str, Any]], rows: list[str], measure: str) -> tuple[list[float], list[float]]:
    """Of each row its time, in passes, and its mean."""
    times = [float(np.median([x["rows"][row]["seconds"] / x["pass"] for x in lines])) for row in rows]
    return times, [float(np.mean([x["rows"][row][measure] for x in lines])) for row in rows]


def picture(args: argparse.Namespace) -> None:
    """A column a network: agreement with the reference against time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    networks = {path.stem: read(path) for path in sorted(args.folder.glob("*.jsonl"))}
    networks = {
        name: lines for name, all_ in networks.items() if len(lines := [x for x in all_ if "rows" in x]) > 1
    }
    measures = {"overlap": "overlap of the first five", "rank": "rank correlation"}
    figure, axes = plt.subplots(
        len(measures), len(networks), figsize=(2.6 * len(networks), 5.6), sharex=True, sharey="row"
    )
    for column, (name, lines) in enumerate(networks.items()):
        there = {row for line in lines for row in line["rows"]}
        suited = ", tangents" if name.startswith("transformer") else ", none measured"
        ending = suited if f"region-gradient-1{suited}" in there else ""  # as `method="auto"` takes them
        kinds = {  # colours of Okabe and Ito, and marks, so that colour does not tell alone
            "region-gradient, 1 to 32 passes": (
                [row for n in PASSES if (row := f"region-gradient-{n}{ending}") in there],
                "#0072B2",
                "o-",
            ),
            "LIME, 100 to 1000 samples": (
                [row for n in LIME if (row := f"lime-{n}") in there],
                "#D55E00",
                "s-",
            ),
            "guided": (["guided"] if "guided" in there else [], "#009E73", "^"),
            "vanilla": (["vanilla"], "#000000", "x"),
        }
        for ax, measure in zip(axes[:, column], measures, strict=True):
            for label, (rows, colour, mark) in kinds.items():
                whole = [x for x in lines if set(rows) <= set(x["rows"])]
                ax.plot(*curve(whole, rows, measure), mark, color=colour, label=label, markersize=5)
            ax.set_xscale("log")
            ax.grid(alpha=0.3)
        axes[0, column].set_title(f"{name}, {len(lines)}", fontsize=10)
        axes[-1, column].set_xlabel("time, in passes")
    for ax, label in zip(axes[:, 0], measures.values(), strict=True):
        ax.set_ylabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(kinds), frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(args.picture, dpi=110)


def cell(values: list[float], sign: str = "") -> str:
    """The mean and its 95% bootstrap interval."""
    found = bootstrap(values)
    return f"{found.mean:{sign}.2f} ({found.low:{sign}.2f} to {found.high:{sign}.2f})"


DIFFERENCES = (
    "region-gradient-1/vanilla",
    "region-gradient-1/guided",
    "region-gradient-2/guided",
    "region-gradient-4/guided",
    "region-gradient-8, tangents/region-gradient-8, none measured",
    "region-gradient-16, tangents/region-gradient-16, none measured",
    "region-gradient-4, tangents/lime-100",
    "region-gradient-8, tangents/lime-100",
    "region-gradient-8, tangents/lime-500",
    "region-gradient-16, tangents/lime-500",
    "region-gradient-8/lime-100",
    "region-gradient-8/lime-500",
    "region-gradient-8, none measured/lime-100",
    "region-gradient-8, none measured/lime-500",
    "region-gradient-16/lime-500",
    "region-gradient-16, none measured/lime-500",
    "region-gradient-32/lime-500",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", metavar="NAME[:ITEMS]", default=list(NETWORKS))
    parser.add_argument("--weights", type=Path, help="folder of the trained networks")
    parser.add_argument("--seed", type=int, default=1, help="of the trained networks")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--films", type=Path)
    parser.add_argument("--table", action="store_true", help="print what is there")
    parser.add_argument("--picture", type=Path, help="draw what is there")
    parser.add_argument("--differences", nargs="+", metavar="ROW/ROW", default=DIFFERENCES)
    args = parser.parse_args()
    if args.picture:
        picture(args)
    elif args.table:
        table(args)
    else:
        run(args)


if __name__ == "__main__":
    main()
