"""How little of a clip keeps the class, and how little of it destroys the class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from videxplain.attribution.methods import Masking, Method, RegionGradient, method_of
from videxplain.attribution.query import Query
from videxplain.errors import VidexplainError, unknown_name
from videxplain.explanations.as_json import to_json
from videxplain.explanations.evidence_search import Lead, Panel, Search, Side
from videxplain.explanations.explain import Request, against, as_numpy, asked, decided, provenance
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.inputs import ClipLike
from videxplain.passes.fills import KNOWN_FILLS, TIME_FILLS
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Fill, Question, Segmentation, Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import ClipOptions

FILLS: tuple[Fill, ...] = ("mean", "grey", "blur", "still")
"""What hides supervoxels by default, each in its turn; of a single frame "still" hides nothing and is left out."""
DEFAULT = RegionGradient(passes=4, refine_top=0)
"""What tells by default which supervoxels come first, under each fill."""
_GREY = 127


@dataclass(frozen=True)
class Verdict:
    """What the network says under one fill: which class comes first, the target's probability, and if that agrees."""

    fill: str
    first: str
    probability: float
    agrees: bool


@dataclass(frozen=True)
class RegionSet:
    """A set of supervoxels, and what was measured of it.

    Attributes
    ----------
    ids
        Its supervoxels, ascending.
    share
        How much of the clip they are.
    verdicts
        What the network says under each fill, where the set is shown alone, or hidden alone.
    """

    ids: tuple[int, ...]
    share: float
    verdicts: tuple[Verdict, ...]

    @property
    def verified(self) -> bool:
        """Whether it does under every fill what it was looked for."""
        return all(verdict.agrees for verdict in self.verdicts)

    @property
    def next_class(self) -> str | None:
        """Of a set that destroys: the class that takes over, under most fills."""
        names = [verdict.first for verdict in self.verdicts if verdict.agrees]
        return Counter(names).most_common(1)[0][0] if names else None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Evidence:
    """How little of a clip keeps a class, and how little destroys it.

    Attributes
    ----------
    explanation
        The supervoxels, and the scores that the search started from, their mean over all fills.
    keeps
        The smallest set found that, shown alone, keeps the class; None where none was found.
    destroys
        The smallest set found that, hidden alone, takes the class away; None where even a hidden clip keeps it.
    fills
        What hid supervoxels.
    passes
        How many passes of one clip it took, forward or forward and backward; of what was computed in part, that part.
    """

    explanation: Explanation
    keeps: RegionSet | None
    destroys: RegionSet | None
    fills: tuple[str, ...]
    passes: float

    def keeps_words(self) -> str:
        """A sentence on what keeps the class."""
        return self._words(self.keeps, "alone keep", "No set of supervoxels keeps the class under any fill")

    def destroys_words(self) -> str:
        """A sentence on what destroys the class."""
        words = self._words(
            self.destroys,
            "hidden alone destroy",
            "Even a wholly hidden clip keeps the class under every fill",
        )
        named = self.destroys is not None and self.destroys.next_class
        other = named and named != self.explanation.target_name
        return f"{words}; without them it says {named}" if other else words

    def _words(self, part: RegionSet | None, does: str, none: str) -> str:
        if part is None:
            return none
        agreeing = [verdict.fill for verdict in part.verdicts if verdict.agrees]
        sure = "verified" if part.verified else "not verified, only"
        count = f"{len(part)} of {self.explanation.num_segments} supervoxels ({part.share:.0%} of the clip)"
        return (
            f"{count} {does} {self.explanation.target_name}: {sure} under {', '.join(agreeing) or 'no fill'}"
        )

    def clips(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """The source frames with all hidden but what keeps the class, and without what destroys it.

        Two (T, H, W, 3) uint8; what is hidden is grey.
        """
        labels, frames = self.explanation.source_labels(), self.explanation.frames
        kept = np.isin(labels, self.keeps.ids if self.keeps else ())
        left = ~np.isin(labels, self.destroys.ids if self.destroys else ())
        return tuple(np.where(part[..., None], frames, _GREY).astype(np.uint8) for part in (kept, left))  # type: ignore[return-value]

    def save_clips(self, stem: str | os.PathLike[str]) -> list[Path]:
        """Writes both as videos, `STEM-keeps.mp4` and `STEM-destroys.mp4`.

        Raises
        ------
        VidexplainError
            For an image, and where nothing can be written there.
        """
        from videxplain.video import TrackFormat, VideoWriter

        real = len(self.explanation.frames) - self.explanation.held
        times = self.explanation.times[:real]
        if real < 2:
            raise VidexplainError(
                "evidence of one frame is a picture and no video; save Evidence.picture() instead"
            )
        lasts = times[-1] - times[0]
        rate = Fraction(real - 1) / lasts if lasts > 0 else Fraction(25)
        height, width = self.explanation.frames.shape[1:3]
        track = TrackFormat(width, height, time_base=Fraction(1, 90000), rate=rate)
        written = []
        for name, frames in zip(("keeps", "destroys"), self.clips(), strict=True):
            path = Path(f"{os.fsdecode(stem)}-{name}.mp4")
            with VideoWriter(path, track) as writer:
                for n, frame in enumerate(frames[:real]):
                    writer.write(np.ascontiguousarray(frame), times[n] - times[0] if lasts > 0 else n / rate)
            written.append(path)
        return written

    def picture(self) -> npt.NDArray[np.uint8]:
        """Both clips as rows of frames, with a sentence each: (H, W, 3) uint8."""
        from videxplain.explanations.pictures import evidence_picture

        return evidence_picture(self)

    def to_json(self) -> str:
        """All but frames and labels, as one JSON object."""
        explanation = self.explanation
        names = ("target", "target_name", "probability", "predictions", "method", "settings", "scores")
        parts = {name: _as_dict(getattr(self, name)) for name in ("keeps", "destroys")}
        head = {name: getattr(explanation, name) for name in names}
        return to_json({**head, "fills": self.fills, "passes": self.passes, **parts})

    def _repr_png_(self) -> bytes:
        from videxplain.explanations.pictures import png

        return png(self.picture())

    def __repr__(self) -> str:
        sizes = [
            f"{name} {'-' if part is None else len(part)}{'' if part is None or part.verified else ' (not verified)'}"
            for name, part in (("keeps", self.keeps), ("destroys", self.destroys))
        ]
        return f"Evidence({self.explanation.target_name!r}, {', '.join(sizes)}, of {self.explanation.num_segments})"


def _as_dict(part: RegionSet | None) -> dict[str, object] | None:
    if part is None:
        return None
    return {**asdict(part), "verified": part.verified, "next_class": part.next_class}


def evidence(
    model: Classifier,
    clip: ClipLike,
    fills: Sequence[Fill] = FILLS,
    target: Target | Question = None,
    *,
    method: str | Method | None = None,
    segmentation: str | Segmentation | None = None,
    labels: np.ndarray | None = None,
    **options: Unpack[ClipOptions],
) -> Evidence:
    """Looks for the fewest supervoxels that keep a class when shown alone, and that destroy it when hidden alone.

    Parameters
    ----------
    model, clip
        As for `explain`. The class has to be the one that the network decides for; of two classes, the likelier one.
        Of a value (a regression, `objective`) sets keep, or take away, more than half of what the clip changes it by.
    fills
        What hides supervoxels; a set has to do its work under each of them, and counts as verified only then.
    target
        As for `explain`. The class has to be the one that the network decides for; of two classes, the likelier one.
        Of a value (a regression, `objective`) sets keep, or take away, more than half of what the clip changes it by.
    method
        What tells which supervoxels come first; by default region gradients from 4 passes under each fill.
    segmentation, labels, **options
        As for `explain`. The class has to be the one that the network decides for; of two classes, the likelier one.
        Of a value (a regression, `objective`) sets keep, or take away, more than half of what the clip changes it by.

    Returns
    -------
    Evidence
        Both sets, what each fill says of them, and the class that takes over.

    Raises
    ------
    VidexplainError
        As `explain`; for a class that does not come first, and fills that hide nothing.
    """
    if options.get("fill") is not None:
        raise VidexplainError("fill has to be one fill; evidence() takes several, fills=[...]")
    picked = DEFAULT if method is None else method_of(method)
    request = Request.of([picked], target, segmentation, False, dict(options))
    (picked,) = request.methods
    checked = _checked(fills)
    inputs = request.inputs(model, [clip], None if labels is None else [labels])
    if inputs.scale > 1:
        raise VidexplainError("evidence is of supervoxels of the network's own input; use a scale of 1")
    regions = inputs.regions()
    count = int(regions.max()) + 1
    if count < 2:
        raise VidexplainError("evidence is a choice among supervoxels, and there is only one; cut finer")
    usable = usable_of(checked, inputs.x)
    query = Query(model, inputs.x, regions, count, request.question, methods=[picked])
    decision = decided(query, 0)
    panel = panel_of(query, usable)
    if not panel.lead(usable[0], range(count)) > 0:
        raise VidexplainError(
            f"the network does not decide for {decision['target_name']!r} here, so that nothing keeps or destroys it; "
            "evidence is of the class that comes first"
        )
    scores, made = _scores(query, picked, usable)
    found = {side: find(panel, query, side, scores) for side in ("keeps", "destroys")}
    settings = {
        **inputs.recorded(0),
        **provenance(model, inputs.x, picked),
        **asked(picked, query),
        **against(query, 0),
    }
    settings.pop("fill", None)
    explanation = inputs.explanation(
        0, scores=as_numpy(scores), method=picked.name, settings=settings, **decision
    )
    return Evidence(explanation, **found, fills=tuple(usable), passes=panel.passes + made)


def _checked(fills: Sequence[Fill]) -> tuple[Fill, ...]:
    """The fills, each a known one, none twice."""
    if isinstance(fills, str) or not fills:
        raise VidexplainError(f"fills has to be a list of one or more, not {fills!r}")
    for fill in fills:
        if fill not in KNOWN_FILLS:
            raise unknown_name("fill", fill, KNOWN_FILLS)
    return tuple(dict.fromkeys(fills))


def usable_of(fills: Sequence[Fill], x: torch.Tensor) -> list[Fill]:
    """Those that hide something of x (1, C, T, H, W): of one frame those that change its time do not."""
    usable = [fill for fill in fills if x.shape[2] > 1 or fill not in TIME_FILLS]
    if not usable:
        raise VidexplainError(f"{' and '.join(fills)} hide nothing of a single frame; name another fill")
    return usable


def panel_of(query: Query, fills: Sequence[Fill], *, seed: int = 0) -> Panel:
    """What the search asks, of the first clip of a query."""
    (aim, *_) = query.aims()
    clips = {
        str(fill): MaskedClip(
            query.model,
            query.x[0],
            query.labels[0],
            query.num_segments,
            Lead(**vars(aim)),
            fill=fill,
            seed=seed,
        )
        for fill in fills
    }
    return Panel(clips, "logit" if aim.task == "regression" else "log-odds")


def _scores(query: Query, method: Method, fills: Sequence[Fill]) -> tuple[torch.Tensor, float]:
    """Mean over fills of a method's scores (K,), in units of the largest; the passes that region gradients took."""
    methods = [method]
    if isinstance(method, Masking) and "fill" not in method.idle_options():
        methods = [replace(method, fill=fill) for fill in fills]
    rows = [one.score(query)[0].double().cpu() for one in methods]
    made = sum(one.passes for one in methods if isinstance(one, RegionGradient))
    return torch.stack([row / row.abs().max().clamp(min=1e-300) for row in rows]).mean(dim=0), float(made)


def find(
    panel: Panel, query: Query, side: Side, scores: torch.Tensor, *, thorough: bool = True
) -> RegionSet | None:
    """The smallest set found for one side, measured again under every fill.

    It is looked for under those fills under which there can be one: where a hidden clip still has the class, nothing
    destroys it.
    """
    fills = list(panel.clips)
    if side == "destroys":
        fills = [fill for fill in fills if not panel.lead(fill, ()) > 0]
    if not fills:
        return None
    part = panel.only(fills)
    before = part.passes
    ids = Search(part, side).smallest(scores, thorough=thorough)
    panel.passes += part.passes - before
    if ids is None:
        return None
    voxels = torch.bincount(query.labels[0].flatten(), minlength=panel.regions)
    share = float(voxels[list(ids)].sum() / voxels.sum())
    return RegionSet(ids, share, verdicts(panel, query, side, ids))


def verdicts(panel: Panel, query: Query, side: Side, ids: tuple[int, ...]) -> tuple[Verdict, ...]:
    """What the network says of a set under every fill, by whole passes of their own."""
    return tuple(_verdict(panel, query, side, ids, fill) for fill in panel.clips)


def _verdict(panel: Panel, query: Query, side: Side, ids: tuple[int, ...], fill: str) -> Verdict:
    clip = panel.clips[fill]
    mask = torch.full((1, panel.regions), float(side == "destroys"))
    mask[0, list(ids)] = float(side == "keeps")
    probabilities = clip.probabilities(mask.to(clip.x))
    panel.passes += 1
    target, other = int(query.target[0]), query.against
    if query.model.answers.task == "regression":
        limit, sign = panel.limits[fill]
        stays = sign * (float(probabilities[0, target]) - limit) > 0
    elif other is not None:
        stays = bool(probabilities[0, target] > probabilities[0, int(other[0])])
    else:
        stays = bool(query.model.answers.decides(probabilities, target)[0])
    first = query.model.class_names[int(probabilities[0].argmax())]
    return Verdict(fill, first, float(probabilities[0, target]), stays == (side == "keeps"))
