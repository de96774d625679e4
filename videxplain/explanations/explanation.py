"""What an explanation is: supervoxels, their scores, and how they came about."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from videxplain.clip import Geometry
from videxplain.errors import VidexplainError, kind_of, unknown_name
from videxplain.reading import check_format, fraction, read_arrays, read_json
from videxplain.settings import Style

FORMAT_VERSION = 1
_MANIFEST, _ARRAYS = "manifest.json", "arrays.npz"


def headline(name: str, probability: float, settings: Mapping[str, object], digits: int = 0) -> str:
    """What is explained, and what the network says of it; see `Explanation.headline`."""
    said = f"{probability:.{digits}%}"
    if settings.get("task") == "regression":
        said = f"{probability:.4g}"
    frame = f" in frame {settings['frame']}" if "frame" in settings else ""
    other = f", not {settings['against']}" if "against" in settings else ""
    return f"{name}{other}{frame}  {said}"


@dataclass(frozen=True)
class Supervoxel:
    """One supervoxel of an explanation.

    Attributes
    ----------
    id
        Its value in `Explanation.labels`.
    score
        Its score; `share` is the absolute score divided by the sum of all absolute scores.
    voxels
        How many voxels it has.
    centre
        (t, y, x) centre of mass in frames and pixels of the labels' grid.
    box
        ((t0, y0, x0), (t1, y1, x1)), half-open.
    name
        The region's, where regions were given; empty otherwise.
    """

    id: int
    score: float
    share: float
    voxels: int
    centre: tuple[float, float, float]
    box: tuple[tuple[int, int, int], tuple[int, int, int]]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which supervoxels made the network decide.

    Attributes
    ----------
    labels
        (T, h, w) int32, ids 0..K-1, on the grid of `geometry`: the network's input, or one some times as fine.
    scores
        (K,) float32, one per id.
    target, target_name, probability
        The class explained and the probability the network gives it; of a regression the value.
    predictions
        The most probable classes, best first, as (name, probability).
    method, settings
        What made the scores, so that they can be made again.
    frames
        (T, H, W, 3) uint8, the source frames, or what the network's `picture` shows of them.
    times
        (T,) presentation times in seconds.
    geometry
        Maps source frames to the labels' grid and back.
    held
        How many frames at the end only repeat the last one.
    dense, cam
        (C, T, h, w) at the network's input size and (t', h', w') float32 voxel scores, where they were kept.
    standard_error
        (K,) float32, of the scores; of methods that draw masks and tell it, infinite where a single draw has told all.
    input_scores
        (K,) float32 for each input of a network with `NetworkSettings.channel_groups`, which sum to `scores`.
    """

    labels: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]
    target: int
    target_name: str
    probability: float
    predictions: list[tuple[str, float]]
    method: str
    settings: dict[str, object]
    frames: npt.NDArray[np.uint8]
    times: tuple[Fraction, ...]
    geometry: Geometry
    held: int = 0
    dense: npt.NDArray[np.float32] | None = None
    cam: npt.NDArray[np.float32] | None = None
    input_scores: dict[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    standard_error: npt.NDArray[np.float32] | None = None

    @property
    def scale(self) -> int:
        """How many times as fine as the network's input the labels' grid is."""
        scale = self.settings.get("scale", 1)
        return scale if isinstance(scale, int) else 1

    def headline(self, digits: int = 0) -> str:
        """What is explained, and what the network says of it, "javelin throw  87%", to so many digits; or a value."""
        return headline(self.target_name, self.probability, self.settings, digits)

    @property
    def num_segments(self) -> int:
        """How many supervoxels there are."""
        return len(self.scores)

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions' names by id, where `regions` were given instead of supervoxels; empty otherwise."""
        names = self.settings.get("regions")
        if not isinstance(names, list) or len(names) != len(self.scores):
            return ()
        return tuple(map(str, names))

    def of_input(self, name: str) -> Explanation:
        """The part of one of the network's inputs (`NetworkSettings.channel_groups`), over the same supervoxels.

        Raises
        ------
        VidexplainError
            If there is no such input, or the method does not tell inputs apart.
        """
        if not self.input_scores:
            raise VidexplainError(
                f"this explanation by {self.method} does not tell inputs apart; give the network channel_groups, and "
                "take a method of voxels that looks at its input (vanilla, guided, integrated-gradients), not a max"
            )
        if name not in self.input_scores:
            raise unknown_name("input", name, self.input_scores)
        return replace(self, scores=self.input_scores[name], input_scores={}, standard_error=None)

    def top_ids(self, k: int = 5) -> npt.NDArray[np.int64]:
        """Ids of the `k` highest scores, best first; ties go to the lower id. (min(k, K),) int64."""
        return np.argsort(-self.scores, kind="stable")[:k]

    def top(self, k: int = 5) -> list[Supervoxel]:
        """The `k` supervoxels with the highest scores, best first."""
        total = float(np.abs(self.scores).sum()) or 1.0
        boxes = find_objects(self.labels + 1)
        supervoxels = []
        for id_ in self.top_ids(k).tolist():
            inside = boxes[id_]
            low, high = tuple(s.start for s in inside), tuple(s.stop for s in inside)
            where = np.nonzero(self.labels[inside] == id_)
            centre = tuple(float(axis.mean() + start) for axis, start in zip(where, low, strict=True))
            score = float(self.scores[id_])
            name = self.regions[id_] if self.regions else ""
            supervoxels.append(
                Supervoxel(id_, score, abs(score) / total, len(where[0]), centre, (low, high), name)  # type: ignore[arg-type]
            )
        return supervoxels

    def voxel_scores(self) -> npt.NDArray[np.float32]:
        """Each voxel's supervoxel score, on the labels' grid: (T, h, w) float32."""
        return self.scores[self.labels]

    def when(self) -> npt.NDArray[np.float64]:
        """Each frame's share of the scores: (T,) float64, which sum to theirs.

        A supervoxel's score is shared among its voxels equally. `videxplain.when` measures what stretches of time count
        for instead.
        """
        each = self.scores.astype(np.float64) / np.bincount(self.labels.ravel(), minlength=len(self.scores))
        return each[self.labels].sum(axis=(1, 2))

    def heatmap(self) -> npt.NDArray[np.float32]:
        """Voxel scores at the source's size, scaled so that the largest magnitude is 1: (T, H, W) float32.

        Pixels that the network does not see (outside a crop) are 0. Signed methods give values in [-1, 1].
        """
        scale = float(np.abs(self.scores).max()) or 1.0
        lookup = np.append(self.scores / scale, 0.0).astype(np.float32)  # the last entry answers label -1
        return lookup[self.source_labels()]

    def source_labels(self) -> npt.NDArray[np.int32]:
        """Labels at the source's size, -1 where the network does not see: (T, H, W) int32."""
        return self.geometry.restore(self.labels, fill=-1)

    def render(self, *, top_k: int = 5, style: Style = "heat", legend: bool = True) -> npt.NDArray[np.uint8]:
        """The source frames with the explanation drawn over them: (T, H, W, 3) uint8; see `videxplain.render`."""
        from videxplain.render import render_explanation

        return render_explanation(self, top_k=top_k, style=style, legend=legend)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `arrays.npz` and `manifest.json` into `folder`, all or nothing; replaces an earlier one there."""
        folder = Path(folder)
        manifest = {
            "format": "videxplain.explanation",
            "version": FORMAT_VERSION,
            "method": self.method,
            "settings": self.settings,
            "target": self.target,
            "target_name": self.target_name,
            "probability": self.probability,
            "predictions": self.predictions,
            "held": self.held,
            "times": [str(time) for time in self.times],
            "geometry": self.geometry.to_dict(),
            **({"inputs": list(self.input_scores)} if self.input_scores else {}),
        }
        arrays: dict[str, np.ndarray] = {"labels": self.labels, "scores": self.scores, "frames": self.frames}
        arrays |= {name: maps for name in ("dense", "cam") if (maps := getattr(self, name)) is not None}
        if self.standard_error is not None:
            arrays["standard_error"] = self.standard_error
        if self.input_scores:
            arrays["input_scores"] = np.stack(list(self.input_scores.values()))
        try:
            _replace_folder(folder, json.dumps(manifest, indent=1), arrays)
        except OSError as error:
            raise VidexplainError(
                f"cannot write the explanation to {folder}: {error.strerror or error}"
            ) from error
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Explanation:
        """Reads what `save` wrote; nothing in the folder is executed."""
        if not isinstance(folder, str | os.PathLike):
            raise VidexplainError(
                f"an explanation is loaded from the path of a folder, not from {kind_of(folder)}."
            )
        folder = Path(folder)
        try:
            manifest = read_json(folder / _MANIFEST)
            check_format(manifest, "videxplain.explanation", FORMAT_VERSION)
            geometry = Geometry.from_dict(manifest["geometry"])
            times = tuple(fraction(time) for time in manifest["times"])
            arrays = read_arrays(
                folder / _ARRAYS, lambda headers: _check_headers(headers, geometry, len(times))
            )
            _check_values(arrays)
            _check_manifest(manifest, len(times))
            inputs = manifest.get("inputs", [])
            return cls(
                labels=arrays["labels"],
                scores=arrays["scores"],
                frames=arrays["frames"],
                dense=arrays.get("dense"),
                cam=arrays.get("cam"),
                standard_error=arrays.get("standard_error"),
                input_scores=dict(zip(inputs, arrays["input_scores"], strict=True)) if inputs else {},
                times=times,
                geometry=geometry,
                predictions=[(name, p) for name, p in manifest["predictions"]],
                **{
                    key: manifest[key]
                    for key in ("target", "target_name", "probability", "method", "settings", "held")
                },
            )
        except KeyError as error:
            raise VidexplainError(
                f"{folder} holds no explanation that can be read: it lacks {error}"
            ) from error
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            raise VidexplainError(f"{folder} holds no explanation that can be read: {error}") from error

    def sheet(self, *, top_k: int = 5, style: Style = "heat", legend: bool = True) -> npt.NDArray[np.uint8]:
        """One picture of the explanation: an image itself, or up to eight frames of a clip, in rows of four.

        Parameters
        ----------
        top_k, style, legend
            As for `render`.

        Returns
        -------
        (H, W, 3) uint8
            An image's own size, or that of a clip's frames times rows and columns.
        """
        frames = self.render(top_k=top_k, style=style, legend=legend)
        real = len(frames) - self.held
        chosen = frames[np.linspace(0, real - 1, min(8, real)).round().astype(int)]
        columns = min(4, len(chosen))
        chosen = chosen[: len(chosen) // columns * columns]
        rows = chosen.reshape(-1, columns, *chosen.shape[1:])
        return np.concatenate([np.concatenate(list(row), axis=1) for row in rows])

    def _repr_png_(self) -> bytes:
        """The sheet, for notebooks."""
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(self.sheet()).save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        return (
            f"Explanation({self.target_name!r}, p={self.probability:.3f}, method={self.method!r}, "
            f"{self.num_segments} supervoxels, labels {'x'.join(map(str, self.labels.shape))})"
        )


def _check_headers(
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
    for name, axes in (("dense", 4), ("cam", 3)):
        shape, dtype = headers.get(name, ((1,) * axes, np.dtype(np.float32)))
        if len(shape) != axes or 0 in shape or dtype.kind != "f":
            raise ValueError(f"{name} of {dtype} {shape} is no map of scores")


def _check_values(arrays: dict[str, np.ndarray]) -> None:
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


def _check_manifest(manifest: dict[str, Any], length: int) -> None:
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


def _replace_folder(folder: Path, manifest: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes both files beside `folder` and moves them in, so that a reader sees the old ones or the new ones."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (scratch / _MANIFEST).write_text(manifest)
        with open(scratch / _ARRAYS, "wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
        folder.mkdir(exist_ok=True)
        for name in (_ARRAYS, _MANIFEST):
            os.replace(scratch / name, folder / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
