"""What hides a supervoxel, and which of it is taken where the user does not say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import videxplain as vx
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import ENOUGH, choose_fill
from videxplain.passes.fills import make_fill

SIZE = (5, 9, 12)


def filled(x: torch.Tensor, labels: torch.Tensor, kind: Any) -> torch.Tensor:
    model = vx.Classifier(nn.Flatten(), clip_length=SIZE[0], size=SIZE[1:])
    return make_fill(model, x, labels, int(labels.max()) + 1, kind, 0)


def box() -> torch.Tensor:
    """A box in the middle, and all that is around it."""
    labels = torch.zeros(SIZE, dtype=torch.long)
    labels[1:4, 2:6, 3:10] = 1
    return labels


def test_still_is_each_pixels_mean_over_time() -> None:
    x = torch.randn(3, *SIZE)
    expected = np.broadcast_to(x.numpy().mean(axis=1, keepdims=True), x.shape)
    torch.testing.assert_close(filled(x, box(), "still"), torch.tensor(expected))


def test_neighbours_continue_a_ramp_and_know_nothing_of_what_they_hide() -> None:
    t, h, w = torch.meshgrid(*(torch.arange(float(n)) for n in SIZE), indexing="ij")
    ramp = torch.stack([2 * t - h + 0.5 * w, h * 1.0, 3 - w])
    inside = (box() == 1).expand(3, *SIZE)
    x = torch.where(inside, 100 * torch.randn(3, *SIZE), ramp)
    torch.testing.assert_close(filled(x, box(), "neighbours")[inside], ramp[inside])


def test_neighbours_voxel_by_voxel() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = (
        torch.randint(0, 4, (3, 3, 4), generator=generator).repeat_interleave(2, 1).repeat_interleave(2, 2)
    )
    x = torch.randn(2, *labels.shape, generator=generator)
    expected = torch.zeros_like(x)
    for place in np.ndindex(*labels.shape):
        parts, weights = [], []
        for axis in range(3):
            ends = []  # how far, and what is there
            for step in (-1, 1):
                at = list(place)
                while 0 <= at[axis] < labels.shape[axis] and labels[tuple(at)] == labels[place]:
                    at[axis] += step
                if 0 <= at[axis] < labels.shape[axis]:
                    ends.append((abs(at[axis] - place[axis]), x[(slice(None), *at)]))
                else:
                    ends.append((abs(at[axis] - place[axis]), None))
            (before, one), (behind, other) = ends
            if one is None and other is None:
                continue
            if one is not None and other is not None:
                parts.append((one * behind + other * before) / (before + behind))
            else:
                parts.append(one if other is None else other)
            weights.append(1 / (before + behind))
        assert parts
        expected[(slice(None), *place)] = sum(p * w for p, w in zip(parts, weights, strict=True)) / sum(
            weights
        )
    torch.testing.assert_close(make_fill(None, x, labels, 4, "neighbours", 0), expected)  # type: ignore[arg-type]


def test_what_has_nothing_around_it_keeps_its_mean() -> None:
    x = torch.randn(3, *SIZE)
    everything = torch.zeros(SIZE, dtype=torch.long)
    expected = x.mean((1, 2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(filled(x, everything, "neighbours"), expected)


class Seen(nn.Module):
    """The logit of the first of two classes is made of a clip by a formula."""

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of = of

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logit = self.of(x)
        return torch.stack([logit, torch.zeros_like(logit)], dim=1)


def choice_of(of: Any, x: torch.Tensor, labels: torch.Tensor) -> Any:
    model = vx.Classifier(Seen(of), clip_length=SIZE[0], size=SIZE[1:], mean=(0, 0, 0), std=(1, 1, 1))
    return choose_fill(model, x, labels, int(labels.max()) + 1, Aim(0))


def patches() -> torch.Tensor:
    return (torch.arange(9)[:, None] // 3 * 4 + torch.arange(12) // 3).expand(SIZE).contiguous()


def test_the_mean_is_taken_where_it_moves_the_answer() -> None:
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    chosen = choice_of(lambda x: 40 * x.var((1, 2, 3, 4)), x, patches())
    assert (
        chosen.fill == "mean" and chosen.is_enough and chosen.passes == 3 and chosen.sentence("net") is None
    )


def test_another_is_taken_where_means_leave_the_answer_as_it_is() -> None:
    """A network that sees the supervoxels' mean colours alone."""
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0)) ** 4
    chosen = choice_of(lambda x: 40 * (x.mean((1, 2, 3, 4)) - 0.2), x, patches())
    assert chosen.moved["mean"] < 1e-4 and chosen.fill != "mean" and chosen.moved[chosen.fill] >= ENOUGH
    assert chosen.passes <= 8 and f"{chosen.passes} forward passes" in chosen.sentence("net")


