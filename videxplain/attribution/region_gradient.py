"""Region gradients: every supervoxel's effect from each backward pass, averaged until the answer is good enough.

Let z in [0, 1]^K dim every supervoxel between its content (1) and its fill (0): x(z) = fill + z * (x - fill). One
backward pass at z gives the derivative of the class's score by every z_k, where a LIME sample gives one number for all
of them. Over z with independent coordinates, uniform in [0, 1], the mean of the k-th derivative is the mean change
that showing supervoxel k makes while the others are dimmed at random: for a multilinear f the Banzhaf value, which
is also what LIME's regression over random masks tends to.

A derivative knows its point only, and networks are not multilinear. "secants" take masks as LIME does, each z_k 0 or 1,
a few in a ring, and let a pass follow the chords of the network's nonlinearities from one mask to the next (`Secants`):
the slopes of the supervoxels that change on the way share out the change of the score among them.

How chords share it out is a convention. It errs by a share of the score, so that it confuses the first few supervoxels
with each other. These leaders are therefore measured as well, by forward passes in masks that have been seen:
each is hidden where it is shown and shown where it is hidden, and in every other ring the first two are exchanged, one
shown and the other hidden, which tells most about their order, and so are the fifth and the sixth. After a lone pass at
one half the first two are exchanged there. Of convolutional networks these passes are a small part of whole ones
(`incremental`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from videxplain.attribution.mask_sampling import IN_TURN, SECANTS, TANGENTS, Draw, rings, turns
from videxplain.attribution.perturbation import masked_clips
from videxplain.passes.incremental import Recording, Rows
from videxplain.passes.masked_clip import MaskedClip

if TYPE_CHECKING:
    from videxplain.attribution.methods import RegionGradient
    from videxplain.attribution.query import Query
    from videxplain.settings import Score


@dataclass(frozen=True)
class Estimate:
    """What is known after some passes.

    Attributes
    ----------
    scores
        (K,) float64, each supervoxel's mean derivative, or mean change where it was measured.
    standard_error
        (K,) float64, of `scores`; infinite where a single pass or ring has told all.
    passes
        How many forward and backward passes it took.
    measurements
        How many forward passes it took besides, to measure leaders; of what was computed in part, that part.
    refined
        How many of the best supervoxels are measured.
    """

    scores: torch.Tensor
    standard_error: torch.Tensor
    passes: int
    measurements: float
    refined: int

    @property
    def precision(self) -> float:
        """The largest standard error in units of the largest score."""
        return float(self.standard_error.max() / self.scores.abs().max().clamp(min=1e-300))


REFINED = 8
"""Supervoxels that are measured at a time: the five that are shown by default, and three that may belong there.

By default none are where that takes whole passes, and none of images: on photographs a change scatters more than chords
err.
"""
COMPARED_RANKS = ((0, 1), (4, 5))
"""Places of leaders whose order matters: which is the first, and which is the last of the five."""
CHORD_WEIGHT = 0.5
"""What the chords' mean counts for beside measurements, in pairs of changes: its error does not fall with the rings."""


def estimates(clip: MaskedClip, method: RegionGradient, score: Score) -> Iterator[Estimate]:
    """The running estimate after each batch of passes.

    It is the mean over rings, or the weighted mean of the derivatives, and with leaders what fits this mean and the
    changes that were measured best; the standard error takes rings, passes or measurements for independent, and so errs
    on the safe side where levels are spread evenly or mirrored.

    Parameters
    ----------
    clip
        The clip, its supervoxels, its class and its fill; `clip.batch_size` passes go through the network at once, and
        of secants at least a ring.
    method
        How many passes, how masks are drawn ("path" and "diagonal" are segment-wise integrated and expected gradients),
        how many of the best supervoxels are measured after a ring of secants.
    score
        What changes are those of, as `Aim` has them.
    """
    sampling = method.suited(clip.model).mask_sampling
    assert sampling is not None
    passes, leaders = method.passes, method.refine_top
    if leaders is None and (sampling != SECANTS or clip.model.is_image_model):
        leaders = 0
    generator = torch.Generator().manual_seed(method.seed)
    observe = (
        partial(_secants, sampling, lambda: leaders != 0)
        if method.follows_chords(clip.model)
        else partial(_tangents, TANGENTS[sampling])
    )
    slopes, changes = _Mean(clip.num_segments), _Changes(clip, score)
    done = 0
    for number, seen in enumerate(observe(clip, passes, generator, score)):
        slopes.add(seen.slopes, seen.weights)
        ring = seen.ring
        if ring is not None:
            if leaders is None:  # the first ring tells
                leaders = REFINED if ring.is_cheap else 0
            if leaders:
                changes.measure(ring, slopes.result(), min(leaders, clip.segments_here), odd=bool(number % 2))
            if method.refine_top is None and not ring.is_cheap:  # a replayed pass was wrong
                leaders, changes = 0, _Changes(clip, score)
        done += seen.passes
        if seen.passes:
            scores, variance = changes.fit(*slopes.result())
            yield Estimate(scores, variance.sqrt(), done, changes.measurements, leaders or 0)


