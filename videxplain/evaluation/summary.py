"""From rows of items to a table of methods, with confidence intervals."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import kendalltau

from videxplain.evaluation.experiments import EXPERIMENTS
from videxplain.evaluation.runner import Results
from videxplain.explanations.verdict import ALL_UNCHANGED, HEAD_UNCHANGED

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """Mean over items, with its bootstrap interval of 95%."""

    mean: float
    low: float
    high: float
    items: int


@dataclass(frozen=True)
class Line:
    """A method's line in a table; `layer` is "" where the experiment has no layers."""

    method: str
    segments: int
    layer: str
    values: dict[str, Interval]
    seconds: float


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Mean of `values` and the percentile interval of 2,000 seeded resamples; those that are NaN are left out."""
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    means = numbers[rng.integers(len(numbers), size=(RESAMPLES, len(numbers)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(numbers.mean()), float(low), float(high), len(numbers))


def summarise(results: Results) -> list[Line]:
    """A line per method, number of supervoxels and layer, in the order of the rows asked for."""
    measures = EXPERIMENTS[results.experiment].measures
    groups: dict[tuple[int, str, str], list[dict]] = {}
    for row in results.rows:
        groups.setdefault((row["segments"], row["method"], row["layer"] or ""), []).append(row)
    order = {method: place for place, method in enumerate(results.settings.rows)}
    places = {key: place for place, key in enumerate(groups)}
    lines = []
    for key in sorted(groups, key=lambda k: (k[0], order.get(k[1], 0), places[k])):
        rows = groups[key]
        lines.append(
            Line(
                key[1],
                key[0],
                key[2],
                {name: bootstrap([row[name] for row in rows]) for name in measures},
                float(np.median([row["seconds"] for row in rows])),
            )
        )
    return lines


def caveats(results: Results) -> list[str]:
    """What the sanity check says against methods: a sentence for each whose scores outlive the weights.

    Scores that hardly change when the last layer becomes random cannot tell what it has learned, the class among it;
    scores that still agree when every layer is random show the clip rather than the network (Adebayo et al. 2018).
    """
    if results.experiment != "sanity":
        return []
    lines = summarise(results)
    sentences = []
    for method in dict.fromkeys(line.method for line in lines):
        own = [line for line in lines if line.method == method]
        head, whole = own[0].values["rank"], own[-1].values["rank"]
        if whole.low > ALL_UNCHANGED:
            sentences.append(
                f"{method} fails: with every layer random its scores still agree with those of the trained network "
                f"(rank correlation {show(whole, percent=False)}), so they show the clip more than the network."
            )
        elif head.low > HEAD_UNCHANGED:
            sentences.append(
                f"{method} fails: with a random {own[0].layer} its scores hardly change (rank correlation "
                f"{show(head, percent=False)}), so they say little of what sets this class apart from others."
            )
    return sentences


def measure_agreement(results: Results) -> list[str]:
    """How far the measures agree on which method is better: Kendall's tau of each pair, over the methods' means.

    A sentence each, none of fewer than three methods: no measure of faithfulness stands alone (Klein et al. 2024).
    """
    experiment = EXPERIMENTS[results.experiment]
    ranked = {
        name: measure for name, measure in experiment.measures.items() if measure.higher_is_better is not None
    }
    if experiment.by_layer or not experiment.by_method:
        return []
    sentences = []
    for segments in results.settings.segments:
        lines = [line for line in summarise(results) if line.segments == segments]
        if len(lines) < 3:
            continue
        means = {
            name: [line.values[name].mean * (1 if measure.higher_is_better else -1) for line in lines]
            for name, measure in ranked.items()
        }
        of = f" with {segments} supervoxels" if len(results.settings.segments) > 1 else ""
        for (one, first), (other, second) in itertools.combinations(means.items(), 2):
            tau = kendalltau(first, second).statistic
            if np.isfinite(tau):
                titles = f"{ranked[one].title} and {ranked[other].title}"
                sentences.append(f"{titles} rank the methods{of} with Kendall's tau {tau:+.2f}.")
    return sentences


def to_csv(results: Results) -> str:
    """The table as CSV; the same results give the same bytes, however often their run was broken off."""
    measures = EXPERIMENTS[results.experiment].measures
    layered = EXPERIMENTS[results.experiment].by_layer
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ["segments", "method", *(["layer"] if layered else []), "items"]
    for name in measures:
        head += [name, f"{name}_low", f"{name}_high"]
    writer.writerow(head)
    for line in summarise(results):
        first = next(iter(line.values.values()))
        cells: list[object] = [line.segments, line.method, *([line.layer] if layered else []), first.items]
        for value in line.values.values():
            cells += [f"{number:.6g}" for number in (value.mean, value.low, value.high)]
        writer.writerow(cells)
    return out.getvalue()


def to_text(results: Results) -> str:
    """The table for a terminal."""
    experiment = EXPERIMENTS[results.experiment]
    several = len(results.settings.segments) > 1
    head = [*(["segments"] if several else []), "method", *(["layer"] if experiment.by_layer else [])]
    head += [measure.title for measure in experiment.measures.values()]
    body = []
    for line in summarise(results):
        cells = [*([str(line.segments)] if several else []), line.method]
        cells += [line.layer] if experiment.by_layer else []
        cells += [
            show(line.values[name], percent=measure.percent) for name, measure in experiment.measures.items()
        ]
        body.append(cells)
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    rows = [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [head, *body]
    ]
    return "\n".join(rows)


def show(value: Interval, *, percent: bool) -> str:
    """An estimate with half the width of its interval."""
    scale, digits = (100, 1) if percent else (1, 3)
    half = (value.high - value.low) / 2 * scale
    return f"{value.mean * scale:.{digits}f}{'%' if percent else ''} ±{half:.{digits}f}"
