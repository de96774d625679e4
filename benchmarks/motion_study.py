"""The static-bias index of TransNetV2, a trained network, on film: `evaluate motion` for an answer of one frame.

    python benchmarks/motion_study.py FILMS --items 20

A clip is 40 frames of two films, one after the other, and the question is the answer at their joint; joints that the
network does not see are left out. Prints a line an item, and for each change the mean of the index with its interval of
95% by bootstrap. That of a bundled network: `videxplain evaluate motion --model c3d-motion`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from judged_study import NETWORKS, joined_films

from videxplain.attribution.query import Query
from videxplain.evaluation.summary import bootstrap
from videxplain.explanations.motion import CHANGES, HIDDEN, share_of, whole_clip_losses


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("films", type=Path)
    parser.add_argument("--items", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = NETWORKS["transnetv2"].load(args)
    changes = [change for change in CHANGES if change != HIDDEN]
    found: dict[str, list[float]] = {change: [] for change in changes}
    stays: dict[str, list[float]] = {change: [] for change in changes}
    for index in range(args.items):
        subject = joined_films(model, args, index)
        if subject is None:
            print(index, "left out: the network does not see the joint", flush=True)
            continue
        x = model.prepare(subject.clip)
        labels = torch.zeros(1, *x.shape[2:], dtype=torch.int32)
        losses = whole_clip_losses(Query(model, x, labels, 1, subject.question), "log-odds")
        for change in changes:
            found[change].append(1 - share_of(losses, change))
            stays[change].append(losses[change].stays)
        print(index, {change: round(values[-1], 3) for change, values in found.items()}, flush=True)
    for change in changes:
        index_of = bootstrap([value for value in found[change] if np.isfinite(value)])
        print(
            f"{change}: static bias {index_of.mean:.2f} ({index_of.low:.2f} to {index_of.high:.2f}), "
            f"the answer stays in {np.mean(stays[change]):.0%} of {len(stays[change])}"
        )


if __name__ == "__main__":
    main()
