from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError

side = st.integers(1, 90)
sizes = st.tuples(side, side)
geometries = st.builds(
    lambda source, network, mode, short: Geometry.fit(
        source, network, mode, short if mode == "crop" else None
    ),
    sizes,
    sizes,
    st.sampled_from(["crop", "resize", "letterbox"]),
    st.none() | st.integers(1, 120),
)


@given(geometries, st.lists(st.tuples(st.floats(-200, 200), st.floats(-200, 200)), min_size=1, max_size=8))
def test_points_there_and_back(geometry: Geometry, points: list[tuple[float, float]]) -> None:
    there = geometry.to_network(points)
    np.testing.assert_allclose(geometry.to_source(there), points, rtol=1e-9, atol=1e-9)
    back = geometry.to_source(points)
    np.testing.assert_allclose(geometry.to_network(back), points, rtol=1e-9, atol=1e-9)


@given(sizes, sizes)
def test_resize_maps_corner_to_corner(source: tuple[int, int], network: tuple[int, int]) -> None:
    geometry = Geometry.fit(source, network, "resize")
    np.testing.assert_allclose(geometry.to_network([(0, 0), source]), [(0, 0), network], atol=1e-9)


@given(sizes, sizes)
def test_crop_covers_the_input_centred_and_undistorted(
    source: tuple[int, int], network: tuple[int, int]
) -> None:
    geometry = Geometry.fit(source, network, "crop")
    assert geometry.y.scale == pytest.approx(geometry.x.scale)
    corners = geometry.to_source([(0, 0), network])
    assert (corners[0] >= -1e-9).all() and (corners[1] <= np.array(source) + 1e-9).all()
    np.testing.assert_allclose(corners.mean(0), np.array(source) / 2, atol=1e-9)


@given(sizes, sizes)
def test_letterbox_keeps_the_whole_frame(source: tuple[int, int], network: tuple[int, int]) -> None:
    geometry = Geometry.fit(source, network, "letterbox")
    corners = geometry.to_network([(0, 0), source])
    assert (corners[0] >= -1e-9).all() and (corners[1] <= np.array(network) + 1e-9).all()
    # one axis is filled, up to the rounding of the other to whole pixels
    assert np.isclose(corners[1] - corners[0], network).any()


@settings(max_examples=60)
@given(geometries, st.integers(0, 2**32 - 1))
def test_restored_labels_are_those_at_the_mapped_centres(geometry: Geometry, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 50, (2, *geometry.network), dtype=np.int32)
    restored = geometry.restore(labels)
    assert restored.shape == (2, *geometry.source) and restored.dtype == np.int32
    for _ in range(20):
        y, x = rng.integers(geometry.source[0]), rng.integers(geometry.source[1])
        row, column = np.floor(geometry.to_network((y + 0.5, x + 0.5))).astype(int)
        inside = 0 <= row < geometry.network[0] and 0 <= column < geometry.network[1]
        expected = labels[:, row, column] if inside else [-1, -1]
        assert list(restored[:, y, x]) == list(expected)


def test_floats_are_restored_as_torch_interpolates() -> None:
    import torch

    geometry = Geometry.fit((37, 51), (9, 14), "resize")
    maps = np.random.default_rng(0).normal(size=(2, 9, 14))
    expected = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], (37, 51), mode="bilinear")[0]
    np.testing.assert_allclose(geometry.restore(maps), expected.numpy(), atol=1e-12)


def test_what_the_network_never_saw_is_filled() -> None:
    geometry = Geometry.fit((10, 30), (10, 10), "crop")
    assert (
        geometry.restore(np.ones((10, 10), np.int32))
        == np.pad(np.ones((10, 10)), ((0, 0), (10, 10)), constant_values=-1)
    ).all()
    assert (
        geometry.restore(np.ones((10, 10), np.float32)).sum(),
        geometry.restore(np.ones((10, 10)), 7.0)[0, 0],
    ) == (100, 7)


