"""WebVTT: what the network said along the video, and the peaks of the curve over time, as cues."""

from __future__ import annotations

from pathlib import Path

from videxplain.annotate import moments
from videxplain.annotate.classes import Stretch
from videxplain.exports.explained import Explained, merged
from videxplain.exports.formats import exports_to

_TOUCH = 1e-3  # seconds, the unit of WebVTT


@exports_to("webvtt", suffix=".vtt")
def write(explained: Explained, path: Path, top_k: int) -> None:
    windows = explained.summary["windows"]
    classes = merged(
        (Stretch(w["begin"], w["end"], w["target_name"], w["probability"]) for w in windows), _TOUCH
    )
    peaks = [peak._replace(name=f"peak: {peak.name}") for peak in explained.moments()]
    cues = [*classes, *peaks]
    cues.sort(key=lambda cue: (round(cue.begin, 3), cue.name.startswith("peak: ")))
    path.write_text(moments.webvtt(cues, is_value=explained.is_value), encoding="utf-8")
