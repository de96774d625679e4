"""Explains video classifiers with supervoxels scored by one forward and one backward pass.

The public names are imported on first use, so that `videxplain --help` need not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from videxplain.annotate.saved import open_explanations
    from videxplain.attribution.voxel_scores import pixel_scores
    from videxplain.clip import Clip, Geometry
    from videxplain.errors import VidexplainError
    from videxplain.explanations.explain import explain, explain_anytime
    from videxplain.explanations.explanation import Explanation
    from videxplain.models import Classifier, load_model
    from videxplain.segmentation import segment
    from videxplain.video import open_video

_MODULES = {
    "Classifier": "videxplain.models",
    "load_model": "videxplain.models",
    "Clip": "videxplain.clip",
    "Geometry": "videxplain.clip",
    "open_video": "videxplain.video",
    "segment": "videxplain.segmentation",
    "pixel_scores": "videxplain.attribution.voxel_scores",
    "explain": "videxplain.explanations.explain",
    "explain_anytime": "videxplain.explanations.explain",
    "Explanation": "videxplain.explanations.explanation",
    "open_explanations": "videxplain.annotate.saved",
    "VidexplainError": "videxplain.errors",
}
"""Where each public name is from; a test holds it equal to what type checkers see above."""

__all__ = [
    "Classifier",
    "Clip",
    "Explanation",
    "Geometry",
    "VidexplainError",
    "__version__",
    "explain",
    "explain_anytime",
    "load_model",
    "open_explanations",
    "open_video",
    "pixel_scores",
    "segment",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES])
