"""Overlapping windows: scores worked out by hand, and the same picture when a run goes on behind a fault."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg_oracle as oracle
import numpy as np
import pytest

import videxplain as vx
from videxplain.annotate import annotate, stages
from videxplain.annotate import run as module
from videxplain.annotate.blend import Blender
from videxplain.clip import Geometry


def window(labels: np.ndarray, scores: list[float], target: int = 0) -> vx.Explanation:
    """Four frames of 2x2."""
    return vx.Explanation(
        labels=labels.astype(np.int32),
        scores=np.array(scores, np.float32),
        target=target,
        target_name="a class",
        probability=0.5,
        predictions=[],
        method="guided",
        settings={},
        frames=np.zeros((4, 2, 2, 3), np.uint8),
        times=tuple(Fraction(t) for t in range(4)),
        geometry=Geometry.fit((2, 2), (2, 2), "crop"),
    )


LEFT_RIGHT = np.broadcast_to([[0, 1], [0, 1]], (4, 2, 2))
TOP_BOTTOM = np.broadcast_to([[0, 0], [1, 1]], (4, 2, 2))


@pytest.mark.parametrize("stride", [1, 3])
def test_scores_by_hand(stride: int) -> None:
    blender = Blender(stride)
    first = blender(0, window(LEFT_RIGHT, [6.0, 0.0]))
    assert first.scores.tolist() == [6, 0], "nothing to blend with"
    # frames 2 and 3 of the first, weights 2 and 1, are frames 0 and 1 of the second, weights 1 and 2; right of it 0
    second = blender(2 * stride, window(LEFT_RIGHT, [3.0, 0.0]))
    left = [(1 * 3 + 2 * 6) / 3, (2 * 3 + 1 * 6) / 3, 3, 3]
    assert second.scores == pytest.approx([np.mean(left), 0])
    # what crosses the regions of the window before is worth the mean of both sides; the first is out of reach
    third = blender(5 * stride, window(TOP_BOTTOM, [1.0, 9.0]))
    mixed = (1 * np.array([1.0, 9.0]) + 1 * 1.5) / 2
    assert third.scores == pytest.approx((mixed + 3 * np.array([1.0, 9.0])) / 4)


def test_another_class_and_another_place_are_left_out() -> None:
    blender = Blender(1)
    blender(0, window(LEFT_RIGHT, [6.0, 0.0]))
    assert blender(1, window(LEFT_RIGHT, [1.0, 2.0], target=1)).scores.tolist() == [1, 2]
    assert blender(5, window(LEFT_RIGHT, [3.0, 4.0])).scores.tolist() == [3, 4]


def test_state() -> None:
    one, other = Blender(1), Blender(1)
    one(0, window(LEFT_RIGHT, [6.0, 0.0]))
    one(1, window(TOP_BOTTOM, [2.0, 1.0]))
    other.restore(one.state())
    last = window(TOP_BOTTOM, [5.0, 7.0])
    assert np.array_equal(one(2, last).scores, other(2, last).scores)
    assert one.state().keys() == other.state().keys()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return oracle.make(tmp_path_factory.mktemp("source") / "in.mp4", "-c:v", "mpeg4", seconds=2.4)


@pytest.mark.slow
def test_a_run_that_goes_on_blends_the_same(tmp_path: Path, source: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "SEGMENT_FRAMES", 16)
    model = vx.load_model("c3d-motion")
    settings: dict[str, Any] = {"n_segments": 12, "preset": "ultrafast", "hop": 6}
    whole, out = tmp_path / "whole.mp4", tmp_path / "out.mp4"
    annotate(model, source, whole, **settings)
    explain, calls = stages.Explainer.explain, 0

    def failing(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise RuntimeError("out of memory")
        return explain(*args)

    monkeypatch.setattr(stages.Explainer, "explain", failing)
    with pytest.raises(vx.VidexplainError, match="out of memory"):
        annotate(model, source, out, **settings)
    assert annotate(model, source, out, **settings).resumed > 0
    assert oracle.decoded(out) == oracle.decoded(whole)


@pytest.mark.parametrize(("hop", "sizes"), [(24, [2, 1]), (8, [2, 2, 2, 1]), (60, [1])])
def test_batches_with_and_without_gaps(
    tmp_path: Path, source: Path, monkeypatch: Any, hop: int, sizes: list[int]
) -> None:
    explain, seen = stages.Explainer.explain, []

    def counting(explainer: stages.Explainer, task: stages.Task) -> Any:
        seen.extend([len(task[0])] if task[0] else [])
        return explain(explainer, task)

    monkeypatch.setattr(stages.Explainer, "explain", counting)
    model, out = vx.load_model("c3d-motion"), tmp_path / "out.mp4"
    annotate(model, source, out, hop=hop, batch=2, n_segments=8, preset="ultrafast")
    assert [t for t, _ in oracle.decoded(out)] == [t for t, _ in oracle.decoded(source)]
    assert seen == sizes
