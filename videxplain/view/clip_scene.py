"""An explained clip or image for the page."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videxplain.clip import Clip
from videxplain.errors import VidexplainError
from videxplain.explanations.evidence import Evidence
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.when import WhenCurve
from videxplain.view.measured import evidence_summary, when_summary
from videxplain.view.scene import Layer, common_summary, window_summary

FEW_BYTES = 8 << 20
"""Frames of a clip that are so large go into the page as JPEG, smaller ones as PNG."""


class ClipScene:
    """One clip or image, explained once or by several methods and for several classes.

    Parameters
    ----------
    explanations
        Of the same frames.
    evidence, when
        What `videxplain.evidence` and `videxplain.when` measured of them.

    Raises
    ------
    VidexplainError
        If there is none, or they are of different frames, or evidence is of other supervoxels.
    """

    def __init__(
        self,
        explanations: Sequence[Explanation],
        *,
        evidence: Evidence | None = None,
        when: WhenCurve | None = None,
    ) -> None:
        if not explanations:
            raise VidexplainError("there is no explanation to look at")
        first = explanations[0]
        for other in explanations[1:]:
            if other.frames.shape != first.frames.shape or not np.array_equal(other.frames, first.frames):
                raise VidexplainError(
                    "explanations on one page have to be of the same frames; make a page for each clip"
                )
        self.explanations = list(explanations)
        self._measured = {
            "evidence": None if evidence is None else evidence_summary(evidence, first),
            "when": None if when is None else when_summary(when, first),
        }

    def __len__(self) -> int:
        return 1

    def provenance(self) -> Mapping[str, Any]:
        return self.explanations[0].settings

    @property
    def _real(self) -> int:
        return len(self.explanations[0].frames) - self.explanations[0].held

    def summary(self) -> dict[str, Any]:
        first = self.explanations[0]
        times = [float(time) for time in first.times[: self._real]]
        step = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
        window = window_summary(first, times[0], times[-1] + step, times, first.headline())
        return {
            **common_summary(first.geometry, first.settings, first.method),
            "kind": "clip",
            "source_name": _file_name(first.settings.get("clip")) or "clip",
            "size": list(first.frames.shape[1:3]),
            "frames": self._real,
            "step": step,
            "windows": [window],
            **{name: told for name, told in self._measured.items() if told is not None},
            "layers": [_title(one.method, one.target_name) for one in self.explanations],
        }

    def layers(self, index: int) -> list[Layer]:
        return [
            Layer(
                title=_title(one.method, one.target_name),
                method=one.method,
                target=one.target,
                target_name=one.target_name,
                probability=one.probability,
                headline=one.headline(),
                scores=one.scores,
                labels=one.labels[: self._real],
                errors=one.standard_error,
                names=one.regions,
            )
            for one in self.explanations
        ]

    @property
    def _lossless(self) -> bool:
        return self.explanations[0].frames.nbytes <= FEW_BYTES

    def frame(self, t: int) -> tuple[bytes, str]:
        """Frame `t` as an image file, and its media type."""
        from PIL import Image

        buffer = io.BytesIO()
        image = Image.fromarray(self.explanations[0].frames[t])
        if self._lossless:
            image.save(buffer, "PNG")
            return buffer.getvalue(), "image/png"
        image.save(buffer, "JPEG", quality=92, subsampling=0)
        return buffer.getvalue(), "image/jpeg"

    def clip(self, index: int) -> Clip:
        first = self.explanations[0]
        at_network = first.frames.shape[1:3] != first.geometry.source
        stride = first.settings.get("stride", 1)
        return Clip(
            first.frames,
            first.times,
            stride=stride if isinstance(stride, int) else 1,
            held=first.held,
            geometry=first.geometry if at_network else None,
        )


def _title(method: str, target_name: str) -> str:
    return f"{method}: {target_name}"


def _file_name(path: object) -> str:
    return Path(path).name if isinstance(path, str) else ""
