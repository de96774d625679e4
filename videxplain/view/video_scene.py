"""An explained video for the page."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from videxplain.annotate.job import files_of
from videxplain.annotate.saved import SavedExplanations, SavedWindow
from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError
from videxplain.explanations.explanation import headline
from videxplain.files import sha256_of
from videxplain.video import open_video
from videxplain.video.reader import Video
from videxplain.view.scene import Layer, common_summary, window_summary

_WINDOWS_KEPT = 8


class VideoScene:
    """A video whose explanations `annotate(..., save=folder)` kept.

    Parameters
    ----------
    saved
        What was kept, by one method or several; the first one's classes are what the network said.
    video
        The video; by default where it was when it was explained, or beside the folder.

    Raises
    ------
    VidexplainError
        If the video is not there, nothing of it was explained, or folders are of other videos or supervoxels.
    """

    def __init__(
        self,
        saved: SavedExplanations | Sequence[SavedExplanations],
        video: str | os.PathLike[str] | None = None,
    ) -> None:
        every = [saved] if isinstance(saved, SavedExplanations) else list(saved)
        saved = every[0]
        if not len(saved):
            raise VidexplainError(f"{saved.folder} holds no window of a video; there is nothing to look at")
        if len({one.folder.resolve() for one in every}) < len(every):
            raise VidexplainError("a folder was given twice; give each one once")
        for other in every[1:]:
            _check_alike(saved, other)
        self.saved, self.every = saved, every
        self.path = Path(video) if video is not None else _find(saved)
        if saved.manifest.get("input_sha256") not in (None, sha256_of(files_of(str(self.path)))):
            raise VidexplainError(
                f"{str(self.path)!r} is not the video that was explained (its checksum is another); tell where that is "
                "with --video"
            )
        deinterlace = bool(saved.manifest.get("run", {}).get("deinterlace"))
        stream = saved.manifest.get("run", {}).get("stream")
        self.video: Video = open_video(self.path, stream, deinterlace=deinterlace)
        assert saved.geometry is not None
        if (self.video.height, self.video.width) != tuple(saved.geometry.source):
            raise VidexplainError(
                f"{str(self.path)!r} has frames of {self.video.width}x{self.video.height}, and the explained video "
                f"had {saved.geometry.source[1]}x{saved.geometry.source[0]}; give the video that was explained"
            )
        self._window = lru_cache(maxsize=_WINDOWS_KEPT)(self._read)

    def __len__(self) -> int:
        return len(self.saved)

    def provenance(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.saved.manifest.get("settings", {})
        return settings

    @cached_property
    def windows(self) -> list[SavedWindow]:
        return list(self.saved)

    @property
    def geometry(self) -> Geometry:
        assert self.saved.geometry is not None
        return self.saved.geometry

    @cached_property
    def titles(self) -> list[str]:
        """By which the page tells folders apart: their methods, with the folders' names where that is not enough."""
        methods = [str(one.manifest.get("method", "")) for one in self.every]
        often = Counter(methods)
        return [
            name if often[name] == 1 else f"{name} ({one.folder.resolve().name})"
            for name, one in zip(methods, self.every, strict=True)
        ]

    def summary(self) -> dict[str, Any]:
        manifest = self.saved.manifest
        settings = manifest.get("settings", {})
        method = str(manifest.get("method", ""))
        return {
            **common_summary(self.geometry, settings, method),
            "kind": "video",
            "source_name": self.path.name,
            "size": [self.video.height, self.video.width],
            "frames": manifest.get("frames"),
            "step": 1 / float(self.video.rate),
            "windows": list(self._spans()),
            "layers": self.titles,
            "moments": [_moments(one) for one in self.every],
        }

    @cached_property
    def run(self) -> tuple[int, int, int]:
        """Frames from one that the network saw to the next, in a window, and from a window to the next."""
        run = self.saved.manifest.get("run", {})
        stride = int(run.get("stride") or 1)
        span = len(self.windows[0].times) * stride
        return stride, span, int(run.get("hop") or span)

    def first_drawn(self, index: int) -> int:
        """The first frame that `annotate` draws by this window: the last one may reach back over others' frames."""
        start = self.windows[index].start
        return max(start, self.windows[index - 1].start + self.run[2]) if index else start

    def _spans(self) -> Iterator[dict[str, Any]]:
        """Each window with the stretch of time over which its explanation is drawn."""
        settings = self.provenance()
        (stride, span, hop), step = self.run, 1 / float(self.video.rate)
        for index, window in enumerate(self.windows):
            real = window.times[: len(window.times) - window.held]
            begin = _time(real, self.first_drawn(index) - window.start, stride, step)
            end = real[-1] + stride * step
            if index + 1 < len(self.windows) and hop <= span:
                after = self.windows[index + 1]
                reaches_back = after.start < window.start + hop
                end = _time(real, hop, stride, step) if reaches_back else after.times[0]
            title = headline(window.target_name, window.probability, settings)
            curves = [
                None if (curve := one[index].when) is None else _rounded(curve[: len(real)])
                for one in self.every
            ]
            yield {**window_summary(window, begin, end, real, title), "when": curves}

    def layers(self, index: int) -> list[Layer]:
        return self._window(index)

    def _read(self, index: int) -> list[Layer]:
        return [_layer(one[index], title) for one, title in zip(self.every, self.titles, strict=True)]

    def shares_of(self, number: int, layer: int = 0) -> list[float | None]:
        """The share of the region with this number in each window, None where it is not."""
        columns = ["window", "number", "share"]
        rows = self.every[layer].table("supervoxels", columns=columns, filters=[("number", "==", number)])
        shares = dict(zip(rows["window"].to_pylist(), rows["share"].to_pylist(), strict=True))
        return [shares.get(window.start) for window in self.windows]

    def clip(self, index: int) -> Clip:
        window = self.windows[index]
        real = window.times[: len(window.times) - window.held]
        frames = self.video.pictures_at(real)
        clip = Clip(frames, tuple(Fraction(time) for time in real), start=window.start)
        return clip.hold(window.held)


