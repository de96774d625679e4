"""
Several methods at once
=======================

`vx.compare` explains by several methods over the same supervoxels, and tells how far they agree: the rank correlation
of all scores, and how many of the first five they share.
"""

# It prints:
#
#     grad-cam and guided-grad-cam: rank correlation 0.87, 60% of the first five
#     grad-cam and random: rank correlation 0.08, 20% of the first five
#     guided-grad-cam and random: rank correlation 0.13, 20% of the first five

# %%
# Random scores are there as the baseline that each has to beat.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

model = vx.load_model("c3d-motion")
compared = vx.compare(model, generate(2).frames, ["grad-cam", "guided-grad-cam", "random"], n_segments=60)
for agreement in compared.agreements():
    names = f"{agreement.one[0]} and {agreement.other[0]}"
    print(
        f"{names}: rank correlation {agreement.rank_correlation:.2f}, {agreement.overlap:.0%} of the first five"
    )
Image.fromarray(compared.picture()).save("compare_methods.png")
