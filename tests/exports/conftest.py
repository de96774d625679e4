"""What the tests of exports share: an explained clip, an explained video, and what is in each of their frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import ffmpeg_oracle as oracle
import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.annotate.windows import cut

STRIDE, LENGTH = 2, 8
FRAMES = 2 * STRIDE * LENGTH + 1
"""Of the video: its last window reaches back, draws the last frame only, and did not see it."""


@dataclass
class Truth:
    """What an export has to tell: computed here from the data, not by the exports.

    Attributes
    ----------
    what
        To export.
    labels
        Frame number to the numbers of regions (H, W), -1 where the network does not see.
    window_of
        Frame number to the first frame of its window.
    seen
        Frame number to seconds, of the frames that the network saw.
    scores, ids
        Window to number to score, and to the id in the window.
    classes
        Window to the name and probability of the class.
    """

    what: Path
    size: tuple[int, int]
    labels: dict[int, np.ndarray] = field(default_factory=dict)
    window_of: dict[int, int] = field(default_factory=dict)
    seen: dict[int, float] = field(default_factory=dict)
    scores: dict[int, dict[int, float]] = field(default_factory=dict)
    errors: dict[int, dict[int, float]] = field(default_factory=dict)
    classes: dict[int, tuple[str, float]] = field(default_factory=dict)
    pictures: dict[int, np.ndarray] = field(default_factory=dict)

    def best(self, window: int, count: int) -> list[int]:
        """Numbers of the regions with the highest scores."""
        scores = self.scores[window]
        return sorted(scores, key=lambda number: -scores[number])[:count]

    def masks(self, frame: int, count: int) -> dict[int, np.ndarray]:
        """Of the best regions that are in a frame."""
        labels = self.labels[frame]
        masks = {number: labels == number for number in self.best(self.window_of[frame], count)}
        return {number: mask for number, mask in masks.items() if mask.any()}


@pytest.fixture(scope="session")
def network() -> vx.Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(48, 3)
    )
    return vx.Classifier(
        net, class_names=["left", "<right> & up", "still"], clip_length=LENGTH, size=(32, 32)
    )


@pytest.fixture(scope="session")
def explained(network: vx.Classifier) -> vx.Explanation:
    """A clip wider than the network sees, shorter than it takes, cut from the middle of a video."""
    frames = np.random.default_rng(0).integers(0, 255, (6, 10, 16, 3), np.uint8)
    clip = vx.Clip.from_array(np.repeat(np.repeat(frames, 8, 1), 8, 2))
    clip = replace(clip, start=10, stride=3)
    return vx.explain(network, clip, "region-gradient", passes=8, refine_top=0, n_segments=12)


@pytest.fixture(scope="session")
def clip_truth(explained: vx.Explanation, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    truth = Truth(explained.save(tmp_path_factory.mktemp("clip") / "data"), explained.geometry.source)
    assert explained.held == 2 and explained.standard_error is not None
    for t, labels in enumerate(explained.source_labels()[:6]):
        number = 10 + 3 * t
        truth.labels[number], truth.window_of[number] = labels, 10
        truth.seen[number] = t / 25
        truth.pictures[number] = explained.frames[t]
    truth.scores[10] = dict(enumerate(explained.scores.tolist()))
    truth.errors[10] = dict(enumerate(explained.standard_error.tolist()))
    truth.classes[10] = (explained.target_name, explained.probability)
    return truth


@pytest.fixture(scope="session")
def explained_video(network: vx.Classifier, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes the folder of data of the video, which is beside it."""
    folder = tmp_path_factory.mktemp("video")
    video = folder / "video.mp4"
    picture = f"testsrc2=size=96x64:rate=25:duration={FRAMES / 25}"
    oracle.run("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-qp", "0", "-pix_fmt", "yuv420p", video)

    def explain(name: str, **options: object) -> Path:
        output = folder / f"{name}.mp4"
        shared = {"n_segments": 12, "stride": STRIDE, "preset": "ultrafast", "progress": False}
        annotate(network, video, output, save=folder / name, **(shared | options))
        return folder / name

    return explain


@pytest.fixture(scope="session")
def video_truth(explained_video: Callable[..., Path]) -> Truth:
    data = explained_video("data", method="region-gradient", passes=8, refine_top=0, when=True)
    saved = vx.open_explanations(data)
    assert saved.geometry is not None
    geometry, truth = saved.geometry, Truth(data, saved.geometry.source)
    places = []
    for (scale, offset), length, size in zip(
        (geometry.y, geometry.x), geometry.source, geometry.network, strict=True
    ):
        places.append([math.floor(scale * (n + 0.5) + offset) for n in range(length)])
        places[-1] = [place if 0 <= place < size else -1 for place in places[-1]]
    rows, columns = (np.array(axis) for axis in places)
    for window, part in zip(saved, cut(range(FRAMES), STRIDE * LENGTH, STRIDE * LENGTH), strict=True):
        start = part.frames[0]
        assert window.start == start
        number_of = np.zeros(len(window.supervoxels), int)
        for row in window.supervoxels:
            number_of[row["id"]] = row["number"]
        truth.scores[start] = {row["number"]: row["score"] for row in window.supervoxels}
        truth.errors[start] = {row["number"]: row["error"] for row in window.supervoxels}
        truth.classes[start] = (window.target_name, window.probability)
        for frame in part.written:
            labels = number_of[window.labels[(frame - start) // STRIDE]][rows][:, columns]
            labels[(rows < 0)[:, None] | (columns < 0)] = -1
            truth.labels[frame], truth.window_of[frame] = labels, start
            if (frame - start) % STRIDE == 0:
                truth.seen[frame] = frame / 25
    images = [frame.rgb() for frame in vx.open_video(data.parent / "video.mp4").frames()]
    truth.pictures = dict(enumerate(images))
    return truth


@pytest.fixture(params=["clip", "video"])
def truth(request: pytest.FixtureRequest) -> Truth:
    return request.getfixturevalue(f"{request.param}_truth")
