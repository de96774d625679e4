r"""How small the sets of `vx.evidence` are, and what they cost, beside those of greedy search.

    python benchmarks/evidence_study.py FOLDER --rows c3d-motion-80:50 c3d-motion-200:50
    python benchmarks/evidence_study.py FOLDER --rows efficientnet-lite0-80:50 efficientnet-lite0-200:50 \
        --photographs PHOTOGRAPHS
    python benchmarks/evidence_study.py FOLDER --table

Appends a line of JSON per item to FOLDER/ROW.jsonl, and goes on where it stopped; items of the rows take turns. A row
is a network and how many supervoxels are asked of SLIC. Clips are generated from seed 8000 on, photographs come sorted
by name.

Greedy search measures all candidates in each step: it shows the supervoxel that brings the class furthest ahead, until
the class comes first ("keeps"), or hides the one that sets it back most, until it does not ("destroys"). It stops
at the size of the set that `vx.evidence` found, where it has not got there yet: then its set would be larger, and its
passes are more than are told. All is under one fill, for greedy search under four would take days. Passes of
`vx.evidence` are those of both sides, of its scores, and of the last check. Each set that it calls verified is verified
again as `verify_evidence.py` does it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from verify_evidence import does

import videxplain as vx
from videxplain.evaluation.summary import bootstrap
from videxplain.explanations.evidence_search import Lead
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Segmentation
from videxplain.synthetic import moving_objects

FIRST_SEED = 8000
SIDES = ("keeps", "destroys")


def greedy(clip: MaskedClip, side: str, limit: int) -> tuple[list[int], bool, int]:
    """The set of greedy search, of `limit` supervoxels at most, whether it holds, and how many passes it took."""
    chosen: list[int] = []
    passes = 0
    shows = side == "keeps"
    while len(chosen) < limit:
        others = [k for k in range(clip.num_segments) if k not in chosen]
        masks = torch.full((len(others), clip.num_segments), float(not shows))
        masks[:, chosen] = float(shows)
        masks[range(len(others)), others] = float(shows)
        leads = clip.values(masks.to(clip.x), score="log-odds")
        passes += len(others)
        margins = leads if shows else -leads
        best = int(margins.argmax())
        chosen.append(others[best])
        if margins[best] > 0:
            return chosen, True, passes
    return chosen, not limit, passes  # where none are needed, there is nothing to search for


def line(model: vx.Classifier, clip: vx.Clip, count: int, fill: str) -> dict[str, Any]:
    start = time.process_time()
    try:
        found = vx.evidence(model, clip, [fill], segmentation=Segmentation(name="slic", n_segments=count))
    except vx.VidexplainError as error:
        return {"left_out": str(error)}
    result: dict[str, Any] = {
        "K": found.explanation.num_segments,
        "passes": found.passes,
        "seconds": time.process_time() - start,
        "greedy_passes": 0,
    }
    x = model.prepare(clip)[0]
    labels = torch.from_numpy(found.explanation.labels)
    lead = Lead(found.explanation.target, task=model.answers.task)
    masked = MaskedClip(model, x, labels, result["K"], lead, fill=fill)
    start = time.process_time()
    for side in SIDES:
        part = getattr(found, side)
        if part is None:
            continue
        chosen, holds, passes = greedy(masked, side, len(part))
        result["greedy_passes"] += passes
        result[side] = {
            "size": len(part),
            "greedy": len(chosen) if holds else None,
            "claimed": part.verified,
            "verified": does(model, found, part.ids, side, x.numpy())[fill],
        }
    result["greedy_seconds"] = time.process_time() - start
    return result


def subject(name: str, index: int, photographs: Path | None) -> vx.Clip:
    if name == "c3d-motion":
        return vx.Clip.from_array(moving_objects.generate(FIRST_SEED + index).frames)
    if photographs is None:
        raise SystemExit(f"{name} needs --photographs")
    paths = sorted(p for p in photographs.iterdir() if p.suffix.lower() in (".jpeg", ".jpg", ".png"))
    return vx.Clip.from_image(paths[index])


def run(args: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    args.folder.mkdir(parents=True, exist_ok=True)
    wanted = {row: int(count) for row, count in (part.split(":") for part in args.rows)}
    turns = sorted((index / items, row, index) for row, items in wanted.items() for index in range(items))
    models: dict[str, vx.Classifier] = {}
    for _, row, index in turns:
        path = args.folder / f"{row}.jsonl"
        if index in {item["index"] for item in read(path)}:
            continue
        name, _, count = row.rpartition("-")
        if name not in models:
            models[name] = vx.load_model(name)
        item = {"index": index, "fill": args.fill}
        item |= line(models[name], subject(name, index, args.photographs), int(count), args.fill)
        with path.open("a") as file:
            file.write(json.dumps(item) + "\n")
        print(row, item, flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()] if path.exists() else []


def table(args: argparse.Namespace) -> None:
    print("| | items | K | side | size | greedy's | at most greedy's | larger by | verified again |")
    print("|---|---|---|---|---|---|---|---|---|")
    costs = []
    for path in sorted(args.folder.glob("*.jsonl")):
        items = [item for item in read(path) if "K" in item]
        if not items:
            continue
        for side in SIDES:
            sets = [item[side] for item in items if side in item]
            sizes = [s["size"] for s in sets]
            others = [s["size"] + 1 if s["greedy"] is None else s["greedy"] for s in sets]
            smaller = [a - b for a, b in zip(sizes, others, strict=True)]
            over = [n for n in smaller if n > 0]
            claimed = [s for s in sets if s["claimed"]]
            print(
                f"| {path.stem} | {len(sets)} | {np.median([i['K'] for i in items]):.0f} | {side} | "
                f"{np.mean(sizes):.1f} | {np.mean(others):.1f} | {len(smaller) - len(over)} of {len(sets)} | "
                f"{max(over, default=0)} | {sum(s['verified'] for s in claimed)} of {len(claimed)} |"
            )
        shares = [i["passes"] / i["greedy_passes"] for i in items if i["greedy_passes"]]
        ratio = bootstrap(shares)
        total = sum(i["passes"] for i in items) / sum(i["greedy_passes"] for i in items)
        costs.append(
            f"| {path.stem} | {np.mean([i['passes'] for i in items]):.0f} | "
            f"{np.mean([i['greedy_passes'] for i in items]):.0f} | {total:.3f} | "
            f"{ratio.mean:.2f} ({ratio.low:.2f} to {ratio.high:.2f}) | "
            f"{sum(s <= 0.1 for s in shares)} of {len(shares)} | "
            f"{np.mean([i['seconds'] for i in items]):.1f} | {np.mean([i['greedy_seconds'] for i in items]):.1f} |"
        )
    print(
        "\n| | passes | greedy's | of all together | share, mean of items | a tenth or less | s | greedy's s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(costs))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--rows", nargs="+", metavar="NETWORK-SUPERVOXELS:ITEMS", default=["c3d-motion-80:50"]
    )
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--fill", default="grey")
    parser.add_argument("--table", action="store_true", help="print what is there")
    args = parser.parse_args()
    table(args) if args.table else run(args)


if __name__ == "__main__":
    main()
