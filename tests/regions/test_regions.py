"""Regions from arrays, boxes and PNGs; which frames they are of; what a network sees of them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import videxplain as vx

NUMBERS = np.zeros((3, 6, 8), np.int64)
NUMBERS[:, 1:4, 1:4] = 7
NUMBERS[1:, 2:5, 5:8] = 300
MASKS = {"7": NUMBERS == 7, "300": NUMBERS == 300}


def same(regions: vx.Regions, numbers: np.ndarray = NUMBERS) -> bool:
    """Whether regions are those of the numbers, pixel by pixel, by their names."""
    named = np.array([*regions.names, "0"])[regions.labels]
    return bool((named == numbers.astype(str)).all())


def test_each_kind_of_mask_gives_the_same_regions(tmp_path: Path) -> None:
    by_frame = {t: {n: (frame == n)[None] for n in (7, 300)} for t, frame in enumerate(NUMBERS)}
    np.save(tmp_path / "labels.npy", NUMBERS)
    np.savez(tmp_path / "labels.npz", labels=NUMBERS, other=NUMBERS[0])
    (tmp_path / "grey").mkdir()
    for t, frame in enumerate(NUMBERS):
        Image.fromarray(frame.astype(np.uint16)).save(tmp_path / "grey" / f"{t + 8}.png")
    pages = [Image.fromarray(frame.astype(np.uint16)) for frame in NUMBERS]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    sources = [
        NUMBERS,
        MASKS,
        by_frame,
        *(tmp_path / n for n in ("labels.npy", "labels.npz", "grey", "pages.tif")),
    ]
    assert all(same(vx.Regions.from_masks(source)) for source in sources)
    several = vx.Regions.from_masks(np.stack([*MASKS.values()]), names=["7", "300"])
    assert same(several) and same(vx.Regions.from_masks(NUMBERS[0]), NUMBERS[:1])
    named = vx.Regions.from_masks(NUMBERS, names={300: "car"})
    assert named.names == ("7", "car")


def test_a_palette_s_indices_are_the_numbers(tmp_path: Path) -> None:
    indices = (NUMBERS % 256).astype(np.uint8)
    for t, frame in enumerate(indices):
        image = Image.fromarray(frame).convert("P")
        image.putdata(frame.ravel())
        image.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
        image.save(tmp_path / f"{t:05d}.png")
    assert same(vx.Regions.from_masks(tmp_path), indices)
    (tmp_path / "00001.png").unlink()
    with pytest.raises(vx.VidexplainError, match="frame 1 is missing"):
        vx.Regions.from_masks(tmp_path)


@pytest.mark.parametrize("order", [("large", "small"), ("small", "large")])
def test_the_smaller_of_two_objects_is_on_top(order: tuple[str, str]) -> None:
    masks = {"large": np.ones((1, 4, 4), bool), "small": np.eye(4, dtype=bool)[None]}
    regions = vx.Regions.from_masks({name: masks[name] for name in order})
    assert (np.array(regions.names)[regions.labels] == np.where(masks["small"], "small", "large")).all()


def test_of_two_of_one_size_the_later_is_on_top() -> None:
    one = np.eye(4, dtype=bool)
    regions = vx.Regions.from_masks({"first": one, "second": one})
    assert (regions.labels[0][one] == regions.names.index("second")).all()


def test_boxes_take_the_pixels_whose_centres_they_hold() -> None:
    boxes = {
        "a": {0: (1, 1, 4, 4), 2: (1.4, 0.6, 3.5, 99)},
        "b": [[np.nan] * 4, [5, 2, 8, 5], [-3, 5, 2.51, 6]],
    }
    regions = vx.Regions.from_boxes(boxes, size=(6, 8), length=3)
    expected = np.full((3, 6, 8), "background")
    expected[0, 1:4, 1:4] = expected[2, 1:6, 1:3] = "a"
    expected[1, 2:5, 5:8] = expected[2, 5, 0:3] = "b"
    assert (np.array([*regions.names, "background"])[regions.labels] == expected).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 3, 4), int), "no region"),
        (np.full((2, 3, 4), -1), "1 or more"),
        (np.zeros((2, 3, 4)), "logits > 0"),
        (np.zeros(3, int), "masks have to be"),
        ({}, "no region"),
        ({1: np.zeros((2, 3, 4))}, "logits > 0"),
        ({1: np.ones((2, 3), bool), 2: np.ones((3, 2), bool)}, "differ in shape"),
        ({0: {1: np.ones((2, 3), bool)}, 1: {1: np.ones((3, 3), bool)}}, "differ in size"),
        ({0: {1: np.ones((2, 2, 3), bool)}}, "of one frame"),
        ({"a": {1: np.ones((2, 3), bool)}}, "frame numbers"),
        ({"background": np.ones((2, 3), bool)}, "cannot be a region's name"),
        ("none.npz", "no file"),
        ([[1, 2], [3]], "differ in length"),
        (None, "masks have to be"),
        ({1: "mask"}, "path or name"),
    ],
)
def test_what_holds_no_masks_is_refused(source: Any, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.Regions.from_masks(source)


def test_files_that_hold_no_masks_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "colour.png")
    Image.new("L", (8, 6)).save(tmp_path / "lossy.jpg")
    np.save(tmp_path / "header.npy", NUMBERS)
    damaged = (tmp_path / "header.npy").read_bytes().replace(b"(3, 6, 8), }", b"(3, 6, 8, } ")
    (tmp_path / "header.npy").write_bytes(damaged)
    (tmp_path / "damaged.png").write_bytes(b"none")
    (tmp_path / "empty").mkdir()
    for name, message in {
        "colour.png": "in colour",
        "lossy.jpg": "with loss",
        "damaged.png": "cannot be read",
        "header.npy": "header of an array cannot be read|cannot be read as masks",
        "empty": "no images",
        "none.png": "no file",
        "none.xml": "no file",
        "none.doc": "no file",
    }.items():
        with pytest.raises(vx.VidexplainError, match=message):
            vx.Regions.read(tmp_path / name)
    for box in ((4, 1, 1, 4), (1, 1, 4), (1, 1, np.nan, 4), "box"):
        with pytest.raises(vx.VidexplainError, match="a box has to be"):
            vx.Regions.from_boxes({"a": {0: box}}, (6, 8), 1)
    with pytest.raises(vx.VidexplainError, match="in frame 3"):
        vx.Regions.from_boxes({"a": {3: (1, 1, 4, 4)}}, (6, 8), 3)
    for names in (["one"], {8: "eight"}, ["same", "same"]):
        with pytest.raises(vx.VidexplainError, match="name"):
            vx.Regions.from_masks(NUMBERS, names)


def clip(length: int, start: int = 0, stride: int = 1, source: str | None = "film.mp4") -> vx.Clip:
    times = tuple(Fraction(start + stride * t, 25) for t in range(length))
    return vx.Clip(np.zeros((length, 6, 8, 3), np.uint8), times, start, stride, source=source)


def test_a_clip_s_frames_have_their_labels() -> None:
    numbers = np.arange(1, 21)[:, None, None] * np.ones((1, 6, 8), int)
    regions = vx.Regions.from_masks(numbers, start=100)
    labels = regions.of(clip(4, start=105, stride=3).hold(2))
    assert labels[:, 0, 0].tolist() == [5, 8, 11, 14, 14, 14]
    cut = regions[4:8]
    assert len(cut) == 4 and (cut.of(clip(4, source=None)) == regions.labels[4:8]).all()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (clip(4, start=0), "frames are 0 to 3"),
        (clip(4, start=118), "regions are of frames 100 to 119"),
        (clip(4, start=102, stride=6), "102 to 120"),
        (vx.Clip.from_array(np.zeros((20, 12, 16, 3), np.uint8)), "16x12"),
    ],
)
def test_regions_of_other_frames_are_refused(other: vx.Clip, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.Regions.from_masks(np.ones((20, 6, 8), int), start=100).of(other)
    with pytest.raises(vx.VidexplainError, match="same part of both"):
        vx.Regions.from_masks(np.ones((20, 6, 8), int)).of(clip(4, source=None))


def test_frames_at_the_network_s_size_have_the_regions_of_their_source() -> None:
    geometry = vx.Geometry.fit((6, 8), (3, 4), "resize")
    times = tuple(Fraction(t) for t in range(3))
    small = vx.Clip(np.zeros((3, 3, 4, 3), np.uint8), times, source="film.mp4", geometry=geometry)
    regions = vx.Regions.from_masks(NUMBERS)
    labels, names, _ = regions.seen(small, geometry)
    assert (
        np.array(names)[labels] == np.array([*regions.names, "background"])[regions.labels[:, 1::2, 1::2]]
    ).all()


@pytest.mark.parametrize("framing", ["crop", "resize", "letterbox"])
@pytest.mark.parametrize("network", [(5, 5), (17, 23)])
def test_labels_are_resampled_as_each_mask_is_alone(framing: Any, network: tuple[int, int]) -> None:
    """Nearest neighbour is Pillow's, where the frame is stretched; elsewhere coordinates go through `to_source`."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (2, 13, 19)).astype(np.uint8)
    geometry = vx.Geometry.fit((13, 19), network, framing)
    out = geometry.apply_labels(labels, outside=3)
    for n in range(4):
        alone = geometry.apply_labels((labels == n).astype(np.uint8), outside=int(n == 3))
        assert ((out == n) == alone.astype(bool)).all()
    for y, x in np.ndindex(*network):
        row, column = geometry.to_source((y + 0.5, x + 0.5))
        inside = 0 <= row < 13 and 0 <= column < 19
        expected = labels[:, int(row), int(column)] if inside else [3, 3]
        assert (out[:, y, x] == expected).all()
    if framing == "resize":
        size = network[::-1]
        pillow = [np.asarray(Image.fromarray(p).resize(size, Image.Resampling.NEAREST)) for p in labels]
        assert (out == np.stack(pillow)).all()


