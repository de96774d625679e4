"""Files of COCO, YouTube-VIS, MOTS and CVAT, written by their own library or by hand in their published form."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import videxplain as vx

coco = pytest.importorskip("pycocotools.mask")
SIZE = (20, 30)
RNG = np.random.default_rng(0)
CAR = np.zeros((3, *SIZE), bool)
CAR[0, 2:9, 3:14], CAR[1, 3:10, 4:15] = RNG.random((7, 11)) < 0.7, True
MAN = np.zeros((3, *SIZE), bool)
MAN[1, 12:19, 20:25], MAN[2, 12:19, 21:26] = True, RNG.random((7, 5)) < 0.7


def encoded(mask: np.ndarray) -> dict[str, Any]:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode()}


def runs(mask: np.ndarray) -> dict[str, Any]:
    """COCO's run lengths without compression: column by column, zeros first."""
    flat = np.concatenate([[0], mask.T.ravel().astype(int), [-1]])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff([0, *edges]).tolist()}


def check(regions: vx.Regions, names: tuple[str, str] = ("car 1", "man 2")) -> None:
    assert set(regions.names) == set(names)
    for name, mask in zip(names, (CAR, MAN), strict=True):
        assert ((regions.labels == regions.names.index(name)) == mask).all()


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


CATEGORIES = [{"id": 5, "name": "car"}, {"id": 9, "name": "man"}]


def images_file(**changes: Any) -> dict[str, Any]:
    images = [{"id": 10 + t, "file_name": f"{t}.jpg", "height": 20, "width": 30} for t in range(3)]
    annotations = [
        {"id": 7 * t + n, "image_id": 10 + t, "category_id": kind, "track_id": n, "segmentation": write(mask)}
        for n, kind, masks, write in ((1, 5, CAR, encoded), (2, 9, MAN, runs))
        for t, mask in enumerate(masks[t] for t in range(3))
        if mask.any()
    ]
    return {"images": images, "annotations": annotations, "categories": CATEGORIES, **changes}


def test_coco_images_with_tracks(tmp_path: Path) -> None:
    check(vx.Regions.from_coco(write(tmp_path / "a.json", images_file())))
    check(vx.Regions.read(tmp_path / "a.json"))


def test_youtube_vis(tmp_path: Path) -> None:
    annotations = [
        {
            "id": n,
            "video_id": 3,
            "category_id": k,
            "segmentations": [encode(m) if m.any() else None for m in masks],
        }
        for n, k, masks, encode in ((1, 5, CAR, runs), (2, 9, MAN, encoded))
    ]
    videos = [{"id": 3, "height": 20, "width": 30, "length": 3, "file_names": ["0.jpg", "1.jpg", "2.jpg"]}]
    content = {"videos": videos, "annotations": annotations, "categories": CATEGORIES}
    check(vx.Regions.from_coco(write(tmp_path / "a.json", content)))
    content["videos"] = [*videos, {**videos[0], "id": 4}]
    with pytest.raises(vx.VidexplainError, match="2 videos"):
        vx.Regions.from_coco(write(tmp_path / "b.json", content))
    check(vx.Regions.from_coco(tmp_path / "b.json", only=3))


def test_coco_polygons_are_those_of_pycocotools(tmp_path: Path) -> None:
    polygons = [[3.5, 2.0, 20.0, 4.0, 12.0, 17.5], [22.0, 5.0, 28.0, 5.0, 28.0, 12.0, 22.0, 12.0]]
    content = images_file()
    content["annotations"] = [{"id": 1, "image_id": 11, "category_id": 5, "segmentation": polygons}]
    path = write(tmp_path / "a.json", content)
    expected = coco.decode(coco.merge(coco.frPyObjects(polygons, 20, 30))).astype(bool)
    for only in (11, "1.jpg"):
        regions = vx.Regions.from_coco(path, only)
        assert regions.names == ("car 1",) and ((regions.labels[0] == 0) == expected).all()
    assert len(vx.Regions.read(path, of="folder/1.jpg")) == 1
    with pytest.raises(vx.VidexplainError, match=r"no image 'none\.jpg'"):
        vx.Regions.from_coco(path, "none.jpg")
    del content["annotations"][0]["segmentation"]
    content["annotations"][0]["bbox"] = [2, 3, 10, 4]
    box = vx.Regions.from_coco(write(path, content), 11).labels[0] == 0
    assert box[3:7, 2:12].all() and box.sum() == 40


