"""Mask videos: numbers that FFmpeg's encoders wrote come back in any order; what may change them is refused."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

import videxplain as vx

NUMBERS = np.zeros((12, 18, 30), np.uint16)
for _t in range(12):
    NUMBERS[_t, 3:9, 2 + _t : 9 + _t] = 7
    NUMBERS[_t, 11:16, 20 - _t : 27 - _t] = 3
LARGE = np.where(NUMBERS == 7, 30_000, NUMBERS)


def write(path: Path, frames: np.ndarray, codec: str = "ffv1", form: str = "gray", **options: str) -> Path:
    """Frames of grey, or of any format that FFmpeg converts them to."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, 25, options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = form
        for image in frames:
            kind = "gray" if image.dtype == np.uint8 else "gray16le"
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image, kind).reformat(format=form)))
        file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("name", "numbers", "codec", "form", "options"),
    [
        ("a.mkv", NUMBERS.astype(np.uint8), "ffv1", "gray", {}),
        (
            "b.mkv",
            NUMBERS.astype(np.uint8),
            "ffv1",
            "gray",
            {"context": "1", "g": "5"},
        ),  # not all are key frames
        ("c.mkv", LARGE, "ffv1", "gray16le", {}),
        ("d.mov", LARGE, "png", "gray16be", {}),
        ("e.mp4", NUMBERS.astype(np.uint8), "png", "gray", {}),
        ("f.avi", NUMBERS.astype(np.uint8), "ffv1", "gray", {}),
    ],
)
def test_numbers_come_back_in_any_order(
    name: str, numbers: np.ndarray, codec: str, form: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / name, numbers, codec, form, **options)
    whole, by_frame = vx.Regions.read(path), vx.Regions.open(path)
    assert whole.names == by_frame.names == tuple(str(n) for n in np.unique(numbers) if n)
    values = np.array([int(n) for n in whole.names] + [0])
    assert (values[whole.labels] == numbers).all()
    assert len(by_frame) == 12 and not isinstance(by_frame.labels, np.ndarray)
    order = np.array([0, 2, 4, 6, 4, 6, 8, 11, 1, 1, 0])
    assert (values[by_frame.labels[order]] == numbers[order]).all()


@pytest.mark.parametrize(
    ("name", "codec", "form", "message"),
    [
        ("a.mp4", "mpeg4", "yuv420p", "mpeg4, may change them.*ffv1"),
        ("a.mp4", "libx264", "gray", "h264, may change them"),
        ("a.mkv", "ffv1", "yuv420p", r"in colour \(yuv420p\)"),
        ("a.mov", "png", "rgb24", r"in colour \(rgb24\)"),
    ],
)
def test_videos_that_may_hold_other_numbers_are_refused(
    name: str, codec: str, form: str, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path / name, NUMBERS.astype(np.uint8), codec, form)
    for read in (vx.Regions.open, vx.Regions.read):
        with pytest.raises(vx.VidexplainError, match=message):
            read(path)


def test_videos_that_are_damaged_or_changed_get_a_sentence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", NUMBERS.astype(np.uint8))
    regions = vx.Regions.open(path)
    write(path, NUMBERS[:4].astype(np.uint8))
    with pytest.raises(vx.VidexplainError, match=r"frame 9 in .* cannot be read"):
        _ = regions.labels[np.array([9])]
    (tmp_path / "text.mkv").write_text("no video")
    with pytest.raises(vx.VidexplainError, match="not a video"):
        vx.Regions.open(tmp_path / "text.mkv")
    write(tmp_path / "none.mkv", np.zeros((2, 18, 30), np.uint8))
    with pytest.raises(vx.VidexplainError, match="no region"):
        vx.Regions.open(tmp_path / "none.mkv")
