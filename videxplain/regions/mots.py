"""Regions from MOTS: a line for each mask, or PNGs of 16 bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from videxplain.errors import VidexplainError
from videxplain.reading import open_file
from videxplain.regions.coco import decoded, mask_tools
from videxplain.regions.masks import Read, of_numbers, read_label_images
from videxplain.regions.painting import Labelled, Objects

_CLASSES = {1: "car", 2: "pedestrian"}
_IGNORED = 10  # the class of regions that say nothing
_MOST_TEXT = 1 << 30


def read_mots(
    path: str | os.PathLike[str],
    length: int | None,
    first: int,
    labelled: Callable[[Objects], Labelled],
) -> Labelled | Read:
    """See `Regions.from_mots`; `labelled` makes labels of a text file's objects."""
    if os.path.isdir(path):
        numbers = read_label_images(path)
        if length is not None and length != len(numbers):
            raise VidexplainError(
                f"the folder {os.fspath(path)!r} holds {len(numbers)} images, not {length}."
            )
        numbers[numbers // 1000 == _IGNORED] = 0
        labels, by_key = of_numbers(numbers)
        return labels, {key: _name(key) for key in by_key}
    mask_tools()
    try:
        lines = _lines(path)
        frames = [int(line[0]) - first for line in lines]
        height, width = int(lines[0][3]), int(lines[0][4])
        objects = Objects((height, width), max(frames) + 1 if length is None else length)
        for frame, (_, key, kind, rows, columns, counts) in zip(frames, lines, strict=True):
            if int(kind) == _IGNORED:
                continue
            rle: dict[str, Any] = {"size": [int(rows), int(columns)], "counts": counts}
            objects.add(int(key), _name(int(key)), frame, partial(decoded, rle, objects.size))
        return labelled(objects)
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {os.fspath(path)!r}; check the path.") from None
    except (OSError, ValueError, IndexError) as error:
        raise VidexplainError(f"{os.fspath(path)!r} cannot be read as MOTS: {error}.") from error


def _lines(path: str | os.PathLike[str]) -> list[list[str]]:
    """Frame, object, class, height, width and run lengths of each mask."""
    with open_file(path) as file:
        text = file.read(_MOST_TEXT).decode("ascii")
    lines = [line.split() for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) != 6:
            raise ValueError(f"line {number} has {len(line)} parts instead of 6")
    if not lines:
        raise ValueError("it is empty")
    return lines


def _name(key: int) -> str:
    """A class of the benchmark and a number, "car 3"; other numbers as they are."""
    kind = _CLASSES.get(key // 1000)
    return f"{kind} {key % 1000}" if kind else str(key)
