"""
Your own 3-D CNN
================

A network that takes clips (B, 3, T, H, W) and returns logits needs no glue: clip length, input size and the layer for
class activation maps are found by looking. This one answers whether anything moves. Its weights are set by hand, so
that it is known what decides: the square that moves, and not the one that stands still.
"""

# It prints:
#
#     moving  99%
#     frames 4 to 7, rows 68 to 99: 33% of all scores
#     frames 1 to 6, rows 68 to 99: 26% of all scores
#     frames 0 to 7, rows 63 to 87: 7% of all scores

# %%
# The network, and a clip with two squares.
import numpy as np
import torch
from PIL import Image
from torch import nn

import videxplain as vx


class Motion(nn.Module):
    def __init__(self):
        super().__init__()
        self.change, self.relu = nn.Conv3d(3, 1, (2, 1, 1), bias=False), nn.ReLU()
        self.change.weight.data = torch.tensor(3 * [[[-1.0, 1.0]]]).view(1, 3, 2, 1, 1)

    def forward(self, x):
        moved = 20 * self.relu(self.change(x)).mean((1, 2, 3, 4))
        return torch.stack([1 - moved, moved - 1], dim=1)


frames = np.full((8, 128, 128, 3), 60, np.uint8)
frames[:, 12:44, 12:44] = 220  # stands still
for t in range(8):
    frames[t, 68:100, 8 + 10 * t : 40 + 10 * t] = 220  # moves

# %%
# The explanation. (`clip_length` and `size` are told because this network runs with any.)
model = vx.Classifier(Motion(), class_names=["still", "moving"], clip_length=8, size=(128, 128))
explanation = vx.explain(model, frames, "input-x-gradient", n_segments=40)
print(explanation.headline())
for one in explanation.top(3):
    (first, top, _), (end, bottom, _) = one.box
    print(f"frames {first} to {end - 1}, rows {top} to {bottom - 1}: {one.share:.0%} of all scores")
Image.fromarray(explanation.sheet(top_k=3)).save("own_3d_cnn.png")
