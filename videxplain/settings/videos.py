"""How videos are read, cut into windows, drawn and written, and where the work is done."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from videxplain.errors import VidexplainError
from videxplain.settings.base import Settings, option

Style: TypeAlias = Literal["heat", "outline", "spotlight", "side-by-side"]
"""How supervoxels are drawn; see `videxplain.render.render_explanation`."""
STYLES: tuple[Style, ...] = typing.get_args(Style)
FooterPlace: TypeAlias = Literal["under", "over", "none"]
"""Where a picture's footer goes."""
EngineName: TypeAlias = Literal["local", "ray"]
"""Where work is done: in this process, or by the workers of a Ray cluster."""
ENGINES: tuple[EngineName, ...] = typing.get_args(EngineName)


@dataclass(frozen=True, kw_only=True)
class Windows(Settings):
    """How a video is cut into the clips that are explained.

    Attributes
    ----------
    stride
        The network sees every so many frames.
    hop
        Frames from the beginning of one window to the next; by default windows begin where the last one ended. Between
        windows that do not touch, frames are written as they are; where windows overlap, the picture shows their
        scores blended (`videxplain.annotate.blend.Blender`).
    batch
        Windows per forward pass; fewer where they are more than two spans apart, for the frames between them wait.
    """

    kind: ClassVar[str] = "windows"
    stride: int = option(1, "take every N-th frame into a clip", least=1)
    hop: int | None = option(None, "frames from one clip to the next (default: a clip's span)", least=1)
    batch: int = option(1, "clips per forward pass", least=1)


@dataclass(frozen=True, kw_only=True)
class Picture(Settings):
    """How explanations are drawn.

    Attributes
    ----------
    style
        "heat" tints supervoxels by score and dims the rest, "outline" only draws their edges, "spotlight" shows them as
        they are and darkens the rest, "side-by-side" puts the untouched frame to the left of "heat".
    top_k
        How many supervoxels are lit; those that score nothing are not.
    footer
        Where the class, its probability, the next classes and the scale of colours are written: "under" the frame,
        which makes the picture higher, "over" its foot, or nowhere ("none").
    ranks
        Write rank and share on the supervoxels, where they are large enough.
    trail
        Draw how the centres of supervoxels move during the window, with a dot where they are now.
    timeline
        Draw the classes of the windows so far in a video's footer, where its container tells how long it is.
    when
        Draw below it what each frame counts for, and mark the peaks as chapters of the video and in a WebVTT file.
    """

    kind: ClassVar[str] = "the picture"
    style: Style = option("heat", "how to draw: heat, outline, spotlight or side-by-side")
    top_k: int = option(5, "how many supervoxels are highlighted", least=1)
    footer: FooterPlace = option(
        "under", "where class and scale are written: under the frame, over its foot, or none"
    )
    ranks: bool = option(True, "ranks and shares on the supervoxels")
    trail: bool = option(True, "how the centres of supervoxels move")
    timeline: bool = option(True, "the strip of the classes so far")
    when: bool = option(False, "a curve of what each frame counts for; its peaks become chapters")


@dataclass(frozen=True, kw_only=True)
class Encoding(Settings):
    """How pictures are encoded.

    Attributes
    ----------
    codec
        ffmpeg's name of the encoder; by default libx264, in WebM libvpx-vp9.
    crf
        Quality; lower is better. By default the codec's own.
    preset
        Speed against size; by default the codec's own.
    threads
        Of the encoder; 0 leaves the choice to it.
    """

    kind: ClassVar[str] = "the encoding"
    codec: str | None = option(None, "ffmpeg's name (default: libx264; libvpx-vp9 for .webm)")
    crf: float | None = option(None, "quality; lower is better (default: the codec's own)")
    preset: str | None = option(None, "speed against size (default: the codec's own)")
    threads: int = option(0, "of the encoder (0: its own choice)", least=0, flag="")


@dataclass(frozen=True, kw_only=True)
class VideoSource(Settings):
    """What is read of a video file.

    Attributes
    ----------
    stream
        Which of the video streams, counted from 0; by default the one that ffmpeg calls best.
    deinterlace
        Make interlaced frames whole; else they are explained with both fields in one picture, and a note says so.
    """

    kind: ClassVar[str] = "the video source"
    stream: int | None = option(None, "which video stream, counted from 0, where there are several")
    deinterlace: bool = option(False, "make interlaced frames whole before they are explained")


@dataclass(frozen=True, kw_only=True)
class Execution(Settings):
    """Where work is done; results do not depend on it.

    Attributes
    ----------
    engine
        "local" works in this process, "ray" in processes of a Ray cluster: the one that RAY_ADDRESS names, or one on
        this machine for as long as it is needed.
    workers
        How many processes of a cluster.
    progress
        Show a progress bar.
    """

    kind: ClassVar[str] = "the execution"
    engine: EngineName = option(
        "local",
        "local, or ray, which spreads several videos, or the windows of one, over a cluster",
        recorded=False,
    )
    workers: int = option(
        2, "with ray, so many videos at a time, or processes for the windows of one", least=1, recorded=False
    )
    progress: bool = option(False, "show a progress bar", flag="", recorded=False)


OF_VIDEOS: tuple[type[Settings], ...] = (Windows, Picture, Encoding, VideoSource, Execution)
"""What `annotate` takes beside what `explain` does."""


@dataclass(frozen=True, kw_only=True)
class Run(Settings):
    """Which items of a data set a run of an experiment takes, and where it keeps references.

    Attributes
    ----------
    limit
        Only the first so many items.
    shard
        (i, n): only every n-th item, from the i-th (from 1); several machines can share a folder.
    cache
        Folder of LIME references; inside the folder of the results by default.
    """

    kind: ClassVar[str] = "a run"
    limit: int | None = option(None, "only the first so many items")
    shard: tuple[int, int] = option((1, 1), "only every N-th item, from the I-th")
    cache: Path | None = option(None, "folder of LIME references (default: in --out)")

    def __post_init__(self) -> None:
        super().__post_init__()
        part, parts = self.shard
        if not 1 <= part <= parts:
            raise VidexplainError(f"there is no shard {part} of {parts}; count from 1.")