def changed(segmentation: Any) -> dict[str, Any]:
    content = images_file()
    content["annotations"][0]["segmentation"] = segmentation
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "no object"),
        ("{", "cannot be read as COCO"),
        ({"images": []}, "has no image|lacks"),
        (images_file(annotations=[{"image_id": 10, "id": 1, "category_id": 5}]), "no video"),
        (images_file(annotations=[]), "no region"),
        (changed({"size": [20, 30], "counts": ""}), "do not fill"),
        (changed({"size": [20, 30], "counts": encoded(CAR[0, :10])["counts"]}), "do not fill"),
        (changed({"size": [20, 30], "counts": "o" * 100_000}), "do not fill"),
        (changed({"size": [20, 30], "counts": [5, 700]}), "do not fill"),
        (changed({"size": [20, 31], "counts": [620]}), "size"),
        (changed([[0, 0, 1e9, 0, 1, 1]]), "far beyond"),
        (changed([[0, 0]]), "three corners"),
        (changed([[0, 0, float("nan"), 0, 1, 1]]), "no pair of numbers"),
        (changed([[0, 0, 5, 0, 1, 1, 7]]), "no pair of numbers"),
        (changed([["a"] * 6]), "cannot be read as COCO"),
        (changed({"size": 3}), "cannot be read as COCO"),
    ],
)
def test_damaged_coco_gets_a_sentence(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.Regions.from_coco(write(tmp_path / "a.json", content))


def test_without_pycocotools_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.json", images_file())
    write(tmp_path / "a.txt", mots_lines())
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    for name in ("a.json", "a.txt"):
        with pytest.raises(vx.VidexplainError, match=r"pip install 'videxplain\[regions\]'"):
            vx.Regions.read(tmp_path / name)


def mots_lines(first: int = 0) -> str:
    lines = [f"{first} 10000 10 20 30 {encoded(np.ones(SIZE))['counts']}"]
    for t in range(3):
        for key, mask in ((1001, CAR[t]), (2002, MAN[t])):
            if mask.any():
                lines.append(f"{t + first} {key} {key // 1000} 20 30 {encoded(mask)['counts']}")
    return "\n".join(lines) + "\n"


def test_mots_text_and_images(tmp_path: Path) -> None:
    names = ("car 1", "pedestrian 2")
    path = write(tmp_path / "0002.txt", mots_lines())
    check(vx.Regions.from_mots(path), names)
    check(vx.Regions.read(path), names)
    check(vx.Regions.from_mots(write(path, mots_lines(1)), first=1), names)
    longer = vx.Regions.from_mots(path, length=9, first=1)
    assert len(longer) == 9 and (longer.labels[3:] == 2).all()
    (tmp_path / "0002").mkdir()
    for t in range(3):
        numbers = np.where(CAR[t], 1001, np.where(MAN[t], 2002, 0)).astype(np.uint16)
        numbers[0] = 10000
        Image.fromarray(numbers).save(tmp_path / "0002" / f"{t:06d}.png")
    check(vx.Regions.from_mots(tmp_path / "0002"), names)


@pytest.mark.parametrize("text", ["", "1 2 3", "a b c d e f", "0 1001 1 20 30 ~~~", "0 1001 1 20 30 é"])
def test_damaged_mots_gets_a_sentence(text: str, tmp_path: Path) -> None:
    with pytest.raises(vx.VidexplainError, match="cannot be read as MOTS"):
        vx.Regions.from_mots(write(tmp_path / "a.txt", text))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta><task><id>1</id><size>3</size><mode>interpolation</mode><start_frame>0</start_frame><stop_frame>2</stop_frame>
    <frame_filter></frame_filter><original_size><width>30</width><height>20</height></original_size></task></meta>
  <track id="0" label="car" source="manual">
    <mask frame="0" keyframe="1" outside="0" occluded="0" rle="{rle}" left="3" top="2" width="11" height="7"></mask>
    <box frame="1" keyframe="1" outside="0" occluded="0" xtl="4.0" ytl="3.0" xbr="15.0" ybr="10.0" z_order="0"></box>
    <box frame="2" keyframe="1" outside="1" occluded="0" xtl="4.0" ytl="3.0" xbr="15.0" ybr="10.0" z_order="0"></box>
  </track>
  <track id="1" label="man" source="manual">
    <polygon frame="1" keyframe="1" outside="0" occluded="0" points="20.0,12.0;25.0,12.0;25.0,19.0;20.0,19.0"></polygon>
    <mask frame="2" keyframe="0" outside="0" occluded="0" rle="{man}" left="21" top="12" width="5" height="7"></mask>
  </track>
</annotations>
"""


def rows(part: np.ndarray) -> str:
    """CVAT's run lengths: row by row, zeros first."""
    return ", ".join(map(str, runs(part.T)["counts"]))


def cvat_text() -> str:
    return CVAT.format(rle=rows(CAR[0, 2:9, 3:14]), man=rows(MAN[2, 12:19, 21:26]))


def test_cvat_tracks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", cvat_text())
    check(vx.Regions.from_cvat(path), ("car 0", "man 1"))
    check(vx.Regions.read(path), ("car 0", "man 1"))
    part = cvat_text().replace("<start_frame>0", "<start_frame>40").replace("<stop_frame>2", "<stop_frame>42")
    for t in (2, 1, 0):
        part = part.replace(f'frame="{t}" keyframe', f'frame="{40 + t}" keyframe')
    regions = vx.Regions.from_cvat(write(path, part))
    check(regions, ("car 0", "man 1"))
    assert regions.start == 40


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<track", "<!-- -->\n<image", "cannot be read as CVAT"),
        (
            'frame="1" keyframe="1" outside="0" occluded="0" xtl',
            'frame="2" keyframe="1" outside="0" xtl',
            "key frames",
        ),
        ("<frame_filter>", "<frame_filter>step=5", "left frames out"),
        ("<size>3</size>", "", "lacks 'size'"),
        ("<size>3</size>", "<size>2</size>", "there are 2 frames"),
        ("polygon", "polyline", "a polyline"),
        ('left="3"', 'left="29"', "does not fit"),
        ('xtl="4.0"', 'xtl="nan"', "a box"),
        ('encoding="utf-8"', 'encoding="x"', "cannot be read as CVAT"),
        ("<annotations>", "<!DOCTYPE a><annotations>", "document type"),
    ],
)
def test_damaged_cvat_gets_a_sentence(old: str, new: str, message: str, tmp_path: Path) -> None:
    assert old in cvat_text()
    with pytest.raises(vx.VidexplainError, match=message):
        vx.Regions.from_cvat(write(tmp_path / "a.xml", cvat_text().replace(old, new)))


