"""A Ray cluster: work whose results come as they are ready, or in order; workers that are lost are replaced."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from videxplain.errors import VidexplainError

_AHEAD = 2  # jobs that a worker has: one in work, and one that waits for it
_RETRIES = 2  # how often a job is done again after its worker was lost, where results come in order
_POLL = 0.1  # seconds after which whoever waits looks whether all is to stop
J = TypeVar("J")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """The module `ray` inside a cluster: the one that RAY_ADDRESS names, or one on this machine for as long as needed.

    Raises
    ------
    VidexplainError : Ray is not installed, or too few workers are asked for.
    """
    ray = _ray_for(workers)
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _ray_for(workers: int) -> Any:
    try:
        import ray
    except ModuleNotFoundError:
        raise VidexplainError(
            "the Ray engine needs Ray; install it with pip install 'videxplain[ray]'."
        ) from None
    if workers < 1:
        raise VidexplainError(f"the Ray engine cannot work with {workers} workers.")
    return ray


def in_processes(
    work: Callable[[S, J], R], shared: S, jobs: Sequence[J], *, workers: int, gpu: bool
) -> Iterator[tuple[int, R | str]]:
    """Does `work(shared, job)` for each job, `workers` at a time; yields (index, result) as they come.

    A job whose process is lost is done again once; lost a second time, a sentence stands for its result.

    Raises
    ------
    VidexplainError : as `cluster`.
    """
    with cluster(workers) as ray:
        task = ray.remote(**_units(gpu), max_retries=1)(work)
        everywhere = ray.put(shared)
        waiting = deque(enumerate(jobs))
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < workers:
                index, job = waiting.popleft()
                running[task.remote(everywhere, job)] = index
            (done, *_), _ = ray.wait(list(running))
            index = running.pop(done)
            try:
                yield index, ray.get(done)
            except ray.exceptions.RayError as error:
                yield index, f"its process was lost twice ({type(error).__name__})."


def by_actors(
    work: Callable[[S, J], R], shared: S, jobs: Sequence[J], *, workers: int, gpu: bool
) -> Iterator[R]:
    """Does `work(shared, job)` for each job on `workers` actors that hold `shared`; yields results as they come.

    A job whose actor is lost is done again by its successor, however often that is.

    Raises
    ------
    VidexplainError : as `cluster`.
    """
    if not jobs:
        _ray_for(workers)
        return
    with cluster(workers) as ray:
        from ray.util import ActorPool

        actor = ray.remote(**_units(gpu), max_restarts=-1, max_task_retries=-1)(_Actor)
        everywhere = [ray.put(shared)]
        pool = ActorPool([actor.remote(work) for _ in range(min(workers, len(jobs)))])
        yield from pool.map_unordered(lambda one, job: one.work.remote(everywhere, job), list(jobs))


class Workers(Generic[S, J, R]):
    """Actors of a cluster that hold `shared`, and do `work(shared, job)`.

    A job whose actor is lost is done again, by the one that takes its place.

    Parameters
    ----------
    ray
        What `cluster` yields.
    workers
        How many; fewer where the cluster has fewer processors, or GPUs.
    gpu
        Whether each needs a GPU. Else they share the processors of the cluster.

    Raises
    ------
    VidexplainError : the cluster has no GPU, and one is needed.
    """

    def __init__(self, ray: Any, work: Callable[[S, J], R], shared: S, *, workers: int, gpu: bool) -> None:
        self._ray = ray
        unit = "GPU" if gpu else "CPU"
        machines = [node["Resources"].get(unit, 0) for node in ray.nodes() if node["Alive"]]
        each, workers = shares([int(units) for units in machines], workers)
        if not workers:
            raise VidexplainError(f"the Ray cluster has no {unit} to work with.")
        actor = ray.remote(**_units(gpu, each), max_restarts=-1, max_task_retries=_RETRIES)(_Actor)
        self._shared = [ray.put(shared)]
        self._actors = [actor.remote(work) for _ in range(workers)]

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
        load = dict.fromkeys(self._actors, _AHEAD)  # who has not started yet gets no job
        running = {actor.start.remote(self._shared): (actor, _AHEAD) for actor in self._actors}
        waiting: deque[tuple[T, Any]] = deque()

        def settle(wanted: Callable[[], bool]) -> None:
            """Notes what has ended, and waits until what is `wanted` has come."""
            while True:
                ended, _ = self._ray.wait(list(running), num_returns=len(running), timeout=0)
                for reference in ended:
                    actor, freed = running.pop(reference)
                    load[actor] -= freed
                    if freed == _AHEAD:
                        self._get(reference)  # a worker that cannot start says so here
                if wanted():
                    return
                check()
                self._ray.wait(list(running), timeout=_POLL)

        def one_is_free() -> bool:
            return min(load.values()) < _AHEAD

        def has_first() -> bool:
            return waiting[0][1] not in running

        for tag, job in jobs:
            settle(one_is_free)
            actor = min(self._actors, key=load.__getitem__)
            reference = actor.work.remote(self._shared, job)
            load[actor] += 1
            running[reference] = (actor, 1)
            waiting.append((tag, reference))
            while waiting and (has_first() or len(waiting) >= _AHEAD * len(self._actors)):
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


class _Actor:
    """What runs in a process of its own.

    It gets a list with the reference to what is shared, which in a list Ray leaves it to the actor to fetch: once.
    """

    def __init__(self, work: Callable[[Any, Any], Any]) -> None:
        self._work = work
        self._shared: Any = None

    def start(self, shared: list[Any]) -> None:
        import ray

        self._shared = ray.get(shared[0])

    def work(self, shared: list[Any], job: Any) -> Any:
        if self._shared is None:  # not started, or in the place of one that was lost
            self.start(shared)
        return self._work(self._shared, job)


def _units(gpu: bool, processors: int = 1) -> dict[str, int]:
    """What Ray sets aside for a process."""
    return {"num_cpus": 0 if gpu else processors, "num_gpus": 1 if gpu else 0}


def shares(machines: Sequence[int], workers: int) -> tuple[int, int]:
    """How many units each of at most `workers` gets, and for how many workers there are units.

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
