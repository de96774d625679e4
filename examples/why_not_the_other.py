"""
Why not the other class?
========================

With `against`, scores are signed: they say what speaks for one class and against another. Two objects move in
different ways here. Each speaks for its own class.
"""

# It prints:
#
#     left, not counter-clockwise  1%
#     left: its object's scores are positive in the mean
#     counter-clockwise: its object's scores are negative in the mean

# %%
# Two clips side by side, with an object each.
from PIL import Image

import videxplain as vx
from videxplain.synthetic.moving_objects import generate_pair

model = vx.load_model("c3d-motion")
pair = generate_pair(3)
first, other = (model.class_names[label] for label in pair.labels)
explanation = vx.explain(model, pair.frames, "grad-cam", first, against=other)
print(explanation.headline())
voxels = explanation.voxel_scores()
for name, mask in zip((first, other), pair.masks, strict=True):
    print(
        f"{name}: its object's scores are {'positive' if voxels[mask].mean() > 0 else 'negative'} in the mean"
    )
Image.fromarray(explanation.sheet()).save("why_not_the_other.png")
