"""C3D, the network of the paper's video experiments (Tran et al., ICCV 2015)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from videxplain.ops.onednn import SMALL, lone_conv3d

# (name, channels in units of `width`) of the eight 3x3x3 convolutions; a pooling follows each group.
_GROUPS: tuple[tuple[tuple[str, int], ...], ...] = (
    (("conv1", 1),),
    (("conv2", 2),),
    (("conv3a", 4), ("conv3b", 4)),
    (("conv4a", 8), ("conv4b", 8)),
    (("conv5a", 8), ("conv5b", 8)),
)


class LoneConv3d(nn.Conv3d):
    """Conv3d, padded with zeros, that is as fast for a lone small sample on a CPU as for several: `lone_conv3d`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) != 1 or x.device.type != "cpu" or x.shape[1:-1].numel() > SMALL:
            return super().forward(x)
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return lone_conv3d(x, self.weight, self.bias, *settings)


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
