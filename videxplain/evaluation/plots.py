"""Plots of a run, as PNG bytes. Matplotlib without a display."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from videxplain.evaluation.experiments import EXPERIMENTS
from videxplain.evaluation.runner import Results
from videxplain.evaluation.summary import Line, bootstrap, summarise

OURS, LIME, RANDOM = "#1f6f8b", "#d1702a", "#888888"


def _colour(method: str) -> str:
    return RANDOM if method == "random" else LIME if method.startswith("lime") else OURS


def _marks(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, dash and marker by method, no two alike: LIME in oranges, darker with its samples, chance in black."""
    import matplotlib

    methods = list(dict.fromkeys(methods))
    lime = [name for name in methods if name.startswith("lime")]
    marks = {}
    for place, name in enumerate(lime):
        colour = matplotlib.colormaps["Oranges"](0.35 + 0.6 * (place + 1) / len(lime))
        marks[name] = {"color": colour, "linestyle": "--", "marker": "o"}
    palette = [matplotlib.colormaps["tab10"](index) for index in range(10) if index != 1]  # 1 is orange
    for place, name in enumerate(name for name in methods if name not in marks and name != "random"):
        again, index = divmod(place, len(palette))
        marks[name] = {
            "color": palette[index],
            "linestyle": ("-", "-.", ":")[again % 3],
            "marker": "sDv^<>"[again % 6],
        }
    marks["random"] = {"color": "#000000", "linestyle": ":", "marker": "x"}
    return {name: marks[name] | {"markersize": 5} for name in methods}


def _legend(figure: Any, axis: Any) -> None:
    """One legend for all axes, beside them: inside it would hide what fifteen methods draw."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=7)


def plots(results: Results) -> dict[str, bytes]:
    """Title to PNG: each measure by method, measures against time, and what the experiment has besides."""
    import matplotlib

    matplotlib.use("Agg")
    lines = summarise(results)
    if not lines:
        return {}
    found = {}
    experiment = EXPERIMENTS[results.experiment]
    if experiment.by_layer:
        found["Rank correlation while layers become random, from the last to the first"] = _by_layer(lines)
        return found
    fewest = lines[0].segments
    first = [line for line in lines if line.segments == fewest]
    sweep = f", {fewest} supervoxels" if len(results.settings.segments) > 1 else ""
    found[f"Means and 95% bootstrap intervals{sweep}"] = _bars(results, first)
    if results.experiment == "removal":
        kept = "Share of items that keep their class while supervoxels are removed"
        found[f"{kept}{sweep}"] = _survival(results, fewest)
    if results.experiment != "timing" and experiment.by_method:
        found[f"What a method buys per second{sweep}"] = _against_time(results, first)
    if len(results.settings.segments) > 1:
        found["Against the number of supervoxels"] = _against_segments(results, lines)
    return found


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()


def _bars(results: Results, lines: list[Line]) -> bytes:
    measures = EXPERIMENTS[results.experiment].measures
    figure, axes = _figure(1 + 3.2 * len(measures), 0.9 + 0.27 * len(lines), len(measures))
    places = np.arange(len(lines))[::-1]
    for axis, (name, measure) in zip(axes, measures.items(), strict=True):
        scale = 100 if measure.percent else 1
        values = [line.values[name] for line in lines]
        means = np.array([value.mean for value in values]) * scale
        errors = scale * np.array([[v.mean - v.low for v in values], [v.high - v.mean for v in values]])
        axis.barh(
            places, means, xerr=errors, color=[_colour(line.method) for line in lines], ecolor="#333333"
        )
        axis.set_yticks(places, [line.method for line in lines] if axis is axes[0] else [""] * len(lines))
        better = {True: " (more is better)", False: " (less is better)", None: ""}[measure.higher_is_better]
        axis.set_title(f"{measure.title}{', %' if measure.percent else ''}\n{better.strip()}", fontsize=9)
    return _png(figure)


def _survival(results: Results, segments: int) -> bytes:
    figure, axes = _figure(10.5, 3.8, 2)
    grid = np.linspace(0, 1, 101)
    marks = _marks(results.settings.rows)
    for axis, name in zip(axes, ("worst", "best"), strict=True):
        for method in results.settings.rows:
            own = [row for row in results.rows if (row["method"], row["segments"]) == (method, segments)]
            shares = np.array([row[name] for row in own])
            if len(shares):
                kept = (shares[None] > grid[:, None]).mean(axis=1) * 100
                axis.plot(grid * 100, kept, label=method, **(marks[method] | {"marker": None}))
        axis.set_xlabel(f"supervoxels removed, {name} first, %")
        axis.set_ylabel("items of unchanged class, %")
    _legend(figure, axes[0])
    return _png(figure)


def _against_time(results: Results, lines: list[Line]) -> bytes:
    measures = EXPERIMENTS[results.experiment].measures
    figure, axes = _figure(2.5 + 4 * len(measures), 3.8, len(measures))
    marks = _marks(line.method for line in lines)
    for axis, (name, measure) in zip(axes, measures.items(), strict=True):
        scale = 100 if measure.percent else 1
        for line in lines:
            mark = marks[line.method] | {"linestyle": "none"}
            axis.plot(line.seconds, line.values[name].mean * scale, label=line.method, **mark)
        axis.set_xscale("log")
        axis.set_xlabel("seconds per explanation, segmentation left out")
        axis.set_ylabel(f"{measure.title}{', %' if measure.percent else ''}")
    _legend(figure, axes[0])
    return _png(figure)


def _against_segments(results: Results, lines: list[Line]) -> bytes:
    measures = EXPERIMENTS[results.experiment].measures
    figure, axes = _figure(2.5 + 4 * (len(measures) + 1), 3.8, len(measures) + 1)
    marks = _marks(results.settings.rows)
    for method in results.settings.rows:
        own = [line for line in lines if line.method == method]
        counts = [line.segments for line in own]
        for axis, (name, measure) in zip(axes, measures.items(), strict=False):
            scale = 100 if measure.percent else 1
            means = [line.values[name].mean * scale for line in own]
            axis.plot(counts, means, label=method, **marks[method])
            axis.set_ylabel(f"{measure.title}{', %' if measure.percent else ''}")
        axes[-1].plot(counts, [line.seconds for line in own], label=method, **marks[method])
    axes[-1].set_yscale("log")
    axes[-1].set_ylabel("seconds per explanation")
    _legend(figure, axes[-1])
    for axis in axes:
        axis.set_xlabel("supervoxels asked for")
    return _png(figure)


def _by_layer(lines: list[Line]) -> bytes:
    layers = list(dict.fromkeys(line.layer for line in lines))
    figure, (axis,) = _figure(max(7, 0.35 * len(layers) + 3), 4)
    marks = _marks(line.method for line in lines)
    for method in dict.fromkeys(line.method for line in lines):
        own = {line.layer: line.values["rank"] for line in lines if line.method == method}
        values = [own[layer] if layer in own else bootstrap([np.nan]) for layer in layers]
        axis.errorbar(
            range(len(layers)),
            [v.mean for v in values],
            yerr=[[v.mean - v.low for v in values], [v.high - v.mean for v in values]],
            label=method,
            capsize=2,
            **marks[method],
        )
    axis.axhline(0, color="#aaaaaa", linewidth=0.8)
    axis.set_xticks(range(len(layers)), layers, rotation=60, ha="right", fontsize=7)
    axis.set_ylabel("rank correlation with the trained network's")
    _legend(figure, axis)
    return _png(figure)
