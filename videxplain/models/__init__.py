"""Networks: the adapter around any of them, the registry, and their weights."""

from videxplain.models.c3d import C3D
from videxplain.models.classifier import Classifier, evaluating
from videxplain.models.grids import CamCandidate, cam_candidates
from videxplain.models.hugging_face import from_hugging_face
from videxplain.models.zoo import MODELS, ModelInfo, load_model
from videxplain.settings import DEFAULT_MODEL, NetworkSettings, TokenGrid

__all__ = [
    "C3D",
    "DEFAULT_MODEL",
    "MODELS",
    "CamCandidate",
    "Classifier",
    "ModelInfo",
    "NetworkSettings",
    "TokenGrid",
    "cam_candidates",
    "evaluating",
    "from_hugging_face",
    "load_model",
]
