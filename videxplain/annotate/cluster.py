"""Several videos over a Ray cluster, each on one machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from videxplain.errors import VidexplainError

R = TypeVar("R")


def on_ray(
    work: Callable[..., R], shared: Any, jobs: Sequence[Any], *, workers: int, gpu: bool
) -> Iterator[tuple[int, R | str]]:
    """Does `work(shared, job)` for each job, `workers` at a time; yields (index, result) as they come.

    Joins the cluster that RAY_ADDRESS names, else starts one on this machine. A job whose process is lost is done
    again once; lost a second time, a sentence stands for its result.

    Raises
    ------
    VidexplainError : Ray is not installed, or too few workers are asked for.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise VidexplainError(
            "the Ray engine needs Ray; install it with pip install 'videxplain[ray]'."
        ) from None
    if workers < 1:
        raise VidexplainError(f"the Ray engine cannot work with {workers} workers.")
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        task = ray.remote(num_cpus=0 if gpu else 1, num_gpus=1 if gpu else 0, max_retries=1)(work)
        everywhere = ray.put(shared)
        waiting = list(enumerate(jobs))
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                index, job = waiting.pop(0)
                running[task.remote(everywhere, job)] = index
            (done, *_), _ = ray.wait(list(running))
            index = running.pop(done)
            try:
                yield index, ray.get(done)
            except ray.exceptions.RayError as error:
                yield index, f"its process was lost twice ({type(error).__name__})."
    finally:
        if started:
            ray.shutdown()
