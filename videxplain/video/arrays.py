"""Clips that are no films: arrays in files of NumPy's, and images with all the bits that they have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from videxplain.clip import Clip, as_frames, open_image, upright_rgb
from videxplain.errors import VidexplainError
from videxplain.files import ARRAY_SUFFIXES, IMAGE_SUFFIXES
from videxplain.reading import read_arrays, read_single_array
from videxplain.video.images import find_images

RATE = 25
"""Frames per second of what does not tell."""
_NAME = "frames"


def is_array(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of NumPy's, by its name."""
    return Path(path).suffix.lower() in ARRAY_SUFFIXES


def read_clip(
    path: str | os.PathLike[str],
    *,
    channels: int | None = None,
    at: float = 0.0,
    stride: int = 1,
    length: int | None = None,
) -> Clip:
    """The clip in an .npy or .npz file, or in images with all their bits: 16-bit grey, TIFF stacks, folders.

    Parameters
    ----------
    path
        An .npy file; an .npz file with one array, or one that is named "frames"; an image, a folder of images or a
        pattern such as ``scan%04d.png``. Videos are opened by `open_video`.
    channels
        As for `Clip.from_array`.
    at, stride, length
        The clip begins at so many seconds, takes each N-th frame, and has at most so many; frames are 1/25 s apart.

    Returns
    -------
    Clip
        Frames with their times.

    Raises
    ------
    VidexplainError
        If there is no such file or it holds no clip. Pickled objects in files are never read.
    """
    name = os.fsdecode(path)
    start = int(np.ceil(at * RATE - 1e-9))
    wanted = slice(start, None if length is None else start + length * stride, stride)
    if is_array(name):
        frames = as_frames(_read_array(name), channels)[wanted]
    elif os.path.isdir(name) or "%" in name or Path(name).suffix.lower() in IMAGE_SUFFIXES:
        frames = _read_stack(name, wanted)
    else:
        raise VidexplainError(
            f"{name!r} is no array (.npy, .npz) and no image; open a video with open_video(path).clips(...)."
        )
    if not len(frames):
        raise VidexplainError(f"{name} has no frame at or after {at:g} s; give an earlier --at")
    times = tuple(Fraction(start + n * stride, RATE) for n in range(len(frames)))
    try:
        return Clip(np.ascontiguousarray(frames), times, start=start, stride=stride, source=name)
    except ValueError as error:
        raise VidexplainError(f"{name!r} holds no clip: {error}.") from error


def _read_array(name: str) -> npt.NDArray[Any]:
    try:
        if name.lower().endswith(".npy"):
            array = read_single_array(name)
        else:
            arrays = read_arrays(name, lambda headers: None)
            if _NAME not in arrays and len(arrays) != 1:
                raise ValueError(f"of {', '.join(arrays) or 'no arrays'} none is named {_NAME!r}")
            array = arrays.get(_NAME, next(iter(arrays.values())))
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {name!r}; check the path.") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise VidexplainError(f"{name!r} cannot be read as an array: {error}.") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read_stack(name: str, wanted: slice) -> npt.NDArray[Any]:
    """The pages of one image, or one page each of several: (T, H, W, C)."""
    paths: Sequence[Path] | None = find_images(name)
    if paths is None or (len(paths) == 1 and str(paths[0]) == name):
        pages = [(Path(name), page) for page in range(_pages(name))]
    else:
        pages = [(path, 0) for path in paths]
    frames = [_read_page(path, page) for path, page in pages[wanted]]
    kinds = {(frame.shape, str(frame.dtype)) for frame in frames}
    if len(kinds) > 1:
        listed = " and ".join(f"{dtype} {shape}" for shape, dtype in sorted(kinds))
        raise VidexplainError(f"the images of {name!r} differ, {listed}; a clip has frames of one kind.")
    return np.stack(frames) if frames else np.zeros((0,))


def _pages(name: str) -> int:
    with _opened(name) as image:
        return getattr(image, "n_frames", 1)


def _read_page(path: Path, page: int) -> npt.NDArray[Any]:
    """Upright pixels (H, W, C): of grey with 16 bits or floating point all of them, of others 8 bits."""
    name = str(path)
    with _opened(name) as image:
        try:
            image.seek(page)
            tiles = getattr(image, "tile", None) or [("", "")]
            if image.mode == "RGB" and ";16" in str(tiles[0][-1]):
                raise VidexplainError(
                    f"{name!r} has colours of 16 bits, of which 8 would be read; save the clip as an .npy file."
                )
            if image.mode.startswith("I"):
                grey = np.asarray(ImageOps.exif_transpose(image))
                if grey.min() < 0 or grey.max() > np.iinfo(np.uint16).max:
                    raise VidexplainError(
                        f"{name!r} has values beyond 16 bits; save the clip as an .npy file."
                    )
                return grey.astype(np.uint16)[..., None]
            if image.mode == "F":
                return np.asarray(ImageOps.exif_transpose(image), np.float32)[..., None]
            rgb = upright_rgb(image)
            return rgb[..., :1] if image.mode in ("1", "L") else rgb
        except (OSError, ValueError, SyntaxError, EOFError) as error:
            raise VidexplainError(f"{name!r} cannot be read as an image ({error}).") from error


def _opened(name: str) -> Image.Image:
    try:
        return open_image(name)
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {name!r}; check the path.") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VidexplainError(f"{name!r} cannot be read as an image ({error}).") from error