def test_a_network_that_goes_by_motion_is_asked_by_what_stands_still() -> None:
    labels = torch.stack([frame.roll(t, dims=1) for t, frame in enumerate(patches())])
    x = torch.rand(3, 12, generator=torch.Generator().manual_seed(0))[
        :, labels
    ]  # one colour each, which moves
    chosen = choice_of(lambda x: 5 * x.diff(dim=2).abs().mean((1, 2, 3, 4)), x, labels)
    assert chosen.fill == "still" and list(chosen.moved) == ["mean", "still"]
    assert chosen.passes == 5 and chosen.is_enough


def test_a_fill_that_moves_the_answer_is_taken_before_one_that_moves_the_log_odds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Means bring a sure answer from a probability of .99995 to 1, in many log-odds, and what stands still to .95."""
    log_odds = {"mean": (25.0, 25.0, 10.0), "still": (3.0, 3.0)}

    class Told:
        def __init__(self, *_: Any, fill: str, **__: Any) -> None:
            self.fill = fill

        def values(self, masks: torch.Tensor, score: str) -> torch.Tensor:
            return torch.tensor(log_odds[self.fill], dtype=torch.float64)[: len(masks)]

    monkeypatch.setattr("videxplain.passes.fill_choice.MaskedClip", Told)
    chosen = choice_of(lambda x: x.mean((1, 2, 3, 4)), torch.rand(3, *SIZE), patches())
    assert chosen.fill == "still" and chosen.moved["still"] == pytest.approx(0.0474, abs=1e-3)


def test_a_background_is_not_filled_with_what_is_around_it() -> None:
    """Of an object that moves it is found as what the network goes by, and its mean is never tried first."""
    labels = torch.ones(SIZE, dtype=torch.long)
    for t in range(SIZE[0]):
        labels[t, 3:6, t : t + 3] = 0
    x = 0.4 + 0.1 * torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0)).mean(dim=1, keepdim=True)
    x = x.expand(3, *SIZE).clone()
    x[:, labels == 0] += 0.4
    chosen = choice_of(lambda x: 20 * x.diff(dim=2).abs().mean((1, 2, 3, 4)), x, labels)
    assert chosen.fill == "still" and chosen.is_enough and "neighbours" not in chosen.moved
    lone = choice_of(lambda x: 60 + x.std((1, 2, 3, 4)), x, labels)
    assert list(lone.moved) == ["still", "mean", "grey"] and lone.passes == 7


def test_answers_that_are_no_numbers_are_left_to_whoever_scores() -> None:
    x = torch.rand(3, *SIZE)
    chosen = choice_of(lambda x: x.mean((1, 2, 3, 4)) * torch.nan, x, patches())
    assert chosen.fill == "mean" and chosen.sentence("net") is None


def test_a_network_of_images_is_not_asked_by_what_stands_still() -> None:
    class Image(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([9 + x.std((1, 2, 3)), x.new_zeros(len(x))], dim=1)

    model = vx.Classifier(Image(), clip_length=1, size=SIZE[1:], layout="BCHW")
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    assert "still" not in choose_fill(model, x, patches(), 12, Aim(0)).moved


def test_of_an_answer_that_nothing_moves_it_is_said() -> None:
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    chosen = choice_of(lambda x: 60 + x.std((1, 2, 3, 4)), x, patches())
    assert not chosen.is_enough and chosen.passes <= 8 and "score='log-odds'" in chosen.sentence("net")


def test_an_explanation_records_the_fill_and_says_why() -> None:
    frames = (np.random.default_rng(0).random((*SIZE, 3)) ** 4 * 255).astype(np.uint8)
    labels = patches().numpy().astype(np.int32)
    net = Seen(lambda x: 40 * (x.mean((1, 2, 3, 4)) - 0.2))
    model = vx.Classifier(net, clip_length=SIZE[0], size=SIZE[1:], mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.warns(vx.VidexplainWarning, match="hiding half of the supervoxels"):
        explanation = vx.explain(model, frames, "lime", 0, labels=labels, samples=30)
    fill = explanation.settings["fill"]
    assert fill not in ("mean", "auto")
    again = vx.explain(model, frames, "lime", 0, labels=labels, samples=30, fill=fill)
    np.testing.assert_array_equal(again.scores, explanation.scores)
