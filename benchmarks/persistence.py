"""How well supervoxels persist from window to window, started from the last window's centres and afresh.

    python benchmarks/persistence.py VIDEO...

Persistence: mean over the regions of a window's last frame of the intersection over union with the region of the same
number in the next frame, 0 where there is none. Explained variation: share of the variance of CIELAB colours that lies
between supervoxels; mean over the windows. K: how many supervoxels a window has, in the mean.

    python benchmarks/persistence.py --objects

On generated videos, whose moving object is known: the measures of LIBSVX (`segment_quality.py`) of their windows, and
the share of the object's pixels with a number that was the object's before: in the frame before ("kept"), there across
windows only ("at borders"), and 16 frames before. A number is the object's in a frame where the object covers at least
half of its pixels. "Life": frames in which a number is the object's, as a share of all.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from segment_quality import ON_KNOWN, ON_SHAPES

from videxplain import ops
from videxplain.annotate.supervoxels import Supervoxels, overlaps
from videxplain.clip import Clip, Geometry
from videxplain.settings import Segmentation
from videxplain.synthetic.moving_objects import generate_video
from videxplain.video import open_video

LENGTH, STRIDE, SIZE = 16, 2, (112, 112)
VIDEOS = 6
CUT = Segmentation(name="slic", n_segments=200, compactness=10.0)


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
    supervoxels = Supervoxels(CUT, warm=warm)
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


def objects_numbers(numbers: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Of each frame (T, h, w), the numbers of which the object covers at least half."""
    found = []
    for frame, covered in zip(numbers, mask, strict=True):
        ids, index = np.unique(frame, return_inverse=True)
        inside = np.bincount(index.ravel(), covered.ravel())
        found.append(ids[inside >= 0.5 * np.bincount(index.ravel())])
    return found


def followed(seed: int, warm: bool) -> dict[str, float]:
    """Figures of one generated video."""
    parts = list(generate_video(seed, motions=5, frames=2 * LENGTH, size=SIZE))
    frames, mask = (
        np.concatenate([getattr(part, name) for part in parts])[::STRIDE] for name in ("frames", "mask")
    )
    supervoxels = Supervoxels(CUT, warm=warm)
    windows_numbers, quality = [], []
    for start in range(0, len(frames), LENGTH):
        own = slice(start, start + LENGTH)
        clip = Clip(frames[own], tuple(Fraction(start + t, 25) for t in range(LENGTH)), start=start)
        labels, numbers = supervoxels(clip)
        windows_numbers.append(numbers[labels])
        quality.append(
            {
                "explained variation": explained_variation(clip.frames, labels),
                "supervoxels": float(len(numbers)),
                **{name: figure(labels) for name, figure in ON_SHAPES.items()},
                **{name: figure(labels, mask[own]) for name, figure in ON_KNOWN.items()},
            }
        )
    whole = np.concatenate(windows_numbers)
    numbers = objects_numbers(whole, mask)

    def kept(lag: int, first: int = 0, step: int = 1) -> float:
        later = range(first + lag, len(whole), step)
        return float(np.mean([np.isin(whole[t][mask[t]], numbers[t - lag]).mean() for t in later]))

    seen = np.concatenate(numbers)
    _, index, frames_of = np.unique(seen, return_inverse=True, return_counts=True)
    return {
        **{name: float(np.mean([one[name] for one in quality])) for name in quality[0]},
        "kept": kept(1),
        "at borders": kept(1, LENGTH - 1, LENGTH),
        "after 16 frames": kept(LENGTH),
        "life": float(frames_of[index].mean() / len(whole)),
    }


def objects() -> None:
    for warm in (False, True):
        figures = [followed(seed, warm) for seed in range(VIDEOS)]
        print("carried" if warm else "afresh")
        for name in figures[0]:
            print(f"    {name:20s} {np.mean([one[name] for one in figures]):8.3f}")


def main() -> None:
    if sys.argv[1:] == ["--objects"]:
        return objects()
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
