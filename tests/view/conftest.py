"""What the tests of the page share: an explained clip, an explained video, a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.demo import write_moving_objects
from videxplain.explanations.evidence import RegionSet, Verdict
from videxplain.synthetic.moving_objects import generate


@pytest.fixture(scope="session")
def network() -> vx.Classifier:
    return vx.load_model("c3d-motion")


@pytest.fixture(scope="session")
def explained_clip(network: vx.Classifier) -> list[vx.Explanation]:
    """A wide clip, so that the network does not see all of it, by two methods over the same supervoxels."""
    clip = vx.Clip.from_array(generate(3, size=(180, 240)).frames)
    first = vx.explain(network, clip, "guided", n_segments=60)
    other = vx.explain(
        network, clip, vx.Lime(samples=200, fill="grey"), labels=first.labels, score="log-odds"
    )
    return [first, other]


@pytest.fixture(scope="session")
def explained_video(network: vx.Classifier, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of data, and the video, whose last window reaches back."""
    folder = tmp_path_factory.mktemp("video")
    long, video = folder / "long.mp4", folder / "video.mp4"
    write_moving_objects(long, motions=3, seed=2, size=128)
    shorten(long, video, 80)
    annotate(
        network,
        video,
        folder / "out.mp4",
        n_segments=40,
        stride=2,
        when=True,
        save=folder / "data",
        progress=False,
    )
    return folder / "data", video


@pytest.fixture(scope="session")
def another_method(network: vx.Classifier, explained_video: tuple[Path, Path]) -> Path:
    """The folder of another method's data of the same video."""
    data, video = explained_video
    folder = data.parent / "other"
    annotate(
        network,
        video,
        data.parent / "other.mp4",
        "grad-cam",
        n_segments=40,
        stride=2,
        save=folder,
        progress=False,
    )
    return folder


@pytest.fixture(scope="session")
def measured(explained_clip: list[vx.Explanation]) -> tuple[vx.Evidence, vx.WhenCurve]:
    """Evidence and a when-curve of the explained clip, as a network could have given them."""
    first = explained_clip[0]
    sizes = np.bincount(first.labels.ravel()) / first.labels.size

    def part(ids: list[int], agrees: bool) -> RegionSet:
        verdict = Verdict("still", "left", 0.25, agrees)
        return RegionSet(tuple(sorted(ids)), float(sizes[ids].sum()), (verdict,))

    top = first.top_ids(6).tolist()
    evidence = vx.Evidence(first, part(top[:2], True), part(top[2:], False), ("still",), 12.0)
    curve = vx.WhenCurve(
        np.array([0.1, -0.2, 0.05, 0.9, 0.3, 0.0, 0.02, 0.4], np.float32), np.full(8, 0.05, np.float32),
        tuple(range(0, 17, 2)), first.target, first.target_name, first.probability, first.predictions, "lime",
        {"frames_sha256": first.settings["frames_sha256"]}, first.frames, first.times,
    )  # fmt: skip
    return evidence, curve


def shorten(source: Path, target: Path, frames: int) -> None:
    from videxplain.settings import Encoding
    from videxplain.video import TrackFormat, VideoWriter

    video = vx.open_video(source)
    with VideoWriter(target, TrackFormat.like(video, Encoding())) as writer:
        for frame, _ in zip(video.frames(), range(frames), strict=False):
            writer.write(np.ascontiguousarray(frame.rgb()), frame.time, frame.duration)
