"""Long videos: explained from the first frame to the last, with the data behind the picture, after any fault."""

from videxplain.annotate.job import Summary
from videxplain.annotate.pipeline import StageTime, profile_table
from videxplain.annotate.run import annotate

__all__ = ["StageTime", "Summary", "annotate", "profile_table"]
