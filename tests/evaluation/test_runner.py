"""Runs over data sets: what they find, that they go on where they stopped, and what they refuse."""

from __future__ import annotations

import base64
import io
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import Blobs
from PIL import Image

from videxplain.attribution.methods import METHODS, Occlusion, PixelMethod, RegionMethod
from videxplain.attribution.query import Query, VoxelMaps, VoxelQuery
from videxplain.errors import VidexplainError
from videxplain.evaluation.datasets import open_dataset
from videxplain.evaluation.experiments import EXPERIMENTS
from videxplain.evaluation.item import Item
from videxplain.evaluation.report import Pages, write_report
from videxplain.evaluation.rows import EvaluationSettings, parse_rows
from videxplain.evaluation.runner import Results, evaluate
from videxplain.evaluation.summary import bootstrap, caveats, summarise, to_csv, to_text
from videxplain.explanations.explain import explain
from videxplain.models import Classifier
from videxplain.models.randomized import randomized
from videxplain.settings import Execution, Run


def settings(*rows: str, **others: object) -> EvaluationSettings:
    return EvaluationSettings(rows=rows, segments=(30,), segmentation="grid", **others)  # type: ignore[arg-type]


def means(results: Results, measure: str) -> dict[str, float]:
    return {line.method: line.values[measure].mean for line in summarise(results)}


@pytest.mark.slow
def test_lime_improves_with_its_samples_and_random_is_at_chance(model: Classifier, tmp_path: Path) -> None:
    rows = settings("random", "lime-20", "lime-80", "lime-1000", "guided", reference=1000)
    blobs = Blobs(24)
    results = evaluate("agreement", model, blobs, tmp_path / "agreement", rows)
    assert results.items == 24 and not results.skipped and not results.notes
    top5, rank = means(results, "top5"), means(results, "rank")
    assert top5["random"] < top5["lime-20"] < top5["lime-80"] + 1e-9 <= top5["lime-1000"] + 2e-9, top5
    assert rank["random"] < rank["lime-20"] < rank["lime-80"] < rank["lime-1000"], rank
    supervoxels = np.mean([row["supervoxels"] for row in results.rows])
    assert means(results, "top5")["random"] < 3 * 5 / supervoxels
    assert abs(means(results, "rank")["random"]) < 0.15
    assert rank["lime-1000"] > 0.5

    results = evaluate("removal", model, blobs, tmp_path / "removal", rows)
    best, worst = means(results, "best"), means(results, "worst")
    assert best["lime-1000"] <= best["lime-80"] < best["lime-20"] < best["random"]
    assert worst["lime-1000"] >= worst["lime-80"] >= worst["lime-20"] > worst["random"]
    assert best["random"] == pytest.approx(worst["random"], abs=0.12)


