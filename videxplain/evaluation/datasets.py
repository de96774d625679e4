"""What is evaluated on: generated clips, a folder of images, videos or arrays by class, or a CSV of them."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from videxplain.clip import Clip, open_image
from videxplain.errors import VidexplainError
from videxplain.files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES, file_state
from videxplain.registry import Registry
from videxplain.synthetic import moving_objects

GENERATED = "generated"
_PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png",
        "data/brick.png",
        "data/camera.png",
        "data/cell.png",
        "data/chelsea.png",
        "data/clock_motion.png",
        "data/coffee.png",
        "data/coins.png",
        "data/grass.png",
        "data/gravel.png",
        "data/hubble_deep_field.jpg",
        "data/ihc.png",
        "data/moon.png",
        "data/motorcycle_left.png",
        "data/page.png",
        "data/retina.jpg",
        "data/rocket.jpg",
        "data/text.png",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
}
"""Every photograph in the wheels of packages that this one needs, or that evaluation needs: also those that no class
of ImageNet fits, through a microscope or a telescope or of a surface. Of the stereo pair of a motorcycle, one."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One item, loaded.

    Attributes
    ----------
    clip : its frames, as they are in the source.
    label : class name or index, or None where it is not known.
    mask : bool (T, H, W) of the clip's size, true on what an explanation should point at; or None.
    """

    clip: Clip
    label: str | int | None = None
    mask: np.ndarray | None = None


class Dataset(Protocol):
    """Items that can be loaded in any order; cheap to pickle."""

    @property
    def identity(self) -> str:
        """What the items are, in words. One that can tell more has a `digest` too, which changes when they do."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """The item's name, unique in the data set."""

    def load(self, index: int, *, clip_length: int, stride: int = 1) -> Sample:
        """The item; a video's clip is cut from its middle.

        Raises
        ------
        VidexplainError : it is damaged.
        """


@dataclass(frozen=True)
class GeneratedClips:
    """Clips with true masks, from seeds `first`, `first + 1`, ...; those below 1,000,000 are never trained on."""

    count: int = 200
    first: int = 0
    difficulty: moving_objects.Difficulty = moving_objects.STANDARD

    @property
    def identity(self) -> str:
        return f"{self.count} generated clips, seeds from {self.first}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self).encode()).hexdigest()

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"seed {self.first + index}"

    def load(self, index: int, *, clip_length: int, stride: int = 1) -> Sample:
        clip = moving_objects.generate(self.first + index, frames=clip_length, difficulty=self.difficulty)
        return Sample(Clip.from_array(clip.frames), moving_objects.CLASSES[clip.label], clip.mask)


@dataclass(frozen=True)
class Entry:
    """A file with its label and, for localization, an image that is white where the mask is."""

    path: Path
    label: str | int | None = None
    mask: Path | None = None


@dataclass(frozen=True)
class Files:
    """Images, videos and arrays on disk."""

    root: Path
    entries: tuple[Entry, ...]

    @property
    def identity(self) -> str:
        return f"{len(self.entries)} files of {self.root.name}"

    @property
    def digest(self) -> str:
        """Of each file's path, size and time of change, of its label, and of its mask likewise."""
        digest = hashlib.sha256()
        for entry in self.entries:
            files = [file_state(path) for path in (entry.path, entry.mask) if path is not None]
            digest.update(json.dumps([files, entry.label]).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, index: int) -> str:
        path = self.entries[index].path
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(path)

    def load(self, index: int, *, clip_length: int, stride: int = 1) -> Sample:
        entry = self.entries[index]
        clip = _read(entry.path, clip_length, stride)
        return Sample(clip, entry.label, None if entry.mask is None else _read_mask(entry.mask, clip))


@dataclass(frozen=True)
class Photographs(Files):
    """Those that packages bring along: the same wherever they are installed."""

    @property
    def digest(self) -> str:
        names = [(entry.path.name, entry.path.stat().st_size) for entry in self.entries]
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    def name(self, index: int) -> str:
        return self.entries[index].path.stem


DATASETS: Registry[Callable[..., Dataset]] = Registry("data set", plugins="videxplain.datasets")
"""Data sets that have names: functions without arguments. Installed packages add theirs by entry points."""
DATASETS.register(GENERATED)(GeneratedClips)


@DATASETS.register("photographs")
def photographs() -> Photographs:
    """The photographs that scikit-image, scikit-learn and matplotlib ship."""
    entries = []
    for package, names in _PHOTOGRAPHS.items():
        spec = find_spec(package)
        if spec is not None and spec.origin is not None:
            paths = (Path(spec.origin).parent / name for name in names)
            entries += [Entry(path) for path in paths if path.exists()]
    return Photographs(Path("photographs"), tuple(entries))