class _Mean:
    """The weighted mean of each supervoxel's observations, and its variance: (K,) float64 each."""

    def __init__(self, k: int) -> None:
        self.count = torch.zeros(k, dtype=torch.float64)
        self._sums = torch.zeros(5, k, dtype=torch.float64)  # of w, w g, w^2, w^2 g and (w g)^2

    def add(self, values: torch.Tensor, weights: torch.Tensor) -> None:
        """Observations (m, K); those of weight 0 do not count."""
        g, w = values, weights
        self.count += (w != 0).sum(dim=0)
        self._sums += torch.stack([v.sum(dim=0) for v in (w, w * g, w**2, w**2 * g, (w * g) ** 2)])

    def result(self) -> tuple[torch.Tensor, torch.Tensor]:
        """NaN where nothing was observed; one observation has an infinite variance."""
        w, wg, ww, wwg, wgwg = self._sums
        mean = wg / w
        spread = (wgwg - 2 * mean * wwg + mean**2 * ww).clamp(min=0) / w**2
        return mean, torch.where(self.count > 1, spread * self.count / (self.count - 1), math.inf)


@dataclass(frozen=True)
class _Ring:
    """Masks (m, K), once around, or a lone one at one half, the scores (m,) float64 there, and their forward pass."""

    clip: MaskedClip
    masks: torch.Tensor
    scores: torch.Tensor
    recording: Recording

    @property
    def is_cheap(self) -> bool:
        """Whether it takes a small part of a forward pass to see what a change in a supervoxel does."""
        return self.clip.is_cheap(self.recording)

    @property
    def complements(self) -> list[int]:
        """Places of a mask and of its complement, which one half is to itself."""
        return sorted({0, len(self.masks) // 2})


class _Changes:
    """What showing leaders changes, as far as it was measured."""

    def __init__(self, clip: MaskedClip, score: Score) -> None:
        self._clip, self._score = clip, score
        # (n, K) which combinations of scores were measured, (n,) what they are, (n,) weights in pairs of changes
        self._observations: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self.measurements = 0.0

    def measure(
        self, ring: _Ring, chords: tuple[torch.Tensor, torch.Tensor], leaders: int, *, odd: bool
    ) -> None:
        """The best in a ring, which is one of every second, `odd`, or not; the best so far, by chords as in `fit`."""

        def best() -> torch.Tensor:
            # supervoxels that are only in other clips of a batch are no leaders: what they change is rounding
            scores = self.fit(*chords)[0][: self._clip.segments_here]
            if self._clip.aim.against is not None:  # those for either class
                scores = scores.abs()
            return scores.argsort(descending=True, stable=True)

        lone = len(ring.masks) == 1
        if odd and ring.is_cheap:
            self.flip(ring, best()[max(0, leaders // 2 - 1) : leaders + 1])
        elif not odd and not lone:
            self.flip(ring, best()[:leaders])
        for one, other in COMPARED_RANKS[: 1 if lone else None] if odd or lone else ():
            if other < leaders:
                order = best().tolist()
                self.exchange(ring, order[one], order[other])

    def flip(self, ring: _Ring, leaders: torch.Tensor) -> None:
        """Each of the `leaders` (n,) where it is cheap in all masks, else in one and in its complement.

        What pairs of supervoxels do together cancels in both.
        """
        places = slice(None) if ring.is_cheap else ring.complements
        shown = ring.masks[places][:, leaders].T
        flipped = ring.masks[places].repeat(len(leaders), 1, 1)
        flipped[range(len(leaders)), :, leaders] = 1 - shown
        change = (ring.scores[places] - self._scores(ring, places, flipped, leaders[:, None])) * (
            2 * shown - 1
        )
        eye = torch.eye(ring.masks.shape[1], dtype=torch.float64)
        self._add(eye[leaders], change.mean(dim=1), change.shape[1] / 2)

    def exchange(self, ring: _Ring, first: int, second: int) -> None:
        """The `first` shown and the `second` hidden, and the reverse, in masks that have one of the two states already.

        Where there are none, in a mask and its complement. The change is the difference of both scores, free of what
        the others do to both alike.
        """
        pair = torch.tensor([first, second])
        chosen = (ring.masks[:, first] != ring.masks[:, second]).nonzero()[:, 0]
        if not len(chosen):
            chosen = torch.tensor(ring.complements)
        masks, scores = ring.masks[chosen], ring.scores[chosen].repeat(2, 1)
        states = masks.repeat(2, 1, 1)
        states[:, :, pair] = torch.eye(2, dtype=states.dtype)[:, None]
        new = (states != masks).any(dim=-1)
        places = chosen.repeat(2, 1)[new].tolist()
        (scores[new],) = self._scores(ring, places, states[new][None], pair[None])
        difference = torch.zeros(1, ring.masks.shape[1], dtype=torch.float64)
        difference[0, pair] = torch.tensor([1.0, -1.0], dtype=torch.float64)
        self._add(difference, (scores[0] - scores[1]).mean(dim=0, keepdim=True), len(chosen) / 2)

    def _scores(self, ring: _Ring, places: Rows, masks: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
        """Of masks (n, m, K) that differ from those of the ring at `places` in `changed` supervoxels (n, s): (n, m)."""
        before = ring.recording.replayed
        found = self._clip.rescore_each(
            ring.recording, places, masks.to(self._clip.x), changed.tolist(), score=self._score
        )
        self.measurements += ring.recording.replayed - before
        return found.cpu()

    def _add(self, combinations: torch.Tensor, values: torch.Tensor, weight: float) -> None:
        self._observations.append((combinations, values, torch.full_like(values, weight)))

    def fit(self, chords: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The chords' means and their variance (K,), with what was measured: weighted least squares.

        The chords' mean of each supervoxel that was measured is an observation of weight `CHORD_WEIGHT` beside the
        measurements; residuals tell the variance.
        """
        if not self._observations:
            return chords, variance
        rows, values, weights = map(torch.cat, zip(*self._observations, strict=True))
        known = rows.any(dim=0)
        prior = torch.full_like(chords[known], CHORD_WEIGHT)
        rows = torch.cat([torch.eye(len(prior), dtype=torch.float64), rows[:, known]])
        values, weights = torch.cat([chords[known], values]), torch.cat([prior, weights])
        covariance = torch.linalg.inv(rows.T @ (weights[:, None] * rows))
        fitted = covariance @ (rows.T @ (weights * values))
        noise = weights @ (rows @ fitted - values).square() / (len(rows) - len(prior))
        scores, variance = chords.clone(), variance.clone()
        scores[known], variance[known] = fitted, noise * covariance.diagonal()
        return scores, variance


@dataclass(frozen=True)
class _Observed:
    """What passes have found.

    Attributes
    ----------
    slopes, weights
        (m, K) float64.
    passes
        How many; those of a batch come with the last that it found.
    ring
        Where the slopes come from, if leaders can be measured there.
    """

    slopes: torch.Tensor
    weights: torch.Tensor
    passes: int
    ring: _Ring | None = None


def _tangents(
    draw: Draw, clip: MaskedClip, passes: int, generator: torch.Generator, score: Score
) -> Iterator[_Observed]:
    """A pass is an observation."""
    z, weights = draw(passes, clip.hidden_together, generator)
    z = clip.of_supervoxels(z)
    weights = clip.of_supervoxels(weights) if weights.shape[1] > 1 else weights
    for part, weight in zip(z.split(clip.batch_size), weights.split(clip.batch_size), strict=True):
        slope = clip.gradient(part.to(clip.x), score=score)[1].double().cpu()
        yield _Observed(slope, weight.expand_as(slope), len(part))


def _secants(
    sampling: str,
    measured: Callable[[], bool],
    clip: MaskedClip,
    passes: int,
    generator: torch.Generator,
    score: Score,
) -> Iterator[_Observed]:
    """A ring is an observation: for each supervoxel the mean over the steps in which it changes.

    Where groups are shown in turn, these steps are observations: one shows a supervoxel, the other hides it.
    """
    draw = turns if sampling == IN_TURN else rings

    def run(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Recording | None]:
        recording = Recording() if measured() else None
        flat = z.flatten(0, 1).to(clip.x)
        return z, *clip.gradient(flat, score=score, ring=z.shape[1], recording=recording), recording

    for size, same in groupby(draw(passes, clip.hidden_together, generator), key=len):
        masks = clip.of_supervoxels(torch.stack(list(same)))
        for z, values, slope, recording in clip.batches(masks, run, clips=size):
            changed = (z != z.roll(-1, dims=1)).double() if size > 1 else torch.ones_like(z)
            slopes = slope.double().cpu().view_as(z)
            if sampling != IN_TURN:
                slopes = (slopes * changed).sum(dim=1, keepdim=True) / changed.sum(dim=1, keepdim=True)
                changed = torch.ones_like(slopes)
            values = values.cpu().view(len(z), size)
            for n in range(len(z)):
                made = size * len(z) if n == len(z) - 1 else 0
                rows = slice(n * size, (n + 1) * size)
                ring = _Ring(clip, z[n], values[n], recording.of(rows)) if recording is not None else None
                yield _Observed(slopes[n], changed[n], made, ring)


def region_gradient(query: Query, method: RegionGradient) -> torch.Tensor:
    """Mean effect of each supervoxel's visibility on the class's score: (B, K) float32, signed.

    As `estimates` has it. Stops before `passes` once the largest standard error is below `until` times the largest
    score.
    """
    rows = []
    for b, clip in enumerate(masked_clips(query, method)):
        with tqdm(total=method.passes, desc="passes", leave=False, disable=not method.progress) as bar:
            for estimate in estimates(clip, method, query.score_of(method)):
                bar.update(estimate.passes - bar.n)
                if method.until is not None and estimate.precision <= method.until:
                    break
        query.record(method, b, refine_top=estimate.refined, passes=estimate.passes)
        rows.append(estimate.scores)
        query.standard_errors[method, b] = estimate.standard_error
    return torch.stack(rows).float().to(query.x.device)
