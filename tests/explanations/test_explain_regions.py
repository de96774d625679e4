"""`explain(regions=)`: objects instead of supervoxels."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.cli import main
from videxplain.synthetic.moving_objects import generate


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("c3d-motion", device="cpu")


def with_background_parts(seed: int) -> tuple[np.ndarray, vx.Regions, int]:
    """A generated clip; its object is a region, and each fourth of the rest, so that there is something to choose."""
    clip = generate(seed)
    height, width = clip.mask.shape[1:]
    quarter = 1 + 2 * (np.arange(height) >= height // 2)[:, None] + (np.arange(width) >= width // 2)
    numbers = np.where(clip.mask, 5, quarter)
    return clip.frames, vx.Regions.from_masks(numbers, {5: "object"}), clip.label


def object_first(model: vx.Classifier, seeds: range, method: vx.Method) -> list[bool]:
    first = []
    for seed in seeds:
        frames, regions, label = with_background_parts(seed)
        first.append(vx.explain(model, frames, method, label, regions=regions).top(1)[0].name == "object")
    return first


def test_the_deciding_object_is_first(model: vx.Classifier) -> None:
    assert all(object_first(model, range(900, 902), vx.RegionGradient(fill="still", passes=2)))
    assert all(object_first(model, range(900, 901), vx.Lime(fill="still", samples=20)))


@pytest.mark.slow
def test_the_deciding_object_is_first_in_nearly_all_clips(model: vx.Classifier) -> None:
    assert sum(object_first(model, range(900, 920), vx.RegionGradient(fill="still", passes=4))) >= 19


def test_regions_are_as_their_labels(model: vx.Classifier, tmp_path: Path) -> None:
    clip = generate(900)
    regions = vx.Regions.from_masks(clip.mask, ["object"])
    explanation = vx.explain(model, clip.frames, "guided", regions=regions)
    labels = np.where(clip.mask, 0, 1)  # generated at the network's size
    same = vx.explain(model, clip.frames, "guided", labels=labels)
    np.testing.assert_array_equal(explanation.scores, same.scores)
    np.testing.assert_array_equal(explanation.labels, labels)
    assert explanation.regions == ("object", "background") and same.regions == ()
    top = explanation.top()
    assert {region.name for region in top} == {"object", "background"}
    assert sum(region.share for region in top) == pytest.approx(1)
    loaded = vx.Explanation.load(explanation.save(tmp_path / "saved"))
    assert loaded.regions == explanation.regions and loaded.top()[0].name == top[0].name


def test_each_entry_takes_regions(model: vx.Classifier) -> None:
    (one, regions, _), (other, others, _) = with_background_parts(900), with_background_parts(901)
    single = vx.explain(model, one, "vanilla", regions=regions)
    both = vx.explain_batch(model, [one, other], "vanilla", regions=[regions, others])
    assert both[0].regions == single.regions and (both[1].labels == others.labels).all()
    np.testing.assert_allclose(both[0].scores, single.scores, rtol=1e-4)
    compared = vx.compare(model, one, ["vanilla", "guided"], regions=regions)
    assert {e.regions for e in compared.values()} == {single.regions}
    running = next(vx.explain_anytime(model, one, regions=regions, passes=2))
    assert running.explanation.regions == single.regions


def test_what_does_not_fit_is_refused_or_told(model: vx.Classifier) -> None:
    frames, regions, _ = with_background_parts(900)
    for options, message in (
        ({"labels": np.zeros((16, 112, 112), int)}, "both given"),
        ({"n_segments": 9}, "given \\(regions\\)"),
        ({"scale": 2}, "given \\(regions\\)"),
        ({"regions": "masks"}, "Regions.read"),
        ({"regions": [regions, regions]}, "1 clips need"),
        ({"regions": regions[:8]}, "same part of both"),
    ):
        with pytest.raises(vx.VidexplainError, match=message):
            vx.explain(model, frames, "vanilla", **{"regions": regions, **options})  # type: ignore[arg-type]
    numbers = np.zeros((16, 112, 300), int)
    numbers[:, 40:60, 140:160], numbers[:, 40:60, :20] = 1, 2
    wide = np.zeros((16, 112, 300, 3), np.uint8)
    with pytest.warns(vx.VidexplainWarning, match="sees nothing of left"):
        explanation = vx.explain(
            model, wide, "vanilla", regions=vx.Regions.from_masks(numbers, ["middle", "left"])
        )
    assert explanation.regions == ("middle", "background")
    assert explanation.settings["regions_unseen"] == ["left"]


def test_frames_of_a_film_by_its_regions(tmp_path: Path) -> None:
    _, regions, _ = with_background_parts(900)
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 112
        for frame in generate(900).frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
    with vx.open_video(tmp_path / "film.mp4") as video:
        clip = next(iter(video.clips(length=5, stride=3)))
    assert (regions.of(clip) == regions.labels[0:13:3]).all()


def test_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    clip = generate(900)
    np.save(tmp_path / "clip.npy", clip.frames)
    np.save(tmp_path / "masks.npy", clip.mask.astype(np.uint8))
    np.save(tmp_path / "short.npy", clip.mask[:9].astype(np.uint8))
    asked = ["explain", str(tmp_path / "clip.npy"), "-o", str(tmp_path / "out.png"), "--method", "vanilla"]
    assert main([*asked, "--regions", str(tmp_path / "short.npy")]) == 1
    assert "frames 0 to 8" in capfd.readouterr().err
    assert main([*asked, "--regions", str(tmp_path / "none.json")]) == 1
    assert main([*asked, "--regions", str(tmp_path / "masks.npy"), "--segments", "9"]) == 1
    assert "(regions)" in capfd.readouterr().err and not (tmp_path / "out.png").exists()
    assert main([*asked, "--regions", str(tmp_path / "masks.npy")]) == 0
    said = capfd.readouterr().out
    assert "2 regions" in said and "  region background  share" in said and "  region 1  share" in said


def test_a_later_part_of_a_clip_has_its_own_labels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "clip.npy", rng.integers(0, 256, (40, 112, 112, 3), np.uint8))
    numbers = rng.integers(0, 3, (40, 112, 112))
    np.save(tmp_path / "masks.npy", numbers)
    asked = ["explain", str(tmp_path / "clip.npy"), "-o", str(tmp_path / "out.png"), "--method", "vanilla"]
    part = ["--at", "0.2", "--stride", "2", "--save", str(tmp_path / "saved")]
    assert main([*asked, *part, "--regions", str(tmp_path / "masks.npy")]) == 0
    explanation = vx.Explanation.load(tmp_path / "saved")
    assert explanation.regions == ("1", "2", "background")
    assert (explanation.labels == (numbers[5:37:2] - 1) % 3).all()
    assert (
        main([*asked, *part, "--at", "0.6", "--regions", str(tmp_path / "masks.npy")]) == 0
    )  # the end is held
    held = vx.Explanation.load(tmp_path / "saved")
    assert held.held == 3 and (held.labels[13:] == held.labels[12]).all()


def test_photographs_have_regions_of_one_frame() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.relu, self.head = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.relu(self.body(x)).mean((2, 3)))

    torch.manual_seed(0)
    network = vx.Classifier(Net(), clip_length=1, size=(16, 16), layout="BCHW")
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    cat = np.zeros((24, 32), bool)
    cat[6:18, 10:22] = True
    explanation = vx.explain(network, image, "occlusion", regions=vx.Regions.from_masks({"cat": cat}))
    assert explanation.regions == ("cat", "background") and explanation.labels.shape == (1, 16, 16)
    assert explanation.source_labels()[0][cat].max() == 0
