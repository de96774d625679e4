"""Explanations as tables and labelled arrays, in pixels and frame numbers of the source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError

if TYPE_CHECKING:
    from videxplain.clip import Geometry
    from videxplain.explanations.explanation import Explanation

COLUMNS = (
    *("rank", "region", "name", "score", "error", "share", "voxels", "pixels"),
    *("first_frame", "last_frame", "first_time", "last_time"),
    *("left", "top", "right", "bottom", "centre_x", "centre_y"),
)
"""Of a table of regions. Sides of boxes are pixel edges, so that right minus left is the width."""


def rows(explanation: Explanation) -> list[dict[str, Any]]:
    """Each region's figures, by the names in `COLUMNS`, best first; what it does not have is None.

    Pixels, boxes and centres are of the source's frames, and held frames do not count.
    """
    count = len(explanation.scores)
    size = np.abs(explanation.scores)
    total = float(size.sum()) or 1.0
    voxels = np.bincount(explanation.labels.ravel(), minlength=count)
    real = len(explanation.labels) - explanation.held
    seen = _source_extent(explanation.labels[:real], explanation.geometry, count)
    numbers, errors = frame_numbers(explanation), explanation.standard_error
    table = []
    for rank, k in enumerate(explanation.top_ids(count).tolist(), 1):
        first, last = seen["first"][k], seen["last"][k]
        row: dict[str, Any] = {
            "rank": rank,
            "region": k,
            "name": explanation.regions[k] if explanation.regions else None,
            "score": float(explanation.scores[k]),
            "error": None if errors is None else float(errors[k]),
            "share": float(size[k]) / total,
            "voxels": int(voxels[k]),
            "pixels": int(seen["pixels"][k]),
        }
        if row["pixels"]:
            row |= {
                "first_frame": numbers[first],
                "last_frame": numbers[last],
                "first_time": float(explanation.times[first]),
                "last_time": float(explanation.times[last]),
                **{name: int(seen[name][k]) for name in ("left", "top", "right", "bottom")},
                **{name: float(seen[name][k]) for name in ("centre_x", "centre_y")},
            }
        table.append({name: row.get(name) for name in COLUMNS})
    return table


def frame_numbers(explanation: Explanation) -> list[int]:
    """The number in the source of each frame."""
    start, stride = (explanation.settings.get(name) for name in ("start", "stride"))
    first = start if isinstance(start, int) else 0
    step = stride if isinstance(stride, int) else 1
    return [first + step * t for t in range(len(explanation.labels))]


def _source_extent(
    labels: npt.NDArray[np.int32], geometry: Geometry, count: int
) -> dict[str, npt.NDArray[Any]]:
    """What regions cover of the source: computed from the cells of the labels' grid, without labels at full size."""
    cells = labels[0].size
    cell_of = geometry.restore(np.arange(cells, dtype=np.int64).reshape(labels.shape[1:]), fill=-1)
    y, x = np.nonzero(cell_of >= 0)
    cell = cell_of[y, x]
    pixels = np.bincount(cell, minlength=cells)
    lows, highs, sums = [], [], []
    for place in (y, x):
        low, high = np.full(cells, np.iinfo(np.int64).max), np.zeros(cells, np.int64)
        np.minimum.at(low, cell, place)
        np.maximum.at(high, cell, place + 1)
        lows.append(low)
        highs.append(high)
        sums.append(np.bincount(cell, place + 0.5, cells))
    shown = np.flatnonzero(pixels)
    ids = labels.reshape(len(labels), -1)[:, shown].ravel()

    def over_frames(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.broadcast_to(values[shown], (len(labels), len(shown))).ravel()

    total = np.bincount(ids, over_frames(pixels), count)
    extent: dict[str, npt.NDArray[Any]] = {"pixels": total.astype(np.int64)}
    frame = np.arange(len(labels)).repeat(len(shown))
    for name, values, least in (
        ("first", frame, True),
        ("last", frame, False),
        ("top", over_frames(lows[0]), True),
        ("left", over_frames(lows[1]), True),
        ("bottom", over_frames(highs[0]), False),
        ("right", over_frames(highs[1]), False),
    ):
        side = np.full(count, np.iinfo(np.int64).max if least else 0)
        (np.minimum if least else np.maximum).at(side, ids, values)
        extent[name] = side
    for name, values in zip(("centre_y", "centre_x"), sums, strict=True):
        extent[name] = np.bincount(ids, over_frames(values), count) / np.maximum(total, 1)
    return extent


def to_pandas(explanation: Explanation) -> Any:
    """See `Explanation.to_pandas`."""
    pandas = imported("pandas", "a table")
    return pandas.DataFrame(rows(explanation), columns=list(COLUMNS))


def to_xarray(explanation: Explanation) -> Any:
    """See `Explanation.to_xarray`."""
    xarray = imported("xarray", "labelled arrays")
    real = len(explanation.labels) - explanation.held
    height, width = explanation.geometry.source
    names = explanation.regions or [""] * len(explanation.scores)
    errors = explanation.standard_error
    data = {
        "label": (("frame", "y", "x"), explanation.source_labels()[:real]),
        "score": ("region", explanation.scores),
        "probability": ("class", [float(p) for _, p in explanation.predictions]),
        **({} if errors is None else {"error": ("region", errors)}),
    }
    if explanation.frames.shape[1:3] == (height, width):
        data["picture"] = (("frame", "y", "x", "channel"), explanation.frames[:real])
    coordinates = {
        "frame": frame_numbers(explanation)[:real],
        "time": ("frame", [float(time) for time in explanation.times[:real]], {"units": "s"}),
        "y": np.arange(height) + 0.5,
        "x": np.arange(width) + 0.5,
        "channel": ["red", "green", "blue"],
        "region": np.arange(len(explanation.scores)),
        "name": ("region", list(names)),
        "class": [name for name, _ in explanation.predictions],
    }
    if "picture" not in data:
        del coordinates["channel"]
    about = {
        "method": explanation.method,
        "explained_class": explanation.target_name,
        "explained_probability": float(explanation.probability),
        "model": str(explanation.settings.get("model", "")),
    }
    return xarray.Dataset(data, coordinates, about)


def imported(package: str, what: str) -> Any:
    """A package that is not always there.

    Raises
    ------
    VidexplainError
        If it is missing.
    """
    from importlib import import_module

    try:
        return import_module(package)
    except ImportError:
        name = package.split(".")[0]
        raise VidexplainError(
            f"{what} is made by {name}, which is not installed; install it with pip install 'videxplain[export]'"
        ) from None
