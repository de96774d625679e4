"""Voxel scores on their own, without supervoxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from videxplain.attribution.methods import Method, chosen
from videxplain.attribution.query import Decision, VoxelMaps, VoxelQuery, check_input, joined
from videxplain.errors import VidexplainError
from videxplain.settings import Question, Target, as_question

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import MethodOptions


@dataclass(frozen=True)
class PixelScores(VoxelMaps, Decision):
    """What a method says of each voxel, and what it explains.

    Attributes
    ----------
    dense
        (B, C, T, H, W) float32 at the input's resolution, or None.
    cam
        (B, t, h, w) float32 at the CAM layer's resolution, or None.
    target
        (B,) int64, the explained class of each sample.
    probability
        (B,) float32, the target's probability.
    probabilities
        (B, classes) float32.
    """


def pixel_scores(
    model: Classifier,
    x: torch.Tensor,
    method: str | Method = "guided",
    target: Target | Question = None,
    **options: Unpack[MethodOptions],
) -> PixelScores:
    """Scores every voxel of a batch of clips.

    Parameters
    ----------
    model
        The classifier. An image model scores each frame on its own, as if it were a clip of one frame.
    x
        (B, C, T, H, W) float, normalised as the model asks (`Classifier.prepare`); images (B, C, H, W) also do.
    method
        A method that scores voxels, by its name (`videxplain methods` lists them) or with its options, such as
        `SmoothGrad(samples=32)`.
    target
        Class to explain, by index, name or rank ("#2" is the second prediction); one for all samples or one each.
        The predicted class by default. Or a whole `Question`.
    **options
        Fields of the method and of the question by their names, such as `score="logit"`.

    Returns
    -------
    PixelScores
        Dense maps (B, C, T, h, w) and CAM maps (B, t, h, w), each None where the method has none.

    Raises
    ------
    VidexplainError
        For an unknown method, class or option, a method that scores regions only, and a network without gradients.
    """
    for name in ("reduction", "signed"):
        if name in options:
            raise VidexplainError(
                f"{name} is of scores of supervoxels, and these are scores of voxels; use explain()"
            )
    (picked,), question, _ = chosen([method], as_question(target), dict(options))
    if question.against is not None:
        raise VidexplainError(
            "against is of scores of supervoxels, and these are scores of voxels; use explain()"
        )
    x = check_input(model, x)
    query = VoxelQuery(model.asking(question, x), x, question, joined([picked.needs]))
    return PixelScores(**vars(query.maps_of(picked)), **vars(query.decision))
