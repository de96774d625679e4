"""Scoring methods: a network and a clip to scores per voxel or per supervoxel."""

from videxplain.attribution.methods import METHODS, PixelMethod, RegionMethod
from videxplain.attribution.voxel_scores import PixelScores, pixel_scores, pixel_scores_of
from videxplain.passes.guided import GuidedRule

__all__ = [
    "METHODS",
    "GuidedRule",
    "PixelMethod",
    "PixelScores",
    "RegionMethod",
    "pixel_scores",
    "pixel_scores_of",
]
