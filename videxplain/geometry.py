"""The exact mapping between source frames and a network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from videxplain.errors import unknown_name
from videxplain.settings import FRAMINGS, Framing

_LARGEST = 1 << 20  # side of a picture, in pixels
_HAIR = 1e-6
"""Of a pixel: more than rounding of a map's numbers makes of whole pixels, and less than can be seen."""
FRAME_TYPES = tuple(np.dtype(kind) for kind in ("uint8", "uint16", "float32", "float64"))
"""Of the values of frames."""


class Axis(NamedTuple):
    """One axis of the affine map: network = scale * source + offset, in pixel-edge coordinates."""

    scale: float
    offset: float


@dataclass(frozen=True)
class Geometry:
    """Affine map, per axis, between source frames and a network's input.

    Coordinates are pixel edges: pixel i covers [i, i + 1), so its centre is i + 0.5 and a frame of height H
    spans [0, H]. Build it with `Geometry.fit`.

    Attributes
    ----------
    source, network : (height, width)
    y, x : Axis
        ``network = scale * source + offset``.
    """

    source: tuple[int, int]
    network: tuple[int, int]
    y: Axis
    x: Axis

    @classmethod
    def fit(
        cls,
        source: tuple[int, int],
        network: tuple[int, int],
        framing: Framing = "crop",
        short_side: int | None = None,
    ) -> Geometry:
        """The map that brings frames of size `source` to the input size `network`, both (height, width).

        Parameters
        ----------
        source, network : (height, width)
            Sizes in pixels.
        framing : "crop", "resize" or "letterbox"
            The first keeps the aspect ratio and cuts out the centre, "resize" stretches each axis on its own,
            "letterbox" keeps the aspect ratio and pads with black.
        short_side : int, optional
            For crop: the length in pixels that the frame's shorter side is scaled to before the cut;
            without it the frame is scaled so that it just covers the input.

        Returns
        -------
        Geometry
            The map, with the frame's and the network's sizes.

        Raises
        ------
        VidexplainError
            If the framing is unknown. ValueError if a size is not positive.

        Examples
        --------
        >>> geometry = Geometry.fit((240, 320), (112, 112))  # cuts out the centre
        >>> [round(float(place), 1) for place in geometry.to_source((0, 0))]
        [0.0, 40.0]
        """
        if framing not in FRAMINGS:
            raise unknown_name("framing", framing, FRAMINGS)
        if min(*source, *network) < 1 or (short_side is not None and short_side < 1):
            raise ValueError(f"sizes must be positive, got {source}, {network}, short side {short_side}")
        ratios = [n / s for n, s in zip(network, source, strict=True)]
        if framing == "crop":
            scale = max(ratios) if short_side is None else short_side / min(source)
            ratios = [scale, scale]
        elif framing == "letterbox":
            ratios = [min(ratios)] * 2
        fitted = (_fit_axis(s, n, r) for s, n, r in zip(source, network, ratios, strict=True))
        y, x = fitted
        return cls((source[0], source[1]), (network[0], network[1]), y, x)

    def refined(self, times: int) -> Geometry:
        """The map to a grid that is `times` as fine as the network's input along both axes."""
        size = (times * self.network[0], times * self.network[1])
        y, x = (Axis(times * scale, times * offset) for scale, offset in (self.y, self.x))
        return Geometry(self.source, size, y, x)

    def finest(self, times: int) -> int:
        """At most `times`: how many times as fine a grid has pixels about as small as the source's."""
        return max(1, min(times, round(1 / max(self.y.scale, self.x.scale))))

    def to_dict(self) -> dict[str, list[float]]:
        """Plain numbers, from which `from_dict` makes an equal geometry."""
        return {name: list(getattr(self, name)) for name in ("source", "network", "y", "x")}

    @classmethod
    def from_dict(cls, values: dict[str, list[float]]) -> Geometry:
        """The geometry that `to_dict` wrote; ValueError if it is none."""
        numbers = [list(values[name]) for name in ("source", "network", "y", "x")]
        sizes, axes = numbers[0] + numbers[1], numbers[2] + numbers[3]
        if not all(
            len(pair) == 2 and all(isinstance(value, int | float) and math.isfinite(value) for value in pair)
            for pair in numbers
        ):
            raise ValueError("a geometry is four pairs of numbers")
        if not all(1 <= size < _LARGEST for size in sizes) or min(axes[0], axes[2]) <= 0:
            raise ValueError(f"there is no geometry of sizes {sizes} and scales {axes[::2]}")
        height, width, rows, columns = map(int, sizes)
        return cls((height, width), (rows, columns), Axis(*axes[:2]), Axis(*axes[2:]))

    def apply(self, frames: npt.NDArray[Any], black: float = 0) -> npt.NDArray[Any]:
        """Frames as the network sees them: (T, H, W, C) or (H, W, C) to (T, h, w, C) or (h, w, C), of the same type.

        Antialiased bilinear resampling; what lies outside the source is `black`. Of 8-bit frames of three channels
        torch does it where network pixels meet source pixels on both sides of what is seen, as in most videos' sizes,
        and Pillow elsewhere, at a quarter of the speed; they differ by 2 at most, nearly always by none. Of all others
        it is a product with the filter's weights, in double precision.
        """
        frames = np.asarray(frames)
        fits = frames.ndim in (3, 4) and frames.shape[-3:-1] == self.source and frames.dtype in FRAME_TYPES
        if not fits:
            raise ValueError(
                f"expected uint8, uint16 or floating-point frames (T, {self.source[0]}, {self.source[1]}, C), "
                f"got {frames.dtype} {frames.shape}"
            )
        if frames.ndim == 3:
            return self.apply(frames[None], black)[0]
        (top, bottom), (left, right) = self._inner(0), self._inner(1)
        out = np.full((len(frames), *self.network, frames.shape[3]), black, frames.dtype)
        inside = out[:, top:bottom, left:right]
        if frames.dtype != np.uint8 or frames.shape[3] != 3:
            weights = self._weights(0, top, bottom), self._weights(1, left, right)
            values = np.einsum("yi,tijc,xj->tyxc", weights[0], frames, weights[1], optimize=True)
            inside[:] = values if frames.dtype.kind == "f" else np.rint(values)
            return out
        rows, columns = self._whole_pixels(0), self._whole_pixels(1)
        if rows and columns:
            resampled = _resampled(frames[:, rows.source, columns.source], (rows.size, columns.size))
            inside[:] = resampled[:, rows.inner, columns.inner]
            return out
        box = (*self.to_source((top, left))[::-1], *self.to_source((bottom, right))[::-1])
        limits = (self.source[1], self.source[0], self.source[1], self.source[0])
        # rounding may put the box a hair outside the frame, which Pillow refuses
        box = tuple(min(max(float(v), 0.0), float(limit)) for v, limit in zip(box, limits, strict=True))
        for image, target in zip(frames, inside, strict=True):
            target[:] = Image.fromarray(image).resize(
                (right - left, bottom - top), Image.Resampling.BILINEAR, box=box
            )
        return out

    def apply_labels(self, labels: npt.NDArray[Any], outside: int) -> npt.NDArray[Any]:
        """Labels as the network sees them: integers (..., H, W) to (..., h, w), of the same type.

        Each pixel has the label at its centre; pixels whose centre lies outside the source have `outside`.
        """
        labels = np.asarray(labels)
        if labels.shape[-2:] != self.source:
            raise ValueError(f"expected labels (..., {self.source[0]}, {self.source[1]}), got {labels.shape}")
        places, beyond = [], []
        for (scale, offset), size, length in zip((self.y, self.x), self.network, self.source, strict=True):
            centres = (np.arange(size, dtype=np.float64) + 0.5 - offset) / scale
            beyond.append(_outside(centres, length))
            places.append(np.clip(np.floor(centres), 0, length - 1).astype(np.intp))
        out = labels[..., places[0][:, None], places[1]]
        out[..., beyond[0][:, None] | beyond[1]] = outside
        return out

    def restore(self, maps: npt.NDArray[Any], fill: float | None = None) -> npt.NDArray[Any]:
        """Maps at the network's size brought back to the source's: (..., h, w) to (..., H, W), same dtype.

        Nearest neighbour for integers and booleans (labels stay labels), bilinear for floating point. Source
        pixels whose centre lies outside what the network saw get `fill`: by default -1 for integers, 0 for
        floats, False for booleans.
        """
        maps = np.asarray(maps)
        if maps.shape[-2:] != self.network:
            raise ValueError(f"expected maps (..., {self.network[0]}, {self.network[1]}), got {maps.shape}")
        if fill is None:
            fill = -1 if np.issubdtype(maps.dtype, np.signedinteger) else 0
        position_y, position_x = self._centres(0), self._centres(1)
        outside = _outside(position_y, self.network[0])[:, None] | _outside(position_x, self.network[1])
        if np.issubdtype(maps.dtype, np.floating):
            rows, columns = _lerp(position_y, self.network[0]), _lerp(position_x, self.network[1])
            out = _sample(_sample(maps, *rows, axis=-2), *columns, axis=-1)
        else:
            rows_at = np.clip(np.floor(position_y), 0, self.network[0] - 1).astype(np.intp)
            columns_at = np.clip(np.floor(position_x), 0, self.network[1] - 1).astype(np.intp)
            out = maps[..., rows_at[:, None], columns_at]
        out[..., outside] = fill
        return out

    def to_network(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Source coordinates (..., 2), y then x, to network coordinates."""
        return np.asarray(points, np.float64) * (self.y.scale, self.x.scale) + (self.y.offset, self.x.offset)

    def to_source(self, points: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Network coordinates (..., 2), y then x, to source coordinates: the inverse of `to_network`."""
        return (np.asarray(points, np.float64) - (self.y.offset, self.x.offset)) / (
            self.y.scale,
            self.x.scale,
        )

    def _inner(self, axis: int) -> tuple[int, int]:
        """First and one-past-last network pixel that the source covers along an axis."""
        scale, offset = (self.y, self.x)[axis]
        low, high = offset, offset + scale * self.source[axis]
        return max(0, round(low)), min(self.network[axis], round(high))

    def _whole_pixels(self, axis: int) -> _Stretch | None:
        """The least stretch of whole source pixels to make whole network pixels and hold what the filter reaches."""
        (scale, offset), (first, last) = (self.y, self.x)[axis], self._inner(axis)
        length = self.source[axis]
        place = np.arange(math.ceil(offset - _HAIR), math.floor(offset + scale * length + _HAIR) + 1)
        source = (place - offset) / scale
        pixel = np.rint(source).astype(int)
        whole = np.abs(source - pixel) < _HAIR
        reach = math.ceil(max(1.0, scale) - 0.5)  # beyond the edge, to which a centre has half a pixel
        starts = np.flatnonzero(whole & ((place <= first - reach) | (place <= first) & (pixel == 0)))
        stops = np.flatnonzero(whole & ((place >= last + reach) | (place >= last) & (pixel == length)))
        if not len(starts) or not len(stops):
            return None
        start, stop = starts[-1], stops[0]
        begin = first - int(place[start])
        return _Stretch(
            slice(int(pixel[start]), int(pixel[stop])),
            int(place[stop] - place[start]),
            slice(begin, begin + last - first),
        )

    def _weights(self, axis: int, first: int, last: int) -> npt.NDArray[np.float64]:
        """What source pixels add to network pixels first..last - 1: a triangle that reaches one of the larger ones."""
        scale, offset = (self.y, self.x)[axis]
        centre = (np.arange(first, last) + 0.5 - offset) / scale
        distance = np.abs(np.arange(self.source[axis]) + 0.5 - centre[:, None])
        weights = np.clip(1 - distance / max(1.0, 1 / scale), 0, None)
        return weights / weights.sum(axis=1, keepdims=True)

    def _centres(self, axis: int) -> npt.NDArray[np.float64]:
        scale, offset = (self.y, self.x)[axis]
        return (np.arange(self.source[axis], dtype=np.float64) + 0.5) * scale + offset


class _Stretch(NamedTuple):
    """Part of an axis of the source, the number of network pixels that it makes, and which of them the network sees."""

    source: slice
    size: int
    inner: slice


def _resampled(frames: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(T, H, W, 3) to (T, *size, 3)."""
    import torch
    import torch.nn.functional as F

    pixels = torch.from_numpy(np.require(frames, requirements=["C", "W"])).permute(0, 3, 1, 2)
    return F.interpolate(pixels, size, mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()


def _fit_axis(source: int, network: int, ratio: float) -> Axis:
    if ratio * source >= network:  # the frame covers the input: cut out the centre
        return Axis(ratio, (network - ratio * source) / 2)
    # whole pixels on the input's side, so that no input pixel is half padding
    inner = max(1, math.floor(ratio * source + 0.5))
    return Axis(inner / source, float((network - inner) // 2))


def _outside(position: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.bool_]:
    return (position < 0) | (position >= size)


def _lerp(
    position: npt.NDArray[np.float64], size: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Any]:
    place = np.clip(position - 0.5, 0, size - 1)
    low = np.floor(place).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), place - low


def _sample(maps: npt.NDArray[Any], low: Any, high: Any, weight: Any, axis: int) -> npt.NDArray[Any]:
    weight = weight.astype(maps.dtype)
    if axis == -2:
        weight = weight[:, None]
    first, second = np.take(maps, low, axis=axis), np.take(maps, high, axis=axis)
    return first + (second - first) * weight
