"""Stages over queues: all items in order, bounded, failures surface, nothing keeps running."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from videxplain.annotate.pipeline import Pipeline, StageTime, profile_table


def counted(n: int, made: list[int]) -> Iterator[int]:
    for i in range(n):
        made.append(i)
        yield i


def stages() -> set[str]:
    return {thread.name for thread in threading.enumerate()} & {"one", "two"}


def test_items_arrive_in_order_and_no_thread_stays() -> None:
    with Pipeline() as pipeline:
        one = pipeline.stage("one", range(100), 3)
        two = pipeline.stage("two", (2 * i for i in one), 3)
        assert list(two) == list(range(0, 200, 2))
    assert not stages()


def test_a_stage_runs_ahead_by_its_queue_and_no_further() -> None:
    made: list[int] = []
    with Pipeline() as pipeline:
        items = pipeline.stage("one", counted(100, made), 4)
        assert next(items) == 0
        time.sleep(0.3)
        assert len(made) <= 1 + 4 + 1, "one taken, four in the queue, one in hand"
    assert not stages()


def test_a_limit_counts_what_is_on_its_way_wherever_it_waits() -> None:
    made: list[int] = []
    with Pipeline() as pipeline:
        one = pipeline.stage("one", counted(100, made), 50, limit=3)
        two = pipeline.stage("two", (i for i in one), 50)
        for n, i in enumerate(two):
            assert i == n
            time.sleep(0.01)
            assert len(made) <= n + 3
            pipeline.done()
    assert len(made) == 100 and not stages()
    time_of_one = pipeline.times[0]
    assert time_of_one.blocked > 0.5 > time_of_one.busy, "to wait for room is no work"


def test_a_stage_that_waits_for_room_can_be_stopped() -> None:
    with Pipeline() as pipeline:
        items = pipeline.stage("one", range(100), 50, limit=2)
        assert next(items) == 0
        time.sleep(0.2)
    assert not stages()


@pytest.mark.parametrize("failing", ["one", "two"])
def test_a_failure_surfaces_at_the_end(failing: str) -> None:
    def broken(items: Iterator[int]) -> Iterator[int]:
        for i in items:
            if i == 5:
                raise ValueError("five")
            yield i

    with pytest.raises(ValueError, match="five"), Pipeline() as pipeline:
        one = pipeline.stage("one", broken(iter(range(10))) if failing == "one" else range(1000), 2)
        two = pipeline.stage("two", broken(one) if failing == "two" else one, 2)
        list(two)
    assert not stages()


def test_leaving_early_stops_every_stage() -> None:
    made: list[int] = []
    with pytest.raises(KeyboardInterrupt), Pipeline() as pipeline:
        items = pipeline.stage("two", pipeline.stage("one", counted(10**9, made), 2), 2)
        for i in items:
            if i == 10:
                raise KeyboardInterrupt
    assert not stages()
    assert len(made) < 50


def test_time_goes_to_whom_it_belongs() -> None:
    """A slow second stage: the first one is blocked, the consumer starved."""

    def slow(items: Iterator[int]) -> Iterator[int]:
        for i in items:
            time.sleep(0.02)
            yield i

    with Pipeline() as pipeline:
        two = pipeline.stage("two", slow(pipeline.stage("one", range(20), 1)), 1)
        list(pipeline.stage("three", (i for i in two), 1))
    one, two, three = pipeline.times
    assert two.busy >= 0.4 and two.busy > 5 * max(one.busy, three.busy)
    assert one.blocked > 5 * one.busy
    assert three.starved > 5 * three.busy
    assert two.items == 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_all_stages_but_the_first_in_rank_yield_to_it() -> None:
    def nice(items: Iterator[Any]) -> Iterator[list[int]]:
        for found in items:
            yield [*found, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())]

    def run(first: str | None) -> list[int]:
        with Pipeline(first) as pipeline:
            one = pipeline.stage("one", nice(iter([[]])), 1)
            return next(pipeline.stage("two", nice(one), 1))

    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert run(None) == [own, own]
    lower, kept = run("two")
    assert kept == own and lower == min(own + 10, 19)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


def test_profile_names_the_slowest_stage() -> None:
    text = profile_table(
        [StageTime("decode", 1.0, 0.0, 3.0, 10), StageTime("explain", 4.0, 0.5, 0.0, 10)], 100
    )
    assert "slowest stage: explain" in text and "10.00" in text.splitlines()[1]
