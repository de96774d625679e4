"""Regions from arrays, folders of PNGs and videos."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence

from videxplain.clip import open_image
from videxplain.errors import VidexplainError, kind_of
from videxplain.files import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from videxplain.reading import read_arrays, read_single_array
from videxplain.regions.painting import Objects, check_extent
from videxplain.regions.video import read_mask_video
from videxplain.video.images import find_images

_EXACT = frozenset((".png", ".bmp", ".tif", ".tiff", ".pgm"))
Read = tuple[npt.NDArray[Any], dict[Any, str]]
"""Labels with the background last, and by object its name."""


def read_masks(source: Any) -> Read:
    """See `Regions.from_masks`."""
    if isinstance(source, str | os.PathLike):
        source = _read_numbers(os.fspath(source))
    if isinstance(source, Mapping):
        return _of_dict(source)
    array = _as_array(source)
    if array.dtype.kind in "iu" and array.ndim in (2, 3):
        return of_numbers(array)
    if array.dtype == bool and array.ndim in (2, 3, 4):
        several = array if array.ndim == 4 else array[None]
        return _of_dict({n + 1: mask for n, mask in enumerate(several)})
    raise VidexplainError(
        "masks have to be integers (T, H, W), booleans (T, H, W) or (N, T, H, W), or a dict by object, not "
        f"{array.dtype} {array.shape}{_hint(array)}."
    )


def of_numbers(array: npt.NDArray[Any]) -> Read:
    """Labels of an array that holds each object's number, 0 where there is none."""
    array = array[None] if array.ndim == 2 else array
    check_extent(len(array), array.shape[1:])
    if int(array.min()) < 0:
        raise VidexplainError(
            f"numbers of objects have to be 1 or more, and 0 for none; one is {array.min()}."
        )
    numbers = [int(n) for n in np.unique(array) if n]
    if not numbers:
        raise VidexplainError("there is no region: all numbers are 0.")
    labels = np.searchsorted(numbers, array).astype(np.min_scalar_type(len(numbers)))
    labels[array == 0] = len(numbers)
    return labels, {n: str(n) for n in numbers}


def _of_dict(source: Mapping[Any, Any]) -> Read:
    if not source:
        raise VidexplainError("there is no region: the dict is empty.")
    if all(isinstance(value, Mapping) for value in source.values()):
        return _of_frames(source)
    by_object = {key: _mask(key, value, (2, 3)) for key, value in source.items()}
    by_object = {key: mask[None] if mask.ndim == 2 else mask for key, mask in by_object.items()}
    shapes = {mask.shape for mask in by_object.values()}
    if len(shapes) > 1:
        raise VidexplainError(f"masks differ in shape: {' and '.join(map(str, sorted(shapes)))}.")
    (shape,) = shapes
    objects = Objects(shape[1:], shape[0])
    for key, mask in by_object.items():
        for t, part in enumerate(mask):
            objects.add(key, str(key), t, part)
    return objects.painted(), objects.by_key()


def _of_frames(source: Mapping[Any, Mapping[Any, Any]]) -> Read:
    """Of a dict by frame of dicts by object."""
    frames = list(source)
    if not all(isinstance(t, int | np.integer) and t >= 0 for t in frames):
        raise VidexplainError("masks by frame need frame numbers of 0 or more.")
    by_frame = {
        int(t): {key: _mask(key, value, (2, 3)) for key, value in objects.items()}
        for t, objects in source.items()
    }
    shapes = {mask.shape[-2:] for objects in by_frame.values() for mask in objects.values()}
    if len(shapes) != 1:
        raise VidexplainError(
            "there is no region: no frame has a mask." if not shapes else "masks differ in size."
        )
    objects = Objects(shapes.pop(), max(by_frame) + 1)
    for t, masks in sorted(by_frame.items()):
        for key, mask in masks.items():
            if mask.ndim == 3 and len(mask) != 1:
                raise VidexplainError(
                    f"the mask of {key} in frame {t} has to be of one frame, not {mask.shape}."
                )
            plane = mask.reshape(objects.size)
            objects.add(key, str(key), t, plane)
    return objects.painted(), objects.by_key()


