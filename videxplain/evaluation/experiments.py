"""The experiments: what each measures on one item, as rows of a table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from videxplain.attribution.methods import METHODS, RegionMethod
from videxplain.errors import VidexplainError
from videxplain.evaluation.item import Item
from videxplain.evaluation.measures import (
    agreement,
    area_under_curve,
    best_first,
    localization,
    rank_correlation,
    removed_until_change,
)
from videxplain.models import Classifier
from videxplain.registry import Registry

Row = dict[str, Any]


@dataclass(frozen=True)
class Measure:
    """A column of numbers.

    Attributes
    ----------
    title : its heading.
    percent : shown as a percentage.
    higher_is_better : None where neither is.
    """

    title: str
    percent: bool = True
    higher_is_better: bool | None = True


@dataclass(frozen=True)
class Experiment:
    """An experiment.

    Attributes
    ----------
    summary : one line for the command line.
    measures : its columns.
    rows : (item) -> rows, each with "method", perhaps "layer", and a number per measure.
    by_layer : whether rows differ by "layer" too.
    needs_mask : whether items without a true mask are skipped.
    """

    summary: str
    measures: dict[str, Measure]
    rows: Callable[[Item], Iterator[Row]]
    by_layer: bool = False
    needs_mask: bool = False


EXPERIMENTS: Registry[Experiment] = Registry("experiment")


def _each(item: Item) -> Iterator[tuple[str, np.ndarray, float]]:
    """Method, scores and seconds of each row asked for; methods that this network cannot serve are left out."""
    for row in item.settings.rows:
        try:
            scored = item.scored(row)
        except VidexplainError as error:
            item.notes[row] = str(error)
            continue
        yield row, scored.scores, scored.seconds


def _removal(item: Item) -> Iterator[Row]:
    clip = item.masked()
    for method, scores, seconds in _each(item):
        order = best_first(scores)
        yield {
            "method": method,
            "worst": removed_until_change(clip, order[::-1]),
            "best": removed_until_change(clip, order),
            "seconds": seconds,
        }


EXPERIMENTS.register("removal")(
    Experiment(
        "share of supervoxels that can be removed, worst or best first, until the class changes (section 4.1)",
        {"worst": Measure("worst first"), "best": Measure("best first", higher_is_better=False)},
        _removal,
    )
)


def _agreement(item: Item) -> Iterator[Row]:
    reference = item.reference()
    for method, scores, seconds in _each(item):
        yield {"method": method, **agreement(scores, reference), "seconds": seconds}


EXPERIMENTS.register("agreement")(
    Experiment(
        "whether the top supervoxel is among the top 1 and top 5 of the reference, a LIME (section 4.2)",
        {
            "top1": Measure("k = 1"),
            "top5": Measure("k = 5"),
            "rank": Measure("rank correlation", percent=False),
        },
        _agreement,
    )
)


def _localization(item: Item) -> Iterator[Row]:
    assert item.mask is not None
    for method, scores, seconds in _each(item):
        yield {"method": method, **localization(item.labels, scores, item.mask), "seconds": seconds}


EXPERIMENTS.register("localization")(
    Experiment(
        "whether the scores point at the true mask: centre of the top supervoxel, pointing game, energy, IoU",
        {
            "centre": Measure("centre in mask"),
            "pointing": Measure("pointing game"),
            "energy": Measure("energy in mask"),
            "iou": Measure("IoU"),
        },
        _localization,
        needs_mask=True,
    )
)


def _curves(item: Item) -> Iterator[Row]:
    clip = item.masked()
    for method, scores, seconds in _each(item):
        order = best_first(scores)
        steps = item.settings.steps
        yield {
            "method": method,
            "insertion": area_under_curve(clip, order, insertion=True, steps=steps),
            "deletion": area_under_curve(clip, order, insertion=False, steps=steps),
            "seconds": seconds,
        }


EXPERIMENTS.register("curves")(
    Experiment(
        "areas under the probability while supervoxels are inserted or deleted best first (Petsiuk et al. 2018)",
        {
            "insertion": Measure("insertion", percent=False),
            "deletion": Measure("deletion", percent=False, higher_is_better=False),
        },
        _curves,
    )
)


def _timing(item: Item) -> Iterator[Row]:
    """Medians of three runs each, one after the other in turn, after one that does not count."""
    rows = [row for row in item.settings.rows if row != "random"]
    taken: dict[str, list[float]] = {}
    for repeat in range(4):
        for row in rows:
            try:
                seconds = item.scored(row, alone=True).seconds
            except VidexplainError as error:
                item.notes[row] = str(error)
                continue
            if repeat:
                taken.setdefault(row, []).append(seconds)
    for row, times in taken.items():
        scoring = float(np.median(times))
        yield {
            "method": row,
            "scoring": scoring,
            "explanation": scoring + item.segmentation_seconds,
            "seconds": scoring,
        }


EXPERIMENTS.register("timing")(
    Experiment(
        "seconds per explanation, without and with the segmentation (section 4.3)",
        {
            "scoring": Measure("scoring, s", percent=False, higher_is_better=False),
            "explanation": Measure("with segmentation, s", percent=False, higher_is_better=False),
        },
        _timing,
    )
)


def randomized(model: Classifier, seed: int = 0) -> Iterator[tuple[str, Classifier]]:
    """Copies of a model whose last 1, 2, ... layers have random weights (Adebayo et al. 2018, cascading).

    Each tensor of weights is drawn anew from a normal distribution of its own mean and deviation, so that
    activations keep their size. Yields the name of the layer last made random, and the copy, which the next step
    goes on to change.
    """
    copied = copy.copy(model)
    copied.net = copy.deepcopy(model.net)
    generator = torch.Generator().manual_seed(seed)
    layers = [
        (name, module)
        for name, module in copied.net.named_modules()
        if any(p.ndim > 1 for p in module.parameters(recurse=False))
    ]
    for name, module in reversed(layers):
        _redraw(module, generator)
        yield name, copied


@torch.no_grad()
def _redraw(module: nn.Module, generator: torch.Generator) -> None:
    for parameter in module.parameters(recurse=False):
        values = parameter.detach().cpu().float()
        spread = values.std() if values.numel() > 1 else torch.tensor(1.0)
        drawn = torch.randn(parameter.shape, generator=generator) * spread + values.mean()
        parameter.copy_(drawn.to(parameter))


def _sanity(item: Item) -> Iterator[Row]:
    """Scores per voxel are compared: sums would agree for the supervoxels' sizes alone."""
    size = np.bincount(item.labels.ravel())
    before = {
        method: (scores, seconds)
        for method, scores, seconds in _each(item)
        if method in METHODS and not isinstance(METHODS[method], RegionMethod)
    }
    trained = item.model
    try:
        for layer, model in randomized(trained, item.settings.seed):
            item.model = model
            for method, (scores, seconds) in before.items():
                changed = item.scored(method).scores
                yield {
                    "method": method,
                    "layer": layer,
                    "rank": rank_correlation(scores / size, changed / size),
                    "seconds": seconds,
                }
    finally:
        item.model = trained


EXPERIMENTS.register("sanity")(
    Experiment(
        "rank correlation with the scores of a network made random layer by layer (Adebayo et al. 2018)",
        {"rank": Measure("rank correlation", percent=False, higher_is_better=False)},
        _sanity,
        by_layer=True,
    )
)
