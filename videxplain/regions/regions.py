"""`Regions`: which object each pixel of a video belongs to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from videxplain.clip import Clip
from videxplain.errors import VidexplainError, kind_of
from videxplain.files import ARRAY_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES
from videxplain.geometry import Geometry
from videxplain.regions import coco, cvat, masks, mots
from videxplain.regions.by_frame import FrameLabels, is_array, of_array, of_images, of_objects, of_video
from videxplain.regions.painting import Objects, box_mask

BACKGROUND = "background"
"""Name of the region that no object covers."""
Names = Sequence[str] | Mapping[Any, str] | None


@dataclass(frozen=True, eq=False)
class Regions:
    """Objects of a video or an image, to be explained instead of supervoxels.

    Where objects overlap, the smaller one of the frame is on top; of two of one size, the later.

    Attributes
    ----------
    labels : integers (T, H, W), or FrameLabels
        In the source's pixels: 0..n-1 for the objects, n where there is none. Of a long video they are read when they
        are wanted (`open`).
    names : tuple of str
        Of the n objects, all different. An object keeps its number through the whole video.
    start : int
        Which frame of the source the first labels are of.
    """

    labels: npt.NDArray[Any] | FrameLabels
    names: tuple[str, ...]
    start: int = 0

    def __post_init__(self) -> None:
        labels, names = self.labels, self.names
        if isinstance(labels, FrameLabels):
            labels = np.array([[[len(names)]]])  # they are checked when they are read
        if not isinstance(labels, np.ndarray) or labels.ndim != 3 or labels.dtype.kind not in "iu":
            raise VidexplainError("labels of regions have to be integers (T, H, W); from_masks takes others.")
        if not labels.size or not names:
            raise VidexplainError("there is no region: no object has a pixel.")
        if not 0 <= int(labels.min()) <= int(labels.max()) <= len(names):
            raise VidexplainError(f"labels of {len(names)} regions have to be from 0 to {len(names)}.")
        if not all(isinstance(name, str) for name in names):
            raise VidexplainError("names of regions have to be text.")
        twice = sorted({name for name in names if names.count(name) > 1 or name == BACKGROUND})
        if twice:
            raise VidexplainError(
                f"{twice[0]!r} cannot be a region's name: there is another region of that name, or it is what no "
                "region covers."
            )

    @classmethod
    def from_masks(cls, source: Any, names: Names = None, start: int = 0) -> Regions:
        """Regions from masks.

        Parameters
        ----------
        source
            - integers (T, H, W) or (H, W): an object's number at each of its pixels, 0 where there is none;
            - booleans (T, H, W) or (H, W) of one object, or (N, T, H, W) of N;
            - a dict by object of booleans (T, H, W) or (H, W);
            - a dict by frame of dicts by object of booleans (H, W) or (1, H, W), as SAM 2's video predictor is
              commonly used; frames that are not in it show no object;
            - a path: an .npy or .npz file with one of the first two, a PNG or a folder of PNGs, one a
              frame, whose pixels (grey of 8 or 16 bits, or indices of a palette) are the objects' numbers, or a video
              of such frames without loss (FFV1, PNG).
        names
            By object, or one for each in order; its number by default.
        start
            Which frame of the video is the first.

        Raises
        ------
        VidexplainError
            If it is none of these, or holds no object.
        """
        return cls._of(masks.read_masks(source), names, start)

    @classmethod
    def from_boxes(
        cls, boxes: Mapping[Any, Any], size: tuple[int, int], length: int, names: Names = None, start: int = 0
    ) -> Regions:
        """Regions from boxes (left, top, right, bottom), in pixel edges: (0, 0, width, height) is the whole frame.

        Parameters
        ----------
        boxes
            By object: a dict by frame of boxes, or an array (T, 4) with NaN where the object is not seen.
        size
            Height and width of the frames.
        length
            How many frames there are.
        names, start
            As for `from_masks`.
        """
        objects = Objects((int(size[0]), int(size[1])), length)
        if not isinstance(boxes, Mapping):
            raise VidexplainError(f"boxes have to be a dict by object, not {kind_of(boxes)}.")
        for key, by_frame in boxes.items():
            if not isinstance(by_frame, Mapping):
                rows = np.asarray(by_frame, np.float64)
                if rows.shape != (length, 4):
                    raise VidexplainError(f"boxes of {key} have to be ({length}, 4), not {rows.shape}.")
                by_frame = {t: row for t, row in enumerate(rows) if not np.isnan(row).all()}
            for t, box in by_frame.items():
                mask = box_mask(objects.size, box)
                objects.add(key, str(key), int(t), mask)
        return cls._of((objects.painted(), objects.by_key()), names, start)

    @classmethod
    def from_coco(
        cls, path: str | os.PathLike[str], only: str | int | None = None, start: int = 0
    ) -> Regions:
        """Regions from a COCO file: polygons and RLE; images of one video with tracks, or YouTube-VIS's videos.

        Parameters
        ----------
        path
            The JSON file. Needs the package pycocotools (``pip install 'videxplain[regions]'``).
        only
            Which image or video, by name or id, of several that do not belong together.
        start
            Which frame of the video is the file's first.
        """
        return cls._of(coco.read_coco(path, only, Objects.labelled), None, start)

    @classmethod
    def from_mots(
        cls, path: str | os.PathLike[str], length: int | None = None, first: int = 0, start: int = 0
    ) -> Regions:
        """Regions from MOTS: a text file, or a folder of 16-bit PNGs. Regions to be ignored are background.

        Parameters
        ----------
        path
            The file (needs pycocotools) or folder.
        length
            How many frames the video has; by default a text file's last frame is the last with an object.
        first
            The number of the first frame in a text file: 0 in KITTI MOTS, 1 in MOTSChallenge.
        start
            Which frame of the video that is.
        """
        return cls._of(mots.read_mots(path, length, first, Objects.labelled), None, start)

    @classmethod
    def from_cvat(cls, path: str | os.PathLike[str]) -> Regions:
        """Regions from "CVAT for video 1.1" (XML): boxes, polygons and masks of tracks; it tells its first frame."""
        read, first = cvat.read_cvat(path, Objects.labelled)
        return cls._of(read, None, first)

    @classmethod
    def read(cls, path: str | os.PathLike[str], of: str | None = None) -> Regions:
        """Regions from a file or folder, by its suffix: .npy, .npz, a folder of PNGs, a video, .json, .txt or .xml.

        Parameters
        ----------
        of
            The image whose regions are wanted, if a COCO file holds many.
        """
        suffix = Path(path).suffix.lower()
        if os.path.isdir(path) or suffix in ARRAY_SUFFIXES | IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            return cls.from_masks(path)
        if suffix == ".json":
            return cls.from_coco(path, coco.image_named(path, of))
        if suffix == ".txt":
            return cls.from_mots(path)
        if suffix == ".xml":
            return cls.from_cvat(path)
        if not os.path.exists(path):
            raise VidexplainError(f"there is no file {os.fspath(path)!r}; check the path.")
        raise VidexplainError(
            f"{os.fspath(path)!r} holds no regions by its suffix: .npy, .npz, a folder of PNGs, a video without "
            "loss, .json (COCO), .txt (MOTS) or .xml (CVAT for video)."
        )

    @classmethod
    def open(cls, path: str | os.PathLike[str], of: str | None = None) -> Regions:
        """As `read`, for long videos: labels of frames are read when they are wanted, and memory does not grow.

        So it is of .npy files with integers, folders of PNGs, videos, COCO, MOTS text files and CVAT; others are read
        whole. Files of numbers are looked through once, for all objects that there are.
        """
        name, suffix = os.fspath(path), Path(path).suffix.lower()
        by_frame = partial(of_objects, source=name)
        if os.path.isdir(path):
            return cls._of(of_images(name), None, 0)
        if is_array(path):
            return cls._of(of_array(name), None, 0)
        if suffix in VIDEO_SUFFIXES:
            return cls._of(of_video(name), None, 0)
        if suffix == ".json":
            return cls._of(coco.read_coco(path, coco.image_named(path, of), by_frame), None, 0)
        if suffix == ".txt":
            return cls._of(mots.read_mots(path, None, 0, by_frame), None, 0)
        if suffix == ".xml":
            read, first = cvat.read_cvat(path, by_frame)
            return cls._of(read, None, first)
        return cls.read(path, of)

    @classmethod
    def _of(
        cls, read: tuple[npt.NDArray[Any] | FrameLabels, dict[Any, str]], names: Names, start: int
    ) -> Regions:
        labels, by_key = read
        return cls(labels, _named(by_key, names), start)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, frames: slice) -> Regions:
        """Those of some frames, as `clip[frames]` of an array: the first of them is frame 0."""
        if not isinstance(frames, slice):
            raise VidexplainError("frames of regions are taken by slices, as in regions[10:26].")
        return replace(self, labels=self.labels[frames], start=0)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.labels.shape[1], self.labels.shape[2]

    def of(self, clip: Clip) -> npt.NDArray[Any]:
        """The labels of a clip's frames, (T, H, W); held frames have those of the frame that they repeat.

        Raises
        ------
        VidexplainError
            If the frames are of another size, or some have no labels.
        """
        self.check_size(clip.size if clip.geometry is None else clip.geometry.source, "clip")
        real = len(clip) - clip.held
        untold = clip.source is None and (clip.start, clip.stride) == (0, 1)
        if untold and real != len(self):  # an array may be any part of a video
            raise VidexplainError(
                f"the clip is an array of {real} frames, which does not tell which of the regions' {len(self)} frames "
                "they are; take the same part of both, as in regions[10:26]."
            )
        numbers = clip.start + clip.stride * np.arange(real)
        last = self.start + len(self) - 1
        if numbers[0] < self.start or numbers[-1] > last:
            raise VidexplainError(
                f"the clip's frames are {numbers[0]} to {numbers[-1]} of its source, and the regions are of frames "
                f"{self.start} to {last}."
            )
        numbers = np.append(numbers, np.repeat(numbers[-1:], clip.held))
        return self.labels[numbers - self.start]

    def check_size(self, size: tuple[int, int], what: str) -> None:
        """Raises where `what` has frames of another size."""
        if size != self.size:
            raise VidexplainError(
                f"the regions are of frames of {self.size[1]}x{self.size[0]} pixels, and the {what}'s are "
                f"{size[1]}x{size[0]}."
            )

    def in_window(
        self, clip: Clip, geometry: Geometry
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], list[str]]:
        """What a network sees of the regions in a part of a video, whose frames may lie outside those of the regions.

        Returns
        -------
        labels : int32 (T, h, w)
            0..k-1, of the regions that are seen, on the grid of the `geometry`.
        numbers : int64 (k,)
            Of these, places in `names`; the background has the number behind the last.
        unseen : list of str
            Regions in the window of which the grid has no pixel.
        """
        numbers = clip.start + clip.stride * np.arange(len(clip) - clip.held)
        numbers = np.append(numbers, np.repeat(numbers[-1:], clip.held)) - self.start
        there = (numbers >= 0) & (numbers < len(self))
        source = np.full((len(numbers), *self.size), len(self.names), self.labels.dtype)
        source[there] = self.labels[numbers[there]]
        labels = geometry.apply_labels(source, outside=len(self.names))
        found, consecutive = np.unique(labels, return_inverse=True)
        unseen = [self.names[n] for n in np.unique(source).tolist() if n < len(self.names) and n not in found]
        return (
            np.ascontiguousarray(consecutive.reshape(labels.shape), dtype=np.int32),
            found.astype(np.int64),
            unseen,
        )

    def fingerprint(self) -> list[Any]:
        """What tells these regions from others: their values, or the state of the files that they are read from."""
        labels = self.labels
        if isinstance(labels, FrameLabels):
            state = labels.file_states()
        else:
            state = hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()
        return [self.start, list(self.names), list(labels.shape), state]

    def seen(self, clip: Clip, geometry: Geometry) -> tuple[npt.NDArray[np.int32], list[str], list[str]]:
        """What a network sees of the regions in a clip, on the grid of its `geometry`.

        Returns
        -------
        labels : int32 (T, h, w)
            0..k-1, of the regions that are seen.
        names : list of str
            Of these; the background is the last, if it is seen.
        unseen : list of str
            Regions in the clip of which the grid has no pixel.
        """
        source = self.of(clip)
        labels = geometry.apply_labels(source, outside=len(self.names))
        numbers, consecutive = np.unique(labels, return_inverse=True)
        names = [*self.names, BACKGROUND]
        there = [int(n) for n in np.unique(source) if n < len(self.names)]
        if not there:
            raise VidexplainError("no region is in the clip: all of it is background.")
        unseen = [names[n] for n in there if n not in numbers]
        if len(unseen) == len(there):
            raise VidexplainError(
                f"the network sees none of the regions in the clip ({', '.join(unseen[:5])}): they lie outside what "
                "is cut out for it, or are smaller than its pixels."
            )
        found = np.ascontiguousarray(consecutive.reshape(labels.shape), dtype=np.int32)
        return found, [names[n] for n in numbers.tolist()], unseen


def _named(by_key: dict[Any, str], names: Names) -> tuple[str, ...]:
    """A name for each object: what was given, or what the source calls it."""
    if names is None:
        return tuple(by_key.values())
    if isinstance(names, Mapping):
        unknown = [key for key in names if key not in by_key]
        if unknown:
            raise VidexplainError(
                f"names has {unknown[0]!r}, which no region is; they are {', '.join(map(str, by_key))}."
            )
        return tuple(str(names.get(key, default)) for key, default in by_key.items())
    if isinstance(names, str) or len(names) != len(by_key):
        raise VidexplainError(f"{len(by_key)} regions need a list of as many names.")
    return tuple(names)
