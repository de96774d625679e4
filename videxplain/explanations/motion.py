"""Whether a network goes by how things move in a clip, or by how they look."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from videxplain.attribution.methods import Masking, Method, RegionGradient, method_of
from videxplain.attribution.query import Query
from videxplain.errors import VidexplainError
from videxplain.explanations.as_json import to_json
from videxplain.explanations.explain import Request, against, as_numpy, asked, decided, provenance
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.inputs import ClipLike
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Fill, Question, Score, Segmentation, Target

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import ClipOptions

HIDDEN, STILL = "grey", "still"
CHANGES: dict[str, tuple[Fill, int]] = {
    HIDDEN: ("grey", 1),
    STILL: ("frozen", 3),
    "shuffled": ("shuffled", 4),
    "reversed": ("reversed", 1),
}
"""What is done to supervoxels, by which fill, and the mean over how many of its seeds is taken.

The first takes all away, the others the motion, the order and the direction of time. A clip stands still at one of its
frames: the mean over time would blur what moves, and so take away its look as well.
"""
DEFAULT = RegionGradient(passes=8, refine_top=0)
"""How supervoxels are scored by default, under each change."""
_COUNTS = 0.1
"""Of the largest score when hidden: what a supervoxel needs for a share of motion."""


@dataclass(frozen=True, eq=False)
class Motion:
    """What a clip loses without its motion.

    Attributes
    ----------
    explanation
        The supervoxels, with their scores when they are hidden.
    scores
        (K,) float32 for each change, what each supervoxel loses by it: "grey", "still", "shuffled" and "reversed".
    lost
        For each change, what the class loses when it is done to the whole clip.
    share
        The share of motion: what the clip loses when it stands still over what it loses when it is hidden, 0 to 1.
    shares
        (K,) float32, the same of each supervoxel; NaN where hiding it hardly matters.
    """

    explanation: Explanation
    scores: dict[str, npt.NDArray[np.float32]]
    lost: dict[str, float]
    share: float
    shares: npt.NDArray[np.float32]

    def render(self, top_k: int = 5) -> npt.NDArray[np.uint8]:
        """The source frames in grey, the supervoxels that count most coloured: blue for look, orange for motion."""
        from videxplain.explanations.pictures import shaded, share_colours

        labels, frames = self.explanation.source_labels(), self.explanation.frames
        top = [k for k in self.explanation.top_ids(top_k).tolist() if np.isfinite(self.shares[k])]
        lit = np.isin(labels, top)[..., None]
        colours = share_colours(self.shares)[labels.clip(min=0)]
        picture = np.where(lit, 0.5 * frames + 0.5 * colours, shaded(frames))
        return picture.astype(np.uint8)

    def picture(self) -> npt.NDArray[np.uint8]:
        """One picture: frames with the supervoxels that count, and the scale of colours: (H, W, 3) uint8."""
        from videxplain.explanations.pictures import motion_picture

        return motion_picture(self)

    def to_json(self) -> str:
        """All but frames and labels, as one JSON object."""
        names = ("target", "target_name", "probability", "predictions", "method", "settings")
        head = {name: getattr(self.explanation, name) for name in names}
        return to_json(
            {**head, "share": self.share, "lost": self.lost, "shares": self.shares, "scores": self.scores}
        )

    def _repr_png_(self) -> bytes:
        from videxplain.explanations.pictures import png

        return png(self.picture())

    def __repr__(self) -> str:
        return f"Motion({self.explanation.target_name!r}, {self.share:.0%} motion, {len(self.shares)} supervoxels)"


def motion(
    model: Classifier,
    clip: ClipLike,
    target: Target | Question = None,
    *,
    method: str | Method | None = None,
    segmentation: str | Segmentation | None = None,
    labels: np.ndarray | None = None,
    **options: Unpack[ClipOptions],
) -> Motion:
    """Tells how much of what made a network decide is motion, and how much is look.

    The clip, and each supervoxel, is hidden in grey, held still, shuffled in time and played backwards.

    Parameters
    ----------
    model, clip, target
        As for `explain`.
    method
        What scores supervoxels under each change; by default region gradients from 8 passes, of the log-odds.
    segmentation, labels, **options
        As for `explain`.

    Returns
    -------
    Motion
        Shares of motion, of the clip and of each supervoxel, and all scores.

    Raises
    ------
    VidexplainError
        As `explain`; for networks of images and clips of one frame, which have no motion.
    """
    if options.get("fill") is not None:
        raise VidexplainError(
            "fill means nothing to motion(), which hides, stills, shuffles and reverses; leave it out"
        )
    picked = DEFAULT if method is None else method_of(method)
    request = Request.of([picked], target, segmentation, False, dict(options))
    (picked,) = request.methods
    if not isinstance(picked, Masking):
        raise VidexplainError(
            f"method {picked.name!r} changes no supervoxels, so it cannot tell motion from look; take region-gradient, "
            "occlusion, lime or kernel-shap"
        )
    if getattr(model, "is_image_model", False):
        raise VidexplainError(f"{model.name!r} sees every frame on its own, so that no motion reaches it")
    inputs = request.inputs(model, [clip], None if labels is None else [labels])
    if inputs.x.shape[2] - inputs.clips[0].held < 2:
        raise VidexplainError("a clip of one frame has no motion; give one of several frames")
    regions = inputs.regions()
    query = Query(model, inputs.x, regions, int(regions.max()) + 1, request.question, methods=[picked])
    decision = decided(query, 0)
    query.prefer_log_odds(picked)
    score = query.score_of(picked)
    scores: dict[str, np.ndarray] = {
        change: np.mean(
            [
                as_numpy(replace(picked, fill=fill, seed=picked.seed + n).score(query)[0])
                for n in range(seeds)
            ],
            axis=0,
        )
        for change, (fill, seeds) in CHANGES.items()
    }
    losses = whole_clip_losses(query, score)
    hidden, still = (scores[change].astype(np.float64) for change in (HIDDEN, STILL))
    counts = hidden > _COUNTS * max(float(hidden.max()), 1e-300)
    shares = np.full(len(hidden), np.nan, np.float32)
    shares[counts] = (still[counts] / hidden[counts]).clip(0, 1)
    settings = {
        **inputs.recorded(0),
        **provenance(model, inputs.x, picked),
        **asked(picked, query),
        **against(query, 0),
    }
    settings["score"] = score
    settings.pop("fill", None)
    explanation = inputs.explanation(
        0, scores=scores[HIDDEN], method=picked.name, settings=settings, **decision
    )
    lost = {fill: loss.lost for fill, loss in losses.items()}
    return Motion(explanation, scores, lost, share_of(losses), shares)


@dataclass(frozen=True)
class Loss:
    """What the class loses by a change of the whole clip, and whether the network still decides for it."""

    lost: float
    stays: float


def whole_clip_losses(query: Query, score: Score) -> dict[str, Loss]:
    """By change; of several seeds the mean, and the share of them in which the class stays."""
    (aim, *_) = query.aims()
    one = torch.zeros_like(query.labels[0])
    shown = torch.tensor([[0.0], [1.0]]).to(query.x)
    losses: dict[str, Loss] = {}
    for change, (fill, seeds) in CHANGES.items():
        values, stay = [], []
        for seed in range(seeds):
            clip = MaskedClip(query.model, query.x[0], one, 1, aim, fill=fill, seed=seed)
            changed, whole = clip.values(shown, score=score).tolist()
            values.append(whole - changed)
            probabilities = query.model.predict(clip.compose(shown[:1]))
            stay.append(float(query.model.answers.decides(probabilities, aim.target)[0]))
        losses[change] = Loss(float(np.mean(values)), float(np.mean(stay)))
    return losses


def share_of(losses: Mapping[str, Loss], change: str = STILL) -> float:
    """What is lost by a change over what is lost when hidden, 0 to 1; NaN where hiding takes nothing away."""
    if not losses[HIDDEN].lost > 0:
        return math.nan
    return float(np.clip(losses[change].lost / losses[HIDDEN].lost, 0, 1))
