"""The search for small sets of supervoxels that keep a class, or that destroy it.

A set holds if it does what is asked under every fill: shown alone the class stays, or hidden alone it goes. Supervoxels
come in the order of their scores; the shortest start of this order that holds is found by doubling and bisection, and
what it can do without is dropped. A second set grows by one supervoxel at a time, each time one of those whose slope at
the set so far is steepest. The smaller of both sets shrinks by exchanges: two of its supervoxels for one other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Literal, TypeAlias

import torch

from videxplain.passes.aim import Aim
from videxplain.passes.incremental import Recording
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Score

Side: TypeAlias = Literal["keeps", "destroys"]
Chosen: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Lead(Aim):
    """By how much a class comes first: above 0 it is what the network decides for.

    The logarithm of its probability over that of the next class, of which the mean over frames is taken; of several
    labels, its log-odds; against another class, the log-odds of the one against the other; of a regression, the value.
    """

    def score(self, logits: torch.Tensor, score: Score) -> torch.Tensor:
        if self.task == "regression" or self.against is not None:
            return super().score(logits, score)
        frames = logits.shape[1]
        if self.task == "multi-label":
            mean = logits[..., self.target].sigmoid().mean(dim=1)
            return logits[:, 0, self.target] if frames == 1 else mean.logit(eps=1e-16)
        mean = logits.log_softmax(dim=-1).logsumexp(dim=1)
        others = torch.cat([mean[:, : self.target], mean[:, self.target + 1 :]], dim=1)
        return mean[:, self.target] - others.amax(dim=1)


class Panel:
    """What a network says of a clip when supervoxels are hidden under each of several fills.

    A set that differs from one that was recorded in a small box takes a pass that computes this box only, where that is
    quicker.

    Parameters
    ----------
    clips
        By fill; what each asks about is a `Lead`.
    score
        Which number of a regression or of one class against another the lead is.

    Attributes
    ----------
    passes
        How many passes of one clip were made, forward or forward and backward; of what was computed in part, that part.
    limits
        By fill, where the class goes, and which way it is kept; of a regression halfway between the whole clip's value
        and that of a hidden one.
    """

    def __init__(self, clips: dict[str, MaskedClip], score: Score) -> None:
        self.clips, self.score = clips, score
        self.passes = 0.0
        self.limits = dict.fromkeys(clips, (0.0, 1.0))
        self._known: dict[tuple[str, Chosen], float] = {}
        self._recorded: dict[str, tuple[set[int], Recording]] = {}
        self._records = True  # passes, from which others are replayed where that is quicker
        if all(clip.aim.task == "regression" for clip in clips.values()):
            for fill in clips:
                whole, hidden = self.lead(fill, range(self.regions)), self.lead(fill, ())
                self.limits[fill] = (whole + hidden) / 2, 1.0 if whole >= hidden else -1.0

    @property
    def regions(self) -> int:
        """How many supervoxels there are."""
        return next(iter(self.clips.values())).num_segments

    def only(self, fills: Sequence[str]) -> Panel:
        """The same for these fills; it knows what is known by now."""
        part = copy(self)
        part.clips = {fill: self.clips[fill] for fill in fills}
        return part

    def lead(self, fill: str, shown: Collection[int]) -> float:
        """By how much the class comes first where these alone are shown; 0 or less where it does not."""
        key = fill, tuple(sorted(shown))
        if key not in self._known:
            self._known[key] = self._measured(fill, set(shown))
        limit, sign = self.limits[fill]
        return sign * (self._known[key] - limit)

    def _measured(self, fill: str, shown: set[int]) -> float:
        clip = self.clips[fill]
        mask = self._mask(shown).to(clip.x)
        if fill in self._recorded:
            before, recording = self._recorded[fill]
            changed = sorted(before ^ shown)
            if changed and clip.is_quick(recording, 1, changed):
                done = recording.replayed
                value = clip.rescore(recording, [0], mask, changed, score=self.score)
                self.passes += recording.replayed - done
                return float(value)
        self.passes += 1
        if not self._records:
            return float(clip.values(mask, score=self.score))
        value, recording = clip.record(mask, score=self.score)
        self._records = clip.repays(recording)
        self._recorded[fill] = shown, recording
        return float(value)

    def slopes(self, fill: str, shown: Collection[int]) -> torch.Tensor:
        """What each supervoxel's visibility adds there, to first order: (K,)."""
        clip = self.clips[fill]
        self.passes += 1
        slopes = clip.gradient(self._mask(shown).to(clip.x), score=self.score)[1][0]
        return self.limits[fill][1] * slopes.double().cpu()

    def _mask(self, shown: Collection[int]) -> torch.Tensor:
        mask = torch.zeros(1, self.regions)
        mask[0, list(shown)] = 1
        return mask


