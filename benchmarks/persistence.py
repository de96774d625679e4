"""How well supervoxels persist from window to window, started from the last window's centres and afresh.

    python benchmarks/persistence.py VIDEO...

Persistence: mean over the regions of a window's last frame of the intersection over union with the region of the same
number in the next frame, 0 where there is none. Explained variation: share of the variance of CIELAB colours that lies
between supervoxels; mean over the windows. K: how many supervoxels a window has, in the mean.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from videxplain import ops
from videxplain.annotate.supervoxels import Supervoxels, overlaps
from videxplain.clip import Geometry
from videxplain.settings import Segmentation
from videxplain.video import open_video

LENGTH, STRIDE, SIZE, SEGMENTS, COMPACTNESS = 16, 2, (112, 112), 200, 10.0


def windows(path: str) -> list:
    video = open_video(path)
    geometry = Geometry.fit((video.height, video.width), SIZE, "crop")
    return [
        replace(clip, frames=geometry.apply(clip.frames), geometry=geometry)
        for clip in video.clips(LENGTH, STRIDE)
        if not clip.held
    ]


def explained_variation(frames: np.ndarray, labels: np.ndarray) -> float:
    rgb = torch.from_numpy(frames.transpose(3, 0, 1, 2).copy())[None]
    lab = ops.rgb_to_lab(rgb)[0].double().numpy().reshape(3, -1)
    sizes = np.bincount(labels.ravel())
    means = np.stack([np.bincount(labels.ravel(), channel) / sizes for channel in lab])
    mean = lab.mean(axis=1, keepdims=True)
    return float((sizes * (means - mean) ** 2).sum() / ((lab - mean) ** 2).sum())


def measure(clips: list, warm: bool) -> tuple[float, float, float]:
    supervoxels = Supervoxels(
        Segmentation(name="slic", n_segments=SEGMENTS, compactness=COMPACTNESS), warm=warm
    )
    before, kept, variation, counts = None, [], [], []
    for clip in clips:
        labels, numbers = supervoxels(clip)
        variation.append(explained_variation(clip.frames, labels))
        counts.append(len(numbers))
        if before is not None:
            last, own = before
            union = overlaps(last, labels[0])
            same = own[: len(union), None] == numbers[None, : union.shape[1]]
            present = np.unique(last)
            kept.append((union * same).max(axis=1)[present].mean())
        before = labels[-1], numbers
    return float(np.mean(kept)), float(np.mean(variation)), float(np.mean(counts))


def main() -> None:
    names = "".join(
        f" {name:>8s}" for figure in ("IoU", "EV", "K") for name in (f"{figure} cold", f"{figure} warm")
    )
    print(f"{'video':22s} {'windows':>7s}{names}")
    for path in sys.argv[1:]:
        clips = windows(path)
        if len(clips) < 2:
            continue
        cold, warm = measure(clips, False), measure(clips, True)
        figures = zip(("8.3f", "8.4f", "8.0f"), cold, warm, strict=True)
        columns = "".join(f" {first:{form}} {second:{form}}" for form, first, second in figures)
        print(f"{Path(path).name:22s} {len(clips):7d}{columns}")


if __name__ == "__main__":
    main()