def check_data(source: str) -> None:
    """Raises, before anything heavy is imported, where `open_dataset` would find nothing."""
    if not Path(source).exists() and source not in DATASETS:
        raise VidexplainError(
            f"there is no data {source!r}: give a folder, a CSV file, or {' or '.join(DATASETS)}."
        )


def open_dataset(source: str, *, count: int = 200, first: int = 0) -> Dataset:
    """A data set by what the user wrote.

    Parameters
    ----------
    source
        A name from `DATASETS`; a folder, with one subfolder per class (named after it, as in Kinetics-400's validation
        set; or, as in ImageNet's, in the order of the classes) or files directly in it; or a CSV file with the columns
        path, label and, where there are masks, mask. Paths in it are relative to the file. Clips may be .npy and .npz
        files; in a folder these are taken where it holds no images and no videos.
    count, first
        Number and first seed of "generated" clips.

    Raises
    ------
    VidexplainError
        If there is no such thing, or nothing in it.
    """
    if source == GENERATED:
        if count < 1:
            raise VidexplainError(f"{count} generated clips cannot be evaluated on; ask for 1 at least.")
        return GeneratedClips(count, first)
    if source in DATASETS:
        return DATASETS[source]()
    path = Path(source)
    if path.is_dir():
        entries = _scan(path, IMAGE_SUFFIXES | VIDEO_SUFFIXES) or _scan(path, ARRAY_SUFFIXES)
    elif path.suffix.lower() == ".csv":
        entries = _read_csv(path)
    elif path.is_file():
        entries = [Entry(path)]
    else:
        raise VidexplainError(f"there is no data set {source!r}; give a folder, a CSV file or 'generated'.")
    if not entries:
        raise VidexplainError(f"{source!r} holds no images, no videos and no arrays.")
    return Files(path if path.is_dir() else path.parent, tuple(entries))


def _scan(folder: Path, suffixes: frozenset[str]) -> list[Entry]:
    classes = sorted(child for child in folder.iterdir() if child.is_dir())
    here = [Entry(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in suffixes]
    for index, child in enumerate(classes):
        # ImageNet's folders are named by WordNet ids, whose order is that of the classes.
        wordnet = child.name[:1] == "n" and child.name[1:].isdigit() and len(classes) == 1000
        label: str | int = index if wordnet else child.name
        here += [Entry(path, label) for path in sorted(child.rglob("*")) if path.suffix.lower() in suffixes]
    return here


def _read_csv(path: Path) -> list[Entry]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VidexplainError(f"{str(path)!r} cannot be read: {error}") from error
    if rows and "path" not in rows[0]:
        raise VidexplainError(f"{str(path)!r} has no column 'path'; its first line has to be path,label.")
    entries = []
    for row in rows:
        label = (row.get("label") or "").strip()
        mask = (row.get("mask") or "").strip()
        entries.append(
            Entry(
                path.parent / row["path"],
                int(label) if label.isdigit() else label or None,
                path.parent / mask if mask else None,
            )
        )
    return entries


def _read(path: Path, clip_length: int, stride: int) -> Clip:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Clip.from_image(path)
    from videxplain.video import open_video, read_clip

    span = (clip_length - 1) * stride + 1
    if path.suffix.lower() in ARRAY_SUFFIXES:
        whole = read_clip(path)
        skip = max(0, (len(whole) - span) // 2)
        chosen = slice(skip, skip + span, stride)
        return replace(
            whole, frames=whole.frames[chosen], times=whole.times[chosen], start=skip, stride=stride
        )
    video = open_video(path)
    skip = max(0, ((video.expected_frames or 0) - span) // 2)
    last = None
    for clip in video.clips(length=clip_length, stride=stride, hop=max(1, skip)):
        if clip.start >= skip:
            return clip
        last = clip
    if last is None:
        raise VidexplainError(f"{str(path)!r} holds no frame.")
    return last


def _read_mask(path: Path, clip: Clip) -> np.ndarray:
    try:
        with open_image(path) as image:
            mask = np.asarray(image.convert("L")) > 127
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise VidexplainError(f"the mask {str(path)!r} cannot be read: {error}") from error
    if mask.shape != clip.size:
        raise VidexplainError(
            f"the mask {str(path)!r} is {mask.shape[1]}x{mask.shape[0]} and its picture "
            f"{clip.size[1]}x{clip.size[0]}."
        )
    return np.broadcast_to(mask, (len(clip), *mask.shape))


def class_index(label: str | int | None, names: Sequence[str]) -> int | None:
    """A sample's label as a class of the model; None where it is unknown to it."""
    if isinstance(label, int):
        return label if 0 <= label < len(names) else None
    if label is None:
        return None
    plain = [_plain(name) for name in names]
    return plain.index(_plain(label)) if _plain(label) in plain else None


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()
