"""What the page shows: explained windows, as plain data and compact label maps, whether of a clip or of a video."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError
from videxplain.evaluation.caveats import CAVEATS
from videxplain.render import drawing

if TYPE_CHECKING:
    from videxplain.annotate.saved import SavedWindow
    from videxplain.explanations.explanation import Explanation

FORMAT, VERSION = "videxplain.page", 1


@dataclass(frozen=True)
class Layer:
    """What one method says for one class in a window.

    Attributes
    ----------
    title
        By which the page tells layers apart, "guided for 'left'".
    headline
        What is explained, and what the network says of it.
    scores, errors, numbers
        (K,) each: scores by id, their standard errors where there are any, and numbers that outlast the window.
    names
        Regions' names by id, or none.
    """

    title: str
    method: str
    target: int
    target_name: str
    probability: float
    headline: str
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    errors: npt.NDArray[np.float32] | None = None
    numbers: npt.NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is infinite or missing is null."""
        regions = region_table(self.labels, len(self.scores))
        return {
            "title": self.title,
            "method": self.method,
            "target": self.target,
            "target_name": self.target_name,
            "probability": self.probability,
            "headline": self.headline,
            "caveat": CAVEATS.get(self.method, "").removeprefix("note: "),
            "scores": [float(score) for score in self.scores],
            "errors": None if self.errors is None else [_finite(error) for error in self.errors],
            "numbers": list(range(len(self.scores))) if self.numbers is None else self.numbers.tolist(),
            "names": list(self.names),
            "regions": regions,
            "labels_shape": list(self.labels.shape),
        }


def region_table(labels: npt.NDArray[np.int32], count: int) -> dict[str, list[float]]:
    """Of each id: how many voxels it has, its first and last frame, and its centre (y, x) on the labels' grid."""
    ids = labels.ravel()
    voxels = np.bincount(ids, minlength=count)
    frame = np.arange(len(labels)).repeat(labels[0].size)
    first, last = np.full(count, len(labels)), np.zeros(count, int)
    np.minimum.at(first, ids, frame)
    np.maximum.at(last, ids, frame)
    rows, columns = np.indices(labels.shape[1:])
    middle = [
        np.bincount(ids, np.broadcast_to(axis, labels.shape).ravel(), count) / np.maximum(voxels, 1)
        for axis in (rows, columns)
    ]
    return {
        "voxels": voxels.tolist(),
        "first": first.tolist(),
        "last": last.tolist(),
        "y": middle[0].round(2).tolist(),
        "x": middle[1].round(2).tolist(),
    }


def packed_labels(labels: npt.NDArray[np.int32], level: int = 6) -> bytes:
    """Ids as little-endian uint16 (T, h, w), deflated; the page has no more regions than that in a window."""
    if int(labels.max()) > 0xFFFF:
        raise VidexplainError(
            f"the page shows at most 65,536 regions in a window, not {int(labels.max()) + 1}"
        )
    return zlib.compress(labels.astype("<u2").tobytes(), level)


class Scene(Protocol):
    """What the page shows, whether it is a clip or a video: so many windows."""

    def __len__(self) -> int: ...

    def summary(self) -> dict[str, Any]:
        """What the page reads first: sizes, times, windows with their classes, how to draw."""
        ...

    def layers(self, index: int) -> list[Layer]:
        """What is known of window `index`."""
        ...

    def clip(self, index: int) -> Clip:
        """The frames of window `index` as the network took them."""
        ...

    def provenance(self) -> Mapping[str, Any]:
        """What is recorded of the network: its name, weights and checksum."""
        ...


def window_json(scene: Scene, index: int) -> dict[str, Any]:
    """Window `index` for the page."""
    return {"layers": [layer.to_json() for layer in scene.layers(index)]}


def common_summary(geometry: Geometry, settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": str(settings.get("model", "")),
        "method": method,
        "task": str(settings.get("task", "")),
        "notes": [str(note) for note in settings.get("notes", [])],
        "grid": list(geometry.network),
        "y": list(geometry.y),
        "x": list(geometry.x),
        "scale": settings.get("scale", 1),
        "signed": "against" in settings,
        "drawing": drawing(),
    }


def window_summary(
    told: Explanation | SavedWindow, begin: float, end: float, times: Sequence[float], title: str
) -> dict[str, Any]:
    """A window for the page, which is drawn from `begin` to `end`."""
    return {
        "begin": begin,
        "end": end,
        "times": list(times),
        "target": told.target,
        "target_name": told.target_name,
        "probability": told.probability,
        "headline": title,
        "predictions": [[name, p] for name, p in told.predictions],
        "held": told.held,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
