"""Regions that someone else made: masks, boxes and tracks of objects, instead of supervoxels."""

from videxplain.regions.regions import BACKGROUND, Regions

__all__ = ["BACKGROUND", "Regions"]
