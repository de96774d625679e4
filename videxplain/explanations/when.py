"""When in a clip the network saw what made it decide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from videxplain.attribution.methods import Method, RegionGradient, chosen
from videxplain.attribution.query import Query
from videxplain.errors import VidexplainError
from videxplain.explanations.as_json import to_json
from videxplain.explanations.explain import against, as_numpy, asked, decided, provenance
from videxplain.explanations.inputs import ClipLike, prepare, require_classifier, whole_clip
from videxplain.explanations.runs import outstanding
from videxplain.settings import Fill, Question, Segmentation, Target, as_question

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import MethodOptions

FILL: Fill = "neighbours"
"""What hides a part of a clip by default: the frames around it, faded into each other, so that nothing is torn."""
DEFAULT = RegionGradient(passes=8, mask_sampling="in-turn", fill=FILL)
"""How parts are scored by default."""
LEVEL = 0.1
"""Of the largest score: what parts need on an average to belong to a stretch."""


@dataclass(frozen=True)
class Stretch:
    """A stretch of time that counts.

    Attributes
    ----------
    first, last
        Its frames in the clip, both of them in it.
    begin, end
        Seconds: when the first frame is shown, and when the last one ends.
    score
        The sum of its parts' scores, signed.
    share
        Of the sum of all absolute scores, the part that is in it.
    """

    first: int
    last: int
    begin: float
    end: float
    score: float
    share: float


@dataclass(frozen=True, eq=False)
class WhenCurve:
    """What each stretch of time counts for.

    Attributes
    ----------
    scores
        (P,) float32, one for each part of the clip, signed.
    standard_error
        (P,) float32 of `scores`; None of methods that do not tell.
    edges
        (P + 1,) the frames at which parts begin, and the number of frames.
    target, target_name, probability, predictions, method, settings
        As an `Explanation` has them.
    frames, times
        (T, H, W, 3) uint8 and (T,) seconds, of the clip as the network sees it.
    held
        How many frames at the end only repeat the last one.
    """

    scores: npt.NDArray[np.float32]
    standard_error: npt.NDArray[np.float32] | None
    edges: tuple[int, ...]
    target: int
    target_name: str
    probability: float
    predictions: list[tuple[str, float]]
    method: str
    settings: dict[str, object]
    frames: npt.NDArray[np.uint8]
    times: tuple[Fraction, ...]
    held: int = 0

    def per_frame(self) -> npt.NDArray[np.float64]:
        """Each part's score shared among its frames: (T,) float64, with the same sum."""
        lengths = np.diff(self.edges)
        return np.repeat(self.scores.astype(np.float64) / lengths, lengths)

    def stretches(self, level: float = LEVEL) -> list[Stretch]:
        """Stretches of parts that count, for the class or against it, the one with the highest sum first.

        Each is the run of parts whose absolute scores per frame, less `level` of the largest, have the highest sum;
        then the next of what is left, down to a tenth of the first one's sum.
        """
        if not 0 < level < 1:
            raise VidexplainError(f"level is a share of the largest score, between 0 and 1, not {level}")
        lengths = np.diff(self.edges)
        runs = outstanding(np.abs(self.scores) / lengths, lengths, level)
        return [self._stretch(first, last) for first, last in runs]

    def best(self, level: float = LEVEL) -> Stretch | None:
        """The stretch that counts most; None where no part counts."""
        return next(iter(self.stretches(level)), None)

    def _stretch(self, first: int, last: int) -> Stretch:
        """From one part to another."""
        total = float(np.abs(self.scores).sum()) or 1.0
        inside = self.scores[first : last + 1].astype(np.float64)
        real = len(self.times) - self.held
        begin, end = self.edges[first], min(self.edges[last + 1], real) - 1
        times = [float(time) for time in self.times]
        step = (times[real - 1] - times[0]) / (real - 1) if real > 1 else 0.0
        ends = times[end + 1] if end + 1 < real else times[end] + step
        return Stretch(
            begin, end, times[begin], ends, float(inside.sum()), float(np.abs(inside).sum()) / total
        )

    def picture(self) -> npt.NDArray[np.uint8]:
        """Frames above the curve, with the best stretch marked: (H, W, 3) uint8."""
        from videxplain.explanations.pictures import when_picture

        return when_picture(self)

    def to_json(self) -> str:
        """All but the frames, as one JSON object."""
        names = ("target", "target_name", "probability", "predictions", "method", "settings")
        parts = {
            "scores": self.scores,
            "standard_error": self.standard_error,
            "edges": self.edges,
            "times": self.times,
            "held": self.held,
            "stretches": [vars(stretch) for stretch in self.stretches()],
        }
        return to_json({name: getattr(self, name) for name in names} | parts)

    def _repr_png_(self) -> bytes:
        from videxplain.explanations.pictures import png

        return png(self.picture())

    def __repr__(self) -> str:
        best = self.best()
        where = f"{best.begin:.2f} to {best.end:.2f} s" if best else "nowhere"
        return f"WhenCurve({self.target_name!r}, {len(self.scores)} parts, most from {where})"


