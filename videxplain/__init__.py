"""Explains video classifiers with supervoxels scored by one forward and one backward pass.

The public names are imported on first use, so that `videxplain --help` need not load torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Classifier": "videxplain.models",
    "load_model": "videxplain.models",
    "Clip": "videxplain.clip",
    "Geometry": "videxplain.clip",
    "open_video": "videxplain.video",
    "segment": "videxplain.segmentation",
    "pixel_scores": "videxplain.attribution",
    "explain": "videxplain.explain",
    "explain_anytime": "videxplain.explain",
    "Explanation": "videxplain.explanation",
    "open_explanations": "videxplain.annotate.saved",
    "VidexplainError": "videxplain.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        value = getattr(importlib.import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])


class _Package(ModuleType):
    """Keeps `videxplain.explain` the function: importing the submodule of that name would put the module there."""

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType) and name in _PUBLIC:
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
