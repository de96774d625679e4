"""
Two pathways, as in SlowFast
============================

`arrange` makes the network's arguments from a clip: here a list of every fourth frame and of all frames. Class
activation maps are those of the last layer of each pathway, each on its own grid, added. Weights are set by hand: the
slow pathway looks for red, the fast one for what changes from frame to frame.
"""

# It prints:
#
#     red  91%: red square +16.20, flickering one +0.00
#     flicker  9%: red square +0.00, flickering one +0.25
#     red, not flicker  91%: red square +16.20, flickering one -0.25

# %%
# The network, and a clip with a red square that stands still and a grey one that flickers.
import numpy as np
import torch
from PIL import Image
from torch import nn

import videxplain as vx


class SlowFast(nn.Module):
    def __init__(self):
        super().__init__()
        self.slow = nn.Sequential(nn.Conv3d(3, 1, 1, bias=False), nn.ReLU())
        self.fast = nn.Sequential(nn.Conv3d(3, 1, (2, 1, 1), bias=False), nn.ReLU())
        self.slow[0].weight.data = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1, 1)
        self.fast[0].weight.data = torch.tensor(3 * [[-1.0, 1.0]]).view(1, 3, 2, 1, 1)

    def forward(self, pathways):
        slow, fast = self.slow(pathways[0]), self.fast(pathways[1])
        return 10 * torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)


frames = np.full((8, 128, 128, 3), 60, np.uint8)
frames[:, 12:52, 8:48] = 230, 20, 20
frames[::2, 60:100, 72:112], frames[1::2, 60:100, 72:112] = 200, 120

# %%
# Each class, and the one against the other: what speaks for red is positive, what speaks for flicker negative.
told = {"class_names": ["red", "flicker"], "clip_length": 8, "size": (128, 128), "mean": [0.2] * 3}
model = vx.Classifier(SlowFast(), arrange=lambda x: ([x[:, :, ::4], x],), cam_layer=["slow", "fast"], **told)
for target, against in (("red", None), ("flicker", None), ("red", "flicker")):
    explanation = vx.explain(model, frames, "grad-cam", target, against=against, n_segments=40)
    scores = explanation.voxel_scores().mean(0)
    print(f"{explanation.headline()}: red square {scores[32, 32]:+.2f}, flickering one {scores[80, 90]:+.2f}")
Image.fromarray(explanation.sheet(top_k=3)).save("two_pathways.png")
