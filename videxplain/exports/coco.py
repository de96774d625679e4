"""COCO: frames as images, and the best regions of each as run-length encoded masks with boxes."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from videxplain.exports.explained import Explained, ExplainedWindow, Shown
from videxplain.exports.formats import exports_to
from videxplain.regions.coco import mask_tools

QUALITY = 95
"""Of the images, which are JPEG."""


@exports_to("coco", package="pycocotools", takes_top_k=True)
def write(explained: Explained, path: Path, top_k: int) -> None:
    """`labels.json`, and the images in `data`; the frames are those that the network saw."""
    data = path / "data"
    data.mkdir()
    height, width = explained.size
    categories = {name: n for n, name in enumerate(explained.class_names, 1)}
    head = {
        "info": {"description": f"{explained.name} explained by {explained.summary['method']}"},
        "videos": [{"id": 1, "name": explained.name, "height": height, "width": width}],
        "categories": [{"id": n, "name": name} for name, n in categories.items()],
    }
    with (
        open(path / "labels.json", "w+", encoding="utf-8") as file,
        tempfile.TemporaryFile("w+", dir=path, encoding="utf-8") as annotations,
    ):
        file.write(json.dumps(head)[:-1] + ', "images": [')
        images, regions = _List(file), _List(annotations)
        for window in explained.windows(pictures=True):
            category = categories[window.explanation.target_name]
            for frame in window.seen:
                name = f"frame_{frame.number:07d}.jpg"
                Image.fromarray(window.picture(frame.index)).save(data / name, quality=QUALITY, subsampling=0)
                images.add(
                    {
                        "id": frame.number + 1,
                        "file_name": name,
                        "height": height,
                        "width": width,
                        "video_id": 1,
                        "frame_id": frame.number,
                        "time": frame.time,
                    }
                )
                _add_regions(regions, window, frame, category, top_k)
        file.write('], "annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
        file.write("]}\n")


def _add_regions(regions: _List, window: ExplainedWindow, frame: Shown, category: int, top_k: int) -> None:
    tools = mask_tools()
    for region, mask in window.masks(frame.index, top_k):
        encoded = tools.encode(np.asfortranarray(mask, np.uint8))
        regions.add(
            {
                "id": regions.count + 1,
                "image_id": frame.number + 1,
                "category_id": category,
                "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode("ascii")},
                "bbox": tools.toBbox(encoded).tolist(),
                "area": int(tools.area(encoded)),
                "iscrowd": 0,
                "track_id": region.number,
                "rank": region.rank,
                "score": region.score,
                "error": region.error,
                "share": region.share,
                "probability": window.explanation.probability,
                **({"name": region.name} if region.name else {}),
            }
        )


class _List:
    """Items of a JSON list, which go into a file one by one."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.count = 0

    def add(self, item: dict[str, Any]) -> None:
        self._file.write((",\n" if self.count else "\n") + json.dumps(item, allow_nan=False))
        self.count += 1
