"""
How little is enough?
=====================

`vx.evidence` looks for the fewest regions that keep the class when all else is hidden. It says *verified* only where
this holds under several ways to hide them.
"""

# It prints:
#
#     1 of 24 supervoxels (3% of the clip) alone keep grow: verified under mean, grey, blur, still

# %%
# The picture also has the smallest set that destroys the class when it is hidden. It need not hold under every fill.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

model = vx.load_model("c3d-motion")
clip = generate(2).frames
evidence = vx.evidence(model, clip, n_segments=30)
print(evidence.keeps_words())
Image.fromarray(evidence.picture()).save("how_little_is_enough.png")
