"""Labels of a long video, read a few frames at a time, so that memory does not grow with its length."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.files import file_state
from videxplain.reading import array_header
from videxplain.regions.masks import label_image_paths, read_label_image
from videxplain.regions.painting import Objects
from videxplain.regions.video import MaskVideo

Numbers = npt.NDArray[np.integer]


class FrameLabels:
    """Labels (T, H, W), of which frames are read when they are asked for; 0..n-1 for objects, n where there is none.

    Parameters
    ----------
    length, size
        How many frames there are, and their height and width.
    background
        n.
    read
        The labels (H, W) of a frame by its number, from 0.
    source
        The file or folder.
    """

    def __init__(
        self,
        length: int,
        size: tuple[int, int],
        background: int,
        read: Callable[[int], Numbers],
        source: str,
    ) -> None:
        self.shape = (length, *size)
        self.dtype = np.min_scalar_type(background)
        self.source = source
        self._read = read

    def __len__(self) -> int:
        return self.shape[0]

    def file_states(self) -> str:
        """A hash of where the files are, their sizes and their times of change."""
        files = sorted(Path(self.source).iterdir()) if os.path.isdir(self.source) else [self.source]
        return hashlib.sha256(repr([*map(file_state, files)]).encode()).hexdigest()

    def __getitem__(self, frames: slice | Numbers) -> Numbers:
        wanted = range(len(self))[frames] if isinstance(frames, slice) else frames.tolist()
        labels = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for place, frame in enumerate(wanted):
            try:
                labels[place] = self._read(frame)
            except (OSError, ValueError, LookupError, TypeError, OverflowError) as error:
                raise VidexplainError(
                    f"the regions of frame {frame} in {self.source!r} cannot be read: {error}."
                ) from error
        return labels


def of_objects(objects: Objects, source: str) -> tuple[FrameLabels, dict[Any, str]]:
    """Of shapes, which are painted when their frame is asked for."""
    labels = FrameLabels(objects.length, objects.size, len(objects.names), objects.paint, source)
    return labels, objects.by_key()


def of_array(path: str) -> tuple[FrameLabels, dict[Any, str]]:
    """Of an .npy file with each object's number, 0 where there is none."""

    def frame(number: int) -> Numbers:
        # mapped anew each time: what stays mapped counts as this process's memory
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False)[number])

    (length, *_), _ = array_header(path)
    return _numbered(map(frame, range(length)), frame, path)


def of_images(folder: str) -> tuple[FrameLabels, dict[Any, str]]:
    """Of a folder of images, one a frame, whose pixels are the objects' numbers."""
    paths = label_image_paths(folder)
    frame = partial(_image, paths)
    return _numbered(map(frame, range(len(paths))), frame, folder)


def of_video(path: str) -> tuple[FrameLabels, dict[Any, str]]:
    """Of a video without loss, whose pixels are the objects' numbers."""
    video = MaskVideo(path)
    return _numbered(video, video.read, path)


def _image(paths: list[Path], number: int) -> Numbers:
    (image,) = read_label_image(paths[number], alone=False)
    return image


def _numbered(
    frames: Iterable[Numbers], frame: Callable[[int], Numbers], source: str
) -> tuple[FrameLabels, dict[Any, str]]:
    """Of frames that hold numbers; all are looked through once."""
    size: tuple[int, ...] | None = None
    found: set[int] = set()
    number = -1
    for number, image in enumerate(frames):
        size = size or image.shape
        if image.shape != size:
            raise VidexplainError(f"frame {number} in {source!r} is of another size than the first.")
        found.update(np.unique(image).tolist())
    found.discard(0)
    if not found or size is None:
        raise VidexplainError("there is no region: all numbers are 0.")
    if min(found) < 0:
        raise VidexplainError(
            f"numbers of objects have to be 1 or more, and 0 for none; one is {min(found)}."
        )
    numbers = sorted(found)

    def labels(number: int) -> Numbers:
        return renumbered(frame(number), numbers)

    return (
        FrameLabels(number + 1, (size[0], size[1]), len(numbers), labels, source),
        {number: str(number) for number in numbers},
    )


def renumbered(image: Numbers, numbers: Iterable[int]) -> Numbers:
    """Places among ascending `numbers`, and how many these are where the image is 0.

    Raises
    ------
    ValueError
        If the image has another number, as where a file was changed meanwhile.
    """
    known = np.array([*numbers])
    labels = np.searchsorted(known, image)
    labels[image == 0] = len(known)
    if not (known[np.minimum(labels, len(known) - 1)] == image)[image != 0].all():
        raise ValueError("it has changed since it was opened")
    return labels


def is_array(path: str | os.PathLike[str]) -> bool:
    """Whether it is an .npy file that `of_array` reads; others are read whole, or refused."""
    if Path(path).suffix.lower() != ".npy":
        return False
    try:
        shape, dtype = array_header(path)
    except (OSError, ValueError, EOFError):
        return False
    return dtype.kind in "iu" and len(shape) == 3 and all(shape)
