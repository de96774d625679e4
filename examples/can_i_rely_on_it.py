"""
Can I rely on it?
=================

`vx.trust` hides what is highlighted, beside as many other regions, and gives one verdict. Random scores must not get a
good one.
"""

# It prints:
#
#     guided: firm
#     random: do not rely on this

# %%
# The same clip, explained by a method and at random.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate

model = vx.load_model("c3d-motion")
clip = generate(2).frames
for method in ("guided", "random"):
    explanation = vx.explain(model, clip, method, n_segments=60)
    card = vx.trust(model, clip, explanation)
    print(f"{method}: {card.verdict}")
    Image.fromarray(explanation.sheet()).save(f"can_i_rely_on_it_{method}.png")
