"""Image sequences as videos: a folder of images, or a pattern of numbered ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageSequence

from videxplain.clip import open_image, read_image, upright_rgb
from videxplain.errors import VidexplainError
from videxplain.files import IMAGE_SUFFIXES
from videxplain.video.frames import fitted, letterboxed

if TYPE_CHECKING:
    from videxplain.video.clock import DecodeReport

_NUMBER = re.compile(r"%0?\d*d")


def find_images(path: str) -> list[Path] | None:
    """The images that `path` stands for, in order, or None if it is to be opened as a file.

    An image stands for itself; a folder for the images in it, sorted with numbers as numbers; a pattern with ``%d``
    or ``%04d`` for the files whose names fit, sorted by that number, whatever it begins with.

    Raises
    ------
    VidexplainError
        If the folder holds no image or no file fits the pattern.
    """
    if os.path.isdir(path):
        # hidden ones are none of the frames, but what some archivers put beside each
        visible = (p for p in Path(path).iterdir() if not p.name.startswith("."))
        images = [p for p in visible if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        if not images:
            raise VidexplainError(f"the folder {path!r} holds no images.")
        return sorted(images, key=lambda p: natural_key(p.name))
    name = os.path.basename(path)
    if os.path.isfile(path) and Path(path).suffix.lower() in IMAGE_SUFFIXES:
        return [Path(path)] if frames_in(path) == 1 else None
    if os.path.exists(path) or not _NUMBER.search(name):
        return None
    before, after = (re.escape(part) for part in _NUMBER.split(name, maxsplit=1))
    fits = re.compile(f"{before}(\\d+){after}")
    folder = Path(os.path.dirname(path) or ".")
    matches = [(m, p) for p in (folder.iterdir() if folder.is_dir() else ()) if (m := fits.fullmatch(p.name))]
    if not matches:
        raise VidexplainError(f"no file fits the pattern {path!r}.")
    return [p for _, p in sorted(matches, key=lambda pair: int(pair[0][1]))]


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorting key that puts ``frame10`` after ``frame9``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def frames_in(path: str) -> int:
    """How many pictures an image file holds; none if it is no image."""
    try:
        with open_image(path) as image:
            return getattr(image, "n_frames", 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def is_animation(path: str) -> bool:
    """Whether a file is a moving image of the one kind that not every FFmpeg reads: WebP."""
    if Path(path).suffix.lower() != ".webp" or not os.path.isfile(path):
        return False
    return frames_in(path) > 1


def read_animation(path: str) -> Iterator[tuple[npt.NDArray[np.uint8], Fraction]]:
    """Pictures, uint8 (H, W, 3), of a moving image, and how many seconds each is shown."""
    with open_image(path) as image:
        for picture in ImageSequence.Iterator(image):
            pixels = upright_rgb(picture)
            # as browsers do: what is shown for no time at all is meant to be shown for a tenth of a second
            yield pixels, Fraction(round(picture.info.get("duration") or 100), 1000)


def read_images(
    paths: Sequence[Path], size: tuple[int, ...] | None, report: DecodeReport
) -> Iterator[npt.NDArray[np.uint8]]:
    """Images as uint8 (H, W, 3), fitted into `size` (H, W); unreadable ones repeat the last good one.

    Raises
    ------
    VidexplainError
        If the first image cannot be read.
    """
    last: npt.NDArray[np.uint8] | None = None
    for path in paths:
        try:
            image = read_image(path)
        except VidexplainError:
            if last is None:
                raise
            report.damaged += 1
            image = last
        if size is not None and image.shape[:2] != tuple(size):
            report.resized += 1
            height, width = fitted(image.shape[:2], (size[0], size[1]))
            inner = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
            image = letterboxed(np.asarray(inner), (size[0], size[1]))
        last = image
        yield image
