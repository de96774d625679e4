"""
A shortcut, found in the page
=============================

A network that tells discs from squares may look at something else: here it reads the bright mark in a corner that all
squares of its training pictures happen to have. Its weights are set by hand, so that it is known what decides. The page
shows it: the highlighted region is the mark, not the shape; hide it there, and the network changes its mind.
"""

# It prints:
#
#     a disc with the mark: square  100%
#     100% of the best region is in the mark's corner
#     without that region: disc  88%

# %%
# The network, and a disc with the mark.
import numpy as np
import torch
from PIL import Image
from torch import nn

import videxplain as vx


class Shortcut(nn.Module):
    def forward(self, x):
        mark = (x[..., 208:240, 184:240] - 0.6).relu().flatten(1).mean(1) / 0.2
        return torch.stack([torch.full_like(mark, 2.0), 8 * mark], dim=1)


picture = np.random.default_rng(0).integers(70, 110, (256, 256, 3)).astype(np.uint8)
picture[np.hypot(*(np.indices((256, 256)) - 110)) < 50] += 60
picture[208:240, 184:240] = 220

# %%
# The page is one file. `videxplain view` serves it with the network, so that regions can be hidden.
told = {"clip_length": 1, "size": (256, 256), "mean": (0, 0, 0), "std": (1, 1, 1)}
model = vx.Classifier(Shortcut(), class_names=["disc", "square"], **told)
explanation = vx.explain(model, picture, "occlusion", fill="neighbours", n_segments=30, segmentation="slic")
print(f"a disc with the mark: {explanation.headline()}")
vx.export_page(explanation, "planted_shortcut.html")
Image.fromarray(explanation.sheet()).save("planted_shortcut.png")
best = explanation.labels[0] == explanation.top_ids(1)[0]
print(f"{best[204:244, 180:244].sum() / best.sum():.0%} of the best region is in the mark's corner")
without = np.where(best[..., None], np.uint8(90), picture)
print(f"without that region: {vx.explain(model, without).headline()}")
