"""
Objects instead of supervoxels
==============================

Masks that someone else made can take the supervoxels' place. Here there is one of the object that
moves; what no mask covers is the background.
"""

# It prints:
#
#     object: 100%
#     background: 0%

# %%
# The generator knows the object's mask.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

model = vx.load_model("c3d-motion")
clip = generate(2)
regions = vx.Regions.from_masks({"object": clip.mask})
explanation = vx.explain(model, clip.frames, "occlusion", regions=regions, fill="still")
for region in explanation.top():
    print(f"{region.name}: {region.share:.0%}")
Image.fromarray(explanation.sheet()).save("objects_instead.png")
