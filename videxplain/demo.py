"""`videxplain demo`: a video whose truth is known, generated and explained by what the package brings along."""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from videxplain.annotate import annotate
from videxplain.annotate.saved import open_explanations
from videxplain.models import DEFAULT_MODEL, load_model
from videxplain.synthetic.moving_objects import generate_video
from videxplain.video import TrackFormat, VideoWriter, check_output
from videxplain.view.page import export_page
from videxplain.view.video_scene import VideoScene

RATE = 30
SIZE = 256
FRAMES_PER_MOTION = 32  # one clip of 16 frames at stride 2
N_SEGMENTS = 100


def run(
    video: Path, explained: Path, *, seconds: float = 10.0, seed: int = 6, progress: bool = True
) -> Path | None:
    """Generates `video`, one shot in which an object keeps changing its motion, and explains it into `explained`.

    Returns
    -------
    Path or None
        The page beside it, to look at both; None where pyarrow is missing, which it needs.

    Raises
    ------
    VidexplainError
        If a file cannot be written.
    """
    check_output(video, explained)
    check_output(explained, video)
    motions = max(1, round(seconds * RATE / FRAMES_PER_MOTION))
    write_moving_objects(video, motions=motions, seed=seed, progress=progress)
    page = None if find_spec("pyarrow") is None else explained.with_suffix(".html")
    with tempfile.TemporaryDirectory() as folder:
        annotate(
            load_model(DEFAULT_MODEL),
            video,
            explained,
            n_segments=N_SEGMENTS,
            stride=2,
            save=None if page is None else folder,
            progress=progress,
        )
        if page is not None:
            export_page(VideoScene(open_explanations(folder), video), page)
    return page


def write_moving_objects(
    path: str | os.PathLike[str],
    *,
    motions: int,
    seed: int = 0,
    size: int | tuple[int, int] = SIZE,
    progress: bool = False,
) -> None:
    """Writes a generated shot of `motions` times 32 frames at 30 frames per second; see `generate_video`."""
    height, width = (size, size) if isinstance(size, int) else size
    shot = generate_video(seed, motions=motions, frames=FRAMES_PER_MOTION, size=size)
    bar = tqdm(total=motions * FRAMES_PER_MOTION, unit="frame", desc="generate", disable=not progress)
    track = TrackFormat(width, height, time_base=Fraction(1, RATE), rate=Fraction(RATE))
    with bar, VideoWriter(path, track) as writer:
        for number, part in enumerate(shot):
            for i, frame in enumerate(part.frames):
                writer.write(frame, Fraction(number * FRAMES_PER_MOTION + i, RATE))
                bar.update()
