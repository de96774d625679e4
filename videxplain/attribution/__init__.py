"""Scoring methods: a network and a clip to scores per voxel or per supervoxel."""

from videxplain.attribution.guided import GuidedRule
from videxplain.attribution.methods import METHODS, PixelMethod, RegionMethod
from videxplain.attribution.scores import PixelScores, pixel_scores, pixel_scores_of

__all__ = [
    "METHODS",
    "GuidedRule",
    "PixelMethod",
    "PixelScores",
    "RegionMethod",
    "pixel_scores",
    "pixel_scores_of",
]
