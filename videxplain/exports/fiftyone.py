"""FiftyOne: a folder of its type FiftyOneVideoLabelsDataset, with the video and, frame by frame, its regions."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videxplain.explanations.figure import write_video
from videxplain.exports.explained import Explained, ExplainedWindow, Region, Shown, box_of, source_picture
from videxplain.exports.formats import exports_to
from videxplain.view.page import playable
from videxplain.view.video_scene import VideoScene


@exports_to("fiftyone", takes_top_k=True)
def write(explained: Explained, path: Path, top_k: int) -> None:
    """Frames are numbered from 1, and tell their number in the source; a clip becomes a video of its own frames."""
    for name in ("data", "labels"):
        (path / name).mkdir()
    video, labels = _copy_video(explained, path), path / "labels" / "video.json"
    index = {
        "type": "eta.core.datasets.LabeledVideoDataset",
        "description": f"{explained.name} explained by {explained.summary['method']}",
        "index": [{"data": f"data/{video.name}", "labels": f"labels/{labels.name}"}],
    }
    (path / "manifest.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    is_video = isinstance(explained.scene, VideoScene)
    with open(labels, "w", encoding="utf-8") as file:
        file.write('{"frames": {')
        between = ""
        for window in explained.windows():
            for frame in window.seen:
                place = frame.number + 1 if is_video else frame.index + 1
                values = _frame(window, frame, top_k) | {"frame_number": place}
                file.write(f'{between}\n"{place}": {json.dumps(values, allow_nan=False)}')
                between = ","
        file.write("}}\n")


def _copy_video(explained: Explained, path: Path) -> Path:
    scene = explained.scene
    if not isinstance(scene, VideoScene):
        one = scene.explanations[0]
        real = len(one.labels) - one.held
        pictures = (source_picture(one, t) for t in range(real))
        return write_video(path / "data" / "video.mp4", pictures, one.times[:real])
    with tempfile.TemporaryDirectory(dir=path) as scratch:
        source = playable(scene, Path(scratch))
        video = path / "data" / f"video{source.suffix.lower()}"
        shutil.copyfile(source, video)
    return video


def _frame(window: ExplainedWindow, frame: Shown, top_k: int) -> dict[str, Any]:
    explanation = window.explanation
    regions = window.masks(frame.index, top_k)
    return {
        "attrs": {
            "attrs": [
                _attribute("class", explanation.target_name) | {"confidence": explanation.probability},
                _attribute("source_frame", frame.number),
            ]
        },
        "objects": {"objects": [_object(explanation.target_name, region, mask) for region, mask in regions]},
    }


def _object(label: str, region: Region, mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A mask is held within its box, whose corners are shares of the frame's sides."""
    top, left, bottom, right = box_of(mask)
    height, width = mask.shape
    values = {
        name: getattr(region, name)
        for name in ("score", "share", "rank", "error")
        if getattr(region, name) is not None
    }
    return {
        "type": "eta.core.objects.DetectedObject",
        "label": label,
        "bounding_box": {
            "top_left": {"x": left / width, "y": top / height},
            "bottom_right": {"x": right / width, "y": bottom / height},
        },
        "mask": _packed(mask[top:bottom, left:right]),
        "index": region.number,
        "attrs": {
            "attrs": [
                *(_attribute(name, value) for name, value in values.items()),
                *([_attribute("name", region.name)] if region.name else []),
            ]
        },
    }


def _attribute(name: str, value: str | float) -> dict[str, Any]:
    kind = "Categorical" if isinstance(value, str) else "Numeric"
    return {"type": f"eta.core.data.{kind}Attribute", "name": name, "value": value}


def _packed(mask: npt.NDArray[np.bool_]) -> str:
    """A NumPy file, deflated, as base64."""
    buffer = io.BytesIO()
    np.save(buffer, mask, allow_pickle=False)
    return base64.b64encode(zlib.compress(buffer.getvalue())).decode("ascii")
