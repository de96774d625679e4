"""CVAT for video 1.1: each mask is a track of one frame, which is how CVAT itself exports and imports masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
import numpy.typing as npt

from videxplain.exports.explained import Explained, ExplainedWindow, Region, box_of
from videxplain.exports.formats import exports_to

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML can hold."""
_ATTRIBUTES = ("region", "rank", "score", "error", "share", "name")


class _Writer:
    """XML, element by element, a line each."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._xml = XMLGenerator(file, "utf-8", short_empty_elements=False)
        self._xml.startDocument()
        self._depth = 0

    @contextmanager
    def element(self, name: str, /, **attributes: object) -> Iterator[None]:
        self._open(name, attributes)
        self._depth += 1
        yield
        self._depth -= 1
        self._line()
        self._xml.endElement(name)

    def leaf(self, name: str, value: object, /, **attributes: object) -> None:
        """An element that holds a text; characters that XML cannot hold are replaced."""
        self._open(name, attributes)
        self._xml.characters(_text(value))
        self._xml.endElement(name)

    def end(self) -> None:
        self._xml.ignorableWhitespace("\n")
        self._xml.endDocument()

    def _open(self, name: str, attributes: dict[str, object]) -> None:
        self._line()
        self._xml.startElement(name, AttributesImpl({key: _text(value) for key, value in attributes.items()}))

    def _line(self) -> None:
        self._xml.ignorableWhitespace("\n" + "  " * self._depth)


def _text(value: object) -> str:
    return _FORBIDDEN.sub("\ufffd", str(value))


@exports_to("cvat", suffix=".xml", takes_top_k=True)
def write(explained: Explained, path: Path, top_k: int) -> None:
    """A region's masks have its number as `group_id`, plus one; frames are numbered as the source's."""
    with open(path, "w", encoding="utf-8") as file:
        xml = _Writer(file)
        with xml.element("annotations"):
            xml.leaf("version", "1.1")
            _meta(xml, explained)
            track, last = 0, explained.first + explained.length - 1
            for window in explained.windows():
                for frame in window.shown:
                    for region, mask in window.masks(frame.index, top_k):
                        _track(xml, track, window, (region, mask), (frame.number, last))
                        track += 1
        xml.end()


def _meta(xml: _Writer, explained: Explained) -> None:
    height, width = explained.size
    first = explained.first
    with xml.element("meta"), xml.element("task"):
        for name, value in {
            "id": 0,
            "name": explained.name,
            "size": explained.length,
            "mode": "interpolation",
            "overlap": 0,
            "bugtracker": "",
            "flipped": False,
            "start_frame": first,
            "stop_frame": first + explained.length - 1,
            "frame_filter": "",
        }.items():
            xml.leaf(name, value)
        with xml.element("labels"):
            for name in explained.class_names:
                with xml.element("label"):
                    xml.leaf("name", name)
                    xml.leaf("type", "mask")
                    with xml.element("attributes"):
                        for attribute in _ATTRIBUTES:
                            _attribute(xml, attribute)
        with xml.element("original_size"):
            xml.leaf("width", width)
            xml.leaf("height", height)


def _attribute(xml: _Writer, name: str) -> None:
    with xml.element("attribute"):
        for part, value in {
            "name": name,
            "mutable": True,
            "input_type": "text",
            "default_value": "",
            "values": "",
        }.items():
            xml.leaf(part, value)


def _track(
    xml: _Writer,
    number: int,
    window: ExplainedWindow,
    shape: tuple[Region, npt.NDArray[np.bool_]],
    frames: tuple[int, int],
) -> None:
    """One mask in one frame; in the next, unless that is the last, the track is outside."""
    (region, mask), (frame, last) = shape, frames
    place = _run_lengths(mask)
    values = {name: getattr(region, "number" if name == "region" else name) for name in _ATTRIBUTES}
    about = {
        "id": number,
        "label": window.explanation.target_name,
        "source": "auto",
        "group_id": region.number + 1,
    }
    with xml.element("track", **about):
        for n, outside in ((frame, 0), (frame + 1, 1)):
            if n > last:
                continue
            with xml.element("mask", frame=n, keyframe=1, outside=outside, occluded=0, **place, z_order=0):
                for name in _ATTRIBUTES:
                    xml.leaf("attribute", "" if values[name] is None else values[name], name=name)


def _run_lengths(mask: npt.NDArray[np.bool_]) -> dict[str, object]:
    """A mask's box, and the lengths of its runs in there, row by row, what is not of the region first."""
    top, left, bottom, right = box_of(mask)
    part = mask[top:bottom, left:right]
    flat = part.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    if flat[0]:
        runs.insert(0, 0)
    return {
        "rle": ", ".join(map(str, runs)),
        "left": left,
        "top": top,
        "width": part.shape[1],
        "height": part.shape[0],
    }
