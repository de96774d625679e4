"""Clips: frames, and when they are shown."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from videxplain.errors import VidexplainError
from videxplain.geometry import FRAME_TYPES, Geometry

__all__ = ["Clip", "Geometry", "as_frames", "open_image", "read_image", "span_of", "upright_rgb"]

IMAGE_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "DIB", "GIF", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF", "TGA")
"""Pillow's names of the formats in which images are read."""


Pixels: TypeAlias = (
    npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | npt.NDArray[np.float32] | npt.NDArray[np.float64]
)
"""Values of frames."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Consecutive frames of one source, upright, with their presentation times.

    Attributes
    ----------
    frames : array (T, H, W, C) of uint8, uint16, float32 or float64
        RGB frames in 8 bits, or what else a network takes; see `NetworkSettings.channels`.
    times : tuple of Fraction, length T
        Presentation time of each frame in seconds, strictly increasing except over held frames, whose time
        is that of the frame they repeat.
    start : int
        Index in the source of the first frame.
    stride : int
        Distance in source frames between neighbouring frames of the clip.
    held : int
        How many frames at the end repeat the last real one.
    source : str or None
        Where the frames come from.
    geometry : Geometry or None
        Set where the frames have been brought to a network's input size already: the map that did it.
    """

    frames: Pixels
    times: tuple[Fraction, ...]
    start: int = 0
    stride: int = 1
    held: int = 0
    source: str | None = None
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, np.ndarray):
            raise ValueError(f"frames must be a numpy array, not {type(frames).__name__}")
        if frames.dtype not in FRAME_TYPES or frames.ndim != 4 or 0 in frames.shape:
            raise ValueError(
                "frames must be uint8, uint16, float32 or float64 (T, H, W, C), not empty; "
                f"got {frames.dtype} {frames.shape}"
            )
        if len(self.times) != len(frames):
            raise ValueError(f"{len(frames)} frames have {len(self.times)} times")
        if not 0 <= self.held < len(frames):
            raise ValueError(f"held must be in 0..{len(frames) - 1}, got {self.held}")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.frames.shape))
        held = f", {self.held} held" if self.held else ""
        return f"Clip({shape} {self.frames.dtype}, {span_of(self.times)}{held})"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.frames.shape[1], self.frames.shape[2]

    @classmethod
    def from_array(cls, frames: Pixels, rate: Fraction | int = 25, *, channels: int | None = None) -> Clip:
        """Clip of frames in memory: (T, H, W, C), or an image (H, W, C), or (T, H, W) of one channel.

        Parameters
        ----------
        frames
            Of uint8, uint16, float32 or float64.
        rate
            Frames per second.
        channels
            How many there are, where an array with three axes would not tell: by default those are an image where the
            last is of 1 or 3.

        Raises
        ------
        VidexplainError
            If it is an array of another kind.

        Examples
        --------
        >>> import numpy as np
        >>> clip = Clip.from_array(np.zeros((16, 90, 120, 3), np.uint8), rate=10)
        >>> len(clip), clip.size, float(clip.times[-1])
        (16, (90, 120), 1.5)
        """
        array = as_frames(np.asarray(frames), channels)
        try:
            return cls(array, tuple(n / Fraction(rate) for n in range(len(array))))
        except (ValueError, TypeError) as error:
            raise VidexplainError(f"this array is no clip: {error}.") from error

    def hold(self, count: int) -> Clip:
        """The clip continued by `count` copies of its last frame; itself for none."""
        if count < 1:
            return self
        frames = np.concatenate([self.frames, np.repeat(self.frames[-1:], count, axis=0)])
        return replace(
            self, frames=frames, times=self.times + self.times[-1:] * count, held=self.held + count
        )

    @classmethod
    def from_image(cls, image: str | PathLike[str] | npt.NDArray[np.uint8] | Image.Image) -> Clip:
        """Clip of one frame, the single-frame case T = 1.

        Parameters
        ----------
        image : path, PIL image, or array (H, W, C) or (H, W)
            8-bit grey becomes RGB. A file's EXIF orientation is applied.

        Raises
        ------
        VidexplainError
            If the file is missing or is not an image.
        """
        if isinstance(image, np.ndarray):
            array = image
            if image.ndim == 2:
                array = np.stack([image] * (3 if image.dtype == np.uint8 else 1), axis=-1)
            return cls(np.ascontiguousarray(array)[None], (Fraction(0),))
        if isinstance(image, Image.Image):
            return cls(upright_rgb(image)[None], (Fraction(0),))
        return cls(read_image(image)[None], (Fraction(0),), source=os.fsdecode(image))


def span_of(times: Sequence[Fraction | float]) -> str:
    """The first and the last time in words, "0.00 to 0.60 s"."""
    first, last = float(times[0]), float(times[-1])
    return f"{first:.2f} to {last:.2f} s" if last > first else f"{first:.2f} s"


def as_frames(array: npt.NDArray[Any], channels: int | None = None) -> npt.NDArray[Any]:
    """Frames (T, H, W, C) of an array with fewer axes, as far as its shape tells; see `Clip.from_array`."""
    if array.ndim == 3:
        # colour stays colour for a network of one channel
        is_image = array.shape[2] in ((1, 3) if channels in (None, 1) else (channels,))
        return array[None] if is_image else array[..., None]
    if array.ndim == 2 and channels == 1:
        return array[None, ..., None]
    return array


def read_image(path: str | PathLike[str]) -> npt.NDArray[np.uint8]:
    """Pixels of an image file, upright, uint8 (H, W, 3).

    Raises
    ------
    VidexplainError
        If there is no such file, or it is no image of a usual format.
    """
    name = os.fsdecode(path)
    try:
        with open_image(name) as opened:
            return upright_rgb(opened)
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {name!r}; check the path.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (
            "its format is none that is read here" if isinstance(error, UnidentifiedImageError) else error
        )
        raise VidexplainError(f"{name!r} cannot be read as an image ({reason}).") from error


def open_image(path: str | PathLike[str]) -> Image.Image:
    """Pillow's image of a file, of a format that only holds pixels: it would run other programs on some."""
    file = os.fsdecode(path)
    if os.path.exists(file) and not os.path.isfile(file):
        raise OSError("it is no regular file")
    Image.init()  # else Pillow knows a few formats only, and stumbles over the names of others
    return Image.open(file, formats=[name for name in IMAGE_FORMATS if name in Image.OPEN])


def upright_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Pixels of a PIL image as uint8 (H, W, 3), EXIF orientation applied, transparency over black."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I;16", "I")) and image.mode != "1":
        # Pillow clips 16-bit grey to 255 instead of scaling it
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        grey = np.clip(values * (255.0 / top) + 0.5, 0, 255).astype(np.uint8)
        return np.stack([grey] * 3, axis=-1)
    if "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    return np.array(image.convert("RGB"))
