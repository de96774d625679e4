"""C3D, the network of the paper's video experiments (Tran et al., ICCV 2015)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import nn

# (name, channels in units of `width`) of the eight 3x3x3 convolutions; a pooling follows each group.
_GROUPS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("conv1", 1),),
    (("conv2", 2),),
    (("conv3a", 4), ("conv3b", 4)),
    (("conv4a", 8), ("conv4b", 8)),
    (("conv5a", 8), ("conv5b", 8)),
)


_LARGE = 20480
"""Values of a sample, columns left out, from which torch's Conv3d always uses oneDNN on CPUs."""


class LoneConv3d(nn.Conv3d):
    """Conv3d without torch's slow path: on CPUs a lone small sample goes to oneDNN as well.

    torch takes oneDNN for two samples or more, but for one of at most `_LARGE` values another method, which for few
    channels is several times slower. Where gradients are wanted the sample goes in twice; without, oneDNN is called.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) != 1 or x.device.type != "cpu" or x[0, ..., 0].numel() > _LARGE:
            return super().forward(x)
        direct = x.dtype == torch.float32 and torch.backends.mkldnn.is_available()
        if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not direct:
            return super().forward(x.expand(2, *x.shape[1:]))[:1]
        settings: Any = (self.padding, self.stride, self.dilation, self.groups)
        return torch.mkldnn_convolution(x, self.weight, self.bias, *settings)


class C3D(nn.Module):
    """Eight 3x3x3 convolutions, five max poolings, two hidden layers and a classifier.

    "Learning Spatiotemporal Features with 3D Convolutional Networks", section 3.3 and figure 3. The last
    convolution, `conv5b`, has a grid of 2x7x7 for the published input of 16 frames of 112x112.

    Parameters
    ----------
    num_classes : number of outputs (487 for Sports-1M, 101 for UCF101).
    width : channels of the first convolution; 64 as published.
    fc_width : units of fc6 and fc7; 4096 as published.
    batch_norm : put batch normalisation between each convolution and its ReLU (not in the publication).
    dropout : dropout rate after fc6 and fc7.

    Shapes
    ------
    Input float (B, 3, 16, 112, 112), output logits (B, num_classes).
    """

    clip_length = 16
    size = (112, 112)

    def __init__(
        self,
        num_classes: int = 487,
        *,
        width: int = 64,
        fc_width: int = 4096,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.config = {"width": width, "fc_width": fc_width, "batch_norm": batch_norm}
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = 3
        convolution = LoneConv3d if width < 32 else nn.Conv3d
        for number, group in enumerate(_GROUPS, start=1):
            for name, factor in group:
                # A bias before batch normalisation would be subtracted again with the mean.
                layers[name] = convolution(channels, factor * width, 3, padding=1, bias=not batch_norm)
                channels = factor * width
                suffix = name.removeprefix("conv")
                if batch_norm:
                    layers[f"bn{suffix}"] = nn.BatchNorm3d(channels)
                layers[f"relu{suffix}"] = nn.ReLU(inplace=True)
            if number == 1:
                layers["pool1"] = nn.MaxPool3d((1, 2, 2))
            else:
                layers[f"pool{number}"] = nn.MaxPool3d(2, padding=(0, 1, 1) if number == 5 else 0)
        self.features = nn.Sequential(layers)
        self.classifier = nn.Sequential(
            OrderedDict(
                fc6=nn.Linear(channels * 4 * 4, fc_width),
                relu6=nn.ReLU(inplace=True),
                drop6=nn.Dropout(dropout),
                fc7=nn.Linear(fc_width, fc_width),
                relu7=nn.ReLU(inplace=True),
                drop7=nn.Dropout(dropout),
                fc8=nn.Linear(fc_width, num_classes),
            )
        )
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier.get_parameter("fc8.weight"), std=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(x).flatten(1))
