"""What an explanation is: supervoxels, their scores, and how they came about."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from videxplain.clip import Geometry
from videxplain.errors import VidexplainError, kind_of, unknown_name
from videxplain.explanations.stored import (
    ARRAYS,
    MANIFEST,
    check_headers,
    check_manifest,
    check_values,
    replace_folder,
)
from videxplain.reading import check_format, fraction, read_arrays, read_json
from videxplain.segmentation.hierarchy import Hierarchy
from videxplain.settings import FooterPlace, Style

if TYPE_CHECKING:
    import pandas
    import xarray
    from matplotlib.figure import Figure

    from videxplain.explanations.verdict import Trust

FORMAT_VERSION = 1


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
    hierarchy
        The tree whose cuts are coarser supervoxels, if `levels` were asked for; `at` gives their scores.
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
    hierarchy: Hierarchy | None = None

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

    @property
    def is_additive(self) -> bool:
        """Whether the score of a union of supervoxels is the sum of theirs."""
        from videxplain.explanations.levels import made_by

        return made_by(self).is_additive

    def at(self, k: int) -> Explanation:
        """The same over `k` coarser supervoxels, whose scores are the sums of their parts'.

        They are unions of these, by a tree that merges neighbours which are alike; those of a smaller `k` are unions of
        those of a larger one. Standard errors of sums are not known. All there are, where `k` is not fewer.

        Raises
        ------
        VidexplainError
            If no `levels` were asked for, or the method's scores do not add up.
        """
        from videxplain.explanations.levels import coarser

        return coarser(self, k)

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

    def trust(self) -> Trust:
        """What the explanation rests on, as far as it tells without another pass; `vx.trust` measures the rest."""
        from videxplain.explanations.verdict import known

        return known(self)

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

    def render(
        self,
        *,
        top_k: int = 5,
        style: Style = "heat",
        legend: bool = True,
        footer: FooterPlace = "under",
        ranks: bool = True,
        trail: bool = True,
    ) -> npt.NDArray[np.uint8]:
        """The source frames with the explanation drawn over them: (T, H, W, 3) uint8; see `videxplain.render`.

        They are higher than the frames by a footer "under" them, which `legend=False` leaves out.
        """
        from videxplain.render import picture_of, render_explanation

        return render_explanation(
            self, picture_of(legend, top_k=top_k, style=style, footer=footer, ranks=ranks, trail=trail)
        )

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each region, best first, as a pandas table.

        Columns are its rank, score, standard error and share, its name where it has one, frame numbers and times of its
        first and last frame, and its box and centre in pixels of the source.
        """
        from videxplain.explanations.tables import to_pandas

        return to_pandas(self)

    def to_xarray(self) -> xarray.Dataset:
        """Labels, frames and scores as an xarray data set, with frame numbers, times and source pixels for coordinates.

        Labels are -1 where the network does not see. Frames are left out where they are not of the source's size.
        """
        from videxplain.explanations.tables import to_xarray

        return to_xarray(self)

    def plot(self, *, top_k: int = 5, style: Style = "heat") -> Figure:
        """A Matplotlib figure: frames, the best regions, the most probable classes, and when they were seen."""
        from videxplain.explanations.figure import plot

        return plot(self, top_k, style)

    def to_video(
        self,
        path: str | os.PathLike[str],
        *,
        top_k: int = 5,
        style: Style = "heat",
        legend: bool = True,
    ) -> Path:
        """Writes what `render` draws as a video, which begins at 0 seconds; held frames are left out.

        Parameters
        ----------
        path
            Ends in .mp4, .m4v, .mov, .mkv or .webm.
        top_k, style, legend
            As for `render`.
        """
        from videxplain.explanations.figure import to_video

        return to_video(self, path, top_k, style, legend)

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
        if self.hierarchy is not None:
            arrays["parents"] = self.hierarchy.parents
        if self.standard_error is not None:
            arrays["standard_error"] = self.standard_error
        if self.input_scores:
            arrays["input_scores"] = np.stack(list(self.input_scores.values()))
        try:
            replace_folder(folder, json.dumps(manifest, indent=1), arrays)
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
            manifest = read_json(folder / MANIFEST)
            check_format(manifest, "videxplain.explanation", FORMAT_VERSION)
            geometry = Geometry.from_dict(manifest["geometry"])
            times = tuple(fraction(time) for time in manifest["times"])
            arrays = read_arrays(
                folder / ARRAYS, lambda headers: check_headers(headers, geometry, len(times))
            )
            check_values(arrays)
            check_manifest(manifest, len(times))
            inputs = manifest.get("inputs", [])
            return cls(
                labels=arrays["labels"],
                scores=arrays["scores"],
                frames=arrays["frames"],
                dense=arrays.get("dense"),
                cam=arrays.get("cam"),
                standard_error=arrays.get("standard_error"),
                input_scores=dict(zip(inputs, arrays["input_scores"], strict=True)) if inputs else {},
                hierarchy=Hierarchy(arrays["parents"]) if "parents" in arrays else None,
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

    def sheet(
        self,
        *,
        top_k: int = 5,
        style: Style = "heat",
        legend: bool = True,
        footer: FooterPlace = "under",
        ranks: bool = True,
        trail: bool = True,
    ) -> npt.NDArray[np.uint8]:
        """One picture of the explanation: an image itself, or up to eight frames of a clip, in rows of four.

        Parameters
        ----------
        top_k, style, legend, footer, ranks, trail
            As for `render`; a footer "under" the frames is one for all.

        Returns
        -------
        (H, W, 3) uint8
            An image's own size, or that of a clip's frames times rows and columns, and the footer.
        """
        from videxplain.render import picture_of, sheet_of

        return sheet_of(
            self, picture_of(legend, top_k=top_k, style=style, footer=footer, ranks=ranks, trail=trail)
        )

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