def test_what_is_read_by_frame_is_what_is_read_whole(tmp_path: Path) -> None:
    numbers = np.where(CAR, 7, np.where(MAN, 300, 0)).astype(np.uint16)
    np.save(tmp_path / "numbers.npy", numbers)
    (tmp_path / "images").mkdir()
    for t, image in enumerate(numbers):
        Image.fromarray(image).save(tmp_path / "images" / f"{t:03d}.png")
    write(tmp_path / "coco.json", images_file())
    write(tmp_path / "mots.txt", mots_lines())
    write(tmp_path / "cvat.xml", cvat_text())
    for name in ("numbers.npy", "images", "coco.json", "mots.txt", "cvat.xml"):
        whole, by_frame = vx.Regions.read(tmp_path / name), vx.Regions.open(tmp_path / name)
        assert (whole.names, whole.start, len(whole)) == (by_frame.names, by_frame.start, len(by_frame))
        assert not isinstance(by_frame.labels, np.ndarray)
        assert (by_frame.labels[np.array([2, 0, 2])] == whole.labels[[2, 0, 2]]).all()
        assert (by_frame[1:3].labels == whole.labels[1:3]).all()


def test_frames_that_cannot_be_read_any_more_get_a_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4, 5), np.uint8))
    regions = vx.Regions.open(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.full((3, 4, 5), 2, np.uint8))
    with pytest.raises(vx.VidexplainError, match=r"regions of frame 1 in .* changed since"):
        regions[1:2]
    with pytest.raises(vx.VidexplainError, match="there is no file"):
        vx.Regions.open(tmp_path / "nothing.npy")
    np.save(tmp_path / "b.npy", np.zeros((3, 4, 5), np.uint8))
    with pytest.raises(vx.VidexplainError, match="all numbers are 0"):
        vx.Regions.open(tmp_path / "b.npy")
