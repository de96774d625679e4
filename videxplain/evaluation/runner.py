"""Runs an experiment over a data set: resumable, in parts, on one machine or a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from videxplain import __version__
from videxplain.cluster import by_actors
from videxplain.errors import VidexplainError
from videxplain.evaluation.datasets import Dataset
from videxplain.evaluation.experiments import EXPERIMENTS
from videxplain.evaluation.fidelity import fine_tuned, training_items
from videxplain.evaluation.item import Item, ReferenceCache
from videxplain.evaluation.rows import EvaluationSettings
from videxplain.evaluation.store import Store
from videxplain.files import whole_file
from videxplain.models import Classifier
from videxplain.models.randomized import with_own_weights
from videxplain.settings import Execution, Run, as_settings
from videxplain.terminal import shown

_WEIGHTS = "fine-tuned.pt"
_COMMON = ("seconds", "probability", "correct")


@dataclass(frozen=True)
class Results:
    """What a run has found.

    Attributes
    ----------
    experiment, model, data, settings : what was run.
    rows : one per item, method, number of supervoxels and layer.
    items : how many items are in it; wanted : how many there are to be.
    skipped : name and reason of each item that could not be evaluated.
    notes : why a method is missing, by method.
    """

    experiment: str
    model: str
    data: str
    settings: EvaluationSettings
    rows: list[dict[str, Any]]
    items: int
    wanted: int
    skipped: list[tuple[str, str]]
    notes: dict[str, str]


class Worker:
    """Evaluates items one by one and keeps what it finds; also the actor of a cluster."""

    def __init__(
        self,
        experiment: str,
        model: Classifier,
        dataset: Dataset,
        settings: EvaluationSettings,
        folder: Path,
        cache: Path | None = None,
        judged: int | None = None,
    ) -> None:
        self.experiment = EXPERIMENTS[experiment]
        self.model, self.dataset, self.settings = model, dataset, settings
        digest = model.fingerprint()
        self.cache = None if cache is None else ReferenceCache(cache, digest)
        identity = {
            "experiment": experiment,
            "model": model.name,
            "weights": digest,
            "data": dataset.identity,
            "state of the data": getattr(dataset, "digest", dataset.identity),
            "settings": asdict(settings),
            "version": __version__,
        }
        self.training: range | None = None
        if self.experiment.fine_tunes:
            self.training = training_items(len(dataset), len(dataset) if judged is None else judged)
            identity["fine-tuned on"] = [self.training[0], self.training[-1]]
        self.store = Store(folder, identity, (*self.experiment.measures, *_COMMON))

    def work(self, index: int) -> str | None:
        """Evaluate one item, unless that is done; returns why it was skipped, if it was."""
        if self.store.has(index):
            return None
        name = self.dataset.name(index)
        try:
            rows = list(self._rows(index, name))
        except (VidexplainError, OSError, ValueError) as error:
            self.store.write(index, [{"name": name, "skipped": str(error)}])
            return f"{name}: {error}"
        self.store.write(index, rows)
        return None

    @cached_property
    def fine_tuned(self) -> Classifier | None:
        """The network that is judged on, where that is another one: made once, and kept beside the results."""
        if self.training is None:
            return None
        path = self.store.folder / _WEIGHTS
        if path.exists():
            tuned = with_own_weights(self.model)
            tuned.net.load_state_dict(torch.load(path, map_location=self.model.device, weights_only=True))
            return tuned

        def load(index: int) -> Item:
            options = {"clip_length": self.model.clip_length, "stride": self.settings.stride}
            sample = self.dataset.load(index, **options)
            return Item(
                self.model, sample, self.dataset.name(index), self.settings, self.settings.segments[0]
            )

        tuned = fine_tuned(self.model, self.training, load, seed=self.settings.seed)
        with whole_file(path) as scratch:
            torch.save(tuned.net.state_dict(), scratch)
        return tuned

    def _rows(self, index: int, name: str) -> Iterator[dict[str, Any]]:
        sample = self.dataset.load(index, clip_length=self.model.clip_length, stride=self.settings.stride)
        for segments in self.settings.segments:
            item = Item(self.model, sample, name, self.settings, segments, self.cache, self.fine_tuned)
            if self.experiment.needs_mask and (item.mask is None or not item.mask.any()):
                raise VidexplainError("it has no mask to compare with.")
            common = {
                "name": name,
                "segments": segments,
                "supervoxels": item.num_segments,
                "probability": item.probability,
                "correct": None if item.correct is None else float(item.correct),
            }
            for row in self.experiment.rows(item):
                yield common | row
            for method, note in item.notes.items():
                yield common | {"method": method, "skipped": note}


def evaluate(
    experiment: str,
    model: Classifier,
    dataset: Dataset,
    folder: Path,
    settings: EvaluationSettings | None = None,
    run: Run | None = None,
    execution: Execution | None = None,
) -> Results:
    """Run an experiment; what an earlier run of the same settings has done in `folder` is not done again.

    Parameters
    ----------
    experiment
        A name from `EXPERIMENTS`.
    folder
        For the results; killed at any moment, the same call goes on where it stopped.
    settings
        How items are explained.
    run
        Which items are taken.
    execution
        Where items are evaluated; of a cluster all machines have to share `folder`.

    Returns
    -------
    Results
        Of all items within the run's limit that are done, whichever shard did them.
    """
    settings = as_settings(settings, EvaluationSettings, "settings")
    run, execution = as_settings(run, Run, "run"), as_settings(execution, Execution, "execution")
    indices = range(min(len(dataset), run.limit) if run.limit else len(dataset))
    cache = run.cache or folder / "references"
    worker = Worker(experiment, model, dataset, settings, folder, cache, len(indices))
    part, parts = run.shard
    shard = indices[part - 1 :: parts]
    todo = [index for index in shard if not worker.store.has(index)]
    if todo:
        _ = worker.fine_tuned  # made before items are shared out
    bar = tqdm(total=len(shard), unit="item", desc=experiment, disable=not execution.progress)
    bar.update(bar.total - len(todo))
    if execution.engine == "ray":  # into a folder that all machines share
        gpu = model.device.type == "cuda"
        done = by_actors(Worker.work, worker, todo, workers=execution.workers, gpu=gpu)
    else:
        done = (worker.work(index) for index in todo)
    with bar:
        for complaint in done:
            if complaint:
                bar.write(f"skipped {shown(complaint)}")
            bar.update()
    return collect(worker, experiment, indices)


def collect(worker: Worker, experiment: str, indices: Sequence[int]) -> Results:
    """Results of a run as far as it has come."""
    rows = worker.store.rows(indices)
    items = {row["item"] for row in rows}
    skipped = [(row["name"], row["skipped"]) for row in rows if row["skipped"] and not row["method"]]
    notes = {row["method"]: row["skipped"] for row in rows if row["skipped"] and row["method"]}
    return Results(
        experiment,
        worker.model.name,
        worker.dataset.identity,
        worker.settings,
        [row for row in rows if not row["skipped"]],
        len(items) - len(skipped),
        len(indices),
        skipped,
        notes,
    )
