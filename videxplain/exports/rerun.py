"""Rerun: frames, regions, scores and what the network said, on a time line of frames and one of seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from videxplain.exports.explained import Explained
from videxplain.exports.formats import exports_to
from videxplain.render import Painter, picture_of

QUALITY = 90
"""Of the frames, which are JPEG."""
_MOST_CLASSES = 1 << 16  # that Rerun tells apart


@exports_to("rerun", suffix=".rrd", package="rerun", takes_top_k=True)
def write(explained: Explained, path: Path, top_k: int) -> None:
    """Regions are classes: their numbers and 1, for 0 is what the network does not see."""
    import rerun

    kind = "value" if explained.is_value else "probability"
    recording = rerun.RecordingStream("videxplain")
    recording.save(path)
    try:
        for window in explained.windows(pictures=True):
            explanation = window.explanation
            paint = Painter(explanation, picture_of(False, top_k=top_k or len(explanation.scores)))
            class_of = np.append(window.numbers % (_MOST_CLASSES - 1) + 1, 0).astype(np.uint16)
            said = dict(explanation.predictions) | {explanation.target_name: explanation.probability}
            recording.set_time("frame", sequence=window.shown[0].number)
            recording.set_time("time", duration=window.begin)
            recording.log("headline", rerun.TextDocument(explanation.headline(1)))
            recording.log("scores", rerun.BarChart(explanation.scores, abscissa=window.numbers))
            for name, value in said.items():
                recording.log([kind, name], rerun.Scalars(value))
            for frame in window.seen:
                recording.set_time("frame", sequence=frame.number)
                recording.set_time("time", duration=frame.time or 0.0)
                picture = window.picture(frame.index)
                recording.log("video", rerun.Image(picture).compress(QUALITY))
                regions = class_of[window.source_labels(frame.index)]
                recording.log("video/regions", rerun.SegmentationImage(regions))
                recording.log("explained", rerun.Image(paint(picture, frame.index)).compress(QUALITY))
    finally:
        recording.disconnect()
