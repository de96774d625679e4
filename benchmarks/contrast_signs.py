"""Do scores of one class against another have the right sign? Clips of two objects, each deciding for its class.

    python benchmarks/contrast_signs.py [CLIPS [NETWORK]]

Two networks: `colours`, trained here in half a minute to tell the colour of a moving object, and the bundled
`c3d-motion`. Asked is the class of the first object against that of the second. Of the five supervoxels with the
largest scores, those that lie by half on one object should have its sign: plus on the first, minus on the second.
Clips count in which the network is decided by each object: where an object loses its colour, or stands still, the
log-odds move away from its class. Means over clips with bootstrap intervals of 95%:

- right: of those on an object, the part that has its sign.
- on an object: the part of the five.
- as hidden: of all five, the part whose sign is that of what hiding it alone does (`occlusion`).
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

import videxplain as vx
from videxplain.evaluation.summary import bootstrap
from videxplain.synthetic.moving_objects import generate, generate_pair

FRAMES, SIDE, TOP = 8, 64, 5
COLOURS = {"red": (1, 0.2, 0.2), "green": (0.2, 1, 0.2), "blue": (0.3, 0.3, 1), "yellow": (1, 1, 0.2)}
PIXEL_METHODS: tuple[vx.Method, ...] = (
    vx.Vanilla(),
    vx.Guided(),
    vx.InputXGradient(),
    vx.GradCam(),
    vx.GuidedGradCam(),
    vx.IntegratedGradients(steps=8),
)


def methods(fill: str) -> dict[str, vx.Method]:
    """By name. A fill has to take away what decides: a supervoxel of its own mean colour still has its colour."""
    masking = (
        vx.RegionGradient(fill=fill),
        vx.Occlusion(fill=fill),
        vx.Lime(samples=100, fill=fill),
        vx.KernelShap(samples=100, fill=fill),
    )
    return {method.name: method for method in (*PIXEL_METHODS, *masking, vx.Random())}


def coloured(frames: np.ndarray, masks: np.ndarray, colours: list[tuple[float, ...] | None]) -> np.ndarray:
    """Grey frames in which each object has its colour."""
    painted = frames.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    for mask, colour in zip(masks, colours, strict=True):
        if colour is not None:
            painted[mask] *= colour
    return painted.astype(np.uint8)


class Colours(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
            nn.Conv3d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(16, len(COLOURS)),
        )


def train_colours(steps: int = 300, batch: int = 16) -> vx.Classifier:
    """The network, trained on clips of one object; says how often it is right on others."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = vx.Classifier(
        Colours(), name="colours", clip_length=FRAMES, size=(SIDE, SIDE), class_names=list(COLOURS)
    )
    clips = [generate(seed, frames=FRAMES, size=SIDE) for seed in range(240)]
    values = list(COLOURS.values())
    optimiser = torch.optim.Adam(model.net.parameters(), 0.01)

    def drawn(pool: list) -> tuple[torch.Tensor, torch.Tensor]:
        chosen, classes = rng.integers(len(pool), size=batch), rng.integers(len(values), size=batch)
        frames = [
            coloured(pool[i].frames, pool[i].mask[None], [values[c]])
            for i, c in zip(chosen, classes, strict=True)
        ]
        return model.prepare(frames), torch.from_numpy(classes)

    for _ in range(steps):
        x, classes = drawn(clips[:200])
        loss = nn.functional.cross_entropy(model.net(x), classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        tried = [
            (model.net(x).argmax(1) == y).float().mean() for x, y in (drawn(clips[200:]) for _ in range(10))
        ]
    print(f"colours: {float(torch.stack(tried).mean()):.1%} right on clips of one object")
    return model


def colour_clips(count: int, first: int) -> Iterator[tuple[list[np.ndarray], np.ndarray, tuple[int, int]]]:
    """Clips as they are and with one object grey; masks; classes."""
    values = list(COLOURS.values())
    for seed in range(first, first + count):
        pair = generate_pair(seed, frames=FRAMES, size=SIDE)
        a, b = np.random.default_rng(seed).choice(len(values), 2, replace=False).tolist()
        paints = [values[a], values[b]], [None, values[b]], [values[a], None]
        yield [coloured(pair.frames, pair.masks, list(paint)) for paint in paints], pair.masks, (a, b)


def motion_clips(count: int, first: int) -> Iterator[tuple[list[np.ndarray], np.ndarray, tuple[int, int]]]:
    """Clips as they are and with one object at rest; masks; classes."""
    for seed in range(first, first + count):
        pair = generate_pair(seed)
        yield [pair.frames, *pair.stopped], pair.masks, pair.labels


def measure(model: vx.Classifier, clips: Iterator, segments: int, fill: str) -> Iterator[dict]:
    """A row for each clip and method."""
    for number, (versions, masks, (a, b)) in enumerate(clips):
        with torch.no_grad():
            logits = model.logits(model.prepare(versions))
        whole, without_a, without_b = (logits[:, a] - logits[:, b]).tolist()
        if not without_a < whole < without_b:
            yield {"model": model.name, "clip": number, "decided": False}
            continue
        labels = vx.segment(versions[0], n_segments=segments)
        sizes = np.bincount(labels.ravel())
        shares = np.stack([np.bincount(labels[mask], minlength=len(sizes)) / sizes for mask in masks])
        object_signs = np.where(shares.max(0) >= 0.5, np.where(shares[0] > shares[1], 1, -1), 0)
        scores = {
            name: vx.explain(model, versions[0], method, a, against=b, labels=labels).scores
            for name, method in methods(fill).items()
        }
        for name, values in scores.items():
            top = np.argsort(-abs(values), kind="stable")[:TOP]
            on = top[object_signs[top] != 0]
            yield {
                "model": model.name,
                "clip": number,
                "decided": True,
                "method": name,
                "right": float((np.sign(values[on]) == object_signs[on]).mean()) if len(on) else None,
                "on an object": len(on) / len(top),
                "as hidden": float((np.sign(values[top]) == np.sign(scores["occlusion"][top])).mean()),
            }


NETWORKS = {
    "colours": (train_colours, colour_clips, 60, "grey"),
    "c3d-motion": (lambda: vx.load_model("c3d-motion"), motion_clips, 100, "mean"),
}
COLUMNS = ("right", "on an object", "as hidden")


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    warnings.simplefilter("ignore", vx.VidexplainWarning)
    for name in sys.argv[2:] or NETWORKS:
        make, clips_of, segments, fill = NETWORKS[name]
        rows = []
        with Path(f"contrast-signs-{name}.jsonl").open("w") as file:
            for row in measure(make(), clips_of(count, 0), segments, fill):
                rows.append(row)
                file.write(json.dumps(row) + "\n")
                file.flush()
        decided = {row["clip"] for row in rows if row["decided"]}
        print(f"\n{name}: {len(decided)} of {count} clips are decided by both objects\n")
        print(f"| method | {' | '.join(COLUMNS)} |\n|---|---|---|---|")
        for method in methods(fill):
            cells = []
            for column in COLUMNS:
                values = [row[column] for row in rows if row.get("method") == method]
                mean = bootstrap([value for value in values if value is not None])
                cells.append(f"{mean.mean:.1%} ({mean.low:.1%} to {mean.high:.1%})")
            print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
