"""Fields of settings as keywords, for type checkers. Made by `python .ci/make_options.py`; do not edit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from videxplain.attribution.choice import Budget
from videxplain.attribution.methods import MaskSampling
from videxplain.regions import Regions
from videxplain.settings import (
    Arrangement,
    ChannelGroups,
    Encoding,
    EngineName,
    Execution,
    Fill,
    FooterPlace,
    Framing,
    Layout,
    Outputs,
    Picture,
    PictureOf,
    Precision,
    Score,
    Style,
    Task,
    TokenGrid,
    VideoSource,
    Windows,
)


class MethodOptions(TypedDict, total=False):
    """Of methods, and of the question."""

    against: int | str | None
    base: Literal["vanilla", "guided", "input-x-gradient"] | None
    batch_size: int | None
    batched: bool | None
    budget: Budget | None
    epsilon: float | None
    fill: Fill | None
    frame: int | None
    guide_smooth: bool | None
    kernel_width: float | None
    mask_sampling: MaskSampling | None
    noise: float | None
    objective: Callable[..., Any] | None
    passes: int | None
    progress: bool | None
    reduction: Literal["sum", "mean", "max"] | None
    refine_top: int | None
    ridge: float | None
    samples: int | None
    score: Score | None
    seed: int | None
    shown: float | None
    signed: bool | None
    steps: int | None
    until: float | None


class ExplainOptions(MethodOptions, total=False):
    """Of `explain`, but for regions."""

    compactness: float | None
    n_segments: int | None
    scale: int | None
    source: Literal["image", "gradient", "both"] | None


class ClipOptions(ExplainOptions, total=False):
    """Of `explain`, whose clips may come with regions, or be cut at several levels."""

    coarse_to_fine: bool | None
    levels: Sequence[int] | None
    regions: Regions | Sequence[Regions] | None


class AnnotateOptions(ExplainOptions, total=False):
    """Of `annotate`."""

    batch: int | None
    codec: str | None
    crf: float | None
    deinterlace: bool | None
    encoding: Encoding | None
    engine: EngineName | None
    execution: Execution | None
    footer: FooterPlace | None
    hop: int | None
    picture: Picture | None
    preset: str | None
    ranks: bool | None
    stream: int | None
    stride: int | None
    style: Style | None
    threads: int | None
    timeline: bool | None
    top_k: int | None
    trail: bool | None
    video_source: VideoSource | None
    when: bool | None
    windows: Windows | None
    workers: int | None


class NetworkOptions(TypedDict, total=False):
    """Of `Classifier`."""

    arrange: Arrangement | None
    cam_layer: str | Sequence[str] | None
    cam_layout: str | Sequence[str] | None
    channel_groups: ChannelGroups | None
    channels: int | None
    class_names: Sequence[str] | None
    clip_length: int | None
    framing: Framing | None
    layout: Layout | None
    mean: Sequence[float] | None
    name: str | None
    outputs: Outputs | None
    per_frame: bool | None
    picture: PictureOf | None
    precision: Precision | None
    select: str | int | Callable[..., Any] | None
    short_side: int | None
    size: tuple[int, int] | None
    std: Sequence[float] | None
    task: Task | None
    token_grid: TokenGrid | tuple[int, int, int] | None
    value_range: tuple[float, float] | None
