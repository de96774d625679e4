"""Segment, score, reduce: the method of "Gradient Weighted Superpixels for Interpretability in CNNs" (section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videxplain import __version__
from videxplain.attribution.mask_sampling import SECANTS
from videxplain.attribution.methods import METHODS, Method, RegionMethod
from videxplain.attribution.region_gradient import default_leaders, estimates
from videxplain.attribution.voxel_scores import PixelScores, Target, pixel_scores_of
from videxplain.errors import VidexplainError, unknown_name
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.inputs import ClipLike, pictures_for, prepare, refuse_fine
from videxplain.ops import segment_reduce
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import SEGMENTS_FROM, MethodSettings, Voxels, recorded, settings_for

if TYPE_CHECKING:
    from videxplain.models import Classifier

NUM_PREDICTIONS = 5  # kept in an Explanation


def explain(
    model: Classifier,
    clip: ClipLike | Sequence[ClipLike],
    method: str = "guided",
    target: Target = None,
    *,
    methods: Sequence[str] | None = None,
    segmentation: str | None = None,
    segments_from: str | None = None,
    n_segments: int | None = None,
    compactness: float | None = None,
    segment_scale: int | None = None,
    labels: np.ndarray | Sequence[np.ndarray] | None = None,
    keep_maps: bool = False,
    **options: Any,
) -> Any:
    """Explains why a classifier gives a clip, or each clip of a batch, its class.

    Parameters
    ----------
    model
        The classifier (`load_model`, or `Classifier(net, ...)` around any network).
    clip
        A `Clip`, or frames (T, H, W, 3) uint8, or an image (H, W, 3) uint8, of any size; a sequence of those is a
        batch. A clip shorter than the network's is continued by holding its last frame.
    method
        How voxels or supervoxels are scored; `videxplain methods` lists the names.
    target
        Class to explain by index, name or rank ("#2"); for a batch one for all or one each. By default the prediction.
    methods
        Several methods instead of one, over the same supervoxels; pixel methods share one forward pass.
    segmentation
        "slic" (the default for clips), "quickshift" (the default for images, as in the paper) or "grid".
    segments_from
        What is cut: the "image" (the paper, and the default), the "gradient" of the target as grey levels, or "both",
        half and half.
        The last two are the idea of SWAG (Hartley et al., WACV 2021), whose `reduction` is "mean"; they cost one
        forward and backward pass more.
    n_segments, compactness
        About how many supervoxels (200 by default), and how much their shape counts against their colour (10, SLIC).
    segment_scale
        Cut frames into supervoxels on a grid so many times as fine as the network's input along both axes, as far as
        the frames' own resolution goes: outlines follow the picture more closely. For methods that score voxels, and
        "slic" (then the default for images too) or "grid".
    labels
        Supervoxels made elsewhere, integers (T, h, w) at the network's input size or (T, n * h, n * w), instead of a
        segmentation.
    keep_maps
        Keep the voxel scores in `Explanation.dense` and `Explanation.cam`.
    **options
        The method's own, as `videxplain.settings` has them, such as `samples` and `seed` of LIME; of several methods
        one is not asked about another's. For methods that score voxels: `reduction`, the "sum" (the paper), "mean" or
        "max" of a supervoxel's voxel scores; `signed`, which keeps their sign instead of taking absolute values (the
        paper); `output` and `guided_any`, see `pixel_scores`.

    Returns
    -------
    Explanation
        For a batch a list of them; with `methods` a dict from each method's name to that.

    Raises
    ------
    VidexplainError
        One sentence on what is wrong with the clip, the class, the method, an option or the network.
    """
    if not isinstance(method, str) or isinstance(methods, str):
        raise VidexplainError("method is one name; give several as a list, methods=[...].")
    settings = settings_for(list(methods or [method]), options)
    chosen = {name: METHODS[name] for name in settings}
    if labels is not None:
        cutting = {
            "segmentation": segmentation,
            "segments_from": segments_from,
            "segment_scale": segment_scale,
        }
        _refuse_cutting(cutting | {"n_segments": n_segments, "compactness": compactness})
    segments_from, segment_scale = segments_from or "image", segment_scale or 1
    single = not isinstance(clip, (list, tuple))
    if not single and not clip:
        raise VidexplainError("there is no clip to explain.")
    batch: Any = [clip] if single else clip
    given: Any = [labels] if single and labels is not None else labels
    if segments_from not in SEGMENTS_FROM:
        raise unknown_name("source of segments", segments_from, SEGMENTS_FROM)
    pictures = partial(pictures_for, model, segments_from, target)
    inputs = prepare(
        model, batch, given, segmentation, n_segments, compactness, pictures, segment_scale=segment_scale
    )
    for name, spec in chosen.items():
        if isinstance(spec, RegionMethod):
            refuse_fine(inputs, name)
    if labels is None:
        inputs.settings["segments_from"] = segments_from
    x, segments = inputs.x, inputs.segments
    regions = torch.from_numpy(np.stack(segments)).to(x.device)
    count = int(regions.max()) + 1

    maps = _voxel_scores(model, x, chosen, target, settings)
    explained: dict[str, list[Explanation]] = {}
    for name, spec in chosen.items():
        found, own = maps[name], settings[name]
        if isinstance(spec, RegionMethod):
            scores = spec.score(model, x, regions, count, found.target, **vars(own))
        else:
            assert isinstance(own, Voxels)
            scores = _reduced(regions, found, count, inputs.scale, own.reduction, own.signed)
        provenance = _provenance(model, x)  # with what the network's use has shown
        explained[name] = [
            inputs.explanation(
                b,
                scores=_numpy(scores[b, : int(segments[b].max()) + 1]),
                dense=_numpy(found.dense[b]) if keep_maps and found.dense is not None else None,
                cam=_numpy(found.cam[b]) if keep_maps and found.cam is not None else None,
                method=name,
                settings={**provenance, **inputs.settings_of(b), **recorded(own)},
                **_decision(model, found, b),
            )
            for b in range(len(segments))
        ]
    results = {name: found[0] if single else found for name, found in explained.items()}
    return results if methods is not None else results[method]


@dataclass(frozen=True)
class RunningExplanation:
    """An explanation that is not finished.

    Attributes
    ----------
    explanation
        As from `explain`, with the scores so far; its settings say after how many passes.
    standard_error
        (K,) float32, of the scores; infinite where a single pass or ring has told all.
    passes
        How many forward and backward passes it took so far.
    precision
        The largest standard error in units of the largest score.
    """

    explanation: Explanation
    standard_error: np.ndarray
    passes: int
    precision: float


def explain_anytime(
    model: Classifier,
    clip: ClipLike,
    target: Target = None,
    *,
    passes: int = 64,
    levels: str = SECANTS,
    leaders: int | None = None,
    fill: str = "mean",
    output: str = "tempered",
    seed: int = 0,
    batch_size: int | None = None,
    segmentation: str | None = None,
    n_segments: int | None = None,
    compactness: float | None = None,
    labels: np.ndarray | None = None,
) -> Iterator[RunningExplanation]:
    """Explains by `region-gradient`, yielding what is known after each batch of passes; stop when it is enough.

    Parameters
    ----------
    passes
        At most how many. Other levels than "secants" are laid out for this many, so that stopping early costs some of
        their evenness.
    levels, leaders, fill, output, seed
        As the options of `region-gradient`; `LEVELS` in `videxplain.attribution.mask_sampling` lists the levels.
    batch_size
        Passes from one result to the next; by default as many as go through the network at once, of secants at least 4.
    clip, target, segmentation, n_segments, compactness, labels
        As for `explain`; one clip only.

    Raises
    ------
    VidexplainError
        As `explain`, on the first result.

    Examples
    --------
    >>> for running in vx.explain_anytime(model, clip, passes=64):  # doctest: +SKIP
    ...     if running.precision < 0.05:
    ...         break
    >>> running.explanation.top(5)  # doctest: +SKIP
    """
    if labels is not None:
        _refuse_cutting({"segmentation": segmentation, "n_segments": n_segments, "compactness": compactness})
    given = None if labels is None else [labels]
    inputs = prepare(model, [clip], given, segmentation, n_segments, compactness)
    refuse_fine(inputs, "region-gradient")
    regions = torch.from_numpy(inputs.segments[0]).to(inputs.x.device)
    count = int(regions.max()) + 1
    leaders = default_leaders(model) if leaders is None else leaders
    decided = _predicted(model, inputs.x, target)
    masked = MaskedClip(
        model,
        inputs.x[0],
        regions,
        count,
        int(decided.target[0]),
        fill=fill,
        batch_size=batch_size,
        seed=seed,
    )
    settings = {
        **inputs.settings_of(0),
        "levels": levels,
        "leaders": leaders,
        "fill": fill,
        "output": output,
    }
    for estimate in estimates(masked, passes, levels=levels, leaders=leaders, seed=seed, output=output):
        yield RunningExplanation(
            inputs.explanation(
                0,
                scores=_numpy(estimate.scores),
                method="region-gradient",
                settings={
                    **_provenance(model, inputs.x),
                    **settings,
                    "seed": seed,
                    "passes": estimate.passes,
                },
                **_decision(model, decided, 0),
            ),
            _numpy(estimate.standard_error),
            estimate.passes,
            estimate.precision,
        )


def _reduced(
    regions: torch.Tensor, found: PixelScores, count: int, scale: int, reduction: str, signed: bool
) -> torch.Tensor:
    """Scores (B, K) of regions (B, T, n * h, n * w), where n is the `scale`.

    Each voxel of the network is n * n of the regions' grid, which share its dense score; a CAM is sampled on that grid.
    """
    dense, cam = found.dense, found.cam
    if scale > 1 and dense is not None:
        dense = (dense if signed else dense.abs()).sum(dim=1, keepdim=True)
        dense = dense.repeat_interleave(scale, dim=3).repeat_interleave(scale, dim=4)
    scores = segment_reduce(regions, dense, cam, count, reduction=reduction, signed=signed)
    return scores / scale**2 if scale > 1 and reduction == "sum" else scores


def _voxel_scores(
    model: Classifier,
    x: torch.Tensor,
    chosen: dict[str, Method],
    target: Target,
    settings: dict[str, MethodSettings],
) -> dict[str, PixelScores]:
    """Voxel scores per method; region methods get the class and its probability only."""
    voxel = [name for name, spec in chosen.items() if not isinstance(spec, RegionMethod)]
    if voxel:
        maps = pixel_scores_of(model, x, voxel, target, {name: settings[name] for name in voxel})
        decision = replace(maps[voxel[0]], dense=None, cam=None)
    else:
        maps, decision = {}, _predicted(model, x, target)
    return {name: maps.get(name, decision) for name in chosen}


def _predicted(model: Classifier, x: torch.Tensor, target: Target) -> PixelScores:
    """The class to explain and its probability, without voxel scores."""
    probabilities = model.predict(x)
    classes = model.resolve_target(target, probabilities)
    probability = probabilities.gather(1, classes[:, None])[:, 0]
    return PixelScores(None, None, classes, probability, probabilities)


def _decision(model: Classifier, found: PixelScores, b: int) -> dict[str, Any]:
    """What the network decided on sample `b`, and which class is explained."""
    probabilities, target = found.probabilities[b], int(found.target[b])
    best = probabilities.topk(min(NUM_PREDICTIONS, len(probabilities)))
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return {
        "target": target,
        "target_name": model.labels[target],
        "probability": float(found.probability[b]),
        "predictions": [(model.labels[i], p) for i, p in ranked],
    }


def _numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


def _provenance(model: Classifier, x: torch.Tensor) -> dict[str, Any]:
    """Which network and which versions made an explanation, and what was noticed of the network on the way."""
    found: dict[str, Any] = {
        "videxplain": __version__,
        "torch": torch.__version__,
        "model": model.name,
        "model_sha256": model.fingerprint(),
        "precision": model.precision,
        "device": model.device.type,
        **model.origin,
    }
    if notes := model.findings(x).notes:
        found["notes"] = list(notes)
    return found


def _refuse_cutting(given: dict[str, Any]) -> None:
    """Raises if there are options of a segmentation beside supervoxels that were made elsewhere."""
    for name, value in given.items():
        if value is not None:
            raise VidexplainError(
                f"{name} means nothing where the supervoxels are given (labels); leave one out"
            )
