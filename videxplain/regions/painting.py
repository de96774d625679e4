"""Objects with their shapes in each frame, and the label array that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError

Mask: TypeAlias = npt.NDArray[np.bool_]
Shape: TypeAlias = Callable[[], Mask]
"""Makes one mask (H, W) when it is painted, so that a file's masks are never in memory all at once."""
Labelled = TypeVar("Labelled")
"""Labels of a file's objects, as an array or to be read by frame, and the objects' names."""
MOST_FRAMES = 1 << 20
MOST_PIXELS = 1 << 32
"""Of a label array; more would fill the memory."""


@dataclass
class Objects:
    """What a file says: the objects' names, and in each frame which object has which shape, in the file's order."""

    size: tuple[int, int]
    length: int
    names: list[str] = field(default_factory=list)
    frames: dict[int, list[tuple[int, Mask | Shape]]] = field(default_factory=dict)
    _index: dict[Any, int] = field(default_factory=dict)

    def add(self, key: Any, name: str, frame: int, shape: Mask | Shape) -> None:
        """One shape of the object that `key` stands for."""
        if not 0 <= frame < self.length:
            raise VidexplainError(f"{name} has a mask in frame {frame}, and there are {self.length} frames.")
        if key not in self._index:
            self._index[key] = len(self.names)
            self.names.append(name)
        self.frames.setdefault(frame, []).append((self._index[key], shape))

    def by_key(self) -> dict[Any, str]:
        """Each object's name, in the order of their labels."""
        return dict(zip(self._index, self.names, strict=True))

    def painted(self) -> npt.NDArray[Any]:
        """Labels (T, H, W), the background last; where objects overlap, the smaller one of the frame is on top."""
        check_extent(self.length, self.size)
        background = len(self.names)
        labels = np.full((self.length, *self.size), background, np.min_scalar_type(background))
        for frame in self.frames:
            labels[frame] = self.paint(frame)
        return labels

    def labelled(self) -> tuple[npt.NDArray[Any], dict[Any, str]]:
        """Labels of all frames, and each object's name."""
        return self.painted(), self.by_key()

    def paint(self, frame: int) -> npt.NDArray[Any]:
        """Labels (H, W) of one frame."""
        background = len(self.names)
        labels = np.full(self.size, background, np.min_scalar_type(background))
        masks = [
            (index, self._checked(index, shape() if callable(shape) else shape))
            for index, shape in self.frames.get(frame, ())
        ]
        # the sort is stable: of two of one size the later is on top
        for index, mask in sorted(masks, key=lambda pair: -int(pair[1].sum())):
            labels[mask] = index
        return labels

    def _checked(self, index: int, mask: Mask) -> Mask:
        if mask.shape != self.size:
            raise VidexplainError(
                f"a mask of {self.names[index]} is {mask.shape[1]}x{mask.shape[0]} pixels, and the frames are "
                f"{self.size[1]}x{self.size[0]}."
            )
        return mask


def check_extent(length: int, size: Sequence[int]) -> None:
    """Raises where a label array of such a size cannot be meant."""
    if not 0 < length <= MOST_FRAMES or min(size) < 1 or length * size[0] * size[1] > MOST_PIXELS:
        raise VidexplainError(
            f"{length} frames of {size[1]}x{size[0]} pixels cannot be labelled; take a shorter part of the video."
        )


def box_mask(size: tuple[int, int], box: Sequence[float]) -> Mask:
    """The pixels whose centres are in a box (left, top, right, bottom), in pixel edges."""
    edges = np.asarray(box)
    fits = edges.shape == (4,) and edges.dtype.kind in "iuf" and np.isfinite(edges).all()
    if not fits or not (edges[:2] < edges[2:]).all():
        raise VidexplainError(
            f"a box has to be (left, top, right, bottom) with left < right and top < bottom, not {box}."
        )
    left, top, right, bottom = edges.tolist()
    rows, columns = (np.arange(side) + 0.5 for side in size)
    inside: Mask = ((top <= rows) & (rows < bottom))[:, None] & ((left <= columns) & (columns < right))
    return inside


def polygon_mask(size: tuple[int, int], points: Sequence[Sequence[float]]) -> Mask:
    """The pixels whose centres are in a polygon of (x, y) points, in pixel edges."""
    from skimage.draw import polygon2mask

    corners = np.asarray(points, np.float64)[:, ::-1] - 0.5
    mask: Mask = polygon2mask(size, corners)
    return mask
