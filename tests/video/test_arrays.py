"""Clips in NumPy's files and in images with more than 8 bits."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videxplain import VidexplainError, read_clip

VOLUME = np.random.default_rng(0).integers(0, 4096, (6, 10, 12)).astype(np.uint16)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOLUME)
    clip = read_clip(tmp_path / "a.npy", channels=1)
    assert (clip.frames[..., 0] == VOLUME).all() and clip.source == str(tmp_path / "a.npy")
    np.savez(tmp_path / "one.npz", whatever=VOLUME.astype(np.float32)[..., None])
    assert (read_clip(tmp_path / "one.npz").frames[..., 0] == VOLUME).all()
    np.savez_compressed(tmp_path / "two.npz", frames=VOLUME[..., None], mask=VOLUME > 3)
    assert (read_clip(tmp_path / "two.npz").frames[..., 0] == VOLUME).all()
    np.save(tmp_path / "big.npy", VOLUME.astype(">u2"))  # the other byte order
    found = read_clip(tmp_path / "big.npy")
    assert found.frames.dtype == np.uint16 and (found.frames[..., 0] == VOLUME).all()


def test_a_part_of_an_array(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VOLUME)
    clip = read_clip(tmp_path / "a.npy", at=0.04, stride=2, length=2)
    assert (clip.frames[..., 0] == VOLUME[1:5:2]).all()
    assert clip.times == (Fraction(1, 25), Fraction(3, 25)) and (clip.start, clip.stride) == (1, 2)
    with pytest.raises(VidexplainError, match="no frame at or after 9 s"):
        read_clip(tmp_path / "a.npy", at=9)


def test_images_with_16_bits(tmp_path: Path) -> None:
    for n, frame in enumerate(VOLUME):
        Image.fromarray(frame).save(tmp_path / f"scan{n}.png")
    assert (read_clip(tmp_path).frames[..., 0] == VOLUME).all()
    assert (read_clip(tmp_path / "scan%d.png", length=3).frames[..., 0] == VOLUME[:3]).all()
    assert (read_clip(tmp_path / "scan4.png").frames[..., 0] == VOLUME[4]).all()
    pages = [Image.fromarray(frame) for frame in VOLUME]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    stack = read_clip(tmp_path / "stack.tif", stride=2)
    assert stack.frames.dtype == np.uint16 and (stack.frames[..., 0] == VOLUME[::2]).all()
    Image.fromarray(VOLUME[0].astype(np.float32) / 3).save(tmp_path / "float.tif")
    assert (read_clip(tmp_path / "float.tif").frames[0, ..., 0] == VOLUME[0].astype(np.float32) / 3).all()
    Image.fromarray(VOLUME[0].astype(np.uint8)).save(tmp_path / "byte.png")
    assert read_clip(tmp_path / "byte.png").frames.shape == (1, 10, 12, 1)


def test_what_is_no_clip_is_refused_in_a_sentence(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return open, (str(tmp_path / "touched"), "w")  # type: ignore[return-value]

    with open(tmp_path / "trap.npy", "wb") as file:
        np.lib.format.write_array(file, np.array([Trap()], object), allow_pickle=True)
    (tmp_path / "pickled.npy").write_bytes(pickle.dumps(VOLUME))
    (tmp_path / "empty.npz").write_bytes(b"")
    np.save(tmp_path / "cut.npy", VOLUME)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-3])
    np.savez(tmp_path / "many.npz", a=VOLUME, b=VOLUME)
    np.save(tmp_path / "numbers.npy", VOLUME.astype(np.int64))
    for name, message in {
        "trap.npy": "cannot be read as an array",
        "pickled.npy": "cannot be read as an array",
        "empty.npz": "cannot be read as an array",
        "cut.npy": "cannot be read as an array",
        "many.npz": "of a, b none is named 'frames'",
        "numbers.npy": "holds no clip.*int64",
        "none.npy": "no file",
        "film.mp4": "open_video",
    }.items():
        with pytest.raises(VidexplainError, match=message):
            read_clip(tmp_path / name)
    assert not (tmp_path / "touched").exists()
    for n, size in enumerate(((8, 8), (8, 9))):
        Image.fromarray(np.zeros(size, np.uint16)).save(tmp_path / f"x{n}.png")
    with pytest.raises(VidexplainError, match="frames of one kind"):
        read_clip(tmp_path / "x%d.png")


def test_colours_of_16_bits_are_not_cut_to_8(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "deep.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 4, 4, "rgb48be"
        frame = av.VideoFrame(4, 4, "rgb48be")
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    with pytest.raises(VidexplainError, match=r"colours of 16 bits.*\.npy"):
        read_clip(tmp_path / "deep.png")