@pytest.mark.parametrize(
    "source, network, mode, short",
    [
        ((240, 320), (112, 112), "crop", 128),
        ((64, 48), (112, 112), "resize", None),
        ((50, 80), (80, 80), "crop", 60),
    ],
)
def test_apply_is_torch_antialiased_bilinear(source, network, mode, short) -> None:
    """Against torchvision's resize of the whole frame and a cut, where the sizes come out whole."""
    import torch
    from torchvision.transforms import functional as tv

    frames = np.random.default_rng(1).integers(0, 256, (2, *source, 3), dtype=np.uint8)
    frames = np.repeat(np.repeat(frames[:, ::8, ::8], 8, 1), 8, 2)[:, : source[0], : source[1]]
    geometry = Geometry.fit(source, network, mode, short)
    batch = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()
    scaled = [round(s * a.scale) for s, a in zip(source, (geometry.y, geometry.x), strict=True)]
    expected = tv.resize(batch, scaled, antialias=True)
    top, left = (s - n for s, n in zip(scaled, network, strict=True))
    pad = [max(0, -left) // 2, max(0, -top) // 2, (max(0, -left) + 1) // 2, (max(0, -top) + 1) // 2]
    expected = tv.center_crop(tv.pad(expected, pad), list(network)).permute(0, 2, 3, 1).numpy()
    got = geometry.apply(frames).astype(float)
    exact = [s * a.scale for s, a in zip(source, (geometry.y, geometry.x), strict=True)]
    if scaled == exact and top % 2 == left % 2 == 0:
        assert np.abs(got - expected).max() <= 1.01
    else:  # half a pixel of rounding in torchvision's cut
        assert np.abs(got - expected).mean() < 12


@pytest.mark.parametrize(
    "source, mode, short, times",
    [
        ((720, 1280), "crop", 128, 3),  # the filter reaches beyond what is seen on all sides
        ((256, 340), "crop", 128, 2),
        ((120, 160), "crop", 128, 1),
        ((90, 161), "crop", None, 1),  # begins between two pixels
        ((57, 83), "letterbox", None, 2),
        ((83, 57), "resize", None, 1),
        ((30, 40), "crop", None, 1),  # enlarged
        ((130, 130), "crop", 130, 1),  # as it is
    ],
)
def test_apply_is_pillows_resampling_of_what_is_seen(source, mode, short, times) -> None:
    """Also at the edges, where the filter reaches beyond what is seen."""
    geometry = Geometry.fit(source, (112, 112), mode, short).refined(times)
    frame = np.random.default_rng(0).integers(0, 256, (*source, 3), dtype=np.uint8)
    (top, left), (bottom, right) = (geometry.to_source(place) for place in ((0, 0), geometry.network))
    box = (max(left, 0), max(top, 0), min(right, source[1]), min(bottom, source[0]))
    corners = geometry.to_network([[box[1], box[0]], [box[3], box[2]]]).round().astype(int)
    size = tuple((corners[1] - corners[0])[::-1])
    expected = np.zeros((*geometry.network, 3), int)
    (y0, x0), (y1, x1) = corners
    expected[y0:y1, x0:x1] = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR, box=box)
    difference = np.abs(geometry.apply(frame) - expected)
    assert difference.max() <= 2 and (difference > 1).mean() < 1e-3, "rounding of each of two passes"


@settings(max_examples=40)
@given(geometries)
def test_apply_keeps_a_flat_picture_flat_and_pads_with_black(geometry: Geometry) -> None:
    out = geometry.apply(np.full((1, *geometry.source, 3), 200, np.uint8))
    assert out.shape == (1, *geometry.network, 3)
    assert set(np.unique(out)) <= {0, 200} and (out == 200).any()


@pytest.mark.parametrize("mode", ["crop", "resize", "letterbox"])
def test_a_refined_geometry_is_the_same_map_in_smaller_pixels(mode: str) -> None:
    geometry = Geometry.fit((300, 500), (112, 96), mode)
    fine = geometry.refined(3)
    points = np.random.default_rng(0).uniform(0, 300, (20, 2))
    np.testing.assert_allclose(fine.to_network(points), 3 * geometry.to_network(points))
    assert fine.network == (336, 288) and fine.source == geometry.source
    assert Geometry.fit((224, 400), (112, 112)).finest(9) == 2
    assert Geometry.fit((224, 400), (112, 112), "resize").finest(9) == 2, "the axis that has less to give"
    assert Geometry.fit((60, 60), (112, 112)).finest(9) == 1


