"""
When did it happen?
===================

The object of this clip moves in frames 5 to 10 only. `vx.when` hides one stretch of time after the other, and
tells which counts: the one in which the object moves.
"""

# It prints:
#
#     left: most of it in frames 4 to 11

# %%
# A clip whose deciding stretch is known, and eight parts of it.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

model = vx.load_model("c3d-motion")
clip = generate(42, motion="left", interval=(5, 11)).frames
curve = vx.when(model, clip, parts=8, passes=16)
best = curve.best()
print(f"{curve.target_name}: most of it in frames {best.first} to {best.last}")
Image.fromarray(curve.picture()).save("when_it_happens.png")
