"""Regions from COCO files, and from YouTube-VIS's, which are alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from videxplain.errors import VidexplainError
from videxplain.reading import read_json
from videxplain.regions.painting import Labelled, Mask, Objects, box_mask

_FARTHEST = 100  # times the frame's side: corners may lie outside, but each costs time by its distance
_IDENTITIES = ("track_id", "instance_id")
_WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError)


def read_coco(
    path: str | os.PathLike[str], only: str | int | None, labelled: Callable[[Objects], Labelled]
) -> Labelled:
    """See `Regions.from_coco`; `labelled` makes labels of the objects."""
    content = _read(path)
    mask_tools()
    try:
        if content.get("videos") and _has_tracks(content):
            return labelled(_video(content, only))
        return labelled(_images(content, only))
    except _WRONG as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise VidexplainError(f"{os.fspath(path)!r} cannot be read as COCO: {reason}.") from error


def image_named(path: str | os.PathLike[str], source: str | None) -> str | None:
    """The name by which a COCO file of several images lists the image `source`; None if it does not."""
    images = _read(path).get("images")
    names = [str(image.get("file_name")) for image in images or () if isinstance(image, dict)]
    wanted = [name for name in names if source and Path(name).name == Path(source).name]
    return wanted[0] if len(wanted) == 1 and len(names) > 1 else None


def mask_tools() -> Any:
    """pycocotools' functions of run-length encoded masks."""
    try:
        from pycocotools import mask
    except ImportError:
        raise VidexplainError(
            "masks in COCO and MOTS files are read by pycocotools: pip install 'videxplain[regions]'."
        ) from None
    return mask


def decoded(segmentation: Any, size: tuple[int, int]) -> Mask:
    """The mask (H, W) that polygons or a run-length encoding stand for."""
    tools = mask_tools()
    if isinstance(segmentation, list):
        parts = [part for part in segmentation if len(part) >= 6]
        if not parts:
            raise ValueError("a polygon has less than three corners")
        corners = np.concatenate([np.asarray(part, np.float64) for part in parts])
        if any(len(part) % 2 for part in parts) or not np.isfinite(corners).all():
            raise ValueError("a corner of a polygon is no pair of numbers")
        if np.abs(corners).max() > _FARTHEST * max(size):
            raise ValueError("a polygon reaches far beyond its frame")
        rle = tools.merge(tools.frPyObjects(parts, *size))
    else:
        rle = segmentation
        if tuple(rle["size"]) != size:
            raise ValueError(f"a mask of size {rle['size']} is in a frame of {list(size)}")
        if isinstance(rle["counts"], list):
            if sum(rle["counts"]) != size[0] * size[1] or min(rle["counts"]) < 0:
                raise ValueError("a mask's run lengths do not fill its frame")
            rle = tools.frPyObjects(rle, *size)
        elif _pixels(rle["counts"]) != size[0] * size[1]:  # the decoder would leave the rest to chance
            raise ValueError("a mask's run lengths do not fill its frame")
    mask: Mask = np.asarray(tools.decode(rle)).astype(bool)
    return mask


def _pixels(counts: str | bytes) -> int:
    """How many pixels compressed run lengths cover.

    Each is a number of 5 bits a character, lowest first, of which the last has the sign; from the fourth on they are
    differences from the one before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for code in counts.encode("ascii") if isinstance(counts, str) else counts:
        code -= 48
        value |= (code & 31) << shift
        shift += 5
        if shift > 60:  # no run is as long
            return -1
        if not code & 32:
            value -= (code & 16) << (shift - 4)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            if runs[-1] < 0:
                return -1
            value = shift = 0
    return sum(runs)


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise VidexplainError(f"there is no file {os.fspath(path)!r}; check the path.") from None
    except (OSError, ValueError) as error:
        raise VidexplainError(f"{os.fspath(path)!r} cannot be read as COCO: {error}.") from error


def _has_tracks(content: dict[str, Any]) -> bool:
    """Whether each annotation holds an object's masks in all frames, as in YouTube-VIS."""
    return any(
        "segmentations" in annotation or "bboxes" in annotation for annotation in content["annotations"]
    )


def _categories(content: dict[str, Any]) -> dict[Any, str]:
    return {category["id"]: str(category["name"]) for category in content.get("categories", ())}


def _name(content: dict[str, Any], annotation: dict[str, Any], identity: Any) -> str:
    category = _categories(content).get(annotation.get("category_id"), "object")
    return f"{category} {identity}"


def _video(content: dict[str, Any], only: str | int | None) -> Objects:
    videos = [v for v in content["videos"] if only is None or only in (v["id"], v.get("name"))]
    video = _single(videos, "video", [v.get("name", v["id"]) for v in content["videos"]], only)
    size = int(video["height"]), int(video["width"])
    objects = Objects(size, int(video.get("length") or len(video["file_names"])))
    for annotation in content["annotations"]:
        if annotation["video_id"] != video["id"]:
            continue
        name = _name(content, annotation, annotation["id"])
        shapes = annotation.get("segmentations") or annotation["bboxes"]
        for t, part in enumerate(shapes):
            if part:
                boxes = not annotation.get("segmentations")
                objects.add(annotation["id"], name, t, partial(_shape, part, boxes, size))
    return objects


def _shape(part: Any, is_box: bool, size: tuple[int, int]) -> Mask:
    if not is_box:
        return decoded(part, size)
    left, top, width, height = part
    return box_mask(size, (left, top, left + width, top + height))


def _images(content: dict[str, Any], only: str | int | None) -> Objects:
    images = [
        i
        for i in content["images"]
        if only is None or only in (i["id"], i.get("file_name"), i.get("video_id"))
    ]
    if not images:
        _single(images, "image", [i.get("file_name", i["id"]) for i in content["images"]], only)
    if len({image.get("video_id") for image in images}) > 1:
        raise VidexplainError("the COCO file holds images of several videos; name one, only=its id.")
    images = sorted(images, key=lambda image: image.get("frame_id", 0))  # else in the file's order
    sizes = {(int(image["height"]), int(image["width"])) for image in images}
    frame_of = {image["id"]: t for t, image in enumerate(images)}
    annotations = [a for a in content["annotations"] if a["image_id"] in frame_of]
    identity = next((key for key in _IDENTITIES if all(key in a for a in annotations)), None)
    if len(images) > 1 and (identity is None or len(sizes) > 1):
        raise VidexplainError(
            f"the COCO file holds {len(images)} images that are no video: its annotations have no track_id, or sizes "
            "differ; name one image, only=its file name or id."
        )
    objects = Objects(sizes.pop(), len(images))
    for annotation in annotations:
        key = annotation[identity or "id"]
        polygons = annotation.get("segmentation")
        part = polygons or annotation["bbox"]
        objects.add(
            key,
            _name(content, annotation, key),
            frame_of[annotation["image_id"]],
            partial(_shape, part, not polygons, objects.size),
        )
    return objects


def _single(items: Sequence[Any], kind: str, names: Sequence[Any], only: str | int | None) -> Any:
    if len(items) == 1:
        return items[0]
    listed = ", ".join(map(str, names[:5]))
    if not items:
        raise VidexplainError(f"the COCO file has no {kind} {only!r}; it has {listed or 'none'}.")
    raise VidexplainError(f"the COCO file holds {len(items)} {kind}s ({listed}); name one with only.")
