"""
Several labels at once
======================

With `task="multi-label"` each class is asked about on its own, by its sigmoid: a clip may show both a red and a blue
object. Weights are set by hand: each class looks for one colour.
"""

# It prints:
#
#     red 99%, blue 99%, green 12%
#     red: 100% of all scores, mean colour [230, 20, 20]
#     blue: 50% of all scores, mean colour [20, 20, 230]

# %%
# The network, and a clip with a red and a blue square, and nothing green.
import numpy as np
import torch
from PIL import Image
from torch import nn

import videxplain as vx

COLOURS = ["red", "green", "blue"]


class Colours(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv3d(3, 3, 1, bias=False), nn.ReLU())
        self.body[0].weight.data = (2 * torch.eye(3) - 1).view(3, 3, 1, 1, 1)

    def forward(self, x):
        return 100 * self.body(x).mean((2, 3, 4)) - 2


frames = np.full((8, 128, 128, 3), 60, np.uint8)
frames[:, 12:52, 8:48] = 230, 20, 20
frames[:, 60:100, 72:112] = 20, 20, 230

# %%
# Both classes over the same supervoxels.
told = {"mean": (0,) * 3, "std": (1,) * 3, "clip_length": 8, "size": (128, 128)}
model = vx.Classifier(Colours(), task="multi-label", class_names=COLOURS, **told)
explanations = vx.compare(model, frames, ["guided"], ["red", "blue"], n_segments=40)
print(", ".join(f"{name} {p:.0%}" for name, p in explanations["guided", "red"].predictions))
for (_, name), explanation in explanations.items():
    for one in explanation.top(1):
        colour = frames[explanation.labels == one.id].mean(0)
        print(f"{name}: {one.share:.0%} of all scores, mean colour {colour.round().astype(int).tolist()}")
    Image.fromarray(explanation.sheet(top_k=2)).save(f"several_labels_{name}.png")
