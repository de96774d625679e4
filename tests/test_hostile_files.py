"""Explanations and weights that somebody else wrote: one sentence, in bounded time and memory, and no code is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import videxplain as vx
from videxplain.clip import Clip
from videxplain.models.c3d import C3D
from videxplain.models.convert import read_pickle
from videxplain.models.weights import read_weights

pytestmark = pytest.mark.timeout(60)
MANY = 10**12


@pytest.fixture(autouse=True)
def little_memory() -> Any:
    """What asks for much more than it needs fails here instead of taking it."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (6 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


# explanations


@pytest.fixture(scope="module")
def explanation() -> vx.Explanation:
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 255, (16, 48, 64, 3), np.uint8)
    return vx.explain(vx.load_model("c3d-motion"), clip, n_segments=8)


@pytest.fixture
def folder(tmp_path: Path, explanation: vx.Explanation) -> Path:
    return explanation.save(tmp_path / "explanation")


def arrays(folder: Path, **changes: Callable[[np.ndarray], np.ndarray]) -> None:
    found = dict(np.load(folder / "arrays.npz"))
    np.savez(
        folder / "arrays.npz", **(found | {name: change(found[name]) for name, change in changes.items()})
    )


def manifest(folder: Path, **changes: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(vx.VidexplainError) as told:
        vx.Explanation.load(folder)
    assert "\n" not in str(told.value) and len(str(told.value)) < 400
    return str(told.value)


ARRAYS: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {
    "labels of -5": {"labels": lambda a: a - 5},
    "labels beyond the scores": {"labels": lambda a: a + 100},
    "labels with holes": {"labels": lambda a: np.where(a == 1, 0, a)},
    "labels of reals": {"labels": lambda a: a.astype(np.float32)},
    "labels of another size": {"labels": lambda a: a[:, :-1]},
    "too few scores": {"scores": lambda a: a[:2]},
    "scores of many axes": {"scores": lambda a: a[:, None]},
    "NaN": {"scores": lambda a: a * np.nan},
    "infinity": {"scores": lambda a: a + np.inf},
    "frames of reals": {"frames": lambda a: a.astype(np.float64)},
    "no frames": {"frames": lambda a: a[:0], "labels": lambda a: a[:0]},
    "words": {"labels": lambda a: np.array(["a"])},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_no_explanation(folder: Path, name: str) -> None:
    arrays(folder, **ARRAYS[name])
    refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"times": ["1e400000000"] * 16},
        {"times": [f"1/{'9' * 5000}"] * 16},
        {"times": ["nan"] * 16},
        {"times": [0.5] * 16},
        {"times": ["1/0"] * 16},
        {"times": ["0"]},
        {"times": None},
        {"version": "new"},
        {"version": 99},
        {"settings": [1]},
        {"held": -1},
        {"held": 16},
        {"probability": float("nan")},
        {"probability": "high"},
        {"predictions": [["a"]]},
        {"predictions": [["a", float("inf")]]},
        {"predictions": 5},
        {"target": "one"},
        {"target_name": 1},
        {"method": None},
        {"geometry": {}},
        {"geometry": {"source": [48, 64], "network": [112, 112], "y": [0, 0], "x": [1, 0]}},
        {"geometry": {"source": [1e30, 64], "network": [112, 112], "y": [1, 0], "x": [1, 0]}},
        {"geometry": {"source": [48, 64], "network": [112, float("nan")], "y": [1, 0], "x": [1, 0]}},
        {"geometry": {"source": [48, 64], "network": [112, 112], "y": [float("inf"), 0], "x": [1, 0]}},
        {"geometry": [1, 2]},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_manifests_that_are_none(folder: Path, changes: dict[str, Any]) -> None:
    manifest(folder, **changes)
    refused(folder)


@pytest.mark.parametrize("name", ["manifest.json", "arrays.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "empty", "deep", "large"])
def test_files_that_are_none(folder: Path, name: str, kind: str) -> None:
    path = folder / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        path.write_text("" if kind == "empty" else "[" * 100_000 + "]" * 100_000)
    refused(folder)
    with pytest.raises(vx.VidexplainError):
        vx.open_explanations(folder)


def bomb(path: Path, shape: tuple[int, ...], *, zeros: int, name: str = "labels.npy") -> None:
    """An archive with an array of that shape, of which so many bytes are there."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": shape})
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as f,
    ):
        f.write(header.getvalue())
        block = bytes(1 << 20)
        for _ in range(zeros >> 20):
            f.write(block)


@pytest.mark.parametrize(
    ("shape", "zeros"),
    [
        ((16, MANY, MANY), 0),
        ((1 << 40,), 1 << 21),
        pytest.param((16, 1 << 13, 1 << 12), 2 << 30, marks=pytest.mark.slow),
    ],
)
def test_zip_bombs(folder: Path, shape: tuple[int, ...], zeros: int) -> None:
    (folder / "arrays.npz").unlink()
    bomb(folder / "arrays.npz", shape, zeros=zeros)
    refused(folder)


def test_objects_are_not_unpickled(folder: Path, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "harm"),)

    arrays(folder, labels=lambda a: np.array([Harm()], dtype=object))
    refused(folder)
    assert not (tmp_path / "harm").exists()


# weights


def weights_refused(path: Path, name: str = "c3d") -> str:
    with pytest.raises(vx.VidexplainError) as told:
        vx.load_model(name, weights=str(path))
    assert len(str(told.value)) < 600
    return str(told.value)


def c3d_state() -> dict[str, torch.Tensor]:
    return dict(C3D(3, width=2, fc_width=4).state_dict())


def sized(name: str, *shape: int) -> dict[str, torch.Tensor]:
    """Weights of which one is of that shape, and takes no memory."""
    return c3d_state() | {name: torch.zeros(1).expand(*shape)}


def cyclic() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["model"] = content
    return content


def deep() -> dict[str, Any]:
    content: dict[str, Any] = {}
    for _ in range(300):
        content = {"model": content}
    return content


def sparse() -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), torch.ones(1), (10**9, 10**9))


CONTENTS: dict[str, Callable[[], Any]] = {
    "cyclic": cyclic,
    "deep": deep,
    "sparse": lambda: {"w": sparse()},
    "sparse layer": lambda: c3d_state() | {"features.conv1.weight": sparse()},
    "expanded": lambda: sized("features.conv1.weight", 10**9, 3, 3, 3, 3),
    "wide": lambda: sized("classifier.fc6.weight", MANY, 64),
    "scalar": lambda: c3d_state() | {"features.conv1.weight": torch.tensor(1.0)},
    "empty": lambda: c3d_state() | {"classifier.fc8.weight": torch.zeros(0, 4)},
    "complex": lambda: c3d_state() | {"classifier.fc8.weight": torch.zeros(3, 4, dtype=torch.complex64)},
    "NaN": lambda: c3d_state() | {"classifier.fc8.weight": torch.full((3, 4), float("nan"))},
    "list": lambda: [1, 2],
    "meta": lambda: c3d_state() | {"classifier.fc8.weight": torch.zeros(3, 4, device="meta")},
    "memory": lambda: {"w": torch.zeros(1), "b": _Memory()},
}


class _Memory:
    def __reduce__(self) -> Any:
        return bytearray, (50 << 30,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", CONTENTS)
def test_weights_that_are_none(tmp_path: Path, name: str, zipped: bool) -> None:
    torch.save(CONTENTS[name](), tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    said = weights_refused(tmp_path / "w.pt")
    assert ("asks for memory" in said) == (name == "memory")


@pytest.mark.parametrize(
    "settings",
    [
        "[1]",
        "5",
        "[" * 100_000,
        '{"labels": 5}',
        '{"labels": [1, 2, 3]}',
        '{"mean": [1, 2, 3]}',
        '{"mean": "abc", "std": [1, 1, 1]}',
        '{"mean": [0, 0, 0], "std": [0, 1, 1]}',
        '{"mean": [0, 0, NaN], "std": [1, 1, 1]}',
        '{"mean": [0, 0], "std": [1, 1]}',
    ],
    ids=lambda text: text[:30],
)
def test_settings_that_are_none(tmp_path: Path, settings: str) -> None:
    path = tmp_path / "w.safetensors"
    save_file({k: v.contiguous() for k, v in c3d_state().items()}, path, metadata={"videxplain": settings})
    assert "settings" in weights_refused(path)


def test_safetensors_that_are_none(tmp_path: Path) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [MANY, MANY], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    weights_refused(tmp_path / "w.safetensors")
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    weights_refused(tmp_path / "x.safetensors")


@pytest.mark.slow
def test_a_compressed_checkpoint_that_grows(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt", "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("archive/data/9", "w", force_zip64=True) as file,
    ):
        for _ in range(1500):
            file.write(bytes(1 << 20))
    assert "would become" in weights_refused(tmp_path / "w.pt")


def test_pipes_are_no_weights(tmp_path: Path) -> None:
    for name in ("w.pt", "w.safetensors"):
        os.mkfifo(tmp_path / name)
        weights_refused(tmp_path / name)


@pytest.mark.parametrize("shape", [(MANY,), (10**10,), (1 << 31, 1 << 31)])
def test_pickles_that_ask_for_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    class Large:
        def __reduce__(self) -> Any:
            return np.ndarray, (shape, "f4")

    class Rebuilt:
        def __reduce__(self) -> Any:
            return np.zeros(0).__reduce__()[0], (np.ndarray, shape, b"f")

    marked = [pickle.dumps({"w": kind()}) for kind in (Large, Rebuilt)]
    marked.append(b"\x80\x02N" + b"r" + struct.pack("<I", 2**32 - 1) + b".")  # the memo's place for None
    for content in marked:
        (tmp_path / "w.pkl").write_bytes(content)
        with pytest.raises(vx.VidexplainError):
            read_pickle(tmp_path / "w.pkl")


def test_pickles_without_end(tmp_path: Path) -> None:
    for content in (cyclic(), deep(), {"blobs": cyclic() | {"w": np.ones(3, np.float32)}}):
        (tmp_path / "w.pkl").write_bytes(pickle.dumps(content))
        if "blobs" in content:
            assert list(read_pickle(tmp_path / "w.pkl")) == ["w"]
        else:
            with pytest.raises(vx.VidexplainError, match="no arrays"):
                read_pickle(tmp_path / "w.pkl")


def test_what_is_right_is_read(tmp_path: Path, folder: Path) -> None:
    state = OrderedDict(c3d_state())
    for content in (state, {"state_dict": state}, {"model": {"model": dict(state)}}):
        for zipped in (True, False):
            torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
            found, _ = read_weights(tmp_path / "w.pt")
            assert all(torch.equal(found[name], state[name]) for name in state)
    assert vx.load_model("c3d", weights=str(tmp_path / "w.pt")).class_names
    assert vx.Explanation.load(folder).num_segments


def test_explanations_of_every_kind_are_read(tmp_path: Path) -> None:
    """Of a short clip, on a finer grid, with maps, and of frames that came at the network's size."""
    model, rng = vx.load_model("c3d-motion"), np.random.default_rng(0)
    clip = rng.integers(0, 255, (16, 300, 400, 3), np.uint8)
    geometry = model.geometry(clip.shape[1:3])
    seen = Clip(geometry.apply(clip), tuple(Fraction(n, 25) for n in range(16)), geometry=geometry)
    fine = np.arange(16 * 224 * 224).reshape(16, 224, 224) // 50_000
    for number, found in enumerate(
        (
            vx.explain(model, clip[:5], n_segments=8, method="guided-grad-cam"),
            vx.explain(model, clip, n_segments=8, scale=2),
            vx.explain(model, seen, n_segments=8),
            vx.explain(model, seen, labels=fine),
        )
    ):
        again = vx.Explanation.load(found.save(tmp_path / str(number)))
        assert np.array_equal(again.scores, found.scores) and again.times == found.times
        assert again.held == found.held and again.settings == json.loads(json.dumps(found.settings))
