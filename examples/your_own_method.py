"""
A method of your own
====================

A method is a class whose fields are its options. It is registered by a name, and then works like the others: in Python,
on the command line, in experiments.
"""

# It prints:
#
#     brightness 2 True

# %%
# Scores are the brightness of each supervoxel: a method that knows nothing of the network, as a warning.
from dataclasses import dataclass

from PIL import Image

import videxplain as vx
from videxplain.settings import option
from videxplain.synthetic.moving_objects import generate


@vx.METHODS.register("brightness")
@dataclass(frozen=True, kw_only=True)
class Brightness(vx.RegionMethod):
    """Mean brightness of a supervoxel, to some power."""

    power: float = option(1.0, "of the brightness", above=0)

    def score(self, query):
        light = query.x.mean(dim=1, keepdim=True).exp()
        return query.reduced(vx.VoxelMaps(light), "mean", signed=False) ** self.power


explanation = vx.explain(
    vx.load_model("c3d-motion"), generate(2).frames, "brightness", power=2, n_segments=60
)
print(explanation.method, explanation.settings["power"], len(explanation.scores) > 20)
Image.fromarray(explanation.sheet()).save("your_own_method.png")
