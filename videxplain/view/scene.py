"""What the page shows: explained windows of a clip or a video, as plain data and compact label maps."""

from __future__ import annotations

import io
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from videxplain.annotate.job import files_of
from videxplain.annotate.saved import SavedExplanations, SavedWindow
from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError, kind_of
from videxplain.evaluation.caveats import CAVEATS
from videxplain.explanations.explanation import Explanation, headline
from videxplain.files import sha256_of
from videxplain.render import drawing
from videxplain.video import open_video
from videxplain.video.reader import Video

FORMAT, VERSION = "videxplain.page", 1
FEW_BYTES = 8 << 20
"""Frames of a clip that are so large go into the page as JPEG, smaller ones as PNG."""
_WINDOWS_KEPT = 8


@dataclass(frozen=True)
class Layer:
    """What one method says for one class in a window.

    Attributes
    ----------
    title
        By which the page tells layers apart, "guided for 'left'".
    headline
        What is explained, and what the network says of it.
    scores, errors, numbers
        (K,) each: scores by id, their standard errors where there are any, and numbers that outlast the window.
    names
        Regions' names by id, or none.
    """

    title: str
    method: str
    target: int
    target_name: str
    probability: float
    headline: str
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    errors: npt.NDArray[np.float32] | None = None
    numbers: npt.NDArray[np.int64] | None = None
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is infinite or missing is null."""
        regions = region_table(self.labels, len(self.scores))
        return {
            "title": self.title,
            "method": self.method,
            "target": self.target,
            "target_name": self.target_name,
            "probability": self.probability,
            "headline": self.headline,
            "caveat": CAVEATS.get(self.method, "").removeprefix("note: "),
            "scores": [float(score) for score in self.scores],
            "errors": None if self.errors is None else [_finite(error) for error in self.errors],
            "numbers": list(range(len(self.scores))) if self.numbers is None else self.numbers.tolist(),
            "names": list(self.names),
            "regions": regions,
            "labels_shape": list(self.labels.shape),
        }


def region_table(labels: npt.NDArray[np.int32], count: int) -> dict[str, list[float]]:
    """Of each id: how many voxels it has, its first and last frame, and its centre (y, x) on the labels' grid."""
    ids = labels.ravel()
    voxels = np.bincount(ids, minlength=count)
    frame = np.arange(len(labels)).repeat(labels[0].size)
    first, last = np.full(count, len(labels)), np.zeros(count, int)
    np.minimum.at(first, ids, frame)
    np.maximum.at(last, ids, frame)
    rows, columns = np.indices(labels.shape[1:])
    middle = [
        np.bincount(ids, np.broadcast_to(axis, labels.shape).ravel(), count) / np.maximum(voxels, 1)
        for axis in (rows, columns)
    ]
    return {
        "voxels": voxels.tolist(),
        "first": first.tolist(),
        "last": last.tolist(),
        "y": middle[0].round(2).tolist(),
        "x": middle[1].round(2).tolist(),
    }


def packed_labels(labels: npt.NDArray[np.int32], level: int = 6) -> bytes:
    """Ids as little-endian uint16 (T, h, w), deflated; the page has no more regions than that in a window."""
    if int(labels.max()) > 0xFFFF:
        raise VidexplainError(
            f"the page shows at most 65,536 regions in a window, not {int(labels.max()) + 1}"
        )
    return zlib.compress(labels.astype("<u2").tobytes(), level)


class Scene(Protocol):
    """What the page shows, whether it is a clip or a video: so many windows."""

    def __len__(self) -> int: ...

    def summary(self) -> dict[str, Any]:
        """What the page reads first: sizes, times, windows with their classes, how to draw."""
        ...

    def layers(self, index: int) -> list[Layer]:
        """What is known of window `index`."""
        ...

    def clip(self, index: int) -> Clip:
        """The frames of window `index` as the network took them."""
        ...

    def provenance(self) -> Mapping[str, Any]:
        """What is recorded of the network: its name, weights and checksum."""
        ...


def window_json(scene: Scene, index: int) -> dict[str, Any]:
    """Window `index` for the page."""
    return {"layers": [layer.to_json() for layer in scene.layers(index)]}


