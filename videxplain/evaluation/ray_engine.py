"""Spreads the items of a run over a Ray cluster: one model per actor, lost actors replaced."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from videxplain.errors import VidexplainError

if TYPE_CHECKING:
    from videxplain.evaluation.runner import Worker


def work_on_ray(worker: Worker, todo: Sequence[int], workers: int) -> Iterator[str | None]:
    """Do `worker.work(index)` for each index on `workers` actors; yields the answers as they come.

    Joins the cluster that RAY_ADDRESS names, else starts one on this machine. The folder of the results has to be
    one that all machines share. An item whose actor is lost is done again by its successor.

    Raises
    ------
    VidexplainError : Ray is not installed, or too few actors are asked for.
    """
    try:
        import ray
        from ray.util import ActorPool
    except ModuleNotFoundError:
        raise VidexplainError(
            "the Ray engine needs Ray; install it with pip install 'videxplain[ray]'."
        ) from None
    if workers < 1:
        raise VidexplainError(f"the Ray engine cannot work with {workers} workers.")
    if not todo:
        return
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        on_gpu = worker.model.device.type == "cuda"
        actor = ray.remote(
            num_cpus=0 if on_gpu else 1,
            num_gpus=1 if on_gpu else 0,
            max_restarts=-1,
            max_task_retries=-1,
        )(_Actor)
        shared = ray.put(worker)
        pool = ActorPool([actor.remote(shared) for _ in range(min(workers, len(todo)))])
        yield from pool.map_unordered(lambda one, index: one.work.remote(index), list(todo))
    finally:
        if started:
            ray.shutdown()


class _Actor:
    """A worker in a process of its own."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def work(self, index: int) -> str | None:
        return self.worker.work(index)
