"""Explanations as tables, labelled arrays, figures and videos."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.errors import VidexplainError
from videxplain.explanations.tables import COLUMNS, rows


@pytest.fixture(scope="module", params=["crop", "letterbox"])
def explanation(request):
    """Of a clip that is shorter than the network takes; what it does not see depends on the framing."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv3d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(48, 2)
    )
    model = vx.Classifier(
        net, class_names=["a $1 class", "other"], clip_length=8, size=(32, 32), framing=request.param
    )
    frames = np.random.default_rng(1).integers(0, 255, (6, 48, 80, 3), np.uint8)
    times = tuple(Fraction(n * n, 30) + 2 for n in range(6))
    clip = vx.Clip(frames, times, start=7, stride=2)
    return vx.explain(model, clip, "region-gradient", passes=8, refine_top=0, n_segments=10, fill="mean")


def test_rows_are_what_the_labels_say(explanation):
    """Counted pixel by pixel, in the labels at the source's size."""
    labels = explanation.source_labels()[:6]
    table = rows(explanation)
    assert [row["region"] for row in table] == explanation.top_ids(100).tolist()
    assert {len(row) for row in table} == {len(COLUMNS)}
    for row, region in zip(table, explanation.top(100), strict=True):
        t, y, x = np.nonzero(labels == region.id)
        assert (row["pixels"], row["voxels"]) == (len(t), region.voxels)
        assert (row["score"], row["share"]) == (region.score, region.share)
        assert row["error"] == explanation.standard_error[region.id]
        if not len(t):
            assert row["left"] is row["first_frame"] is row["centre_x"] is None
            continue
        assert (row["left"], row["right"]) == (x.min(), x.max() + 1)
        assert (row["top"], row["bottom"]) == (y.min(), y.max() + 1)
        assert (row["centre_y"], row["centre_x"]) == pytest.approx((y.mean() + 0.5, x.mean() + 0.5))
        assert (row["first_frame"], row["last_frame"]) == (7 + 2 * t.min(), 7 + 2 * t.max())
        assert row["first_time"] == pytest.approx(2 + t.min() ** 2 / 30)
        assert row["last_time"] == pytest.approx(2 + t.max() ** 2 / 30)


def test_a_region_that_the_source_does_not_have(explanation):
    """As of black bars: it has voxels, and no pixels."""
    labels = np.full_like(explanation.labels, 1)
    labels[:, 0, 0] = 0
    hidden = replace(explanation, labels=labels, scores=np.array([1, 2], np.float32), standard_error=None)
    (*_, row) = rows(hidden)
    shown = (hidden.source_labels()[:6] == 0).sum()
    assert row["pixels"] == shown and row["error"] is None
    assert (row["left"] is None) == (shown == 0)


def test_pandas(explanation):
    pandas = pytest.importorskip("pandas")
    table = explanation.to_pandas()
    assert isinstance(table, pandas.DataFrame) and list(table.columns) == list(COLUMNS)
    by_region = table.set_index("region").sort_index()
    np.testing.assert_array_equal(by_region["score"].to_numpy(np.float32), explanation.scores)


def test_xarray(explanation):
    pytest.importorskip("xarray")
    data = explanation.to_xarray()
    assert dict(data.sizes) | {"region": 0} == {
        **{"frame": 6, "y": 48, "x": 80, "channel": 3, "class": 2},
        "region": 0,
    }
    np.testing.assert_array_equal(data["label"], explanation.source_labels()[:6])
    np.testing.assert_array_equal(data["picture"], explanation.frames[:6])
    np.testing.assert_array_equal(data["score"], explanation.scores)
    assert data["frame"].values.tolist() == [7, 9, 11, 13, 15, 17]
    assert data["time"].values[-1] == pytest.approx(2 + 25 / 30)
    pixel = data["label"].sel(frame=11, y=24.5, x=40.5).item()
    assert pixel == explanation.source_labels()[2, 24, 40]
    assert data.attrs["explained_class"] == explanation.target_name


def test_the_figure_shows_what_it_should(explanation):
    pytest.importorskip("matplotlib")
    figure = explanation.plot(top_k=3)
    figure.draw_without_rendering()
    above, below = figure.subfigs
    pictures = [axis.images[0].get_array() for axis in above.axes]
    drawn = explanation.render(top_k=3, legend=False)
    assert len(pictures) == 4
    for picture, t in zip(pictures, [0, 2, 3, 5], strict=True):
        np.testing.assert_array_equal(picture, drawn[t])
    regions, classes, curve = below.axes
    best = explanation.top(3)
    widths = [bar.get_width() for bar in regions.patches]
    assert widths == pytest.approx([np.sign(one.score) * 100 * one.share for one in best])
    names = [label.get_text() for label in classes.get_yticklabels()]
    assert names == [name for name, _ in explanation.predictions]
    (line,) = curve.lines
    np.testing.assert_allclose(line.get_xdata(), [float(time) for time in explanation.times[:6]])
    assert explanation.target_name in figure.get_suptitle()


def test_the_video_has_the_pictures_and_their_times(explanation, tmp_path):
    path = explanation.to_video(tmp_path / "explained.mp4", top_k=2, legend=False)
    frames = list(vx.open_video(path).frames())
    assert [frame.time for frame in frames] == [time - 2 for time in explanation.times[:6]]
    drawn = explanation.render(top_k=2, legend=False).astype(int)
    for t, frame in enumerate(frames):
        distances = [np.abs(frame.rgb() - picture).mean() for picture in drawn[:6]]
        assert int(np.argmin(distances)) == t
    with pytest.raises(VidexplainError):
        explanation.to_video(tmp_path / "explained.png")


@pytest.mark.parametrize(
    ("package", "use"),
    [
        ("pandas", lambda one: one.to_pandas()),
        ("xarray", lambda one: one.to_xarray()),
        ("matplotlib.figure", lambda one: one.plot()),
    ],
)
def test_a_missing_package_is_told(explanation, monkeypatch, package, use):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        VidexplainError, match=r"not installed; install it with pip install 'videxplain\[export\]'"
    ):
        use(explanation)


def test_an_image_has_a_figure_without_a_curve():
    pytest.importorskip("matplotlib")
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = vx.Classifier(net, class_names=["a", "b"], size=(32, 32))
    image = np.random.default_rng(1).integers(0, 255, (40, 40, 3), np.uint8)
    figure = vx.explain(model, image, "guided", segmentation="grid", n_segments=10).plot()
    assert [len(part.axes) for part in figure.subfigs] == [1, 2]