@pytest.mark.parametrize("row", ["lime-60", "lime-60:score=log-odds"])
def test_rows_that_share_samples_equal_the_method(
    model: Classifier, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    sample = Blobs(1).load(0, clip_length=model.clip_length)
    item = Item(model, sample, "blob", settings(row), 30)
    monkeypatch.setattr(item, "seed", lambda _purpose: 5)
    shared, alone = item.scored(row), item.scored(row, alone=True)
    np.testing.assert_allclose(shared.scores, alone.scores, rtol=1e-4, atol=1e-6 * abs(alone.scores).max())


def test_each_draw_of_lime_has_samples_of_its_own(model: Classifier) -> None:
    sample = Blobs(1).load(0, clip_length=model.clip_length)
    item = Item(model, sample, "blob", settings("lime-60", "lime-60:score=log-odds"), 30)
    first, second, again = (item.scored("lime-60", draw=draw).scores for draw in (0, 1, 0))
    assert np.abs(first - second).max() > 1e-3 * np.abs(first).max()
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(
        second, Item(model, sample, "blob", settings("lime-60"), 30).scored("lime-60", draw=1).scores
    )


def test_a_numbered_row_takes_so_many_samples(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = Blobs(1).load(0, clip_length=model.clip_length)
    item = Item(model, sample, "blob", settings("kernel-shap-40"), 30)
    monkeypatch.setattr(item, "seed", lambda _purpose: 5)
    options = {"labels": item.labels, "fill": item.settings.fill, "seed": 5}
    few, more = (explain(model, item.clip, "kernel-shap", samples=n, **options).scores for n in (40, 80))
    found = item.scored("kernel-shap-40").scores
    np.testing.assert_array_equal(found, few)
    assert (found != more).any()


def test_planted_rankings(model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that know the truth win localization; the best ranking turned round loses removal."""
    import torch

    class Oracle(RegionMethod):
        name = "oracle"

        def score(self, query: Query) -> torch.Tensor:
            bright, labels = (query.x[:, 0] > 0.9).double(), query.labels
            inside = np.bincount(labels.ravel(), weights=bright.ravel(), minlength=query.num_segments)
            # the fourth power: the same order, and little energy for those that only touch
            share = inside / np.bincount(labels.ravel(), minlength=query.num_segments)
            return torch.from_numpy(share[None] ** 4).float()

    class Inverted(Occlusion):
        name = "inverted"

        def score(self, query: Query) -> torch.Tensor:
            return -super().score(query)

    for method in (Oracle, Inverted):
        monkeypatch.setitem(METHODS._items, method.name, method)
    rows = settings("random", "oracle", "inverted", "occlusion:fill=grey", "grad-cam", "vanilla")
    results = evaluate("localization", model, Blobs(16), tmp_path / "localization", rows)
    for measure in ("pointing", "energy", "iou"):
        found = means(results, measure)
        assert max(found, key=lambda name: found[name]) == "oracle", (measure, found)
    results = evaluate("removal", model, Blobs(8), tmp_path / "removal", rows)
    best, worst = means(results, "best"), means(results, "worst")
    assert max(best, key=lambda name: best[name]) == "inverted"
    assert min(worst, key=lambda name: worst[name]) == "inverted"


def test_every_experiment_ends_in_a_table_and_a_report(model: Classifier, tmp_path: Path) -> None:
    for name in EXPERIMENTS:
        rows = settings("random", "lime-20", "lime-20:batched=no", "guided", "grad-cam", reference=50)
        blobs = Blobs(12 if EXPERIMENTS[name].fine_tunes else 2)
        results = evaluate(name, model, blobs, tmp_path / name, rows, Run(limit=2))
        assert results.items == 2 and results.rows and not results.skipped, name
        assert not results.notes, results.notes
        text = to_text(results)
        row = "guided" if EXPERIMENTS[name].by_method else "reversed"
        assert row in text and "nan" not in text
        page = write_report(results, model, blobs, tmp_path / name).read_text()
        assert page.count("data:image/png") >= 1 and row in page
        for picture in re.findall(r'src="data:image/\w+;base64,([^"]+)"', page):
            Image.open(io.BytesIO(base64.b64decode(picture))).verify()
        # self-contained: nothing is fetched from anywhere
        assert "http" not in page and not re.search(
            r"""<(script|link|iframe)[^>]*(src|href)=|@import|url\(|fetch\(""", page
        )
        assert all(link.startswith("pages/") for link in re.findall(r'href="([^"]*)"', page))
        assert (tmp_path / name / "table.csv").read_text() == to_csv(results)
        for row in results.rows:
            for measure in EXPERIMENTS[name].measures:
                assert np.isfinite(row[measure])
                if measure not in ("rank", "scoring", "explanation"):
                    least = -1 if name in ("fills", "fidelity") else 0
                    assert least <= row[measure] <= 1


def test_thumbnails_show_the_best_row_and_each_item_once(model: Classifier, tmp_path: Path) -> None:
    """Also a row with a number in its name, which no method of the registry bears."""
    rows = settings("random", "lime-20", "region-gradient-2", reference=50)
    results = evaluate("agreement", model, Blobs(5), tmp_path, rows)
    page = write_report(results, model, Blobs(5), tmp_path).read_text()
    assert "What region-gradient-2 explains best" in page and "LIME with 50 samples" in page
    shown = re.findall(r"<figcaption>(blob \d)", page)
    assert sorted(shown) == [f"blob {i}" for i in range(5)]
    written = {}
    pages = Pages(1, lambda explanation, path: written.setdefault(path, explanation))
    page = write_report(results, model, Blobs(5), tmp_path, pages).read_text()
    linked = dict(re.findall(r'<a href="([^"]+)">(blob \d)', page))
    assert linked == {f"pages/{i:06d}.html": f"blob {i}" for i in map(int, (shown[0][-1], shown[3][-1]))}
    assert {str(path.relative_to(tmp_path)) for path in written} == set(linked)
    assert all(explanation.method == "region-gradient" for explanation in written.values())


def test_sweep_over_numbers_of_supervoxels(model: Classifier, tmp_path: Path) -> None:
    rows = EvaluationSettings(rows=("random", "vanilla"), segments=(10, 40), segmentation="grid")
    results = evaluate("curves", model, Blobs(3), tmp_path, rows)
    found = {(line.segments, line.method) for line in summarise(results)}
    assert found == {(n, method) for n in (10, 40) for method in ("random", "vanilla")}
    few, many = (np.mean([r["supervoxels"] for r in results.rows if r["segments"] == n]) for n in (10, 40))
    assert few < many / 2
    page = write_report(results, model, Blobs(3), tmp_path).read_text()
    assert "Against the number of supervoxels" in page and "<h2>40 supervoxels</h2>" in page


def test_damaged_items_and_methods_that_do_not_fit_are_reported(tmp_path: Path, model: Classifier) -> None:
    import torch
    from torch import nn

    net = nn.Sequential(nn.Conv3d(3, 2, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    torch.manual_seed(0)
    smooth = Classifier(net, clip_length=4, size=(24, 24))
    blobs = Blobs(4, damaged=(1,))
    results = evaluate("localization", smooth, blobs, tmp_path, settings("vanilla", "guided"))
    assert results.items == 3 and results.skipped == [("blob 1", "its file is damaged")]
    assert list(results.notes) == ["guided"] and "ReLU" in results.notes["guided"]
    assert {row["method"] for row in results.rows} == {"vanilla"}
    assert "its file is damaged" in write_report(results, smooth, blobs, tmp_path).read_text()


def test_nothing_is_removed_from_what_is_not_decided(tmp_path: Path, model: Classifier) -> None:
    """Of several labels none is likely: there is no decision that removal could change."""
    from torch import nn

    unsure = nn.Sequential(model.net, nn.Linear(4, 4))
    nn.init.constant_(unsure[1].bias, -20.0)
    undecided = Classifier(unsure, clip_length=model.clip_length, size=model.size, task="multi-label")
    results = evaluate("removal", undecided, Blobs(2), tmp_path, settings("random"))
    assert results.items == 0 and len(results.skipped) == 2
    assert "does not decide for it" in results.skipped[0][1]


def test_shards_and_limits_together_are_the_whole(model: Classifier, tmp_path: Path) -> None:
    rows = settings("random", "vanilla")
    whole = evaluate("curves", model, Blobs(7), tmp_path / "whole", rows)
    first = evaluate("curves", model, Blobs(7), tmp_path / "parts", rows, Run(shard=(1, 2), limit=5))
    assert (first.items, first.wanted) == (3, 5)
    evaluate("curves", model, Blobs(7), tmp_path / "parts", rows, Run(shard=(2, 2)))
    parts = evaluate("curves", model, Blobs(7), tmp_path / "parts", rows)
    assert parts.items == 7 and to_csv(parts) == to_csv(whole)


def test_runs_that_cannot_be_compared_are_kept_apart(model: Classifier, tmp_path: Path) -> None:
    rows = settings("random")
    evaluate("curves", model, Blobs(2), tmp_path / "run", rows)
    with pytest.raises(VidexplainError, match="another settings"):
        evaluate("curves", model, Blobs(2), tmp_path / "run", settings("vanilla"))
    with pytest.raises(VidexplainError, match="another experiment"):
        evaluate("removal", model, Blobs(2), tmp_path / "run", rows)
    for place in ("one", "two"):
        (tmp_path / place / "cats").mkdir(parents=True)
        Image.fromarray(np.full((20, 30, 3), len(place), np.uint8)).save(tmp_path / place / "cats" / "a.png")
    for place in ("one", "two"):
        data = open_dataset(str(tmp_path / place / "cats"))
        if place == "one":
            evaluate("curves", model, data, tmp_path / "cats", rows)
            continue
        with pytest.raises(VidexplainError, match="another state of the data"):
            evaluate("curves", model, data, tmp_path / "cats", rows)
    (tmp_path / "cats" / "run.json").write_text("[" * 100_000)
    with pytest.raises(VidexplainError, match="cannot be read"):
        evaluate("curves", model, data, tmp_path / "cats", rows)
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / ".run-abc.json").write_text("")
    evaluate("curves", model, Blobs(2), tmp_path / "killed", rows)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(VidexplainError, match="not empty"):
        evaluate("curves", model, Blobs(2), tmp_path / "other", rows)
    for shard in ((0, 2), (3, 2)):
        with pytest.raises(VidexplainError, match="no shard"):
            evaluate("curves", model, Blobs(2), tmp_path / "run", rows, Run(shard=shard))
    with pytest.raises(VidexplainError, match="unknown engine"):
        evaluate("curves", model, Blobs(2), tmp_path / "run", rows, execution=Execution(engine="steam"))


@pytest.mark.parametrize("library", ["pyarrow", "matplotlib"])
def test_missing_libraries_are_said_before_the_work(
    library: str, model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from videxplain.evaluation import store

    found = store.find_spec
    monkeypatch.setattr(store, "find_spec", lambda name: None if name == library else found(name))
    with pytest.raises(VidexplainError, match=rf"needs {library}; .*videxplain\[evaluate\]"):
        evaluate("removal", model, Blobs(1), tmp_path / "run", settings("random"))
    assert not (tmp_path / "run").exists()


def test_references_are_cached_by_content(model: Classifier, tmp_path: Path) -> None:
    rows = settings("vanilla", reference=60)
    first = evaluate("agreement", model, Blobs(3), tmp_path / "a", rows, Run(cache=tmp_path / "cache"))
    files = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()}
    assert len(files) == 3
    again = evaluate("agreement", model, Blobs(3), tmp_path / "b", rows, Run(cache=tmp_path / "cache"))
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").iterdir()} == files
    assert to_csv(first) == to_csv(again)
    evaluate(
        "agreement",
        model,
        Blobs(3),
        tmp_path / "c",
        settings("vanilla", reference=61),
        Run(cache=tmp_path / "cache"),
    )
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_randomization_cascades_from_the_last_layer(model: Classifier) -> None:
    import torch

    original = {k: v.clone() for k, v in model.net.state_dict().items()}
    changed = []
    for layer, copied in randomized(model, seed=1):
        state = copied.net.state_dict()
        changed.append((layer, [k for k in state if not torch.equal(state[k], original[k])]))
    assert changed == [("head", ["head.weight"]), ("conv", ["conv.weight", "head.weight"])]
    assert all(torch.equal(v, original[k]) for k, v in model.net.state_dict().items())


def test_methods_that_outlive_the_weights_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that are the input itself fail the sanity check; a network's own gradients do not."""
    import torch
    from torch import nn

    class Channels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.conv = nn.Conv3d(3, 6, 5, padding=2)
            self.places = nn.Linear(6 * 4 * 24 * 24, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.places(self.conv(x).relu().flatten(1))

    net = Channels()
    model = Classifier(net, clip_length=4, size=(24, 24), cam_layer="conv")

    class Input(PixelMethod):
        name = "input"

        def maps(self, query: VoxelQuery) -> VoxelMaps:
            return VoxelMaps(query.x)

    monkeypatch.setitem(METHODS._items, "input", Input)
    results = evaluate("sanity", model, Blobs(4), tmp_path, settings("input", "vanilla"))
    found = caveats(results)
    assert len(found) == 1 and found[0].startswith("input fails")
    assert [line.layer for line in summarise(results) if line.method == "vanilla"] == ["places", "conv"]


def test_bootstrap_interval_covers_the_mean() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        estimate = bootstrap(rng.exponential(size=60), seed=trial)
        covered += estimate.low <= 1 <= estimate.high
    assert 175 <= covered <= 199
    assert bootstrap([2.0]).low == bootstrap([2.0]).high == 2.0


def test_rows_are_parsed() -> None:
    assert len(parse_rows(None)) == 15
    assert parse_rows("guided, lime-7,guided,lime-7:ridge=2") == ["guided", "lime-7", "lime-7:ridge=2"]
    assert parse_rows("kernel-shap-7,region-gradient-8") == ["kernel-shap-7", "region-gradient-8"]
    assert {"integrated-gradients", "occlusion", "lime-1000"} <= set(parse_rows("all"))
    with pytest.raises(VidexplainError, match="did you mean 'guided'"):
        parse_rows("guide")
    for row, message in (
        ("lime-7:batched", "'batched' in the row 'lime-7:batched' is no option=value"),
        ("lime-7:samples=x", "samples has to be a whole number, not 'x'"),
        ("lime:scores=logit", "option 'scores' means nothing to method 'lime'"),
        ("guided-7", "takes no number of samples, passes or steps"),
        ("lime-0", "samples must be at least 1"),
    ):
        with pytest.raises(VidexplainError, match=message):
            parse_rows(row)
    with pytest.raises(VidexplainError, match="no method"):
        parse_rows(" , ")
    with pytest.raises(VidexplainError, match="fill"):
        EvaluationSettings(fill="pink")
    with pytest.raises(VidexplainError, match="2 supervoxels"):
        EvaluationSettings(segments=(1,))


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import LENGTH, SIZE, Blobs, Quadrants
import torch
from videxplain.evaluation.rows import EvaluationSettings
from videxplain.models.randomized import randomized
from videxplain.evaluation.report import Pages, write_report
from videxplain.evaluation.runner import evaluate
from videxplain.models import Classifier
torch.set_num_threads(1)
model = Classifier(Quadrants(), clip_length=LENGTH, size=SIZE, name="quadrants")
settings = EvaluationSettings(rows=("random", "lime-50"), segments=(30,), segmentation="grid", reference=150)
folder = Path({folder!r})
results = evaluate("agreement", model, Blobs(40), folder, settings)
write_report(results, model, Blobs(40), folder)
"""


@pytest.mark.slow
def test_a_run_killed_three_times_ends_with_the_same_table(tmp_path: Path) -> None:
    def command(folder: Path) -> list[str]:
        return [sys.executable, "-c", RUN.format(tests=str(Path(__file__).parent), folder=str(folder))]

    def done(folder: Path) -> int:
        return len(list(folder.glob("shards/*/*.parquet")))

    subprocess.run(command(tmp_path / "whole"), check=True, timeout=200)
    folder = tmp_path / "killed"
    moments = random.Random(0)
    for kill in range(3):
        process = subprocess.Popen(command(folder))
        before, until = done(folder), time.monotonic() + 60
        while done(folder) <= before + 1 and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.05))
        process.kill()
        process.wait()
        assert done(folder) > before, f"run {kill} did nothing"
    assert done(folder) < 40, "it was not killed in the middle"
    subprocess.run(command(folder), check=True, timeout=200)
    for name in ("table.csv", "items.csv"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
