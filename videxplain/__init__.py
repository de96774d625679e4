"""Explains video classifiers with supervoxels scored by one forward and one backward pass.

The public names are imported on first use, so that `videxplain --help` need not load torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

if TYPE_CHECKING:
    from videxplain.annotate.saved import open_explanations
    from videxplain.attribution.choice import Auto
    from videxplain.attribution.methods import (
        METHODS,
        ActGradCam,
        EigenCam,
        GradCam,
        GradCamPlusPlus,
        Guided,
        GuidedActGradCam,
        GuidedGradCam,
        InputXGradient,
        IntegratedGradients,
        KernelShap,
        LayerCam,
        Lime,
        LrpAlphaBeta,
        LrpEpsilon,
        Method,
        Occlusion,
        PixelMethod,
        Random,
        RegionGradient,
        RegionMethod,
        ReluActivation,
        Rise,
        SmoothGrad,
        Vanilla,
        XGradCam,
    )
    from videxplain.attribution.query import Query, VoxelMaps, VoxelQuery
    from videxplain.attribution.voxel_scores import PixelScores, pixel_scores
    from videxplain.checking.check import check
    from videxplain.checking.table import Check
    from videxplain.clip import Clip, Geometry
    from videxplain.errors import VidexplainError, VidexplainWarning
    from videxplain.explanations.anytime import RunningExplanation, explain_anytime
    from videxplain.explanations.compare import compare
    from videxplain.explanations.comparison import Comparison
    from videxplain.explanations.evidence import Evidence, evidence
    from videxplain.explanations.explain import explain, explain_batch
    from videxplain.explanations.explanation import Explanation, Supervoxel
    from videxplain.explanations.motion import Motion, motion
    from videxplain.explanations.trust import trust
    from videxplain.explanations.verdict import Trust
    from videxplain.explanations.when import WhenCurve, when
    from videxplain.exports.export import export
    from videxplain.models import Classifier, load_model
    from videxplain.regions import Regions
    from videxplain.segmentation import SEGMENTATIONS, segment
    from videxplain.settings import (
        Encoding,
        Execution,
        NetworkSettings,
        Picture,
        Question,
        Segmentation,
        VideoSource,
        Windows,
    )
    from videxplain.video import open_video, read_clip
    from videxplain.view.notebook import widget
    from videxplain.view.page import export_page

_MODULES = {
    "videxplain.annotate.saved": ("open_explanations",),
    "videxplain.attribution.choice": ("Auto",),
    "videxplain.attribution.methods": (
        "ActGradCam",
        "EigenCam",
        "GradCam",
        "GradCamPlusPlus",
        "Guided",
        "GuidedActGradCam",
        "GuidedGradCam",
        "InputXGradient",
        "IntegratedGradients",
        "KernelShap",
        "LayerCam",
        "Lime",
        "LrpAlphaBeta",
        "LrpEpsilon",
        "METHODS",
        "Method",
        "Occlusion",
        "PixelMethod",
        "Random",
        "RegionGradient",
        "RegionMethod",
        "ReluActivation",
        "Rise",
        "SmoothGrad",
        "Vanilla",
        "XGradCam",
    ),
    "videxplain.attribution.query": (
        "Query",
        "VoxelMaps",
        "VoxelQuery",
    ),
    "videxplain.attribution.voxel_scores": (
        "PixelScores",
        "pixel_scores",
    ),
    "videxplain.checking.check": ("check",),
    "videxplain.checking.table": ("Check",),
    "videxplain.clip": (
        "Clip",
        "Geometry",
    ),
    "videxplain.errors": (
        "VidexplainError",
        "VidexplainWarning",
    ),
    "videxplain.explanations.anytime": (
        "RunningExplanation",
        "explain_anytime",
    ),
    "videxplain.explanations.compare": ("compare",),
    "videxplain.explanations.comparison": ("Comparison",),
    "videxplain.explanations.evidence": (
        "Evidence",
        "evidence",
    ),
    "videxplain.explanations.explain": (
        "explain",
        "explain_batch",
    ),
    "videxplain.explanations.explanation": (
        "Explanation",
        "Supervoxel",
    ),
    "videxplain.explanations.motion": (
        "Motion",
        "motion",
    ),
    "videxplain.explanations.trust": ("trust",),
    "videxplain.explanations.verdict": ("Trust",),
    "videxplain.explanations.when": (
        "WhenCurve",
        "when",
    ),
    "videxplain.exports.export": ("export",),
    "videxplain.models": (
        "Classifier",
        "load_model",
    ),
    "videxplain.regions": ("Regions",),
    "videxplain.segmentation": (
        "SEGMENTATIONS",
        "segment",
    ),
    "videxplain.settings": (
        "Encoding",
        "Execution",
        "NetworkSettings",
        "Picture",
        "Question",
        "Segmentation",
        "VideoSource",
        "Windows",
    ),
    "videxplain.video": ("open_video", "read_clip"),
    "videxplain.view.notebook": ("widget",),
    "videxplain.view.page": ("export_page",),
}
"""Where public names are from; a test holds it equal to what type checkers see above."""
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "METHODS",
    "SEGMENTATIONS",
    "ActGradCam",
    "Auto",
    "Check",
    "Classifier",
    "Clip",
    "Comparison",
    "EigenCam",
    "Encoding",
    "Evidence",
    "Execution",
    "Explanation",
    "Geometry",
    "GradCam",
    "GradCamPlusPlus",
    "Guided",
    "GuidedActGradCam",
    "GuidedGradCam",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerCam",
    "Lime",
    "LrpAlphaBeta",
    "LrpEpsilon",
    "Method",
    "Motion",
    "NetworkSettings",
    "Occlusion",
    "Picture",
    "PixelMethod",
    "PixelScores",
    "Query",
    "Question",
    "Random",
    "RegionGradient",
    "RegionMethod",
    "Regions",
    "ReluActivation",
    "Rise",
    "RunningExplanation",
    "Segmentation",
    "SmoothGrad",
    "Supervoxel",
    "Trust",
    "Vanilla",
    "VideoSource",
    "VidexplainError",
    "VidexplainWarning",
    "VoxelMaps",
    "VoxelQuery",
    "WhenCurve",
    "Windows",
    "XGradCam",
    "__version__",
    "check",
    "compare",
    "evidence",
    "explain",
    "explain_anytime",
    "explain_batch",
    "export",
    "export_page",
    "load_model",
    "motion",
    "open_explanations",
    "open_video",
    "pixel_scores",
    "read_clip",
    "segment",
    "trust",
    "when",
    "widget",
]


if not TYPE_CHECKING:  # which would take any name

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULE_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
