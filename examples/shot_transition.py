"""
Where a film is cut
===================

TransNetV2 says for each of 100 frames whether a shot ends there. It is a real, trained network; its answer for one
frame is explained by the frames around it.
"""

# It prints:
#
#     cut in frame 49  100%
#     frames 44 to 55 have 39% of all scores

# %%
# Two generated shots, of 50 frames each.
import numpy as np
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

shots = [generate(seed, frames=50, size=(27, 48)).frames for seed in (1, 2)]
model = vx.load_model("transnetv2")
explanation = vx.explain(model, np.concatenate(shots), "grad-cam", frame=49, n_segments=60)
per_frame = explanation.when()
print(explanation.headline())
print(f"frames 44 to 55 have {per_frame[44:56].sum() / per_frame.sum():.0%} of all scores")
Image.fromarray(explanation.sheet()).save("shot_transition.png")
