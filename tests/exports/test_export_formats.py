"""Each export, read back by the library of the tool that it is for."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as masks_of
from pycocotools.coco import COCO

import videxplain as vx

ALL = 10**6


def closest(image: np.ndarray, pictures: dict[int, np.ndarray]) -> int:
    """The number of the frame that an image shows; JPEG and video coding change it a little."""
    return min(pictures, key=lambda number: np.abs(image.astype(int) - pictures[number]).mean())


@pytest.mark.parametrize("top_k", [None, 0])
def test_coco(truth, tmp_path, top_k):
    vx.export(truth.what, tmp_path / "coco", "coco", top_k=top_k)
    read = COCO(tmp_path / "coco" / "labels.json")
    images = {image["frame_id"]: image for image in read.loadImgs(read.getImgIds())}
    assert {number: image["time"] for number, image in images.items()} == pytest.approx(truth.seen)
    for frame, image in images.items():
        assert (image["height"], image["width"]) == truth.size
        pixels = np.asarray(Image.open(tmp_path / "coco" / "data" / image["file_name"]))
        assert closest(pixels, truth.pictures) == frame
        window = truth.window_of[frame]
        expected = truth.masks(frame, 5 if top_k is None else ALL)
        annotations = read.loadAnns(read.getAnnIds(imgIds=image["id"]))
        assert {one["track_id"] for one in annotations} == set(expected)
        for one in annotations:
            mask = expected[one["track_id"]]
            np.testing.assert_array_equal(read.annToMask(one), mask)
            rows, columns = np.nonzero(mask)
            left, top = columns.min(), rows.min()
            assert one["bbox"] == [left, top, columns.max() + 1 - left, rows.max() + 1 - top]
            assert one["area"] == mask.sum()
            assert one["score"] == truth.scores[window][one["track_id"]]
            total = sum(abs(score) for score in truth.scores[window].values())
            assert one["share"] == pytest.approx(abs(one["score"]) / total, rel=1e-6)
            assert truth.best(window, ALL)[one["rank"] - 1] == one["track_id"]
            assert read.cats[one["category_id"]]["name"] == truth.classes[window][0]
            error = truth.errors[window][one["track_id"]]
            assert one["error"] == (error if math.isfinite(error) else None)


def test_coco_comes_back_as_regions(clip_truth, tmp_path):
    """By videxplain's own reader: what no region covers is background there."""
    vx.export(clip_truth.what, tmp_path / "coco", "coco", top_k=0)
    regions = vx.Regions.from_coco(tmp_path / "coco" / "labels.json")
    frames = np.stack([clip_truth.labels[number] for number in sorted(clip_truth.labels)])
    for k in range(int(regions.labels.max()) + 1):
        values = np.unique(frames[regions.labels == k])
        assert len(values) == 1