def _time(times: Sequence[float], frame: int, stride: int, step: float) -> float:
    """When frame number `frame` of a window is shown, of which every `stride`-th has its time in `times`."""
    seen = min(frame // stride, len(times) - 1)
    return times[seen] + (frame - seen * stride) * step


def _find(saved: SavedExplanations) -> Path:
    """Where the explained video is."""
    told = str(saved.manifest.get("input", ""))
    for path in (
        Path(told),
        saved.folder.resolve().parent / told,
        saved.folder.resolve().parent / Path(told).name,
    ):
        if told and path.exists():
            return path
    raise VidexplainError(f"the explained video {told!r} is not where it was; tell where it is with --video")


def _layer(window: SavedWindow, title: str) -> Layer:
    """What one folder says of a window."""
    rows = sorted(window.supervoxels, key=lambda row: row["id"])
    labels, manifest = window.labels, window.saved.manifest
    if not rows or int(labels.max()) >= len(rows):
        raise VidexplainError(
            f"{window.saved.folder} has ids in the window at frame {window.start} without scores"
        )
    errors = [row.get("error") for row in rows]
    return Layer(
        title=title,
        method=str(manifest.get("method", "")),
        target=window.target,
        target_name=window.target_name,
        probability=window.probability,
        headline=headline(window.target_name, window.probability, manifest.get("settings", {})),
        scores=np.array([row["score"] for row in rows], np.float32),
        labels=labels[: len(window.times) - window.held],
        errors=None if None in errors else np.array(errors, np.float32),
        numbers=np.array([row["number"] for row in rows], np.int64),
        names=tuple(str(row["name"]) for row in rows if "name" in row),
    )


def _check_alike(one: SavedExplanations, other: SavedExplanations) -> None:
    """Raises where two folders cannot be on one page."""
    apart = "make a page for each, or explain the video again with the same segmentation and windows"
    for name, what in (("input_sha256", "videos"), ("model", "networks")):
        if one.manifest.get(name) != other.manifest.get(name):
            raise VidexplainError(
                f"{one.folder} and {other.folder} are of different {what}; make a page for each"
            )
    shas = [each.manifest.get("settings", {}).get("model_sha256") for each in (one, other)]
    if shas[0] != shas[1]:
        raise VidexplainError(
            f"{one.folder} and {other.folder} are of networks with different weights; make a page for each"
        )
    if one.geometry != other.geometry or one.labels_checksums() != other.labels_checksums():
        raise VidexplainError(f"{one.folder} and {other.folder} have different supervoxels; {apart}")


def _moments(saved: SavedExplanations) -> list[dict[str, Any]] | None:
    """The peaks that `annotate --when` found, None where it was not asked for them."""
    told = saved.manifest.get("moments")
    if told is None:
        return None
    try:
        moments = []
        for one in told:
            numbers = {name: float(one[name]) for name in ("begin", "end", "height")}
            if not all(map(math.isfinite, numbers.values())):
                raise ValueError("a moment has no time")
            moments.append({**numbers, "class": str(one["class"])})
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise VidexplainError(
            f"the moments in {saved.folder / 'manifest.json'} are damaged: {error}"
        ) from error
    return moments


def _rounded(curve: Sequence[float]) -> list[float]:
    """With five digits: a page of an hour's video has tens of thousands of them."""
    return [float(f"{value:.5g}") for value in curve]