class Search:
    """One search: for what keeps a class, or for what destroys it.

    Parameters
    ----------
    panel
        The network, and the fills under which a set has to hold.
    side
        What a set is to do.
    """

    def __init__(self, panel: Panel, side: Side) -> None:
        self.panel, self.side = panel, side
        self._hardest = list(panel.clips)  # fills under which sets fail first
        self._all = range(panel.regions)

    def margin(self, chosen: Sequence[int], fill: str) -> float:
        """Above 0 where the set holds under a fill."""
        if self.side == "keeps":
            return self.panel.lead(fill, chosen)
        members = set(chosen)
        return -self.panel.lead(fill, [k for k in self._all if k not in members])

    def holds(self, chosen: Sequence[int]) -> bool:
        """Whether the set does what is asked under every fill; the one that has failed last is tried first."""
        for fill in list(self._hardest):
            if not self.margin(chosen, fill) > 0:
                self._hardest.remove(fill)
                self._hardest.insert(0, fill)
                return False
        return True

    def smallest(self, scores: torch.Tensor, *, thorough: bool = True) -> Chosen | None:
        """The smallest set that is found; None where even all supervoxels do not hold.

        Parameters
        ----------
        scores
            (K,) what tells which come first.
        thorough
            Also grow a set, and exchange.
        """
        order = scores.argsort(descending=True, stable=True).tolist()
        if self.holds(()):
            return ()
        if not self.holds(order):
            return None
        best = self.dropped(self.start(order), order)
        if thorough and len(best) > 1:
            best = self.exchanged(self.improved(best, order), order)
        return tuple(sorted(best))

    def start(self, order: list[int]) -> list[int]:
        """The shortest start of the order that holds, as doubling and bisection find it."""
        low, high = 0, 1
        while high < len(order) and not self.holds(order[:high]):
            low, high = high, 2 * high
        high = min(high, len(order))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.holds(order[:middle]) else (middle, high)
        return order[:high]

    def dropped(self, chosen: list[int], order: list[int]) -> list[int]:
        """The set without what it can do without, tried from the last of the order on."""
        kept = sorted(chosen, key=order.index)
        for member in kept[::-1]:
            rest = [k for k in kept if k != member]
            if self.holds(rest):
                kept = rest
        return kept

    def improved(self, best: list[int], order: list[int]) -> list[int]:
        """The set, or a smaller one that grows where slopes are steepest, by twos and threes where sets are large."""
        grown: list[int] = []
        step = max(1, len(best) // _STEPS)
        while len(grown) < len(best) - 1:
            fill = self._hardest[0]
            candidates = self._steepest(grown, fill)
            if step > 1:
                grown = [*grown, *candidates[: min(step, len(best) - 1 - len(grown))]]
            else:
                grown = max(
                    ([*grown, k] for k in candidates[:_TRIED]), key=lambda one: self.margin(one, fill)
                )
            if self.holds(grown):
                return self.dropped(grown, order)
        return best

    def exchanged(self, best: list[int], order: list[int]) -> list[int]:
        """The set after all exchanges that make it smaller."""
        while len(best) > 1:
            smaller = next((c for c in self._smaller(best, order) if self.holds(c)), None)
            if smaller is None:
                return best
            best = self.dropped(smaller, order)
        return best

    def _smaller(self, best: list[int], order: list[int]) -> Iterator[list[int]]:
        """Sets with one supervoxel less that are worth a try: all of them where there are few."""
        size, count = len(best) - 1, len(order)
        if comb(count, size) <= _FEW:
            yield from map(list, combinations(order, size))
            return
        fill = self._hardest[0]
        lost = {member: self.margin([k for k in best if k != member], fill) for member in best}
        weakest = sorted(best, key=lambda member: -lost[member])[:_WEAKEST]
        for pair in combinations(weakest, 2):
            rest = [k for k in best if k not in pair]
            steep = [k for k in self._steepest(rest, fill) if k not in pair]
            yield from ([*rest, k] for k in steep[:_TRIED])

    def _steepest(self, chosen: list[int], fill: str) -> list[int]:
        """All others, those first whose slope at the set promises most."""
        members = set(chosen)
        shown = chosen if self.side == "keeps" else [k for k in self._all if k not in members]
        slopes = self.panel.slopes(fill, shown)
        return [k for k in slopes.argsort(descending=True).tolist() if k not in members]


_TRIED = 3
"""How many of the steepest are measured."""
_STEPS = 8
"""In so many steps at least a set grows."""
_WEAKEST = 3
"""So many members, those that are missed least, are exchanged in pairs."""
_FEW = 120
"""So many sets of one size are all tried."""
