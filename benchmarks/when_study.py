"""How well `vx.when` tells when something happened, on generated clips and the bundled network.

    python benchmarks/when_study.py values --clips 30
    python benchmarks/when_study.py peaks --clips 200

`values` compares its scores with exact Shapley values of 8 parts, from all 256 sets of them; `peaks` looks whether the
highest part lies where the object moves, on clips whose object moves only in a part of the time and which the network
is right about, with a random part and a random stretch of the same length beside it. Clips that it was tuned on have
other seeds than those here.
"""

from __future__ import annotations

import argparse
import itertools
import math

import numpy as np
import torch

import videxplain as vx
from videxplain.synthetic import moving_objects

PARTS, FRAMES = 8, 16
FIRST = {"values": 6000, "peaks": 7000}


def exact_values(model: vx.Classifier, frames: np.ndarray, target: int) -> np.ndarray:
    """Shapley values (8,) of the log-odds, by all sets of parts; hidden parts fade from the frame before to the one
    behind."""
    x = model.prepare(frames)[0]
    length = FRAMES // PARTS
    beside = x.clone()
    for part in range(PARTS):
        begin, end = part * length, (part + 1) * length
        before, behind = x[:, begin - 1 if part else end], x[:, end if end < FRAMES else begin - 1]
        for t in range(begin, end):
            share = (t - begin + 1) / (length + 1)
            beside[:, t] = (1 - share) * before + share * behind
    sets = np.array(list(itertools.product([0, 1], repeat=PARTS)))
    shown = torch.tensor(sets.repeat(length, axis=1), dtype=x.dtype)
    logits = []
    with torch.no_grad():
        for some in shown.split(16):
            z = some[:, None, :, None, None]
            logits.append(model.frame_logits(z * x + (1 - z) * beside)[:, 0].double())
    scores = torch.cat(logits)
    others = torch.cat([scores[:, :target], scores[:, target + 1 :]], dim=1)
    values = (scores[:, target] - others.logsumexp(dim=1)).numpy()
    shapley = np.zeros(PARTS)
    for k in range(PARTS):
        size = sets.sum(axis=1) - sets[:, k]
        weights = np.array([1 / (PARTS * math.comb(PARTS - 1, int(n))) for n in size])
        shapley[k] = (weights * (2 * sets[:, k] - 1) * values).sum()
    return shapley


def values(model: vx.Classifier, clips: int, first: int) -> None:
    exact, scores = [], {"in turn": [], "centred": []}
    for seed in range(first, first + clips):
        frames = moving_objects.generate(seed).frames
        curve = vx.when(model, frames, parts=PARTS)
        scores["in turn"].append(curve.scores)
        centred = vx.RegionGradient(passes=8, mask_sampling="centred", fill="neighbours")
        scores["centred"].append(vx.when(model, frames, parts=PARTS, method=centred).scores)
        exact.append(exact_values(model, frames, curve.target))
        for name, some in scores.items():
            print(f"{seed} {name}", _agreement(np.array(exact), np.array(some)), flush=True)


def _agreement(exact: np.ndarray, scores: np.ndarray) -> str:
    each = np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(exact, scores, strict=True)])
    uneven = exact.std(axis=1) > 0.5 * np.abs(exact).mean(axis=1)
    error = np.linalg.norm(scores - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return (
        f"clips {len(each)}: correlation of all values {np.corrcoef(exact.ravel(), scores.ravel())[0, 1]:.3f}, "
        f"of each clip's mean {each.mean():.3f} median {np.median(each):.3f} least {each.min():.2f}, "
        f"mean without even clips ({uneven.sum()}) {each[uneven].mean():.3f}; error {error.mean():.3f}"
    )


def peaks(model: vx.Classifier, clips: int, first: int) -> None:
    rng = np.random.default_rng(0)
    rows: list[tuple[float, ...]] = []
    seed = first
    while len(rows) < clips:
        length = int(rng.integers(4, 9))
        begin = int(rng.integers(0, FRAMES - length))
        clip = moving_objects.generate(seed, interval=(begin, begin + length))
        seed += 1
        curve = vx.when(model, clip.frames)
        if curve.target != clip.label:
            continue
        best = curve.best()
        peak = int(np.abs(curve.scores).argmax())
        truth = clip.moves
        found = np.zeros(FRAMES, bool)
        if best is not None:
            found[best.first : best.last + 1] = True
        start = int(rng.integers(0, FRAMES - found.sum() + 1))
        random = np.roll(np.arange(FRAMES) < found.sum(), start)
        rows.append((truth[peak], _overlap(found, truth), truth.mean(), _overlap(random, truth)))
        hit, iou, chance, random_iou = np.array(rows, float).mean(axis=0)
        good = (np.array(rows, float)[:, 1] >= 0.6).mean()
        print(
            f"{seed} clips {len(rows)} of {seed - first}: peak inside {hit:.3f} (random {chance:.3f}), IoU mean "
            f"{iou:.3f} (random {random_iou:.3f}), at least .6 in {good:.3f}",
            flush=True,
        )


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=list(FIRST))
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--first", type=int, help="seed of the first clip")
    args = parser.parse_args()
    first = FIRST[args.study] if args.first is None else args.first
    study = {"values": values, "peaks": peaks}[args.study]
    study(vx.load_model("c3d-motion"), args.clips, first)


if __name__ == "__main__":
    main()
