"""
A value, of one channel with 12 bits
====================================

Scans have one channel and values up to 4095; networks of them often give a value and no class. This one gives the
share of a frame that is brighter than 2000, in percent. Its weights are set by hand, so that it is known what decides:
the bright disc, and not the dim one.
"""

# It prints:
#
#     bright share  10.46 (counted: 10.46)
#     100% of the first supervoxel is bright disc
#     without it the value falls by 10.46

# %%
# The network, and a scan with two discs of which one grows.
import numpy as np
import torch
from PIL import Image
from torch import nn

import videxplain as vx


class BrightShare(nn.Module):
    def __init__(self):
        super().__init__()
        self.above = nn.Conv3d(1, 1, 1)
        self.above.weight.data, self.above.bias.data = torch.ones(1, 1, 1, 1, 1), torch.tensor([-2000 / 4095])

    def forward(self, x):
        return 100 * (100 * self.above(x)).sigmoid().mean((1, 2, 3, 4))[:, None]


t, y, x = np.indices((8, 128, 128))
scan = np.full((8, 128, 128), 500, np.uint16)
scan[np.hypot(y - 32, x - 32) < 20] = 1200
bright = np.hypot(y - 70, x - 80) < 16 + 2 * t
scan[bright] = 3500

# %%
# `value_range` tells black and white. Of a regression the value itself is explained.
told = {"channels": 1, "value_range": (0, 4095), "clip_length": 8, "size": (128, 128)}
model = vx.Classifier(BrightShare(), task="regression", class_names=["bright share"], **told)
explanation = vx.explain(model, scan, "occlusion", fill="black", n_segments=40)
print(f"{explanation.headline()} (counted: {100 * bright.mean():.2f})")
best = explanation.top(1)[0]
print(f"{bright[explanation.labels == best.id].mean():.0%} of the first supervoxel is bright disc")
print(f"without it the value falls by {best.score:.2f}")
Image.fromarray(explanation.sheet(top_k=3)).save("regression_12_bit.png")
