"""
Hugging Face
============

`vx.Classifier` takes Hugging Face's video classifiers as they are: layout, clip length, normalisation, class names and
the layer for class activation maps are known from the network. `vx.load_model("folder")` loads a saved one. This is a
tiny VideoMAE with random weights, so what decides it means nothing; that hiding the first supervoxel lowers the
probability is true all the same.
"""

# It prints:
#
#     BTCHW, 8 frames, ['walk', 'run', 'jump']
#     videomae puts out 4x8x8 tokens
#     run: 0.608, 0.563 without the first supervoxel
#     Grad-CAM: 31% of all scores in its first supervoxel

# %%
# The network. Of yours: VideoMAEForVideoClassification.from_pretrained("folder").
import numpy as np
import torch
from PIL import Image
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import videxplain as vx

torch.manual_seed(0)
shape = {"image_size": 64, "patch_size": 8, "num_frames": 8, "tubelet_size": 2}
width = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "initializer_range": 0.2}
names = {"id2label": {0: "walk", 1: "run", 2: "jump"}, "label2id": {"walk": 0, "run": 1, "jump": 2}}
net = VideoMAEForVideoClassification(VideoMAEConfig(**shape, **width, **names, num_hidden_layers=2))

# %%
# The explanations of a clip with a square that moves.
frames = np.full((8, 128, 128, 3), 60, np.uint8)
for t in range(8):
    frames[t, 30:80, 8 + 8 * t : 58 + 8 * t] = 230, 20, 20
model = vx.Classifier(net)
print(f"{model.layout}, {model.clip_length} frames, {model.class_names}")
grid = model.cam_layers[0].token_grid
print(f"{model.cam_layer} puts out {grid.frames}x{grid.height}x{grid.width} tokens")
explanation = vx.explain(model, frames, "occlusion", fill="black", n_segments=20)
before, best = explanation.probability, explanation.top(1)[0]
print(f"{explanation.target_name}: {before:.3f}, {before - best.score:.3f} without the first supervoxel")
cam = vx.explain(model, frames, "grad-cam", labels=explanation.labels)
print(f"Grad-CAM: {cam.top(1)[0].share:.0%} of all scores in its first supervoxel")
Image.fromarray(explanation.sheet(top_k=3)).save("hugging_face.png")