def test_labels_agree_with_the_frames_that_the_network_sees() -> None:
    """Where a mask's frames come out wholly white or black, its labels are of the object or are not."""
    mask = np.zeros((1, 120, 160), bool)
    mask[:, 30:95, 40:120] = True
    for framing in ("crop", "resize", "letterbox"):
        geometry = vx.Geometry.fit((120, 160), (56, 56), framing)  # type: ignore[arg-type]
        frames = geometry.apply(np.repeat(255 * mask[..., None].astype(np.uint8), 3, axis=-1))[..., 0]
        labels = geometry.apply_labels(mask.astype(np.uint8), outside=0)
        assert (labels[frames == 255] == 1).all() and (labels[frames == 0] == 0).all()
        assert (frames == 255).sum() > 500


def test_what_is_not_seen_is_told_or_refused() -> None:
    numbers = np.zeros((1, 6, 18), int)
    numbers[:, 1:4, 7:9], numbers[:, 1:4, 0:2] = 1, 2
    regions = vx.Regions.from_masks(numbers, ["middle", "edge"])
    image = vx.Clip.from_image(np.zeros((6, 18, 3), np.uint8))
    geometry = vx.Geometry.fit((6, 18), (6, 6), "crop")
    labels, names, unseen = regions.seen(image, geometry)
    assert (names, unseen) == (["middle", "background"], ["edge"])
    assert (labels == np.where(numbers[:, :, 6:12] == 1, 0, 1)).all()
    with pytest.raises(vx.VidexplainError, match=r"sees none of the regions .*edge"):
        vx.Regions.from_masks(numbers == 2, ["edge"]).seen(image, geometry)
    with pytest.raises(vx.VidexplainError, match="all of it is background"):
        vx.Regions(np.full((1, 6, 18), 1), ("none",)).seen(image, geometry)
