"""Regions from "CVAT for video 1.1"."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from xml.etree import ElementTree

import numpy as np

from videxplain.errors import VidexplainError
from videxplain.reading import open_file
from videxplain.regions.painting import Labelled, Mask, Objects, box_mask, polygon_mask

_MOST_TEXT = 1 << 28
_SHAPES = ("box", "polygon", "mask")
_WRONG = (ValueError, TypeError, AttributeError, LookupError, OverflowError)


def read_cvat(path: str | os.PathLike[str], labelled: Callable[[Objects], Labelled]) -> tuple[Labelled, int]:
    """See `Regions.from_cvat`; `labelled` makes labels of the objects. Also which frame of the video is the first."""
    name = os.fspath(path)
    try:
        with open_file(path) as file:
            text = file.read(_MOST_TEXT)
        if (
            b"<!DOCTYPE" in text or b"<!ENTITY" in text
        ):  # which CVAT does not write, and which may grow without end
            raise ValueError("it declares a document type")
        root = ElementTree.fromstring(text)
        if root.find("track") is None:
            raise VidexplainError(
                f"{name!r} has no tracks; export the task as 'CVAT for video 1.1' from CVAT."
            )
        objects, first = Objects(_size(root), _length(root)), _first(root)
        for track in root.iter("track"):
            _add(objects, track, first)
        return labelled(objects), first
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {name!r}; check the path.") from None
    except (OSError, ElementTree.ParseError, *_WRONG) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise VidexplainError(f"{name!r} cannot be read as CVAT for video: {reason}.") from error


def _number(root: ElementTree.Element, *tags: str) -> int:
    """The number in the first element of such a path, anywhere in the file's head."""
    place = root.find(f"meta/*/{'/'.join(tags)}")
    if place is None:
        raise KeyError("/".join(tags))
    return int(place.text or "")


def _size(root: ElementTree.Element) -> tuple[int, int]:
    return _number(root, "original_size", "height"), _number(root, "original_size", "width")


def _length(root: ElementTree.Element) -> int:
    """How many frames there are; those of a task that left some out are not numbered as the video's."""
    skipped = root.find("meta/*/frame_filter")
    if skipped is not None and (skipped.text or "").strip():
        raise VidexplainError(
            "the CVAT task left frames out (frame_filter); export one that has all of them."
        )
    return _number(root, "size")


def _first(root: ElementTree.Element) -> int:
    """The number of the first frame; frames are numbered as the video's."""
    return 0 if root.find("meta/*/start_frame") is None else _number(root, "start_frame")


def _add(objects: Objects, track: ElementTree.Element, first: int) -> None:
    name = f"{track.attrib['label']} {track.attrib['id']}"
    last = None
    for shape in sorted(track, key=lambda element: int(element.get("frame", -1))):
        if shape.tag not in _SHAPES:
            raise VidexplainError(f"track {name} has a {shape.tag}; a region is a box, a polygon or a mask.")
        frame = int(shape.attrib["frame"])
        if last is not None and frame != last + 1:
            raise VidexplainError(
                f"track {name} has no shape in frame {last + 1}: the file holds key frames only; export it from CVAT, "
                "which writes those between as well."
            )
        seen = shape.get("outside", "0") == "0"
        last = frame if seen else None
        if seen:
            objects.add(track.attrib["id"], name, frame - first, partial(_mask, shape, objects.size))


def _mask(shape: ElementTree.Element, size: tuple[int, int]) -> Mask:
    values = shape.attrib
    if shape.tag == "box":
        return box_mask(size, [float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr")])
    if shape.tag == "polygon":
        return polygon_mask(
            size, [[float(v) for v in pair.split(",")] for pair in values["points"].split(";")]
        )
    left, top, width, height = (int(values[key]) for key in ("left", "top", "width", "height"))
    runs = [int(run) for run in values["rle"].split(",")]
    inside = (
        min(left, top, width - 1, height - 1) >= 0 and left + width <= size[1] and top + height <= size[0]
    )
    if not inside or min(runs) < 0 or sum(runs) > width * height:
        raise ValueError(f"the mask in frame {values['frame']} does not fit its box or the frame")
    flat = np.zeros(width * height, bool)  # row by row, what is not of the object first
    part = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    flat[: len(part)] = part
    mask = np.zeros(size, bool)
    mask[top : top + height, left : left + width] = flat.reshape(height, width)
    return mask
