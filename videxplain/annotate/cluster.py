"""A Ray cluster: several videos, each on one machine, or the windows of one video, whose results come back in order."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from videxplain.errors import VidexplainError

ENGINES = ("local", "ray")
_AHEAD = 2  # jobs that a worker has: one in work, and one that waits for it
_RETRIES = 2  # how often a job is done again after its worker was lost
_POLL = 0.1  # seconds after which whoever waits looks whether all is to stop
J = TypeVar("J")
R = TypeVar("R")
T = TypeVar("T")


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """The module `ray` inside a cluster: the one that RAY_ADDRESS names, or one on this machine for as long as needed.

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
        yield ray
    finally:
        if started:
            ray.shutdown()


def on_ray(
    work: Callable[..., R], shared: Any, jobs: Sequence[Any], *, workers: int, gpu: bool
) -> Iterator[tuple[int, R | str]]:
    """Does `work(shared, job)` for each job, `workers` at a time; yields (index, result) as they come.

    A job whose process is lost is done again once; lost a second time, a sentence stands for its result.

    Raises
    ------
    VidexplainError : as `cluster`.
    """
    with cluster(workers) as ray:
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


class Workers(Generic[J, R]):
    """Processes of a cluster that hold `shared`, and do `work(shared, job)`.

    A job whose process is lost is done again, by the one that takes its place.

    Parameters
    ----------
    ray
        What `cluster` gave.
    workers
        How many; fewer where the cluster has fewer processors, or GPUs.
    gpu
        Whether each needs a GPU. Else they share the processors of the cluster.

    Raises
    ------
    VidexplainError : the cluster has no GPU, and one is needed.
    """

    def __init__(
        self, ray: Any, work: Callable[[Any, J], R], shared: Any, *, workers: int, gpu: bool
    ) -> None:
        self._ray = ray
        unit = "GPU" if gpu else "CPU"
        machines = [node["Resources"].get(unit, 0) for node in ray.nodes() if node["Alive"]]
        each, workers = shares([int(has) for has in machines], workers)
        if not workers:
            raise VidexplainError(f"the Ray cluster has no {unit} to work with.")
        actor = ray.remote(
            num_cpus=0 if gpu else each,
            num_gpus=1 if gpu else 0,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )(_Worker)
        self._shared = [ray.put(shared)]  # in a list Ray leaves it to the worker to fetch it
        self._workers = [actor.remote(work) for _ in range(workers)]

    def in_order(
        self, jobs: Iterable[tuple[T, J]], check: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[T, R]]:
        """For each (tag, job) the tag and the job's result, in order, while others are in work.

        Parameters
        ----------
        check
            Called every now and then while there is nothing to do but wait; may raise.

        Raises
        ------
        VidexplainError : a worker could not start, or was lost again and again. What `work` raises comes through.
        """
        load = dict.fromkeys(self._workers, _AHEAD)  # who has not started yet gets no job
        running = {worker.start.remote(self._shared): (worker, _AHEAD) for worker in self._workers}
        waiting: deque[tuple[T, Any]] = deque()

        def settle(wanted: Callable[[], bool]) -> None:
            """Notes what has ended, and waits until what is `wanted` has come."""
            while True:
                ended, _ = self._ray.wait(list(running), num_returns=len(running), timeout=0)
                for reference in ended:
                    worker, freed = running.pop(reference)
                    load[worker] -= freed
                    if freed == _AHEAD:
                        self._get(reference)  # a worker that cannot start says so here
                if wanted():
                    return
                check()
                self._ray.wait(list(running), timeout=_POLL)

        def has_room() -> bool:
            return min(load.values()) < _AHEAD

        def has_first() -> bool:
            return waiting[0][1] not in running

        for tag, job in jobs:
            settle(has_room)
            worker = min(self._workers, key=load.__getitem__)
            reference = worker.work.remote(self._shared, job)
            load[worker] += 1
            running[reference] = (worker, 1)
            waiting.append((tag, reference))
            while waiting and (has_first() or len(waiting) >= _AHEAD * len(self._workers)):
                settle(has_first)
                first, reference = waiting.popleft()
                yield first, self._get(reference)
        while waiting:
            settle(has_first)
            first, reference = waiting.popleft()
            yield first, self._get(reference)

    def _get(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise VidexplainError(
                f"workers of the Ray cluster were lost, or could not start ({type(error).__name__}: {reason})"
            ) from error


class _Worker:
    """What runs in a process of its own. `shared` holds a reference to what is fetched once in its life."""

    def __init__(self, work: Callable[[Any, Any], Any]) -> None:
        self._work = work
        self._shared: Any = None

    def start(self, shared: list[Any]) -> None:
        import ray

        self._shared = ray.get(shared[0])

    def work(self, shared: list[Any], job: Any) -> Any:
        if self._shared is None:  # this one took the place of one that was lost
            self.start(shared)
        return self._work(self._shared, job)


def shares(machines: Sequence[int], workers: int) -> tuple[int, int]:
    """How many units each of at most `workers` gets, and how many workers there is room for.

    Parameters
    ----------
    machines
        Units (processors, or GPUs) of each machine; a worker's are all on one.
    """
    workers = min(workers, sum(machines))
    each = next(
        (n for n in range(max(machines, default=0), 0, -1) if sum(m // n for m in machines) >= workers), 0
    )
    return each, workers
