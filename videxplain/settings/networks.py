"""How a network is used."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

from videxplain.errors import VidexplainError
from videxplain.settings.base import Settings, is_of, option

DEFAULT_MODEL = "c3d-motion"
"""The bundled network, which is taken where none is named."""
DEVICES = ("cpu", "cuda", "mps", "xpu")
Layout: TypeAlias = Literal["BCTHW", "BTCHW", "BCHW"]
"""Order of the axes that a network takes; "BCHW" is that of networks for images."""
LAYOUTS: tuple[Layout, ...] = typing.get_args(Layout)
Framing: TypeAlias = Literal["crop", "resize", "letterbox"]
"""How a frame becomes the network's input; see `videxplain.geometry.Geometry.fit`."""
FRAMINGS: tuple[Framing, ...] = typing.get_args(Framing)
Precision: TypeAlias = Literal["float32", "bfloat16"]
PRECISIONS: tuple[Precision, ...] = typing.get_args(Precision)
Task: TypeAlias = Literal["single-label", "multi-label", "regression"]
"""What a network's answers are: one class of several (softmax), each class on its own (sigmoid), or values."""
Outputs: TypeAlias = Literal["logits", "probabilities", "log-probabilities"]
"""How a network gives its classes."""
Arrangement: TypeAlias = Callable[[Any], Any]
"""From a normalised clip to the network's arguments; see `NetworkSettings.arrange`."""
PictureOf: TypeAlias = Callable[[Any], Any]
"""From frames to what is drawn of them; see `NetworkSettings.picture`."""
ChannelGroups: TypeAlias = Mapping[str, slice | Sequence[int]]
"""Channels that belong together, by a name for them."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def parse_axes(layout: str) -> tuple[str, ...]:
    """The axes of a layer's layout, folded ones together: "(bt)chw" has ("bt", "c", "h", "w").

    Raises
    ------
    VidexplainError
        For what is no layout.
    """
    groups = tuple(folded or axis for folded, axis in re.findall(r"\(([bcthw]{2,})\)|([bcthw])", layout))
    letters = "".join(groups)
    as_written = "".join(group if len(group) == 1 else f"({group})" for group in groups)
    if as_written != layout or len(set(letters)) != len(letters) or not {"b", "c"} <= set(letters):
        raise VidexplainError(
            f"cam_layout {layout!r} cannot be; it names the axes of a layer's output, folded ones in brackets: "
            '"bcthw", "btchw", "(bt)chw" for frames in the batch, "b(thw)c" for tokens, "btc" for steps in time.'
        )
    return groups


@dataclass(frozen=True)
class TokenGrid:
    """Grid behind a list of tokens.

    Attributes
    ----------
    frames, height, width
        Its extent; 1 frame for image models.
    order
        "thw" when the frame changes slowest, "hwt" when it changes fastest (TimeSformer).
    """

    frames: int
    height: int
    width: int
    order: Literal["thw", "hwt"] = "thw"

    @classmethod
    def of(cls, value: TokenGrid | tuple[int, int, int] | None) -> TokenGrid | None:
        """The grid of an extent (t, h, w)."""
        return value if value is None or isinstance(value, TokenGrid) else cls(*value)

    @property
    def count(self) -> int:
        """How many tokens it has."""
        return self.frames * self.height * self.width


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(Settings):
    """How a network is used by `videxplain.Classifier`; what is None is found by looking at it.

    Attributes
    ----------
    class_names
        "class 0", "class 1", ... by default.
    task
        "single-label", one class of several (softmax); "multi-label", each class on its own (sigmoid), which a single
        output is, too; "regression", values, each of which is explained as it is. Found by looking by default, and said
        where it is not the first.
    outputs
        Whether the network gives "logits", "probabilities" (it ends in softmax or sigmoid) or "log-probabilities".
        Found by looking by default, likewise.
    per_frame
        Whether a network for clips gives an answer for each frame: (B, T, classes), or (B, T) for one class. Found by
        looking by default, likewise. What is explained is the mean over the frames, or one (`Question.frame`).
    select
        Which part of what the network returns is the answer: a key or attribute, an index, or a function of what it
        returns. By default "logits", or the only tensor that can be it.
    layout
        Order of axes that the network takes: "BCTHW", "BTCHW", or "BCHW" for image models. What is None of this and
        the next two is found by trying usual ones, clips first where there are 3-D convolutions. With `arrange` it
        only tells whether the network takes clips or images.
    clip_length
        Frames per clip, 1 for image models.
    size
        Network input (height, width), pixels.
    channels
        Channels of a frame. To a network of one channel, 8-bit colour frames are shown in grey (BT.601).
    value_range
        The values of frames that mean black and white, the lowest and the highest of a scale: (0, 4095) for 12 bits,
        (-20, 20) for optical flow. By default (0, 255) of 8-bit frames, (0, 65535) of 16-bit ones and (0, 1) of
        floating point, where frames with other values are refused.
    mean, std
        Per channel, of values in [0, 1], to which `value_range` is scaled. By default ImageNet's for three channels, 0
        and 1 for any other number.
    picture
        What is cut into supervoxels and drawn: a function from frames (T, H, W, channels) as they were given to
        pictures (T, H, W, 3) or grey (T, H, W), uint8. By default frames of three channels are shown as RGB, and those
        of any other number in grey, the mean of their channels, scaled by `value_range`.
    arrange
        What the network is given where that is not one tensor in a `layout`: a function from a normalised clip (B, C,
        T, h, w), of image models an image (B, C, h, w), to the network's arguments: a tensor or a list is its one
        argument, a tuple are several, a dict are keywords, and ((...), {...}) is both. Gradients have to flow through
        it: `lambda x: ([x[:, :, ::4], x],)` makes SlowFast's pathways, `lambda x: 255 * x.permute(0, 2, 3, 4, 1)` is
        for frames with channels last in 0..255, where `mean` is 0 and `std` 1.
    channel_groups
        Names of the inputs that channels belong to, each channel to one: {"rgb": slice(0, 3), "flow": slice(3, 5)}.
        Explanations by methods of voxels then tell the score of each input, over the same supervoxels
        (`Explanation.of_input`).
    framing
        How a frame becomes the network input: "crop" (scale, centre crop), "resize" or "letterbox".
    short_side
        With "crop", length of the frame's short side before cropping; None just covers the input.
    cam_layer
        Dotted name of the layer for class activation maps, or several of them, whose maps are added (the pathways of a
        SlowFast). Of a layer that returns several tensors, "name[0]" or "name['slow']" is one.
    cam_layout
        The axes of that layer's output in order, folded ones in brackets: "bcthw", "btchw", "(bt)chw" for frames in the
        batch, "b(thw)c" for tokens, "btc" for steps in time without places, whose map is a curve; one for all layers
        or one for each.
    token_grid
        (t, h, w) or `TokenGrid`, for layers that put out tokens.
    precision
        "float32", or "bfloat16" for autocast to it: faster on GPUs and on CPUs with AVX-512-BF16 or AMX, and less
        exact (docs/studies/speed.md). Weights stay as they are.
    name
        Shown in listings and results; the name of the network's class by default.

    Raises
    ------
    VidexplainError
        If one of them cannot be.
    """

    kind: ClassVar[str] = "a network"
    class_names: Sequence[str] | None = option(None, "names of the classes")
    task: Task | None = option(None, "single-label, multi-label or regression (default: found by looking)")
    outputs: Outputs | None = option(
        None, "logits, probabilities or log-probabilities (default: found by looking)"
    )
    per_frame: bool | None = option(None, "whether each frame has an answer (default: found by looking)")
    select: str | int | Callable[..., Any] | None = option(None, "part of what the network returns")
    layout: Layout | None = option(None, "order of the axes of the network's input")
    clip_length: int | None = option(None, "frames in a clip")
    size: tuple[int, int] | None = option(None, "height and width of the network's input")
    channels: int = option(3, "channels of a frame", least=1)
    value_range: tuple[float, float] | None = option(None, "values of frames that mean black and white")
    mean: Sequence[float] | None = option(None, "mean colour")
    std: Sequence[float] | None = option(None, "standard deviation of colours")
    picture: PictureOf | None = option(None, "from frames to what is cut and drawn of them")
    arrange: Arrangement | None = option(None, "from a normalised clip to the network's arguments")
    channel_groups: ChannelGroups | None = option(None, "channels of each input, by its name")
    framing: Framing = option("crop", "how a frame becomes the network's input: crop, resize or letterbox")
    short_side: int | None = option(None, "length of a frame's short side before it is cropped", least=1)
    cam_layer: str | Sequence[str] | None = option(
        None, "layer for the CAM methods, or several (default: the last one with a grid)"
    )
    cam_layout: str | Sequence[str] | None = option(None, "axes of that layer's output, such as (bt)chw")
    token_grid: TokenGrid | tuple[int, int, int] | None = option(None, "grid behind a layer of tokens")
    precision: Precision = option("float32", "float32, or bfloat16: faster on GPUs and new CPUs, less exact")
    name: str | None = option(None, "name in listings and results")

    def __post_init__(self) -> None:
        length, size = self.clip_length, self.size
        if (is_of(length, int) and length < 1) or (  # type: ignore[operator]
            isinstance(size, tuple | list) and not (is_of(size, tuple[int, int]) and min(size) >= 1)
        ):
            raise VidexplainError(f"a network cannot take an input of {length} frames of {size}.")
        super().__post_init__()
        mean, std = self.normalisation()
        if len(mean) != self.channels or len(std) != self.channels or min(std) <= 0:
            count = {1: "one value", 3: "three values"}.get(self.channels, f"{self.channels} values")
            raise VidexplainError(f"mean and std need {count} each, and std positive ones.")
        if (
            self.value_range is not None
            and not -math.inf < self.value_range[0] < self.value_range[1] < math.inf
        ):
            raise VidexplainError(f"a value range is (lowest, highest), not {tuple(self.value_range)}.")
        if self.channel_groups is not None:
            grouped = [channel for group in self.grouped_channels().values() for channel in group]
            if sorted(grouped) != list(range(self.channels)):
                raise VidexplainError(
                    f"channel_groups have to hold each of {self.channels} channels once, not {sorted(grouped)}."
                )
        # what is hashed of a network has one form
        kinds = {
            "mean": float,
            "std": float,
            "value_range": float,
            "size": int,
            "class_names": str,
            "cam_layer": str,
            "cam_layout": str,
        }
        for name, kind in kinds.items():
            if (values := getattr(self, name)) is not None and not isinstance(values, str):
                object.__setattr__(self, name, tuple(kind(value) for value in values))
        self._check_layouts()

    def grouped_channels(self) -> dict[str, list[int]]:
        """The channels of each input; none where these have no names."""
        every = range(self.channels)
        return {
            str(name): list(every[group] if isinstance(group, slice) else map(int, group))
            for name, group in (self.channel_groups or {}).items()
        }

    def normalisation(self) -> tuple[Sequence[float], Sequence[float]]:
        """Mean and standard deviation of each channel, as given or the defaults."""
        usual = IMAGENET_MEAN if self.channels == 3 else (0.0,) * self.channels
        spread = IMAGENET_STD if self.channels == 3 else (1.0,) * self.channels
        return (usual if self.mean is None else self.mean), (spread if self.std is None else self.std)

    def _check_layouts(self) -> None:
        layers, layouts = (
            (value,) if isinstance(value, str) else tuple(value or ())
            for value in (self.cam_layer, self.cam_layout)
        )
        for layout in layouts:
            parse_axes(layout)
        if (
            self.cam_layer == ()
            or (self.cam_layout is not None and len(layouts) not in {1, len(layers)})
            or (layouts and not layers)
        ):
            raise VidexplainError(
                f"cam_layout tells the layout of the layers that cam_layer names: one for all or one for each, not "
                f"{list(layouts)} for {list(layers)}."
            )
