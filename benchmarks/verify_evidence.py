"""Verifies sets of `vx.evidence` again, by a script that knows nothing of the search or of the package's fills.

    python benchmarks/verify_evidence.py --clips 10

Clips are composed here, in NumPy and SciPy, from the network's input, the supervoxels and the ids of a set; only the
network's prediction is asked. Prints one line a clip and how many sets called verified are verified again.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d, mean

import videxplain as vx
from videxplain.synthetic import moving_objects


def fills(x: np.ndarray, labels: np.ndarray, grey: np.ndarray) -> dict[str, np.ndarray]:
    """What hides a supervoxel of x (C, T, H, W)."""
    ids = np.arange(labels.max() + 1)
    sigma = min(x.shape[2:]) / 8
    radius = min(int(3 * sigma), min(x.shape[2:]) - 1)
    blurred = x
    for axis in (2, 3):
        blurred = gaussian_filter1d(blurred, sigma, axis=axis, mode="mirror", radius=radius)
    return {
        "mean": np.stack([mean(channel.astype(np.float64), labels, ids)[labels] for channel in x]),
        "grey": np.broadcast_to(grey[:, None, None, None], x.shape),
        "blur": blurred,
        "still": np.broadcast_to(x.mean(axis=1, keepdims=True), x.shape),
    }


def does(
    model: vx.Classifier, found: vx.Evidence, ids: tuple[int, ...], side: str, x: np.ndarray
) -> dict[str, bool]:
    """By fill, whether the class stays where the set alone is shown, or goes where it alone is hidden."""
    labels = found.explanation.labels
    inside = np.isin(labels, ids)
    shown = inside if side == "keeps" else ~inside
    grey = (0.5 - np.asarray(model.mean)) / np.asarray(model.std)
    result = {}
    for name, fill in fills(x, labels, grey).items():
        clip = torch.from_numpy(np.where(shown, x, fill).astype(np.float32))
        first = int(model.predict(clip[None])[0].argmax())
        result[name] = (first == found.explanation.target) == (side == "keeps")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--first", type=int, default=8000, help="seed of the first clip")
    parser.add_argument("--segments", type=int, default=80)
    args = parser.parse_args()
    model = vx.load_model("c3d-motion")
    claimed = again = differ = 0
    for seed in range(args.first, args.first + args.clips):
        frames = moving_objects.generate(seed).frames
        found = vx.evidence(model, frames, n_segments=args.segments)
        x = model.prepare(frames)[0].numpy()
        words = []
        for side, part in (("keeps", found.keeps), ("destroys", found.destroys)):
            if part is None:
                continue
            seen = does(model, found, part.ids, side, x)
            told = {verdict.fill: verdict.agrees for verdict in part.verdicts}
            claimed, again = claimed + part.verified, again + (part.verified and all(seen.values()))
            differ += seen != told
            words.append(f"{side} {len(part)}{'' if part.verified else ' (not verified)'}")
        print(
            f"{seed}: {', '.join(words)} of {found.explanation.num_segments}, {found.passes:.0f} passes",
            flush=True,
        )
    print(
        f"verified sets that are verified again: {again} of {claimed}; sets whose verdicts differ: {differ}"
    )


if __name__ == "__main__":
    main()
