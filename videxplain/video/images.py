"""Image sequences as videos: a folder of images, or a pattern of numbered ones."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from videxplain.clip import upright_rgb
from videxplain.errors import VidexplainError

if TYPE_CHECKING:
    from videxplain.video.clock import DecodeReport

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"})
_NUMBER = re.compile(r"%0?\d*d")


def find_images(path: str) -> list[Path] | None:
    """The images that `path` stands for, in order, or None if it is to be opened as a file.

    A folder stands for the images in it, sorted with numbers as numbers; a pattern with ``%d`` or ``%04d``
    for the files whose names fit, sorted by that number, whatever it begins with.

    Raises
    ------
    VidexplainError
        If the folder holds no image or no file fits the pattern.
    """
    if os.path.isdir(path):
        images = [p for p in Path(path).iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
        if not images:
            raise VidexplainError(f"the folder {path!r} holds no images.")
        return sorted(images, key=lambda p: natural_key(p.name))
    name = os.path.basename(path)
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


def read_images(
    paths: Sequence[Path], size: tuple[int, ...] | None, report: DecodeReport
) -> Iterator[npt.NDArray[np.uint8]]:
    """Images as uint8 (H, W, 3), scaled to `size` (H, W); unreadable ones repeat the last good one.

    Raises
    ------
    VidexplainError
        If the first image cannot be read.
    """
    last: npt.NDArray[np.uint8] | None = None
    for path in paths:
        try:
            with Image.open(path) as opened:
                image = upright_rgb(opened)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
            if last is None:
                raise VidexplainError(f"{str(path)!r} cannot be read as an image ({error}).") from error
            report.damaged += 1
            image = last
        if size is not None and image.shape[:2] != tuple(size):
            report.resized += 1
            resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
            image = np.asarray(resized)
        last = image
        yield image
