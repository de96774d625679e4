"""Objects of others through a whole video: who they are, and how much of them is in memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import ffmpeg_oracle as oracle
import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.cli import main

FRAMES, HEIGHT, WIDTH = 144, 48, 64
KEYS = (5, 300)


class Slight(nn.Module):
    """Sees every pixel a little; two classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(3, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).relu().mean((2, 3, 4))


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.Classifier(Slight(), clip_length=16, size=(HEIGHT, WIDTH), class_names=["one", "other"])


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "in.mp4"
    pattern = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25"
    oracle.run("-f", "lavfi", "-i", pattern, "-frames:v", FRAMES, "-c:v", "libx264", path)
    return path


def numbers() -> np.ndarray:
    """Two boxes that move, leave and come back; for a while there is none: (T, H, W)."""
    frames = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint16)
    for t in range(FRAMES):
        if not 40 <= t < 100:
            frames[t, 4:20, t % 40 : t % 40 + 20] = KEYS[0]
        if t >= 120:
            frames[t, 24:44, 40 - t % 40 : 62 - t % 40] = KEYS[1]
    return frames


@pytest.mark.parametrize("settings", [{}, {"hop": 8}, {"stride": 2, "batch": 2}])
def test_everyone_keeps_the_number_from_the_first_frame_to_the_last(
    tmp_path: Path, source: Path, model: vx.Classifier, settings: Any
) -> None:
    truth = numbers()
    np.save(tmp_path / "masks.npy", truth)
    regions = vx.Regions.open(tmp_path / "masks.npy")
    data = tmp_path / "data"
    summary = annotate(model, source, tmp_path / "out.mp4", "vanilla", regions=regions, save=data, **settings)
    saved = vx.open_explanations(data)
    assert saved.manifest["regions"] == ["5", "300", "background"] and summary.frames == FRAMES
    assert saved.manifest["run"]["segmentation"] == "regions"
    keys = np.array([*KEYS, 0])
    for window in saved:
        rows = sorted(window.supervoxels, key=lambda row: row["id"])
        seen = keys[[row["number"] for row in rows]][window.labels]
        stride = settings.get("stride", 1)
        assert (seen == truth[window.start : window.start + 16 * stride : stride]).all()
        assert [row["name"] for row in rows] == [saved.manifest["regions"][row["number"]] for row in rows]
        assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert not summary.notes


def test_scores_are_those_of_explain(tmp_path: Path, source: Path, model: vx.Classifier) -> None:
    regions = vx.Regions.from_masks(numbers())
    annotate(model, source, tmp_path / "out.mp4", "vanilla", regions=regions, save=tmp_path / "data")
    with vx.open_video(source) as video:
        clip = next(clip for clip in video.clips(length=16) if clip.start == 128)
    expected = vx.explain(model, clip, "vanilla", regions=regions)
    (window,) = (w for w in vx.open_explanations(tmp_path / "data") if w.start == 128)
    found = {row["name"]: row["score"] for row in window.supervoxels}
    assert found == pytest.approx({region.name: region.score for region in expected.top(3)}, rel=1e-4)


def test_memory_does_not_grow_with_the_length(tmp_path: Path, model: vx.Classifier) -> None:
    geometry = model.geometry((HEIGHT, WIDTH))
    peaks = []
    for times in (1, 6):
        np.save(tmp_path / "masks.npy", np.tile(numbers(), (times, 1, 1)))
        tracemalloc.start()
        regions = vx.Regions.open(tmp_path / "masks.npy")
        for start in range(0, len(regions), 16):
            frames = np.zeros((16, HEIGHT, WIDTH, 3), np.uint8)
            clip = replace(vx.Clip.from_array(frames), start=start, geometry=geometry)
            regions.in_window(clip, geometry)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_frames_without_regions_are_background_and_that_is_told(
    tmp_path: Path, source: Path, model: vx.Classifier
) -> None:
    regions = vx.Regions.from_masks(numbers()[:30], start=2)
    data = tmp_path / "data"
    summary = annotate(model, source, tmp_path / "out.mp4", "vanilla", regions=regions, save=data)
    assert summary.notes == [
        f"the regions are of frames 2 to 31, and the video has {FRAMES}; frames without regions are background."
    ]
    windows = list(vx.open_explanations(data))
    first = windows[0]
    assert (first.labels[:2] == first.labels[2, 0, -1]).all(), "before the first"
    assert [row["name"] for row in windows[5].supervoxels] == ["background"]


def test_what_cannot_be_is_refused_before_the_work(
    tmp_path: Path, source: Path, model: vx.Classifier, capsys: Any
) -> None:
    regions, out = vx.Regions.from_masks(numbers()), tmp_path / "out.mp4"
    with pytest.raises(vx.VidexplainError, match="n_segments means nothing"):
        annotate(model, source, out, regions=regions, n_segments=9)
    with pytest.raises(vx.VidexplainError, match="a video has one set of regions"):
        annotate(model, source, out, regions=[regions, regions])
    with pytest.raises(
        vx.VidexplainError, match="the regions are of frames of 63x48 pixels, and the video's"
    ):
        annotate(model, source, out, regions=vx.Regions.from_masks(numbers()[:, :, 1:]))
    np.save(tmp_path / "masks.npy", numbers())
    command = ["-o", str(out), "--model", "c3d-motion", "--regions"]
    alone, twice = (["annotate", *[str(source)] * times, *command] for times in (1, 2))
    assert main([*alone, str(tmp_path / "nothing.npy")]) == 1
    assert main([*alone, str(tmp_path / "masks.npy"), "--segments", "9"]) == 1
    assert main([*twice, str(tmp_path / "masks.npy")]) == 1
    said = capsys.readouterr().err
    for words in ("there is no file", "n_segments means nothing", "--regions are of one video"):
        assert words in said
    assert not out.exists()
