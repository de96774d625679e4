"""What `videxplain.when` and `videxplain.evidence` measured of a clip, for the page."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from videxplain.errors import VidexplainError, kind_of
from videxplain.explanations.evidence import Evidence, RegionSet, Verdict
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.inputs import sha256
from videxplain.explanations.when import WhenCurve
from videxplain.reading import read_json
from videxplain.settings import Segmentation

T = TypeVar("T")


def evidence_summary(evidence: Evidence, explanation: Explanation) -> dict[str, Any]:
    """Both sets, each with a sentence.

    Raises
    ------
    VidexplainError
        If it is of other frames or supervoxels than the explanation.
    """
    if not isinstance(evidence, Evidence):
        raise VidexplainError(f"evidence has to be what vx.evidence() gives, not {kind_of(evidence)}")
    asked = evidence.explanation
    _require(np.array_equal(asked.frames, explanation.frames), "the evidence", "frames")
    _require(np.array_equal(asked.labels, explanation.labels), "the evidence", "supervoxels")
    return {
        "target_name": evidence.explanation.target_name,
        "keeps": _part(evidence.keeps, evidence.keeps_words()),
        "destroys": _part(evidence.destroys, evidence.destroys_words()),
    }


def _part(part: RegionSet | None, words: str) -> dict[str, Any]:
    return {"regions": [] if part is None else list(part.ids), "words": words}


def when_summary(curve: WhenCurve, explanation: Explanation) -> dict[str, Any]:
    """The curve's parts with their times, and the stretches that count, in seconds.

    Raises
    ------
    VidexplainError
        If it is of other frames than the explanation.
    """
    if not isinstance(curve, WhenCurve):
        raise VidexplainError(f"when has to be what vx.when() gives, not {kind_of(curve)}")
    _require(np.array_equal(curve.frames, explanation.frames), "the when-curve", "frames")
    real = len(curve.times) - curve.held
    times = [float(time) for time in curve.times[:real]]
    step = (times[-1] - times[0]) / (real - 1) if real > 1 else 0.0
    edges = [times[edge] if edge < real else times[-1] + step for edge in curve.edges]
    errors = curve.standard_error
    return {
        "target_name": curve.target_name,
        "method": curve.method,
        "edges": edges,
        "scores": [float(score) for score in curve.scores],
        "errors": None if errors is None else [float(e) if math.isfinite(e) else None for e in errors],
        "stretches": [{"begin": one.begin, "end": one.end, "share": one.share} for one in curve.stretches()],
    }


def read_evidence(path: str | os.PathLike[str], explanation: Explanation) -> Evidence:
    """What `videxplain evidence --json` printed of the same clip."""

    def made(told: Mapping[str, Any]) -> Evidence:
        of = _explained(told, explanation)
        alike = _cut_alike(of.settings, explanation)
        parts = {name: _region_set(told[name], explanation.num_segments) for name in ("keeps", "destroys")}
        voxels = np.bincount(explanation.labels.ravel()) / explanation.labels.size
        for part in filter(None, parts.values()):
            alike = alike and math.isclose(voxels[list(part.ids)].sum(), part.share, abs_tol=1e-4)
        _require(alike, "the evidence", "supervoxels")
        return Evidence(of, **parts, fills=tuple(map(str, told["fills"])), passes=float(told["passes"]))

    return _read(path, made, "videxplain evidence CLIP --json")


def read_when(path: str | os.PathLike[str], explanation: Explanation) -> WhenCurve:
    """What `videxplain when --json` printed of the same clip."""

    def made(told: Mapping[str, Any]) -> WhenCurve:
        of = _explained(told, explanation)
        scores = np.array(told["scores"], np.float32)
        errors = told["standard_error"]
        edges = tuple(int(edge) for edge in told["edges"])
        ascending = all(a < b for a, b in pairwise(edges))
        if (
            scores.ndim != 1
            or not np.isfinite(scores).all()
            or len(edges) != len(scores) + 1
            or not ascending
        ):
            raise ValueError("it does not have one finite score for each part")
        held, times = int(told["held"]), tuple(Fraction(str(time)) for time in told["times"])
        if (
            not 0 <= held < len(times)
            or edges[0] != 0
            or edges[-1] != len(times)
            or len(times) > len(of.frames)
        ):
            raise ValueError("its parts are not those of the clip")
        errors = (
            None if errors is None else np.array([math.inf if e is None else e for e in errors], np.float32)
        )
        return WhenCurve(
            scores, errors, edges, of.target, of.target_name, of.probability, of.predictions, of.method,
            of.settings, of.frames, times, held,
        )  # fmt: skip

    return _read(path, made, "videxplain when CLIP --json")


def _explained(told: Mapping[str, Any], explanation: Explanation) -> Explanation:
    """The explanation's frames and labels with what else was told."""
    settings = dict(told["settings"])
    frames = settings.get("frames_sha256")
    _require(
        frames is not None and frames == explanation.settings.get("frames_sha256"), "the answer", "frames"
    )
    return replace(
        explanation,
        target=int(told["target"]),
        target_name=str(told["target_name"]),
        probability=float(told["probability"]),
        predictions=[(str(name), float(p)) for name, p in told["predictions"]],
        method=str(told["method"]),
        settings=settings,
    )


def _cut_alike(settings: Mapping[str, Any], explanation: Explanation) -> bool:
    """Whether supervoxels are an explanation's: cut in the same way, or told by the same checksum."""
    told = settings.get("labels_sha256")
    if told is not None:
        return bool(told == sha256(explanation.labels))
    cut = ("segmentation", *Segmentation.options())
    return all(settings.get(name) == explanation.settings.get(name) for name in cut)


def _region_set(told: Any, count: int) -> RegionSet | None:
    if told is None:
        return None
    ids = tuple(int(each) for each in told["ids"])
    if not all(0 <= each < count for each in ids):
        raise ValueError(f"it names supervoxels other than 0 to {count - 1}")
    verdicts = tuple(
        Verdict(str(one["fill"]), str(one["first"]), float(one["probability"]), one["agrees"] is True)
        for one in told["verdicts"]
    )
    return RegionSet(ids, float(told["share"]), verdicts)


def _read(path: str | os.PathLike[str], made: Callable[[Mapping[str, Any]], T], command: str) -> T:
    """A file of JSON made into an answer, or one sentence on why it is none."""
    try:
        return made(read_json(Path(path)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise VidexplainError(f"{str(path)!r} is not what `{command}` prints: {why}") from error


def _require(same: bool, what: str, of: str) -> None:
    if not same:
        raise VidexplainError(
            f"{what} is of other {of} than the explanation on the page; ask both of the same clip, with the same "
            "segmentation"
        )
