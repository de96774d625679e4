"""The files of an explanation: what they have to hold, and writing them whole or not at all."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videxplain.clip import Geometry

MANIFEST, ARRAYS = "manifest.json", "arrays.npz"


def check_headers(
    headers: Mapping[str, tuple[tuple[int, ...], np.dtype]], geometry: Geometry, length: int
) -> None:
    """Raises ValueError unless arrays of these shapes and types make an explanation, before they are read."""
    (labels, ids), (scores, floats), (frames, bytes_) = (
        headers[name] for name in ("labels", "scores", "frames")
    )
    if not length or labels != (length, *geometry.network) or ids.kind not in "iu":
        raise ValueError(
            f"labels of {ids} {labels} are not of {length} frames on the grid {geometry.network}"
        )
    # frames are the source's, or those that came at the network's size, of which labels may be a finer grid
    size = frames[1:3]
    fits = size == geometry.source or (
        len(size) == 2
        and min(size) > 0
        and geometry.network == tuple(geometry.network[0] // size[0] * n for n in size)
    )
    if frames != (length, *size, 3) or not fits or bytes_ != np.uint8:
        raise ValueError(f"frames of {bytes_} {frames} are not {length} of the size {geometry.source}")
    if len(scores) != 1 or floats.kind != "f":
        raise ValueError(f"scores of {floats} {scores} are not one for each supervoxel")
    errors, floats = headers.get("standard_error", (scores, floats))
    if errors != scores or floats.kind != "f":
        raise ValueError(f"standard_error of {floats} {errors} is not one for each supervoxel")
    by_input, floats = headers.get("input_scores", ((1, *scores), floats))
    if len(by_input) != 2 or by_input[1:] != scores or floats.kind != "f":
        raise ValueError(f"input_scores of {floats} {by_input} are not one for each supervoxel of each input")
    parents, whole = headers.get("parents", ((2 * scores[0] - 1,), np.dtype(np.int32)))
    if parents != (2 * scores[0] - 1,) or whole != np.int32:
        raise ValueError(f"parents of {whole} {parents} are not a tree's over the supervoxels")
    for name, axes in (("dense", 4), ("cam", 3)):
        shape, dtype = headers.get(name, ((1,) * axes, np.dtype(np.float32)))
        if len(shape) != axes or 0 in shape or dtype.kind != "f":
            raise ValueError(f"{name} of {dtype} {shape} is no map of scores")


def check_values(arrays: dict[str, np.ndarray]) -> None:
    labels, scores = arrays["labels"], arrays["scores"]
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high != len(scores) - 1:
        raise ValueError(f"labels run from {low} to {high}, and there are {len(scores)} scores")
    if not np.bincount(labels.ravel().astype(np.int64), minlength=len(scores)).all():
        raise ValueError("some supervoxels have no voxel")
    for name in ("scores", "dense", "cam", "input_scores"):
        if name in arrays and not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} hold values that are no finite numbers")
    if "standard_error" in arrays and not (arrays["standard_error"] >= 0).all():
        raise ValueError("standard_error holds values that are no errors")


def check_manifest(manifest: dict[str, Any], length: int) -> None:
    def number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

    kinds = {"method": str, "target_name": str, "settings": dict, "target": int, "held": int}
    wrong = [name for name, kind in kinds.items() if not isinstance(manifest[name], kind)]
    wrong += [name for name in ("probability",) if not number(manifest[name])]
    if not all(isinstance(name, str) and number(p) for name, p in manifest["predictions"]):
        wrong.append("predictions")
    if not all(isinstance(name, str) for name in manifest.get("inputs", [])):
        wrong.append("inputs")
    if not wrong and not 0 <= manifest["held"] < length:
        wrong.append("held")
    if wrong:
        raise ValueError(f"its manifest says nothing that can be used of {' and '.join(wrong)}")


def replace_folder(folder: Path, manifest: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes both files beside `folder` and moves them in, so that a reader sees the old ones or the new ones."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (scratch / MANIFEST).write_text(manifest)
        with open(scratch / ARRAYS, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        folder.mkdir(exist_ok=True)
        for name in (ARRAYS, MANIFEST):
            os.replace(scratch / name, folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
