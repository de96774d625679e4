"""Motion or look: twin tasks, of which it is known what decides."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_networks import grid, random_clip, small

import videxplain as vx
from videxplain.errors import VidexplainError
from videxplain.models import train_twins
from videxplain.synthetic.twins import generate_twin


def test_twin_clips_tell_nothing_of_one_by_the_other() -> None:
    clips = [generate_twin(seed) for seed in range(60)]
    same = np.mean([clip.motion == clip.look for clip in clips])
    assert 0.3 < same < 0.7
    for clip in clips[:10]:
        steps = np.diff([np.nonzero(mask)[1].mean() for mask in clip.mask])
        assert (steps > 0).all() if clip.motion else (steps < 0).all()
        red, _, blue = clip.frames[clip.mask].mean(axis=0)
        assert (red > blue) == (clip.look == 0)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["motion", "look"])
def test_the_share_of_motion_of_twin_tasks(task: train_twins.Task) -> None:
    model = train_twins.train(task, steps=150)
    assert train_twins.accuracy(model, task, 50) > 0.95
    clips = [generate_twin(seed, frames=train_twins.FRAMES, size=train_twins.SIZE) for seed in range(10)]
    answers = [vx.motion(model, clip.frames, n_segments=20) for clip in clips]
    share = np.mean([answer.share for answer in answers])
    assert share >= 0.9 if task == "motion" else share <= 0.1


def test_what_is_lost_is_what_the_network_says() -> None:
    """Of the whole clip, by passes made by hand."""
    import torch

    model, frames = small(), random_clip(0)
    answer = vx.motion(model, frames, labels=grid(2), passes=2)
    x, target = model.prepare(frames), answer.explanation.target

    def log_odds(changed: torch.Tensor) -> float:
        with torch.no_grad():
            p = model.net(changed).double().softmax(dim=1)[0, target]
        return float(p.logit())

    grey = (0.5 - torch.tensor(model.mean)) / torch.tensor(model.std)
    changes = {
        "grey": grey.view(1, 3, 1, 1, 1).expand_as(x),
        "reversed": x.flip(2),
    }
    held = [log_odds(x[:, :, t : t + 1].expand_as(x)) for t in (4, 1, 5)]
    assert answer.lost["still"] == pytest.approx(log_odds(x) - np.mean(held), rel=1e-3, abs=1e-4)
    for name, changed in changes.items():
        assert answer.lost[name] == pytest.approx(log_odds(x) - log_odds(changed), rel=1e-3, abs=1e-4)
    expected = answer.lost["still"] / answer.lost["grey"]
    assert np.isnan(answer.share) or answer.share == pytest.approx(min(1, max(0, expected)))


def test_a_supervoxel_that_stands_still_has_no_motion() -> None:
    frames, labels = random_clip(3), grid(2)
    frames[:, :12] = frames[:1, :12]
    answer = vx.motion(small(3), frames, labels=labels)
    for k in (0, 1):  # the upper half
        assert abs(answer.scores["still"][k]) < 1e-5 and abs(answer.scores["reversed"][k]) < 1e-5
        assert np.isnan(answer.shares[k]) or answer.shares[k] < 1e-3


def test_questions_of_other_kinds() -> None:
    frames = random_clip(1)
    value = small(outputs=1, task="regression", class_names=["ef"])
    assert vx.motion(value, frames, labels=grid(2)).explanation.target_name == "ef"
    against = vx.motion(small(), frames, 0, against=1, labels=grid(2))
    assert against.explanation.settings["against"] == "b"


def test_what_has_no_motion_is_refused() -> None:
    from torch import nn

    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(VidexplainError, match="no motion reaches it"):
        vx.motion(vx.Classifier(net, layout="BCHW", size=(24, 24)), random_clip(0))
    with pytest.raises(VidexplainError, match="one frame has no motion"):
        vx.motion(small(), random_clip(0)[:1])
    with pytest.raises(VidexplainError, match="leave it out"):
        vx.motion(small(), random_clip(0), fill="grey")
    with pytest.raises(VidexplainError, match="changes no supervoxels"):
        vx.motion(small(), random_clip(0), method="guided")


def test_it_is_drawn_and_told() -> None:
    answer = vx.motion(small(), random_clip(0), labels=grid(2))
    assert answer.picture().ndim == 3 and answer._repr_png_()[:4] == b"\x89PNG"
    assert len(json.loads(answer.to_json())["shares"]) == 4 and len(repr(answer)) < 100
