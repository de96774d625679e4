"""Ten mistakes, one a line that is marked; type checkers must find each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import videxplain as vx
from videxplain.annotate import annotate


def mistaken(model: vx.Classifier, frames: npt.NDArray[np.uint8]) -> None:
    vx.explain(model, frames, "lime", sample=500)  # mistake: no such option
    vx.explain(model, frames, "lime", samples="500")  # mistake: an option of the wrong type
    vx.explain(model, frames, vx.Lime(fill="gray"))  # mistake: not among the choices
    vx.explain(model, frames, methods=["lime"])  # mistake: no such keyword
    vx.explain(model, [frames])  # mistake: a list where one clip is wanted
    print(vx.explain_batch(model, [frames]).scores)  # mistake: a list is no explanation
    vx.compare(model, frames, "lime", targets=3)  # mistake: one class where a list is wanted
    vx.Segmentation(n_segment=100)  # mistake: no such field
    annotate(model, "in.mp4", "out.mp4", stlye="heat")  # mistake: no such option
    vx.load_modell("c3d")  # mistake: no such name
