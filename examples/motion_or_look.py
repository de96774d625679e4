"""
Is it the motion or the look?
=============================

`vx.motion` shows the network the clip standing still, and with its frames shuffled. A network of motions loses what a
network of looks keeps.
"""

# It prints:
#
#     grow: 99% motion

# %%
# The bundled network names motions, so that almost all has to be motion.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

model = vx.load_model("c3d-motion")
motion = vx.motion(model, generate(2).frames, n_segments=30)
print(f"{motion.explanation.target_name}: {motion.share:.0%} motion")
Image.fromarray(motion.picture()).save("motion_or_look.png")
