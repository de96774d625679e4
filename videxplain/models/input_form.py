"""What a network takes, clips or images and of which size, where its user does not say: found by trying."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.arrangement import Arguments, arranged
from videxplain.settings import LAYOUTS, Arrangement, Layout, NetworkSettings

CLIP_LENGTH = 16
"""Frames of a clip where nothing else is said."""
VIDEO_SIZES, IMAGE_SIZES = (112, 224, 64, 128, 160, 256, 32), (224, 112, 256, 299, 384, 128, 96, 64, 32, 28)
_LENGTHS = (CLIP_LENGTH, 8, 32, 64, 4)


@dataclass(frozen=True)
class InputForm:
    """A layout, frames in a clip, (height, width), channels, and what makes arguments of clips, if they are not alone.

    What the network sees in one pass are rows: clips (B, C, T, h, w), or the images (N, C, h, w) of an image model.
    """

    layout: Layout
    clip_length: int
    size: tuple[int, int]
    channels: int = 3
    arrange: Arrangement | None = None

    @property
    def row(self) -> tuple[int, ...]:
        """Shape of a row."""
        frames = () if self.layout == "BCHW" else (self.clip_length,)
        return self.channels, *frames, *self.size

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """Clips (B, C, T, h, w), or their frames one after the other for an image model."""
        if self.layout == "BCHW":
            # a lone frame is taken out as it lies: flatten would hide from the convolutions that channels come last
            return x.squeeze(2) if x.shape[2] == 1 else x.transpose(1, 2).flatten(0, 1)
        return x

    def arguments(self, rows: torch.Tensor) -> Arguments:
        """What the network is called with for these rows."""
        if self.arrange is not None:
            return arranged(self.arrange, rows)
        return Arguments((rows.transpose(1, 2) if self.layout == "BTCHW" else rows,), {})

    def __str__(self) -> str:
        height, width = self.size
        if self.layout == "BCHW":
            return f"images of {width}x{height}"
        order = "arranged" if self.arrange else self.layout
        return f"clips of {self.clip_length} frames of {width}x{height} ({order})"


def find_input_form(
    net: nn.Module,
    answers: Callable[[InputForm, torch.Tensor], object],
    asked: NetworkSettings,
) -> InputForm:
    """The first usual form of input with which a network runs; what is asked for is as it is.

    `answers` runs the network with rows of a form; it raises a VidexplainError where the answer is not understood.
    Where the network runs with no form, the most usual one is taken: its first use will tell what is wrong.
    """
    forms = list(_forms(net, asked))
    if len(forms) == 1 or (asked.size is not None and not _sees_pictures(net)):
        return forms[0]  # a pass would tell no more
    like = next((p.detach() for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    ran = None
    for form in forms:
        try:
            answers(form, like.new_zeros(1, *form.row))
        except VidexplainError:
            ran = ran or form
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of whatever kind a network raises where it is given something else
            continue
        else:
            return form
    return ran or forms[0]


def _sees_pictures(net: nn.Module) -> bool:
    """Whether a network's first convolution is 2-D."""
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)), None)
    return isinstance(first, nn.Conv2d)


def _forms(net: nn.Module, asked: NetworkSettings) -> Iterator[InputForm]:
    """What may be, in the order of how usual it is for a network with these layers."""
    layout, clip_length, size = asked.layout, asked.clip_length, asked.size
    images_first = _sees_pictures(net) and (clip_length or 1) == 1
    layouts: tuple[Layout, ...] = ("BCHW", "BCTHW", "BTCHW") if images_first else LAYOUTS
    for own in layouts if layout is None else (layout,):
        if own == "BTCHW" and asked.arrange is not None and layout is None:
            continue  # the order of axes is the arrangement's
        image = own == "BCHW"
        if image and (clip_length or 1) > 1 and layout is None:
            continue
        usual = IMAGE_SIZES if image else VIDEO_SIZES
        for frames in [clip_length] if clip_length else (1,) if image else _LENGTHS:
            for pixels in [size] if size else [(side, side) for side in usual]:
                yield InputForm(own, frames, pixels, asked.channels, asked.arrange)


def in_one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
