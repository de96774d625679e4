"""Scoring methods: a network and a clip to scores per voxel or per supervoxel."""

from videxplain.attribution.choice import Auto
from videxplain.attribution.methods import METHODS, Method, PixelMethod, RegionMethod

__all__ = ["METHODS", "Auto", "Method", "PixelMethod", "RegionMethod"]
