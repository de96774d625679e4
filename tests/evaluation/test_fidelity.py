"""F-Fidelity, agreement under several fills, and stability: of methods whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Blobs

from videxplain.errors import VidexplainError
from videxplain.evaluation import fidelity
from videxplain.evaluation.item import Item
from videxplain.evaluation.rows import EvaluationSettings
from videxplain.evaluation.runner import evaluate
from videxplain.evaluation.summary import measure_agreement, summarise, to_text
from videxplain.models import Classifier
from videxplain.settings import Run

ROWS = ("random", "lime-60", "vanilla")


def settings(**others: object) -> EvaluationSettings:
    return EvaluationSettings(rows=ROWS, segments=(30,), segmentation="grid", **others)  # type: ignore[arg-type]


def item_of(model: Classifier, index: int = 0) -> Item:
    sample = Blobs(1).load(index, clip_length=model.clip_length)
    return Item(model, sample, f"blob {index}", settings(), 30)


def means(results, measure: str) -> dict[str, float]:
    return {line.method: line.values[measure].mean for line in summarise(results)}


def test_f_fidelity_is_what_removal_does(model: Classifier) -> None:
    """Of scores that are exact no more than the cap is removed, and all that is removed counts."""
    item = item_of(model)
    clip = item.masked()
    count = item.num_segments
    one = torch.ones(count + 1, count) - torch.cat([torch.zeros(1, count), torch.eye(count)])
    alone = clip.probability(one.to(clip.x))
    exact = (alone[0] - alone[1:]).numpy()
    best = fidelity.f_fidelity(clip, exact, np.random.default_rng(0))
    worst = fidelity.f_fidelity(clip, -exact, np.random.default_rng(0))
    assert best["fidelity"] == pytest.approx(best["plus"] - best["minus"])
    assert best["plus"] > 3 * abs(best["minus"]) and worst["fidelity"] < 0


def test_no_more_than_the_cap_is_removed(model: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = item_of(model).masked()
    seen = []
    monkeypatch.setattr(clip, "probability", lambda z: (seen.append(z), torch.zeros(len(z)))[1])
    scores = np.arange(clip.num_segments)[::-1].astype(float)
    fidelity.f_fidelity(clip, scores, np.random.default_rng(0))
    (masks,) = seen
    hidden = (1 - masks).cpu().numpy().astype(bool)
    assert hidden[0].sum() == 0
    shares = hidden[1:].reshape(len(fidelity.SIZES), 2, fidelity.DRAWS, -1)
    assert hidden.sum(axis=1).max() <= fidelity.CAP * clip.num_segments
    for size, (inside, outside) in zip(fidelity.SIZES, shares, strict=True):
        best = max(1, round(size * clip.num_segments))
        assert not inside[:, best:].any() and not outside[:, :best].any()
        assert (inside.sum(axis=1) == min(best, int(fidelity.CAP * clip.num_segments))).all()


def test_a_network_is_fine_tuned_on_what_it_does_not_judge(model: Classifier, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in model.net.state_dict().items()}
    data = Blobs(20)
    loaded: list[int] = []

    class Watched(Blobs):
        def load(self, index: int, **options: int):
            loaded.append(index)
            return super().load(index, **options)

    results = evaluate("fidelity", model, Watched(20), tmp_path, settings(), Run(limit=6))
    assert results.items == 6 and not results.skipped
    assert set(loaded[: -results.items]) <= set(range(6, 20)) and loaded[-results.items :] == list(range(6))
    tuned = torch.load(tmp_path / "fine-tuned.pt", weights_only=True)
    assert any(not torch.equal(tuned[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(model.net.state_dict()[name], tensor) for name, tensor in before.items())
    assert means(results, "fidelity")["lime-60"] > 0.02 + means(results, "fidelity")["random"]
    assert "F-Fidelity" in to_text(results)

    loaded.clear()  # again, from what is kept
    (tmp_path / "shards").rename(tmp_path / "old")
    again = evaluate("fidelity", model, Watched(20), tmp_path, settings(), Run(limit=6))
    assert loaded == list(range(6))
    assert means(again, "fidelity") == means(results, "fidelity")
    with pytest.raises(VidexplainError, match="fine-tuned on"):
        evaluate("fidelity", model, data, tmp_path, settings(), Run(limit=5))


def test_fine_tuning_makes_hiding_matter_less(model: Classifier) -> None:
    """Of a brittle network, which a little grey turns."""
    tuned = fidelity.fine_tuned(model, range(8), lambda index: item_of(model, index), steps=30)
    losses = []
    for network in (model, tuned):
        item = item_of(model, 9)
        masks = (torch.rand(64, item.num_segments, generator=torch.Generator().manual_seed(0)) > 0.25).float()
        losses.append(float(-item.masked(model=network).probability(masks.to(item.x)).log().mean()))
    assert losses[1] < 0.9 * losses[0]


def test_too_few_items_to_fine_tune_on_are_refused(model: Classifier, tmp_path: Path) -> None:
    with pytest.raises(VidexplainError, match="only 4 of 20 are left; judge fewer with --limit"):
        evaluate("fidelity", model, Blobs(20), tmp_path / "out", settings(), Run(limit=16))
    assert not (tmp_path / "out" / "fine-tuned.pt").exists()


def test_gain_under_each_fill_is_that_of_the_curves(model: Classifier, tmp_path: Path) -> None:
    run = Run(limit=2)
    results = evaluate("fills", model, Blobs(2), tmp_path / "fills", settings(), run)
    grey = evaluate("curves", model, Blobs(2), tmp_path / "grey", settings(fill="grey"), run)
    gain = {m: means(grey, "insertion")[m] - means(grey, "deletion")[m] for m in ROWS}
    assert means(results, "grey") == pytest.approx(gain)
    fills = ["grey", "mean", "blur", "noise", "still"]
    for row in results.rows:
        assert row["spread"] == pytest.approx(np.std([row[fill] for fill in fills]))
    said = measure_agreement(results)
    assert len(said) == 10 and said[0].startswith("grey and mean rank the methods with Kendall's tau ")


def test_a_method_is_as_stable_as_it_is(model: Classifier, tmp_path: Path) -> None:
    """Random scores are found again at chance, those of a gradient from any seed; all of the same clip."""
    results = evaluate("stability", model, Blobs(4), tmp_path, settings(), Run())
    seed, noise = means(results, "seed"), means(results, "noise")
    assert seed["vanilla"] == 1 and seed["random"] < 0.5 < seed["lime-60"] + 0.3
    assert noise["random"] == 1, "from the same seed"
    assert noise["vanilla"] > 0.5 and means(results, "later")["vanilla"] > 0.5


def test_measures_that_agree_have_a_tau_of_one(model: Classifier, tmp_path: Path) -> None:
    results = evaluate("curves", model, Blobs(2), tmp_path, settings(), Run())
    rows = []
    for row in results.rows:
        place = ROWS.index(row["method"])
        rows.append(row | {"insertion": float(place), "deletion": -float(place)})
    assert measure_agreement(replace(results, rows=rows)) == [
        "insertion and deletion rank the methods with Kendall's tau +1.00."
    ]
    assert not measure_agreement(replace(results, rows=[r for r in rows if r["method"] != "random"]))