def _mask(key: Any, value: Any, axes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    array = _as_array(value)
    if array.dtype.kind in "iu" and array.size and int(array.min()) >= 0 and int(array.max()) <= 1:
        array = array.astype(bool)
    if array.dtype != bool or array.ndim not in axes or not array.size:
        what = f"{array.dtype} {array.shape}" if array.ndim else kind_of(value)
        raise VidexplainError(f"the mask of {key} has to be booleans (T, H, W), not {what}{_hint(array)}.")
    return array


def _as_array(value: Any) -> npt.NDArray[Any]:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu().numpy()
    try:
        return np.asarray(value)
    except ValueError:
        raise VidexplainError("masks have to be arrays; the rows of this list differ in length.") from None


def _hint(array: npt.NDArray[Any]) -> str:
    return "; of SAM's logits take logits > 0" if array.dtype.kind == "f" else ""


def _read_numbers(name: str) -> npt.NDArray[Any]:
    if Path(name).suffix.lower() in VIDEO_SUFFIXES and not os.path.isdir(name):
        return read_mask_video(name)
    return read_label_images(name) if _is_image(name) else _read_array(name)


def _read_array(name: str) -> npt.NDArray[Any]:
    try:
        if name.lower().endswith(".npy"):
            return read_single_array(name)
        if not name.lower().endswith(".npz"):
            raise ValueError("masks are read from .npy and .npz files, PNGs, folders of them, and videos")
        arrays = read_arrays(name, lambda headers: None)
        if "labels" not in arrays and len(arrays) != 1:
            raise ValueError(f"of {', '.join(arrays) or 'no arrays'} none is named 'labels'")
        return arrays.get("labels", next(iter(arrays.values())))
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {name!r}; check the path.") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise VidexplainError(f"{name!r} cannot be read as masks: {error}.") from error


def _is_image(path: str | os.PathLike[str]) -> bool:
    return os.path.isdir(path) or Path(path).suffix.lower() in IMAGE_SUFFIXES


def label_image_paths(folder: str | os.PathLike[str]) -> list[Path]:
    """A folder's images, or the one image, in the order of their numbers, of which none may be missing."""
    name = os.fspath(folder)
    if not os.path.exists(name):
        raise VidexplainError(f"there is no file {name!r}; check the path.")
    paths = [Path(name)] if os.path.isfile(name) else find_images(name) or []
    lossy = [path for path in paths if path.suffix.lower() not in _EXACT]
    if lossy:
        raise VidexplainError(
            f"{str(lossy[0])!r} cannot hold numbers of objects, which compression with loss changes; "
            "a PNG for each frame can."
        )
    numbers = [re.findall(r"\d+", path.stem)[-1:] for path in paths]
    if all(numbers):
        first = int(numbers[0][0])
        for path, number, expected in zip(paths, numbers, range(first, first + len(paths)), strict=True):
            if int(number[0]) != expected:
                raise VidexplainError(
                    f"frame {expected} is missing in {name!r}: the images go on with {path.name!r}."
                )
    return paths


def read_label_image(path: Path, *, alone: bool) -> list[npt.NDArray[Any]]:
    """Numbers (H, W) in an image; one that is `alone` may have several pages."""
    try:
        with open_image(path) as image:
            if image.mode not in ("P", "L", "1") and not image.mode.startswith("I"):
                raise VidexplainError(
                    f"{str(path)!r} is in colour ({image.mode}); numbers of objects are grey values or indices of "
                    "a palette."
                )
            pages = getattr(image, "n_frames", 1)
            if pages > 1 and not alone:
                raise VidexplainError(
                    f"{str(path)!r} holds {pages} images; in a folder each holds one frame."
                )
            return [np.asarray(page).astype(np.int32) for page in ImageSequence.Iterator(image)]
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise VidexplainError(f"{str(path)!r} cannot be read as an image ({error}).") from error


def read_label_images(folder: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Numbers (T, H, W) in an image or a folder's images: indices of a palette, or grey values of 8 or 16 bits."""
    paths = label_image_paths(folder)
    frames: list[npt.NDArray[Any]] = []
    for path in paths:
        frames += read_label_image(path, alone=len(paths) == 1)
        if frames[-1].shape != frames[0].shape:
            raise VidexplainError(
                f"{str(path)!r} is of another size than the first image in {os.fspath(folder)!r}."
            )
        check_extent(len(frames), frames[0].shape)
    return np.stack(frames)