class ClipScene:
    """One clip or image, explained once or by several methods and for several classes.

    Parameters
    ----------
    explanations
        Of the same frames.

    Raises
    ------
    VidexplainError
        If there is none, or they are of different frames.
    """

    def __init__(self, explanations: Sequence[Explanation]) -> None:
        if not explanations:
            raise VidexplainError("there is no explanation to look at")
        first = explanations[0]
        for other in explanations[1:]:
            if other.frames.shape != first.frames.shape or not np.array_equal(other.frames, first.frames):
                raise VidexplainError(
                    "explanations on one page have to be of the same frames; make a page for each clip"
                )
        self.explanations = list(explanations)

    def __len__(self) -> int:
        return 1

    def provenance(self) -> Mapping[str, Any]:
        return self.explanations[0].settings

    @property
    def _real(self) -> int:
        return len(self.explanations[0].frames) - self.explanations[0].held

    def summary(self) -> dict[str, Any]:
        first = self.explanations[0]
        times = [float(time) for time in first.times[: self._real]]
        step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
        window = _window(first, times[0], times[-1] + step, times, first.headline())
        return {
            **_common(first.geometry, first.settings, first.method),
            "kind": "clip",
            "source_name": _file_name(first.settings.get("clip")) or "clip",
            "size": list(first.frames.shape[1:3]),
            "frames": self._real,
            "step": step,
            "windows": [window],
            "layers": [_title(one.method, one.target_name) for one in self.explanations],
        }

    def layers(self, index: int) -> list[Layer]:
        return [
            Layer(
                title=_title(one.method, one.target_name),
                method=one.method,
                target=one.target,
                target_name=one.target_name,
                probability=one.probability,
                headline=one.headline(),
                scores=one.scores,
                labels=one.labels[: self._real],
                errors=one.standard_error,
                names=one.regions,
            )
            for one in self.explanations
        ]

    @property
    def _lossless(self) -> bool:
        return self.explanations[0].frames.nbytes <= FEW_BYTES

    def frame(self, t: int) -> tuple[bytes, str]:
        """Frame `t` as an image file, and its media type."""
        from PIL import Image

        buffer = io.BytesIO()
        image = Image.fromarray(self.explanations[0].frames[t])
        if self._lossless:
            image.save(buffer, "PNG")
            return buffer.getvalue(), "image/png"
        image.save(buffer, "JPEG", quality=92, subsampling=0)
        return buffer.getvalue(), "image/jpeg"

    def clip(self, index: int) -> Clip:
        first = self.explanations[0]
        at_network = first.frames.shape[1:3] != first.geometry.source
        stride = first.settings.get("stride", 1)
        return Clip(
            first.frames,
            first.times,
            stride=stride if isinstance(stride, int) else 1,
            held=first.held,
            geometry=first.geometry if at_network else None,
        )


