"""`report.html`: the tables, the plots, and the best and worst explained items, with pages of these beside it."""

from __future__ import annotations

import base64
import csv
import html
import io
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from videxplain.evaluation.caveats import CAVEATS
from videxplain.evaluation.datasets import Dataset
from videxplain.evaluation.experiments import EXPERIMENTS, Measure
from videxplain.evaluation.item import Item
from videxplain.evaluation.paper import network_of, published
from videxplain.evaluation.plots import plots
from videxplain.evaluation.runner import Results
from videxplain.evaluation.summary import Line, caveats, measure_agreement, show, summarise, to_csv
from videxplain.explanations.explanation import Explanation
from videxplain.files import whole_file
from videxplain.models import Classifier

THUMBNAILS = 3
THUMBNAIL_WIDTH = 448

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 78em; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { padding: .2em .8em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
td.best { font-weight: bold; } td.paper, th.paper { color: #6b6b6b; }
th button { font: inherit; color: inherit; background: none; border: 0; padding: .1em; cursor: pointer;
  text-decoration: underline; }
th button:focus-visible, a:focus-visible { outline: 3px solid #b03a00; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
img { max-width: 100%; }
.items { display: grid; grid-template-columns: repeat(auto-fill, minmax(22em, 1fr)); gap: 1.2em; }
figure { margin: 0; } figure img { width: 100%; }
figcaption { font-size: 13px; }
"""
_SORT = """
for (const table of document.querySelectorAll("table")) {
  const value = (row, column) => {
    const cell = row.cells[column];
    const { value } = cell.dataset; // "" where there is none
    return value === undefined ? cell.textContent : value && Number(value);
  };
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const way = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", way > 0 ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].sort((one, other) => {
      const [a, b] = [value(one, column), value(other, column)];
      if (a === b) return 0;
      if (a === "" || b === "") return a === "" ? 1 : -1;
      return way * (a < b ? -1 : 1);
    });
    table.tBodies[0].append(...rows);
  }));
}
"""


@dataclass(frozen=True)
class Pages:
    """Items that get a page of their own.

    Attributes
    ----------
    count
        So many of the best, and of the worst.
    write
        Writes an explanation to a path that ends in .html.
    """

    count: int
    write: Callable[[Explanation, Path], object]


def has_items(experiment: str, methods: Iterable[str]) -> bool:
    """Whether a report shows items: where methods are compared by what they make of each."""
    about = EXPERIMENTS[experiment]
    by_item = about.by_method and not about.by_layer and experiment != "timing"
    return by_item and any(map(_is_judged, methods))


def _is_judged(method: str) -> bool:
    return method != "random" and not method.startswith("lime")


def write_report(
    results: Results, model: Classifier, dataset: Dataset, folder: Path, pages: Pages | None = None
) -> Path:
    """Write `table.csv`, `items.csv` and `report.html` into a run's folder; returns the last one's path."""
    for name, text in (("table.csv", to_csv(results)), ("items.csv", _items_csv(results))):
        with whole_file(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")
    path = folder / "report.html"
    items = list(_items(results, model, dataset, folder / "pages", pages))
    with whole_file(path) as scratch:
        scratch.write_text("\n".join(_page(results, model, items)) + "\n", encoding="utf-8")
    return path


def _items_csv(results: Results) -> str:
    """Every row, without times, so that it is the same however often its run was broken off."""
    names = ["item", "name", "segments", "supervoxels", "method", "layer", "probability", "correct"]
    names += list(EXPERIMENTS[results.experiment].measures)
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(results.rows)
    return out.getvalue()


def _page(results: Results, model: Classifier, items: list[str]) -> Iterator[str]:
    title = f"{results.experiment}: {results.model} on {results.data}"
    settings = results.settings
    yield f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
    yield f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
    facts = [
        f"What is measured: {EXPERIMENTS[results.experiment].summary}.",
        f"{results.items} of {results.wanted} items; {len(results.skipped)} skipped.",
        *_supervoxels(results, model),
        f"Hidden supervoxels are filled with: {settings.fill}. Seed {settings.seed}.",
        "Intervals are 95% bootstrap intervals of the mean over items (half their width is shown).",
    ]
    if results.experiment == "agreement":
        facts.insert(1, f"The reference is LIME with {settings.reference} samples of its own.")
    yield "<ul>" + "".join(f"<li>{html.escape(fact)}</li>" for fact in facts) + "</ul>"
    lines = summarise(results)
    for segments in settings.segments:
        if len(settings.segments) > 1:
            yield f"<h2>{segments} supervoxels</h2>"
        yield from _table(results, [line for line in lines if line.segments == segments], model)
    yield from (f"<p><strong>{html.escape(caveat)}</strong></p>" for caveat in caveats(results))
    yield from (f"<p>{html.escape(sentence)}</p>" for sentence in measure_agreement(results))
    shown = [row for row in settings.rows if row in CAVEATS and results.experiment != "sanity"]
    yield from (
        f"<p>{html.escape(row)}: {html.escape(CAVEATS[row].removeprefix('note: '))}.</p>" for row in shown
    )
    if network := _beside(results, model):
        yield (
            f"<p>Grey columns: the paper's figures for {network}, on other data, other weights and its own "
            "number of supervoxels. They are there to compare the order of the methods, not the values.</p>"
        )
    for caption, png in plots(results).items():
        yield f"<h2>{html.escape(caption)}</h2>{_image(png, caption)}"
    yield from items
    for heading, notes in (("Skipped items", results.skipped), ("Methods left out", results.notes.items())):
        if notes:
            yield f"<h2>{heading}</h2><ul>"
            yield from (f"<li>{html.escape(name)}: {html.escape(reason)}</li>" for name, reason in notes)
            yield "</ul>"
    yield f"<script>{_SORT}</script></body></html>"


def _supervoxels(results: Results, model: Classifier) -> Iterator[str]:
    """How inputs were segmented, and into how many: QuickShift takes no number, and SLIC does not keep to it."""
    settings = results.settings
    method = settings.segmentation or ("quickshift" if model.is_image_model else "slic")
    for wanted in settings.segments:
        found = {row["item"]: row["supervoxels"] for row in results.rows if row["segments"] == wanted}
        if found:
            numbers = sorted(found.values())
            middle = f"{np.median(numbers):.0f} (median; {numbers[0]} to {numbers[-1]})"
            asked = "" if method == "quickshift" else f"; {wanted} asked for"
            yield f"Supervoxels by {method}: {middle}{asked}."


def _beside(results: Results, model: Classifier) -> str | None:
    """The paper's network whose figures go beside ours; None where the experiment is not the paper's."""
    network = network_of(model.name, model.is_image_model)
    shown = any(published(results.experiment, row, network) for row in results.settings.rows)
    return network if shown else None


def _table(results: Results, lines: list[Line], model: Classifier) -> Iterator[str]:
    experiment = EXPERIMENTS[results.experiment]
    network = _beside(results, model)
    shown = {
        line.method: published(results.experiment, line.method, network) if network else {} for line in lines
    }
    paper = [name for name in experiment.measures if any(name in values for values in shown.values())]
    head = ["method", *(["layer"] if experiment.by_layer else [])]
    head += [measure.title for measure in experiment.measures.values()]
    yield "<table><thead><tr>" + "".join(map(_head, [*head, "s (median)"]))
    yield "".join(_head(f"paper: {experiment.measures[n].title}", "paper") for n in paper)
    yield "</tr></thead><tbody>"
    for line in lines:
        cells = [f"<td>{html.escape(line.method)}</td>"]
        cells += [f"<td>{html.escape(line.layer)}</td>"] if experiment.by_layer else []
        for name, measure in experiment.measures.items():
            best = (
                not experiment.by_layer
                and measure.higher_is_better is not None
                and line.method in _best(lines, name, measure)
            )
            shown_value = show(line.values[name], percent=measure.percent)
            cells.append(_cell(shown_value, line.values[name].mean, "best" if best else ""))
        cells.append(_cell(f"{line.seconds:.3g}", line.seconds))
        for name in paper:
            value = shown[line.method].get(name)
            percent = experiment.measures[name].percent
            text = "" if value is None else f"{value:.1%}" if percent else f"{value:.3g}"
            cells.append(_cell(text, value, "paper"))
        yield "<tr>" + "".join(cells) + "</tr>"
    yield "</tbody></table>"


def _head(words: str, kind: str = "") -> str:
    """A heading that sorts the table by its column."""
    named = f' class="{kind}"' if kind else ""
    return f'<th scope="col" aria-sort="none"{named}><button type="button">{html.escape(words)}</button></th>'


def _cell(text: str, value: float | None, kind: str = "") -> str:
    """A number as text, with its value for sorting."""
    named = f' class="{kind}"' if kind else ""
    told = "" if value is None or not math.isfinite(value) else repr(float(value))
    return f'<td{named} data-value="{told}">{text}</td>'


def _best(lines: list[Line], name: str, measure: Measure) -> list[str]:
    """The best methods, LIME aside: it is what they are to come near."""
    rivals = {line.method: line.values[name].mean for line in lines if not line.method.startswith("lime")}
    if len(rivals) < 2:
        return []
    best = (max if measure.higher_is_better else min)(rivals.values())
    return [method for method, value in rivals.items() if value == best]


def _items(
    results: Results, model: Classifier, dataset: Dataset, folder: Path, pages: Pages | None
) -> Iterator[str]:
    """The items that the best method explains best and worst, by the experiment's first measure, with pages."""
    experiment = EXPERIMENTS[results.experiment]
    lines = [line for line in summarise(results) if line.segments == results.settings.segments[0]]
    name, measure = next(iter(experiment.measures.items()))
    usable = [line for line in lines if _is_judged(line.method)]
    if not has_items(results.experiment, [line.method for line in lines]):
        return
    count = THUMBNAILS if pages is None else pages.count
    if pages is not None:
        folder.mkdir(parents=True, exist_ok=True)
    sign = -1 if measure.higher_is_better else 1
    method = min(usable, key=lambda line: sign * line.values[name].mean).method
    rows = [
        row
        for row in results.rows
        if row["method"] == method and row["segments"] == results.settings.segments[0]
    ]
    rows.sort(key=lambda row: (sign * row[name], row["item"]))
    best = rows[:count]
    worst = rows[len(best) :][: -count - 1 : -1]
    better = "more is better" if measure.higher_is_better else "less is better"
    for heading, chosen in (("best", best), ("worst", worst)):
        if not chosen:
            continue
        yield f"<h2>What {html.escape(method)} explains {heading} ({html.escape(measure.title)}: {better})</h2>"
        yield '<div class="items">'
        for row in chosen:
            picture, explanation = _picture(row, method, results, model, dataset)
            value = f"{row[name]:.1%}" if measure.percent else f"{row[name]:.3g}"
            caption = (
                f"{row['name']}: {explanation.target_name} {explanation.probability:.1%}; "
                f"{measure.title}: {value}"
            )
            told = html.escape(caption)
            if pages is not None:
                page = folder / f"{row['item']:06d}.html"
                settings = explanation.settings | {"clip": row["name"]}  # by which the page calls it
                pages.write(replace(explanation, settings=settings), page)
                told = f'<a href="{folder.name}/{page.name}">{told}</a>'
            yield f"<figure>{_image(picture, caption)}<figcaption>{told}</figcaption></figure>"
        yield "</div>"


def _picture(
    row: dict, method: str, results: Results, model: Classifier, dataset: Dataset
) -> tuple[bytes, Explanation]:
    settings = results.settings
    sample = dataset.load(row["item"], clip_length=model.clip_length, stride=settings.stride)
    explanation = Item(model, sample, row["name"], settings, row["segments"]).explained(method)
    sheet = Image.fromarray(np.ascontiguousarray(explanation.sheet(legend=False)))
    sheet.thumbnail((THUMBNAIL_WIDTH, THUMBNAIL_WIDTH))
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=85)
    return out.getvalue(), explanation


def _image(data: bytes, title: str) -> str:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return f'<img alt="{html.escape(title)}" src="{source}">'
