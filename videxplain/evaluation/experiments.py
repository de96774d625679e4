"""The experiments: what each measures on one item, as rows of a table.

What takes long to import is imported when an experiment runs, so that names and summaries are there at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from videxplain.errors import VidexplainError
from videxplain.registry import Registry

if TYPE_CHECKING:
    import numpy as np

    from videxplain.evaluation.item import Item
    from videxplain.settings import Fill

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
    by_method : whether its rows are the methods asked for; else it has rows of its own.
    fine_tunes : whether it judges on a network that was fine-tuned on items which it does not judge.
    """

    summary: str
    measures: dict[str, Measure]
    rows: Callable[[Item], Iterator[Row]]
    by_layer: bool = False
    needs_mask: bool = False
    by_method: bool = True
    fine_tunes: bool = False


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
    import torch

    from videxplain.evaluation.measures import best_first, removed_until_change

    clip = item.masked()
    shown = torch.ones(1, clip.num_segments).to(clip.x)
    if not bool(item.model.answers.decides(clip.probabilities(shown), item.target)):
        raise VidexplainError(
            f"{item.name}: the network gives {item.model.class_names[item.target]!r} {item.probability:.0%} and so "
            "does not decide for it; there is no decision that removal could change."
        )
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
    from videxplain.evaluation.measures import agreement

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
    from videxplain.evaluation.measures import localization

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
    from videxplain.evaluation.measures import area_under_curve, best_first

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


FILLS: tuple[Fill, ...] = ("grey", "mean", "blur", "noise", "still")
"""What `fills` hides supervoxels by; of networks of single frames without the last."""


def _fills(item: Item) -> Iterator[Row]:
    """Insertion minus deletion under each fill, and how far these are apart."""
    from statistics import pstdev

    from videxplain.evaluation.measures import area_under_curve, best_first

    moves = item.x.shape[2] > 1 and not item.model.is_image_model
    clips = {fill: item.masked(fill) for fill in FILLS if moves or fill != "still"}
    steps = item.settings.steps
    for method, scores, seconds in _each(item):
        order = best_first(scores)
        gains: dict[str, float] = {
            fill: area_under_curve(clip, order, insertion=True, steps=steps)
            - area_under_curve(clip, order, insertion=False, steps=steps)
            for fill, clip in clips.items()
        }
        still = gains.get("still", float("nan"))
        yield {
            "method": method,
            **gains,
            "still": still,
            "spread": pstdev(gains.values()),
            "seconds": seconds,
        }


EXPERIMENTS.register("fills")(
    Experiment(
        "insertion minus deletion under several fills, and how far these disagree",
        {
            **{fill: Measure(fill, percent=False) for fill in FILLS},
            "spread": Measure("deviation", percent=False, higher_is_better=None),
        },
        _fills,
    )
)


def _fidelity(item: Item) -> Iterator[Row]:
    import numpy as np

    from videxplain.evaluation.fidelity import f_fidelity

    clip = item.masked(model=item.fine_tuned)
    for method, scores, seconds in _each(item):
        draw = np.random.default_rng(item.seed("fidelity"))
        yield {"method": method, **f_fidelity(clip, scores, draw), "seconds": seconds}


EXPERIMENTS.register("fidelity")(
    Experiment(
        "F-Fidelity: what removal from the explanation does beside any other, fine-tuned to it (Zheng et al. 2024)",
        {
            "fidelity": Measure("F-Fidelity", percent=False),
            "plus": Measure("FFid+", percent=False),
            "minus": Measure("FFid-", percent=False, higher_is_better=False),
        },
        _fidelity,
        fine_tunes=True,
    )
)

NOISE = 2 / 255
"""Deviation of the noise that `stability` adds to a clip, of the full range of its values."""


