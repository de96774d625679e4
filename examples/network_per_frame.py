"""
A network for each frame
========================

Many networks see frames on their own: frames are folded into the batch, go through 2-D layers, and each has an answer,
(B, T, classes). That is found by looking. `frame` asks about one of the answers; without it the mean is explained.
Weights are set by hand: a frame is a "flash" where something in it is bright.
"""

# It prints:
#
#     all frames: flash  36%
#     flash in frame 2  27%: score 0.00, centre [4, 11, 7]
#     flash in frame 5  100%: score 0.73, centre [5, 80, 92]

# %%
# The network, and a clip in which a square lights up in the sixth frame.
import numpy as np
import torch
from PIL import Image
from torch import nn

import videxplain as vx


class FrameByFrame(nn.Module):
    def __init__(self):
        super().__init__()
        self.frame = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU())
        self.frame[0].weight.data, self.frame[0].bias.data = torch.ones(1, 3, 1, 1), torch.tensor([-2.0])

    def forward(self, x):  # (B, 3, T, H, W)
        bright = self.frame(x.transpose(1, 2).flatten(0, 1)).mean((1, 2, 3)).view(len(x), -1)
        return torch.stack([0.5 - 50 * bright, 50 * bright - 0.5], dim=2)


frames = np.full((8, 128, 128, 3), 60, np.uint8)
frames[:, 12:52, 8:48] = 130
frames[5, 60:100, 72:112] = 240

# %%
# One frame, and all of them.
told = {"mean": (0,) * 3, "std": (1,) * 3, "clip_length": 8, "size": (128, 128)}
model = vx.Classifier(FrameByFrame(), class_names=["dark", "flash"], per_frame=True, **told)
hide = vx.Occlusion(fill="black")
print("all frames:", vx.explain(model, frames, hide, "flash", n_segments=40).headline())
for frame in (2, 5):
    explanation = vx.explain(model, frames, hide, "flash", frame=frame, n_segments=40)
    best = explanation.top(1)[0]
    print(f"{explanation.headline()}: score {best.score:.2f}, centre {[round(axis) for axis in best.centre]}")
Image.fromarray(explanation.sheet(top_k=3)).save("network_per_frame.png")