class VideoScene:
    """A video whose explanations `annotate(..., save=folder)` kept.

    Parameters
    ----------
    saved
        What was kept.
    video
        The video; by default where it was when it was explained, or beside the folder.

    Raises
    ------
    VidexplainError
        If the video is not there, or nothing of it was explained.
    """

    def __init__(self, saved: SavedExplanations, video: str | os.PathLike[str] | None = None) -> None:
        if not len(saved):
            raise VidexplainError(f"{saved.folder} holds no window of a video; there is nothing to look at")
        self.saved = saved
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

    def summary(self) -> dict[str, Any]:
        manifest = self.saved.manifest
        settings = manifest.get("settings", {})
        method = str(manifest.get("method", ""))
        return {
            **_common(self.geometry, settings, method),
            "kind": "video",
            "source_name": self.path.name,
            "size": [self.video.height, self.video.width],
            "frames": manifest.get("frames"),
            "step": 1 / float(self.video.rate),
            "windows": list(self._spans()),
            "layers": [method],
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
            yield _window(window, begin, end, real, title)

    def layers(self, index: int) -> list[Layer]:
        return self._window(index)

    def _read(self, index: int) -> list[Layer]:
        window = self.windows[index]
        rows = sorted(window.supervoxels, key=lambda row: row["id"])
        labels = window.labels
        manifest = self.saved.manifest
        method = str(manifest.get("method", ""))
        if not rows or int(labels.max()) >= len(rows):
            raise VidexplainError(
                f"{self.saved.folder} has ids in the window at frame {window.start} without scores"
            )
        errors = [row.get("error") for row in rows]
        return [
            Layer(
                title=method,
                method=method,
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
        ]

    def shares_of(self, number: int) -> list[float | None]:
        """The share of the region with this number in each window, None where it is not."""
        table = self.saved.table("supervoxels")
        import pyarrow.compute as compute

        rows = table.filter(compute.equal(table["number"], number))
        shares = dict(zip(rows["window"].to_pylist(), rows["share"].to_pylist(), strict=True))
        return [shares.get(window.start) for window in self.windows]

    def clip(self, index: int) -> Clip:
        window = self.windows[index]
        real = window.times[: len(window.times) - window.held]
        frames = self.video.pictures_at(real)
        clip = Clip(frames, tuple(Fraction(time) for time in real), start=window.start)
        return clip.hold(window.held)


def open_scene(
    folders: Sequence[str | os.PathLike[str]], video: str | os.PathLike[str] | None = None
) -> ClipScene | VideoScene:
    """What `explain --save` or `annotate --save` wrote; several folders where they are of one clip.

    Raises
    ------
    VidexplainError
        If a folder holds neither, or they do not go together.
    """
    from videxplain.annotate.saved import FORMAT as OF_VIDEOS
    from videxplain.reading import read_json

    kinds = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise VidexplainError(
                f"there is no folder {str(folder)!r}; `videxplain explain` and `annotate` write one with --save DIR"
            )
        try:
            kinds.append(read_json(folder / "manifest.json").get("format"))
        except (OSError, ValueError) as error:
            raise VidexplainError(f"{folder} holds no explanation that can be read: {error}") from error
    if kinds == [OF_VIDEOS]:
        return VideoScene(SavedExplanations(folders[0]), video)
    if OF_VIDEOS in kinds:
        raise VidexplainError("a page shows one video; give the other folders to pages of their own")
    if video is not None:
        raise VidexplainError("video is for what `annotate --save` wrote; an explained clip has its frames")
    return ClipScene([Explanation.load(folder) for folder in folders])


def scene_of(what: Scene | Explanation | Sequence[Explanation] | str | os.PathLike[str]) -> Scene:
    """A scene of explanations in memory, or in a folder.

    Raises
    ------
    VidexplainError
        If it is neither.
    """
    if isinstance(what, ClipScene | VideoScene):
        return what
    if isinstance(what, Explanation):
        return ClipScene([what])
    if isinstance(what, str | os.PathLike):
        return open_scene([what])
    if isinstance(what, list | tuple) and what and all(isinstance(one, Explanation) for one in what):
        return ClipScene(what)
    raise VidexplainError(
        f"a page is made of an explanation, a list of them, or a folder that was saved, not of {kind_of(what)}"
    )


def _common(geometry: Geometry, settings: Mapping[str, Any], method: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": str(settings.get("model", "")),
        "method": method,
        "task": str(settings.get("task", "")),
        "notes": [str(note) for note in settings.get("notes", [])],
        "grid": list(geometry.network),
        "y": list(geometry.y),
        "x": list(geometry.x),
        "scale": settings.get("scale", 1),
        "signed": "against" in settings,
        "drawing": drawing(),
    }


def _window(
    told: Explanation | SavedWindow, begin: float, end: float, times: Sequence[float], title: str
) -> dict[str, Any]:
    """A window for the page, which is drawn from `begin` to `end`."""
    return {
        "begin": begin,
        "end": end,
        "times": list(times),
        "target": told.target,
        "target_name": told.target_name,
        "probability": told.probability,
        "headline": title,
        "predictions": [[name, p] for name, p in told.predictions],
        "held": told.held,
    }


def _time(times: Sequence[float], frame: int, stride: int, step: float) -> float:
    """When frame number `frame` of a window is shown, of which every `stride`-th has its time in `times`."""
    seen = min(frame // stride, len(times) - 1)
    return times[seen] + (frame - seen * stride) * step


def _title(method: str, target_name: str) -> str:
    return f"{method}: {target_name}"


def _file_name(path: object) -> str:
    return Path(path).name if isinstance(path, str) else ""


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


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