def _stability(item: Item) -> Iterator[Row]:
    """Which of the first five a method finds again: with another seed, with noise, and one frame later."""
    import numpy as np

    from videxplain.evaluation.measures import shared_first
    from videxplain.evaluation.rows import Row

    later = np.minimum(np.arange(len(item.labels)) + 1, len(item.labels) - 1)
    changed = {"noise": (item.noisy(NOISE), item.labels)}
    if len(later) > 1:
        changed["later"] = replace(item.clip, frames=item.clip.frames[later]), item.labels[later]
    for method, scores, seconds in _each(item):
        again = item.scored(method, draw=1).scores if "seed" in Row.parse(method).method.options() else scores
        shares = {"later": float("nan"), "seed": shared_first(scores, again)}
        for name, (clip, labels) in changed.items():
            other = item.explained(method, clip=clip, labels=labels)
            shares[name] = shared_first(scores, np.asarray(other.scores))
        yield {"method": method, **shares, "seconds": seconds}


EXPERIMENTS.register("stability")(
    Experiment(
        "share of the first five found again: with another seed, with noise in the clip, and one frame later",
        {"seed": Measure("other seed"), "noise": Measure("noise"), "later": Measure("one frame later")},
        _stability,
    )
)


def _timing(item: Item) -> Iterator[Row]:
    """Medians of three runs each, one after the other in turn, after one that does not count."""
    from statistics import median

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
        scoring = median(times)
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


def _sanity(item: Item) -> Iterator[Row]:
    """Scores per voxel are compared: sums would agree for the supervoxels' sizes alone."""
    import numpy as np

    from videxplain.evaluation.measures import rank_correlation
    from videxplain.evaluation.rows import Row
    from videxplain.models.randomized import randomized

    size = np.bincount(item.labels.ravel())
    before = {
        method: (scores, seconds)
        for method, scores, seconds in _each(item)
        if Row.parse(method).method.needs is not None
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


def _evidence(item: Item) -> Iterator[Row]:
    """Starts of each method's order, without what they can do without; a set under one fill is verified by others."""
    import torch

    from videxplain.explanations.evidence import FILLS, find, panel_of, usable_of, verdicts

    query = item.query()
    fills = usable_of(FILLS, item.x)
    panel = panel_of(query, list(dict.fromkeys([item.fill, *fills])), seed=item.seed("fill"))
    searched = panel.only([item.fill])
    for method, scores, seconds in _each(item):
        sizes, verified = {}, []
        for side in ("keeps", "destroys"):
            part = find(searched, query, side, torch.from_numpy(scores), thorough=False)
            sizes[side] = 1.0 if part is None else len(part) / item.num_segments
            agrees = part is not None and all(v.agrees for v in verdicts(panel, query, side, part.ids))
            verified.append(float(agrees))
        yield {"method": method, **sizes, "verified": sum(verified) / 2, "seconds": seconds}


EXPERIMENTS.register("evidence")(
    Experiment(
        "share of supervoxels that keep the class alone, and that destroy it hidden alone, by each method's order",
        {
            "keeps": Measure("keeps", higher_is_better=False),
            "destroys": Measure("destroys", higher_is_better=False),
            "verified": Measure("verified under all fills"),
        },
        _evidence,
    )
)


def _motion(item: Item) -> Iterator[Row]:
    """A row for each way to take motion away: its static-bias index, and whether the class stays."""
    import time

    from videxplain.explanations.motion import CHANGES, HIDDEN, share_of, whole_clip_losses

    if item.model.is_image_model or item.x.shape[2] < 2:
        raise VidexplainError("networks of images and clips of one frame have no motion.")
    start = time.perf_counter()
    losses = whole_clip_losses(item.query(), "log-odds")
    seconds = time.perf_counter() - start
    if not losses[HIDDEN].lost > 0:
        raise VidexplainError(f"{item.name}: a grey clip is no less of its class, so nothing was lost.")
    for change in CHANGES:
        if change != HIDDEN:
            bias = 1 - share_of(losses, change)
            yield {"method": change, "bias": bias, "same": losses[change].stays, "seconds": seconds}


EXPERIMENTS.register("motion")(
    Experiment(
        "static bias: how much of the class a clip keeps that stands still, is shuffled or runs backwards",
        {
            "bias": Measure("static bias", higher_is_better=None),
            "same": Measure("same class", higher_is_better=None),
        },
        _motion,
        by_method=False,
    )
)
