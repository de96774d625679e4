"""What the tests of the page share: an explained clip, an explained video, a server."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import videxplain as vx
from videxplain.annotate import annotate
from videxplain.demo import write_moving_objects
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
def measured(
    network: vx.Classifier, explained_clip: list[vx.Explanation]
) -> tuple[vx.Evidence, vx.WhenCurve]:
    """Evidence and a when-curve of the explained clip."""
    first = explained_clip[0]
    clip = vx.Clip(first.frames, first.times)
    evidence = vx.evidence(network, clip, ["still"], labels=first.labels)
    return evidence, vx.when(network, clip, 8)


def shorten(source: Path, target: Path, frames: int) -> None:
    from videxplain.settings import Encoding
    from videxplain.video import TrackFormat, VideoWriter

    video = vx.open_video(source)
    with VideoWriter(target, TrackFormat.like(video, Encoding())) as writer:
        for frame, _ in zip(video.frames(), range(frames), strict=False):
            writer.write(np.ascontiguousarray(frame.rgb()), frame.time, frame.duration)
