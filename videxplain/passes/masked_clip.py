"""A clip whose supervoxels can be dimmed one by one: x(z) = fill + z * (x - fill) for z in [0, 1]^K."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import torch
from scipy.ndimage import find_objects
from tqdm import tqdm

from videxplain.models.trial import rounding
from videxplain.passes import memory
from videxplain.passes.aim import Aim
from videxplain.passes.boxes.step import Box, around
from videxplain.passes.fast_layers import fast_layers
from videxplain.passes.fills import make_fill, sum_by_label
from videxplain.passes.forward_pass import derivatives
from videxplain.passes.incremental import Recording, Rows
from videxplain.passes.secants import Secants
from videxplain.settings import Fill, Score

if TYPE_CHECKING:
    from videxplain.models import Classifier

Result = TypeVar("Result")

BATCH_VALUES = {True: 1_250_000, False: 20_000_000}
"""Input values of a batch on a CPU, where the memory of large batches costs more than they save, and elsewhere."""
_CONFIRMATIONS, _COMPARED = 3, 8
"""Replayed passes of a network that are compared with whole ones, by one clip of each: until so many that changed the
answer were right, or as many at the most."""
_CHEAP, _LOOKED_AT = 0.5, 16
"""Share of a forward pass's multiplications below which what a supervoxel does is told by a small part of it, as the
mean over so many supervoxels."""
_QUICK = 0.6
"""Share of a forward pass's time, as far as it can be foreseen, below which replayed passes are quicker than whole
ones: narrow boxes are multiplied more slowly."""
_HALF = (0.25, 0.75)
"""Shares of supervoxels that a mask shows which hides about half of them."""
_MISSED = 0.1
"""Share of the changes from mask to mask that slopes of chords may miss; in networks of convolutions, rectifiers and
max pools it is rounding."""


class MaskedClip:
    """One clip, its supervoxels, and what the network says when some of them are hidden.

    Parameters
    ----------
    model
        The classifier.
    x
        (C, T, H, W), normalised.
    labels
        (T, H, W) integers 0..num_segments-1.
    target
        Index of the class that is asked about, or all that is asked.
    fill
        What takes a hidden supervoxel's place: its own mean colour ("mean", as the `lime` package does), mid-grey,
        black, a strong blur of the clip, or noise of the clip's own mean and deviation; or what does, like x.
    batch_size
        Clips per forward pass; by default as many as keep a batch near `BATCH_VALUES` values. Fewer from where a GPU's
        memory was used up.

    Attributes
    ----------
    unions
        (K,) the union of supervoxels, from 0, that each is hidden with in masks that are drawn; by default each by
        itself.
    """

    def __init__(
        self,
        model: Classifier,
        x: torch.Tensor,
        labels: torch.Tensor,
        num_segments: int,
        target: int | Aim,
        *,
        fill: Fill | torch.Tensor = "mean",
        batch_size: int | None = None,
        seed: int = 0,
    ) -> None:
        if x.device.type == "cpu":
            memory.keep()  # many passes of the same sizes follow
        self.model, self.num_segments = model, num_segments
        self.findings = model.findings(x[None])
        self.aim = target if isinstance(target, Aim) else Aim(target, task=model.answers.task)
        self.target = self.aim.target
        self.x = x
        self.labels = labels.long()
        self.segments_here = int(labels.max()) + 1  # in a batch other clips may have more
        self.unions: torch.Tensor | None = None
        self._known_share: float | None = None
        self._answers: list[torch.Tensor] | None = None
        if not isinstance(fill, torch.Tensor):
            fill = make_fill(model, x, self.labels, num_segments, fill, seed)
        self.fill = _channels_last(fill)
        self.contrast = _channels_last(x - self.fill)
        self.batch_size = batch_size or max(1, min(64, BATCH_VALUES[x.device.type == "cpu"] // x.numel()))

    @property
    def hidden_together(self) -> int:
        """How many parts of the clip masks are drawn over: its supervoxels, or unions of them."""
        return self.num_segments if self.unions is None else int(self.unions.max()) + 1

    def of_supervoxels(self, drawn: torch.Tensor) -> torch.Tensor:
        """Masks (..., K) from those that were drawn over unions."""
        return drawn if self.unions is None else drawn[..., self.unions]

    def compose(self, z: torch.Tensor, box: Box = ()) -> torch.Tensor:
        """Clips in which supervoxel k shows the share z[:, k] of itself: (m, K) -> (m, C, T, H, W).

        Or what is in a box of them.
        """
        fill, contrast = (part.permute(1, 2, 3, 0)[box] for part in (self.fill, self.contrast))
        return torch.addcmul(fill, z[:, self.labels[box]][..., None], contrast).permute(0, 4, 1, 2, 3)

    def probability(self, z: torch.Tensor, *, progress: str | None = None) -> torch.Tensor:
        """The target's probability for each row of z: (m, K) -> (m,) float64."""
        return self.values(z, score="probability", progress=progress)

    def values(self, z: torch.Tensor, *, score: Score, progress: str | None = None) -> torch.Tensor:
        """The target's `score`, as `Aim` has it, for each row of z: (m, K) -> (m,) float64."""
        scores, rows = [], z
        for logits in self._logits(z, progress):
            self._remember(rows[: len(logits)], logits)
            rows = rows[len(logits) :]
            scores.append(self.aim.score(logits, score))
        return torch.cat(scores)

    def probabilities(self, z: torch.Tensor, *, progress: str | None = None) -> torch.Tensor:
        """All classes' probabilities for each row of z: (m, K) -> (m, classes) float64."""
        return torch.cat(
            [self.model.answers.probabilities(logits).mean(dim=1) for logits in self._logits(z, progress)]
        )

    def watch(self) -> None:
        """Keeps from here on what `moved` tells."""
        self._answers = []

    def _remember(self, z: torch.Tensor, logits: torch.Tensor) -> None:
        """Answers to masks that hide about half, as those that `choose_fill` looks at; not to those that dim."""
        if self._answers is None:
            return
        z = z[:, : self.segments_here]
        shown = z.mean(dim=1)
        half = (shown > _HALF[0]) & (shown < _HALF[1]) & ((z == 0) | (z == 1)).all(dim=1)
        self._answers.append(self.aim.answer(logits.detach()[half].double()))

    def moved(self, answer: float) -> float | None:
        """How far masks that hid about half of it moved the clip's `answer`, in the mean, in units of it."""
        answers = torch.cat(self._answers) if self._answers else torch.empty(0)
        return float((answers - answer).abs().mean()) / max(abs(answer), 1e-30) if len(answers) else None

    def batches(
        self, rows: torch.Tensor, run: Callable[[torch.Tensor], Result], clips: int = 1
    ) -> Iterator[Result]:
        """What `run` makes of as many rows at once as go through the network together, each so many `clips`."""
        while len(rows):
            part = rows[: max(1, self.batch_size // clips)]
            try:
                result = run(part)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self.batch_size = len(part) * clips // 2
                continue
            yield result
            rows = rows[len(part) :]

    @torch.no_grad()
    def _logits(self, z: torch.Tensor, progress: str | None) -> Iterator[torch.Tensor]:
        """Batches of (B, frames, classes).

        In double precision from here on: a confident network's probability differs from 1 by less than float32 can
        tell, and what a supervoxel does to it would be rounded away.
        """
        with _bar(len(z), progress) as bar:
            for logits in self.batches(z, lambda part: self.model.frame_logits(self.compose(part)).double()):
                yield logits
                bar.update(len(logits))

    @torch.no_grad()
    def record(self, z: torch.Tensor, *, score: Score) -> tuple[torch.Tensor, Recording]:
        """As `values`, all rows of z (m, K) at once; and what `rescore` starts from."""
        recording = Recording()
        with torch.compiler.set_stance("force_eager"), recording:
            logits = recording.logits = self.model.frame_logits(recording.follow(self.compose(z)))
        return self.aim.score(logits.double(), score), recording

    @cached_property
    def _boxes(self) -> list[Box]:
        """Where each supervoxel is; one voxel for those that are only in other clips of a batch."""
        found = find_objects(self.labels.cpu().numpy() + 1, max_label=self.num_segments)
        return [box or (slice(0, 1),) * 3 for box in found]

    def is_cheap(self, recording: Recording) -> bool:
        """Whether a small part of a forward pass tells what a change in a supervoxel does, and does so rightly."""
        return self.findings.replays and recording.is_whole and self._share(recording) < _CHEAP

    def _share(self, recording: Recording) -> float:
        """How much of a forward pass a replayed one takes, which is the same for all recordings of the clip."""
        if self._known_share is None:
            boxes = self._boxes[: self.segments_here]
            some = boxes[:: -(-len(boxes) // _LOOKED_AT)]
            self._known_share = sum(map(recording.share, some)) / len(some)
        return self._known_share

    def is_quick(self, recording: Recording, rows: int, changed: Sequence[int] = ()) -> bool:
        """Whether `rescore` is quicker than whole passes of so many rows, and right, where these supervoxels change.

        Where none are named, whether it is in the mean over lone ones. A GPU takes large batches in the time in which
        the many small layers of a box are sent to it.
        """
        if not self._can_replay(recording):
            return False
        share = (
            recording.share(around([self._boxes[k] for k in changed])) if changed else self._share(recording)
        )
        return share + recording.overhead(rows) < _QUICK

    def repays(self, recording: Recording) -> bool:
        """Whether `rescore` of one row spares the time that it takes to record a pass, which is followed as well."""
        return self._can_replay(recording) and self._share(recording) + 2 * recording.overhead(1) < _QUICK

    def _can_replay(self, recording: Recording) -> bool:
        return self.x.device.type == "cpu" and self.findings.replays and recording.is_whole

    @torch.no_grad()
    def rescore(
        self, recording: Recording, rows: Rows, z: torch.Tensor, changed: Sequence[int], *, score: Score
    ) -> torch.Tensor:
        """As `values`, for z (m, K) of which only `changed` supervoxels differ from recorded rows: (m,) float64.

        By a replayed pass, the first of which with a network are compared with whole ones; by whole passes from where
        one differs or fails.
        """
        box = around([self._boxes[k] for k in changed])
        try:
            logits = recording.replay(self.model.frame_logits, rows, self.compose(z, box), box)
            self.findings.replays = self._is_confirmed(logits, recording, rows, z)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # of whatever a network does with a tensor that has no values
            self.findings.replays = False
        if not self.findings.replays:
            recording.replayed += len(z)
            return self.values(z, score=score)
        return self.aim.score(logits.double(), score)

    def _is_confirmed(self, logits: torch.Tensor, recording: Recording, rows: Rows, z: torch.Tensor) -> bool:
        """Whether a replayed pass gave what a whole one gives; the first few that change anything are compared."""
        if not bool(torch.isfinite(logits).all()):
            return False
        if self._is_proven:
            return True
        self.findings.compared_replays += 1
        expected = self.model.frame_logits(self.compose(z[:1]))
        recording.replayed += 1
        before = recording.logits[rows][:1]
        change, error = (float((expected - x).abs().max()) for x in (before, logits[:1]))
        noise = rounding(self.model) * 0.01 * float(expected.abs().max())
        self.findings.confirmed_replays += change > 10 * noise
        return error <= 0.01 * change + noise

    @property
    def _is_proven(self) -> bool:
        """Whether as many replayed passes of the network were compared with whole ones as have to be."""
        findings = self.findings
        return findings.confirmed_replays >= _CONFIRMATIONS or findings.compared_replays >= _COMPARED

    def rescore_each(
        self,
        recording: Recording,
        rows: Rows,
        z: torch.Tensor,
        changed: Sequence[Sequence[int]],
        *,
        score: Score,
        progress: str | None = None,
    ) -> torch.Tensor:
        """Of z (n, m, K), where z[i] differs from the m recorded rows in supervoxels `changed[i]`: (n, m) float64.

        By `rescore`, or by whole passes where these are quicker, or it cannot be trusted.
        """
        quick = (
            self.is_quick(recording, z.shape[1]) or not self._is_proven
        )  # whether it is right tells `is_cheap`
        if self.x.device.type != "cpu" or not (quick and self.is_cheap(recording)):
            recording.replayed += z.shape[:2].numel()
            return self.values(z.flatten(0, 1), score=score, progress=progress).view(z.shape[:2])
        scores = []
        with _bar(len(z), progress) as bar:
            for own, which in zip(z, changed, strict=True):
                scores.append(self.rescore(recording, rows, own, which, score=score))
                bar.update()
        return torch.stack(scores)

    def gradient(
        self,
        z: torch.Tensor,
        *,
        score: Score = "probability",
        ring: int = 1,
        recording: Recording | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The target's score (m,) float64 and its derivatives by z (m, K) float32: one backward pass a batch.

        `score` says which, as `Aim` has it. With a `ring` each so many rows of z form a ring, and what
        is returned for a row are slopes between it and the next one, as `Secants` has them. With a `recording` all
        rows go through the network at once.
        """

        def run(rings: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = self.compose(rings.flatten(0, 1)).requires_grad_()
            with torch.enable_grad(), torch.compiler.set_stance("force_eager"), fast_layers(x):
                with Secants(len(x), ring) if ring > 1 else nullcontext(), recording or nullcontext():
                    logits = self.model.frame_logits(recording.follow(x) if recording else x).double()
                scores = self.aim.score(logits, score)
            self._remember(rings.flatten(0, 1), logits)
            if recording is not None:
                recording.logits = logits.detach()
            (by_logits,) = derivatives(self.model, scores.sum(), [logits])
            if ring > 1:  # the mean of both ends
                by_logits = (
                    by_logits + by_logits.unflatten(0, (-1, ring)).roll(-1, dims=1).flatten(0, 1)
                ) / 2
            (gradient,) = derivatives(self.model, logits, [x], by_logits)
            effect = (gradient * self.contrast).sum(dim=1).flatten(1).float()
            slopes = sum_by_label(effect, self.labels.flatten(), self.num_segments)
            if ring > 1:
                self._check_chords(rings, slopes, logits.detach(), by_logits)
            return scores.detach(), slopes

        rings = z.unflatten(0, (-1, ring))
        found = [run(rings)] if recording is not None else self.batches(rings, run, clips=ring)
        values, slopes = zip(*found, strict=True)
        return torch.cat(values), torch.cat(slopes)

    def _check_chords(
        self, rings: torch.Tensor, slopes: torch.Tensor, logits: torch.Tensor, by_logits: torch.Tensor
    ) -> None:
        """Tells where slopes do not sum to what changes from each mask to the next; rounding is no change."""

        def step(rows: torch.Tensor) -> torch.Tensor:
            rows = rows.view(*rings.shape[:2], -1)
            return (rows - rows.roll(-1, dims=1)).flatten(0, 1)

        changes = (by_logits.flatten(1) * step(logits)).sum(dim=1)
        size = float(changes.abs().sum())
        if size < rounding(self.model) * float((by_logits * logits).abs().sum()):
            return
        missed = float(((slopes * step(rings)).sum(dim=1) - changes).abs().sum()) / size
        if missed > _MISSED:
            sentence = (
                f"region gradients are less sure for {self.model.name!r}: the slopes that they follow differ by "
                f"{missed:.0%} from what its score changes by, as in networks with attention or layer normalisation or "
                "with operations that are not seen (scripted ones); follow tangents (mask_sampling='arcsine'), or "
                "compare with lime or kernel-shap."
            )
            if self.findings.tell(sentence):
                self.findings.chords = sentence


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    """The same values (C, T, H, W), laid out as `Classifier.prepare` does: convolutions are faster on them."""
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def _bar(total: int, title: str | None) -> tqdm:
    """A progress bar, which shows where it has a title."""
    return tqdm(total=total, desc=title, unit="clip", leave=False, disable=title is None)
