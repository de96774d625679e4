"""Data sets: folders by class, CSV files, generated clips; damaged items are said, not fatal."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videxplain.errors import VidexplainError
from videxplain.evaluation.datasets import check_data, class_index, open_dataset


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


def test_folder_by_class(tmp_path: Path) -> None:
    picture(tmp_path / "tiger_cat" / "b.png", 1)
    picture(tmp_path / "tiger_cat" / "a.png", 2)
    picture(tmp_path / "dog" / "deep" / "c.jpg", 3)
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    picture(tmp_path / "loose.png", 4)
    data = open_dataset(str(tmp_path))
    assert [data.name(i) for i in range(len(data))] == [
        "loose.png",
        "dog/deep/c.jpg",
        "tiger_cat/a.png",
        "tiger_cat/b.png",
    ]
    samples = [data.load(i, clip_length=1) for i in range(4)]
    assert [s.label for s in samples] == [None, "dog", "tiger_cat", "tiger_cat"]
    assert samples[3].clip.frames.shape == (1, 20, 30, 3)
    assert class_index("tiger_cat", ["dog", "Tiger Cat"]) == 1
    assert class_index("cow", ["dog"]) is None and class_index(3, ["dog"]) is None


def test_digests_tell_data_apart(tmp_path: Path) -> None:
    """By paths, sizes, times of change and labels; all of one name and as many files."""
    digests = set()

    def add(source: Path) -> None:
        data = open_dataset(str(source))
        assert data.digest == open_dataset(str(source)).digest
        digests.add(data.digest)

    for place in ("here", "there"):
        picture(tmp_path / place / "cats" / "tabby" / "a.png")
        add(tmp_path / place / "cats")
    cats = tmp_path / "there" / "cats"
    os.utime(cats / "tabby" / "a.png", ns=(5, 5))
    add(cats)
    (cats / "tabby" / "a.png").write_bytes((cats / "tabby" / "a.png").read_bytes() + b"0")
    os.utime(cats / "tabby" / "a.png", ns=(5, 5))
    add(cats)
    (cats / "tabby").rename(cats / "tiger")
    add(cats)
    assert len(digests) == 5
    table = tmp_path / "list.csv"
    picture(tmp_path / "mask.png")
    for line in ("tiger,", "lynx,", "lynx,mask.png", "3,", '"3 ",'):
        table.write_text(f"path,label,mask\nthere/cats/tiger/a.png,{line}\n")
        add(table)
    assert len(digests) == 8, "the first is the folder's again, and a label 3 is one with spaces or without"


def test_imagenets_folders_are_in_the_order_of_the_classes(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"n{number:08d}").mkdir()
    picture(tmp_path / "n00000007" / "x.png")
    assert open_dataset(str(tmp_path)).load(0, clip_length=1).label == 7


def test_csv_with_labels_and_masks(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[3:5, 6:9] = 255
    Image.fromarray(mask).save(tmp_path / "a-mask.png")
    Image.fromarray(mask[:10]).save(tmp_path / "small.png")
    rows = "path,label,mask\na.png,cat,a-mask.png\na.png,3,\na.png,,small.png\nnone.png,cat,\n"
    (tmp_path / "set.csv").write_text(rows)
    data = open_dataset(str(tmp_path / "set.csv"))
    first, second = (data.load(i, clip_length=1) for i in (0, 1))
    assert first.label == "cat" and first.mask is not None and first.mask.shape == (1, 20, 30)
    assert first.mask.sum() == 6 and first.mask[0, 4, 8]
    assert second.label == 3 and second.mask is None
    with pytest.raises(VidexplainError, match="30x10 and its picture 30x20"):
        data.load(2, clip_length=1)
    with pytest.raises(VidexplainError, match=r"none\.png"):
        data.load(3, clip_length=1)


def test_videos_give_the_clip_in_their_middle(bikes: Path) -> None:
    from videxplain.video import open_video

    data = open_dataset(str(bikes))
    sample = data.load(0, clip_length=16, stride=2)
    assert sample.clip.start == (250 - 31) // 2 and len(sample.clip) == 16
    frames = {}
    for number, frame in enumerate(open_video(bikes).frames()):
        if number in (109, 111):
            frames[number] = frame.image
    assert np.array_equal(sample.clip.frames[0], frames[109])
    assert np.array_equal(sample.clip.frames[1], frames[111])


def test_generated_clips_have_names_labels_and_masks() -> None:
    data = open_dataset("generated", count=3, first=10)
    assert len(data) == 3 and data.name(2) == "seed 12"
    sample = data.load(2, clip_length=16)
    assert sample.mask is not None and sample.mask.any() and sample.clip.frames.shape == (16, 112, 112, 3)
    assert data.identity != open_dataset("generated", count=3, first=11).identity


def test_what_is_no_data_set_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("file;class\na.png;cat\n")
    for source, message in [
        (tmp_path / "none", "there is no data set"),
        (tmp_path / "empty", "no images, no videos and no arrays"),
        (tmp_path / "bad.csv", "no column 'path'"),
        (tmp_path / "gone.csv", "cannot be read"),
    ]:
        with pytest.raises(VidexplainError, match=message):
            open_dataset(str(source))
    with pytest.raises(VidexplainError, match="0 generated clips"):
        open_dataset("generated", count=0)


def test_photographs_of_dependencies() -> None:
    data = open_dataset("photographs")
    names = [data.name(i) for i in range(len(data))]
    assert {"chelsea", "astronaut", "coffee", "china"} <= set(names) and len(set(names)) == len(names)
    assert data.load(names.index("chelsea"), clip_length=1).clip.frames.shape == (1, 300, 451, 3)


def test_data_sets_that_packages_add(installed: Callable[..., None]) -> None:
    code = "from videxplain.evaluation.datasets import GeneratedClips\n"
    code += "def three():\n    return GeneratedClips(3, first=7)\n"
    installed("videxplain.datasets", {"three": "three"}, code)
    data = open_dataset("three")
    assert len(data) == 3 and data.name(0) == "seed 7"
    with pytest.raises(VidexplainError, match="generated or photographs or three"):
        check_data("four")


def test_names_are_there_without_torch() -> None:
    """So that a wrong one is answered at once."""
    modules = "videxplain.cli.evaluate, videxplain.evaluation.datasets, videxplain.evaluation.experiments"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arrays_are_clips_in_folders_without_pictures(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 4096, (20, 12, 16)).astype(np.uint16)
    (tmp_path / "ill").mkdir()
    np.savez(tmp_path / "ill" / "scan.npz", frames=volume)
    np.save(tmp_path / "whole.npy", volume[:3])
    data = open_dataset(str(tmp_path))
    assert [data.name(index) for index in range(len(data))] == ["whole.npy", "ill/scan.npz"]
    short, middle = (data.load(index, clip_length=4, stride=2) for index in range(2))
    assert middle.label == "ill" and middle.clip.start == 6 and short.label is None
    np.testing.assert_array_equal(middle.clip.frames[..., 0], volume[6:13:2])
    np.testing.assert_array_equal(short.clip.frames[..., 0], volume[:3:2])
    picture(tmp_path / "a.png")
    assert len(open_dataset(str(tmp_path))) == 1, "arrays beside pictures are masks, or something else"