def test_geometry_refuses_what_it_cannot_do() -> None:
    with pytest.raises(VidexplainError, match="'crop'"):
        Geometry.fit((10, 10), (5, 5), "crp")
    with pytest.raises(ValueError, match="positive"):
        Geometry.fit((0, 10), (5, 5))
    geometry = Geometry.fit((10, 10), (5, 5))
    with pytest.raises(ValueError, match="expected uint8"):
        geometry.apply(np.zeros((1, 9, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="expected maps"):
        geometry.restore(np.zeros((4, 5)))


def test_clip_of_one_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "a.png")
    assert (Clip.from_image(tmp_path / "a.png").frames[0] == pixels).all()
    assert Clip.from_image(pixels).times == (Fraction(0),) and len(Clip.from_image(pixels)) == 1
    assert Clip.from_image(pixels[..., 0]).frames.shape == (1, 6, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: to be shown a quarter turn clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    assert (Clip.from_image(tmp_path / "turned.png").frames[0] == np.rot90(pixels, -1)).all()
    grey16 = np.array([[0, 32768, 65535]], np.uint16)
    Image.fromarray(grey16).save(tmp_path / "g.png")
    assert Clip.from_image(tmp_path / "g.png").frames[0, 0, :, 0].tolist() == [0, 128, 255]


def test_clip_of_an_array_and_held() -> None:
    frames = np.random.default_rng(3).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    clip = Clip.from_array(frames, rate=10)
    assert clip.times == (0, Fraction(1, 10), Fraction(1, 5)) and clip.hold(0) is clip
    longer = clip.hold(2).hold(1)
    assert (len(longer), longer.held, longer.times[2:]) == (6, 3, (Fraction(1, 5),) * 4)
    assert (longer.frames[:3] == frames).all() and (longer.frames[3:] == frames[2]).all()
    assert len(Clip.from_array(frames[0])) == 1
    with pytest.raises(VidexplainError, match="no clip"):
        Clip.from_array(frames.astype(np.int64))


@given(geometries)
def test_geometry_survives_json(geometry: Geometry) -> None:
    assert Geometry.from_dict(json.loads(json.dumps(geometry.to_dict()))) == geometry


def test_clip_refuses_what_is_no_image(tmp_path: Path) -> None:
    with pytest.raises(VidexplainError, match="no file"):
        Clip.from_image(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(VidexplainError, match="cannot be read"):
        Clip.from_image(tmp_path / "text.png")
    with pytest.raises(ValueError, match="uint8"):
        Clip(np.zeros((1, 2, 2, 3), np.int16), (Fraction(0),))
    with pytest.raises(ValueError, match="times"):
        Clip(np.zeros((2, 2, 2, 3), np.uint8), (Fraction(0),))


@settings(max_examples=40)
@given(geometries, st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "uint16", "float32", "float64"]))
def test_frames_of_any_type_are_resampled_as_pillow_does(geometry: Geometry, seed: int, dtype: str) -> None:
    top = np.iinfo(dtype).max if dtype.startswith("u") else 1
    values = np.random.default_rng(seed).random((2, *geometry.source, 2)) * top
    frames = values.astype(dtype)
    found = geometry.apply(frames, black=top / 4)
    assert found.dtype == dtype and found.shape == (2, *geometry.network, 2)
    # the part that the source covers, by Pillow's own filter of floats
    rows, columns = (np.flatnonzero(~outside) for outside in (_outside(geometry, 0), _outside(geometry, 1)))
    (top_row, bottom), (left, right) = ((int(part[0]), int(part[-1]) + 1) for part in (rows, columns))
    (y0, x0), (y1, x1) = geometry.to_source([(top_row, left), (bottom, right)])
    height, width = geometry.source
    box = (max(x0, 0), max(y0, 0), min(x1, width), min(y1, height))
    image = Image.fromarray(frames[1, ..., 1].astype(np.float32))
    expected = image.resize((right - left, bottom - top_row), Image.Resampling.BILINEAR, box=box)
    inside = found[1, top_row:bottom, left:right, 1].astype(np.float64)
    np.testing.assert_allclose(inside, expected, atol=0.65 if dtype.startswith("u") else 1e-5, rtol=1e-5)
    around = np.ones(geometry.network, bool)
    around[top_row:bottom, left:right] = False
    assert (found[:, around] == np.array(top / 4).astype(dtype)).all()


def _outside(geometry: Geometry, axis: int) -> np.ndarray:
    """Which network pixels have less than half of themselves in the source."""
    scale, offset = (geometry.y, geometry.x)[axis]
    centre = np.arange(geometry.network[axis]) + 0.5
    return (centre < offset) | (centre > offset + scale * geometry.source[axis])


def test_three_8_bit_channels_are_resampled_as_before() -> None:
    """Bit for bit as by torch and Pillow, whichever it is."""
    import torch
    import torch.nn.functional as F

    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    found = Geometry.fit((64, 64), (32, 32), "resize").apply(frames)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2)
    expected = F.interpolate(pixels, (32, 32), mode="bilinear", antialias=True).permute(0, 2, 3, 1)
    assert (found == expected.numpy()).all()
    frames = rng.integers(0, 256, (1, 61, 83, 3), dtype=np.uint8)
    geometry = Geometry.fit((61, 83), (16, 16), "crop")
    (top, left), (bottom, right) = geometry.to_source([(0, 0), (16, 16)])
    image = Image.fromarray(frames[0]).resize(
        (16, 16), Image.Resampling.BILINEAR, box=(left, max(top, 0), right, min(bottom, 61))
    )
    assert (geometry.apply(frames)[0] == np.asarray(image)).all()


def test_arrays_of_other_shapes() -> None:
    grey = np.zeros((4, 6, 8), np.uint16)
    assert Clip.from_array(grey).frames.shape == (4, 6, 8, 1)
    assert Clip.from_array(grey, channels=8).frames.shape == (1, 4, 6, 8)
    assert Clip.from_array(grey[..., :3]).frames.shape == (1, 4, 6, 3)
    assert Clip.from_array(grey[0], channels=1).frames.shape == (1, 6, 8, 1)
    assert Clip.from_image(grey[0]).frames.shape == (1, 6, 8, 1)
    with pytest.raises(VidexplainError, match="no clip"):
        Clip.from_array(grey[0])


def test_a_clip_is_told_shortly():
    clip = Clip.from_array(np.zeros((16, 112, 112, 3), np.uint8))
    assert repr(clip) == "Clip(16x112x112x3 uint8, 0.00 to 0.60 s)"
    assert repr(clip.hold(2)) == "Clip(18x112x112x3 uint8, 0.00 to 0.60 s, 2 held)"
    assert repr(Clip.from_array(np.zeros((8, 8, 3), np.float32))) == "Clip(1x8x8x3 float32, 0.00 s)"