@pytest.mark.parametrize("reader", ["csv", "pandas"])
def test_csv(truth, tmp_path, reader):
    path = vx.export(truth.what, tmp_path / "regions.csv", "csv")
    if reader == "csv":
        with open(path, newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    else:
        rows = pytest.importorskip("pandas").read_csv(path, keep_default_na=False).to_dict("records")
    assert len(rows) == sum(map(len, truth.scores.values()))
    for row in rows:
        window, number = int(row["window"]), int(row["number"])
        assert float(row["score"]) == truth.scores[window][number]
        assert float(row["error"]) == truth.errors[window][number]
        assert (row["class"], float(row["probability"])) == truth.classes[window]
        assert truth.best(window, ALL)[int(row["rank"]) - 1] == number


def test_napari(truth, tmp_path):
    """Its builtin reader opens .npy files by numpy.load."""
    folder = vx.export(truth.what, tmp_path / "volumes", "napari")
    labels, scores = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("labels", "scores"))
    assert labels.shape == scores.shape == (len(truth.labels), *truth.size)
    for place, frame in enumerate(sorted(truth.labels)):
        np.testing.assert_array_equal(labels[place], truth.labels[frame] + 1)
        score_of = {-1: 0.0, **truth.scores[truth.window_of[frame]]}
        expected = np.vectorize(score_of.get)(truth.labels[frame])
        np.testing.assert_array_equal(scores[place], expected.astype(np.float32))
    with open(folder / "regions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all(int(row["index"]) == int(row["number"]) + 1 for row in rows)


def test_napari_reads_it(clip_truth, tmp_path):
    reading = pytest.importorskip("napari_builtins.io", reason="napari is not installed")
    folder = vx.export(clip_truth.what, tmp_path / "volumes", "napari")
    path = str(folder / "labels.npy")
    ((data, *_),) = reading.napari_get_reader(path)(path)
    frames = [clip_truth.labels[number] for number in sorted(clip_truth.labels)]
    np.testing.assert_array_equal(np.asarray(data), np.stack(frames) + 1)


def test_webvtt(video_truth, tmp_path):
    webvtt = pytest.importorskip("webvtt")
    path = vx.export(video_truth.what, tmp_path / "video.vtt", "webvtt")
    cues = [(cue.start_in_seconds, cue.end_in_seconds, cue.text) for cue in webvtt.read(path)]
    classes = [cue for cue in cues if not cue[2].startswith("peak: ")]
    stretches: list[list[Any]] = []
    for frame in sorted(video_truth.window_of):
        name, probability = video_truth.classes[video_truth.window_of[frame]]
        if not stretches or stretches[-1][2] != name:
            stretches.append([frame / 25, 0.0, name, 0.0])
        stretches[-1][1] = (frame + 1) / 25
        stretches[-1][3] = max(stretches[-1][3], probability)
    assert len(classes) == len(stretches)
    for (begin, end, text), expected in zip(classes, stretches, strict=True):
        assert (begin, end) == pytest.approx(expected[:2], abs=1)  # webvtt-py gives whole seconds
        assert html.unescape(text) == f"{expected[2]} {expected[3]:.0%}"
    kept = vx.open_explanations(video_truth.what).manifest["moments"]
    assert kept and len(cues) - len(classes) == len(kept)


def runs_to_mask(shape: ElementTree.Element, size: tuple[int, int]) -> np.ndarray:
    """CVAT's runs go row by row, COCO's column by column: the transpose, decoded by pycocotools."""
    values = {key: int(shape.attrib[key]) for key in ("left", "top", "width", "height")}
    runs = [int(run) for run in shape.attrib["rle"].split(",")]
    turned = {"counts": runs, "size": [values["width"], values["height"]]}
    part = masks_of.decode(masks_of.frPyObjects(turned, values["width"], values["height"])).T
    mask = np.zeros(size, bool)
    place = (
        slice(values["top"], values["top"] + part.shape[0]),
        slice(values["left"], values["left"] + part.shape[1]),
    )
    mask[place] = part
    return mask


def test_cvat(truth, tmp_path):
    path = vx.export(truth.what, tmp_path / "annotations.xml", "cvat", top_k=3)
    root = ElementTree.parse(path).getroot()
    first, last = min(truth.labels), max(truth.labels)
    task = root.find("meta/task")
    assert task is not None
    assert (task.findtext("start_frame"), task.findtext("stop_frame")) == (str(first), str(last))
    assert task.findtext("size") == str(last - first + 1) and task.findtext("mode") == "interpolation"
    size = int(task.findtext("original_size/height") or 0), int(task.findtext("original_size/width") or 0)
    assert size == truth.size
    names = [label.findtext("name") for label in task.iter("label")]
    declared = {attribute.findtext("name") for attribute in task.iter("attribute")}
    there: dict[int, set[int]] = {frame: set() for frame in truth.labels}
    tracks = root.findall("track")
    assert [track.attrib["id"] for track in tracks] == [str(n) for n in range(len(tracks))]
    for track in tracks:
        shape, *rest = list(track)
        frame = int(shape.attrib["frame"])
        assert shape.tag == "mask" and shape.attrib["outside"] == "0"
        assert [(int(one.attrib["frame"]), one.attrib["outside"]) for one in rest] == (
            [] if frame == last else [(frame + 1, "1")]
        )
        about = {one.attrib["name"]: one.text for one in shape}
        number, window = int(about["region"] or -1), truth.window_of[frame]
        assert set(about) == declared and track.attrib["group_id"] == str(number + 1)
        assert track.attrib["label"] == truth.classes[window][0] and track.attrib["label"] in names
        np.testing.assert_array_equal(runs_to_mask(shape, size), truth.masks(frame, 3)[number])
        assert float(about["score"] or "nan") == truth.scores[window][number]
        there[frame].add(number)
    assert there == {frame: set(truth.masks(frame, 3)) for frame in truth.labels}


def test_cvat_comes_back_as_regions(video_truth, tmp_path):
    """By videxplain's own reader, to which each mask is a region."""
    path = vx.export(video_truth.what, tmp_path / "annotations.xml", "cvat", top_k=1)
    regions = vx.Regions.from_cvat(path)
    for frame, labels in enumerate(regions.labels):
        (mask,) = video_truth.masks(frame, 1).values() or (np.zeros(video_truth.size, bool),)
        np.testing.assert_array_equal(labels != regions.labels.max(), mask)


def test_tensorboard(truth, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = vx.export(truth.what, tmp_path / "runs", "tensorboard")
    events = accumulator.EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()
    said = {}
    for name in {name for name, _ in truth.classes.values()}:
        said |= {(event.step, name): event for event in events.Scalars(f"probability/{name}")}
    begins = {}
    for frame in sorted(truth.window_of, reverse=True):
        begins[truth.window_of[frame]] = frame
    for window, (name, probability) in truth.classes.items():
        event = said[begins[window], name]
        assert event.value == pytest.approx(probability, rel=1e-6)
    images = events.Images("explained")
    assert [image.step for image in images] == sorted(begins.values())
    height, width = truth.size
    assert all(image.width == width and image.height > height for image in images), "over a footer"


def test_rerun(truth, tmp_path):
    chunk = pytest.importorskip("rerun.chunk", reason="rerun is not installed, or older than its reader")
    path = vx.export(truth.what, tmp_path / "video.rrd", "rerun")
    regions, times, scores, said, pictures = {}, {}, {}, {}, {}
    for part in chunk.RrdReader(path).stream().to_chunks():
        for row in part.to_record_batch().to_pylist():
            if part.entity_path == "/video/regions":
                (form,), (buffer,) = row["SegmentationImage:format"], row["SegmentationImage:buffer"]
                regions[row["frame"]] = (
                    np.array(buffer, np.uint8).view("<u2").reshape(form["height"], form["width"])
                )
                times[row["frame"]] = row["time"].total_seconds()
            elif part.entity_path == "/video":
                (blob,) = row["EncodedImage:blob"]
                pictures[row["frame"]] = np.asarray(Image.open(io.BytesIO(bytes(blob))))
            elif part.entity_path == "/scores":
                (values,), (numbers,) = row["BarChart:values"], row["BarChart:abscissa"]
                scores[row["frame"]] = dict(zip(numbers["buffer"], values["buffer"], strict=True))
            elif part.entity_path.startswith("/probability/"):
                said.setdefault(row["frame"], set()).add(row["Scalars:scalars"][0])
    assert times == pytest.approx(truth.seen)
    for frame in truth.seen:
        np.testing.assert_array_equal(regions[frame], truth.labels[frame] + 1)
        assert closest(pictures[frame], truth.pictures) == frame
    begins = {}
    for frame in sorted(truth.window_of, reverse=True):
        begins[truth.window_of[frame]] = frame
    assert {begins[window]: values for window, values in truth.scores.items()} == scores
    for window, (_, probability) in truth.classes.items():
        assert any(value == pytest.approx(probability) for value in said[begins[window]])


def test_fiftyone_on_disk(truth, tmp_path):
    """As its documentation has the folder; the masks are unpacked as it does."""
    folder = vx.export(truth.what, tmp_path / "dataset", "fiftyone")
    (entry,) = json.loads((folder / "manifest.json").read_text())["index"]
    video = vx.open_video(folder / entry["data"])
    frames = json.loads((folder / entry["labels"]).read_text())["frames"]
    pictures = [frame.rgb() for frame in video.frames()]
    read = {}
    for key, values in frames.items():
        attributes = {one["name"]: one["value"] for one in values["attrs"]["attrs"]}
        source = attributes["source_frame"]
        window = truth.window_of[source]
        assert values["frame_number"] == int(key) and attributes["class"] == truth.classes[window][0]
        assert closest(pictures[int(key) - 1], truth.pictures) == source
        read[source] = set()
        for one in values["objects"]["objects"]:
            packed = zlib.decompress(base64.b64decode(one["mask"]))
            part = np.load(io.BytesIO(packed), allow_pickle=False)
            corner = one["bounding_box"]["top_left"]
            top, left = round(corner["y"] * truth.size[0]), round(corner["x"] * truth.size[1])
            mask = np.zeros(truth.size, bool)
            mask[top : top + part.shape[0], left : left + part.shape[1]] = part
            np.testing.assert_array_equal(mask, truth.masks(source, 5)[one["index"]])
            values_of = {about["name"]: about["value"] for about in one["attrs"]["attrs"]}
            assert values_of["score"] == truth.scores[window][one["index"]]
            read[source].add(one["index"])
    assert read == {frame: set(truth.masks(frame, 5)) for frame in truth.seen}


def test_fiftyone_reads_it(truth, tmp_path):
    """By FiftyOne's importer, which needs no database."""
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason="fiftyone is not installed")
    folder = vx.export(truth.what, tmp_path / "dataset", "fiftyone")
    with importers.FiftyOneVideoLabelsDatasetImporter(str(folder)) as importer:
        ((path, _, _, frames),) = list(importer)
    assert Path(path).is_file() and len(frames) == len(truth.seen)
    for labels in frames.values():
        source = int(labels["source_frame"].label)
        for one in labels["detections"].detections:
            assert one.mask.sum() == truth.masks(source, 5)[one.index].sum()
            assert one["score"] == truth.scores[truth.window_of[source]][one.index]


def test_names_of_regions(network, explained_video, tmp_path):
    masks = np.zeros((2, 33, 64, 96), bool)
    masks[0, :, 10:40, 20:50] = masks[1, :, 20:60, 55:80] = True
    regions = vx.Regions.from_masks(masks, names=["ball", "<b>bat</b>"])
    data = explained_video("objects", method="guided", regions=regions, n_segments=None)
    vx.export(data, tmp_path / "coco", "coco")
    read = json.loads((tmp_path / "coco" / "labels.json").read_text())
    names = {0: "ball", 1: "<b>bat</b>", 2: "background"}
    assert {one["name"] for one in read["annotations"]} == set(names.values())
    assert all(names[one["track_id"]] == one["name"] for one in read["annotations"])