def when(
    model: Classifier,
    clip: ClipLike,
    parts: int = 16,
    target: Target | Question = None,
    *,
    method: str | Method | None = None,
    **options: Unpack[MethodOptions],
) -> WhenCurve:
    """Tells when in a clip the network saw what made it decide.

    The clip is cut into parts of equal length; what each counts for is scored as supervoxels are. A hidden part shows
    the frames before and behind it, faded into each other.

    Parameters
    ----------
    model, clip
        As for `explain`.
    parts
        How many; at most as many as there are frames.
    target
        As for `explain`.
    method
        By default region gradients from 8 passes, of the log-odds. Of a name the fill is "neighbours" unless one is
        stated.
    **options
        Fields of the method and the question by their names: `passes=16`, `against="pole vault"`, `fill="still"`.

    Returns
    -------
    WhenCurve
        A score and its standard error for each part.

    Raises
    ------
    VidexplainError
        As `explain`, and for a clip of one frame.
    """
    wanted = dict(options)
    if isinstance(method, str):
        wanted.setdefault("fill", _fill_of(method))
    (picked,), question, _ = chosen([DEFAULT if method is None else method], as_question(target), wanted)
    if isinstance(picked, RegionGradient) and picked.refine_top is None:
        picked = replace(picked, refine_top=0)  # a slab is too large for passes that compute boxes
    require_classifier(model)
    whole = whole_clip(model, clip)
    labels, edges = _parts(whole.held, len(whole), parts, model.size)
    inputs = prepare(model, [whole], Segmentation(), [labels], question)
    count = len(edges) - 1
    query = Query(model, inputs.x, inputs.regions(), count, question, methods=[picked])
    decision = decided(query, 0)
    query.prefer_log_odds(picked)
    scores = picked.score(query)[0]
    error = query.standard_errors.get((picked, 0))
    settings = {
        **{key: value for key, value in inputs.recorded(0).items() if key != "labels_sha256"},
        "segmentation": "time",
        "parts": count,
        **provenance(model, inputs.x, picked),
        **asked(picked, query),
        **query.used(picked, 0),
        **against(query, 0),
    }
    return WhenCurve(
        scores=as_numpy(scores),
        standard_error=None if error is None else as_numpy(error),
        edges=edges,
        method=picked.name,
        settings=settings,
        frames=inputs.pictures[0],
        times=inputs.clips[0].times,
        held=inputs.clips[0].held,
        **decision,
    )


def _fill_of(method: str) -> str | None:
    """The fill for a method of that name that takes one."""
    (picked,), _, _ = chosen([method], Question(), {})
    return FILL if "fill" in picked.options() and "fill" not in picked.idle_options() else None


def _parts(held: int, frames: int, parts: int, size: tuple[int, int]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Labels (T, h, w) of the parts, and the frames at which they begin; held frames belong to the last one."""
    real = frames - held
    if real < 2:
        raise VidexplainError("a clip of one frame has no before and after; give one of several frames")
    if isinstance(parts, bool) or not hasattr(parts, "__index__") or parts < 2:
        raise VidexplainError(f"parts has to be a whole number of at least 2, not {parts!r}")
    count = min(int(parts), real)
    number = np.minimum(np.arange(frames), real - 1) * count // real
    edges = (*np.searchsorted(number, np.arange(count)).tolist(), frames)
    return np.broadcast_to(number.astype(np.int32)[:, None, None], (frames, *size)), edges
