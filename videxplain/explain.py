"""Segment, score, reduce: the method of "Gradient Weighted Superpixels for Interpretability in CNNs" (section 3)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from videxplain.attribution.anytime import SECANTS, estimates
from videxplain.attribution.masking import MaskedClip
from videxplain.attribution.methods import METHODS, Method, RegionMethod, option_names
from videxplain.attribution.scores import Output, PixelScores, Target, pixel_scores_of
from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError, unknown_name
from videxplain.explanation import Explanation
from videxplain.ops import segment_reduce
from videxplain.segmentation import segment

if TYPE_CHECKING:
    from videxplain.models import Classifier

ClipLike: TypeAlias = "Clip | np.ndarray"
NUM_PREDICTIONS = 5  # kept in an Explanation
REDUCTIONS = ("sum", "mean", "max")
SEGMENTS_FROM = ("image", "gradient", "both")


def explain(
    model: Classifier,
    clip: ClipLike | Sequence[ClipLike],
    method: str = "guided",
    target: Target = None,
    *,
    methods: Sequence[str] | None = None,
    segmentation: str | None = None,
    segments_from: str = "image",
    n_segments: int = 200,
    compactness: float = 10.0,
    segment_scale: int = 1,
    labels: np.ndarray | Sequence[np.ndarray] | None = None,
    reduction: str = "sum",
    signed: bool = False,
    output: Output = "probability",
    guided_any: bool = False,
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
        What is cut: the "image" (the paper), the "gradient" of the target as grey levels, or "both", half and half.
        The last two are the idea of SWAG (Hartley et al., WACV 2021), whose `reduction` is "mean"; they cost one
        forward and backward pass more.
    n_segments, compactness
        About how many supervoxels, and how much their shape counts against their colour (SLIC).
    segment_scale
        Cut frames into supervoxels on a grid so many times as fine as the network's input along both axes, as far as
        the frames' own resolution goes: outlines follow the picture more closely. For methods that score voxels, and
        "slic" (then the default for images too) or "grid".
    labels
        Supervoxels made elsewhere, integers (T, h, w) at the network's input size or (T, n * h, n * w), instead of a
        segmentation.
    reduction
        "sum" (the paper), "mean" or "max" of the voxel scores in a supervoxel.
    signed
        Keep the sign of voxel scores instead of taking absolute values (the paper).
    output, guided_any
        See `pixel_scores`.
    keep_maps
        Keep the voxel scores in `Explanation.dense` and `Explanation.cam`.
    **options
        The method's own, such as `samples` and `seed` of LIME; a method is not asked about another's.

    Returns
    -------
    Explanation
        For a batch a list of them; with `methods` a dict from each method's name to that.

    Raises
    ------
    VidexplainError
        One sentence on what is wrong with the clip, the class, the method, an option or the network.
    """
    chosen = {name: METHODS[name] for name in (methods or [method])}
    _check_options(chosen, options)
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    single = not isinstance(clip, (list, tuple))
    batch: Any = [clip] if single else clip
    given: Any = [labels] if single and labels is not None else labels
    if segments_from not in SEGMENTS_FROM:
        raise unknown_name("source of segments", segments_from, SEGMENTS_FROM)
    pictures = partial(_pictures, model, segments_from, target, output)
    inputs = _prepare(
        model, batch, given, segmentation, n_segments, compactness, pictures, segment_scale=segment_scale
    )
    for name, spec in chosen.items():
        if isinstance(spec, RegionMethod):
            _refuse_fine(inputs, name)
    if labels is None:
        inputs.settings["segments_from"] = segments_from
    x, segments = inputs.x, inputs.segments
    regions = torch.from_numpy(np.stack(segments)).to(x.device)
    count = int(regions.max()) + 1

    maps = _voxel_scores(model, x, chosen, target, output=output, guided_any=guided_any, **options)
    explained: dict[str, list[Explanation]] = {}
    for name, spec in chosen.items():
        found, own = maps[name], _accepted(spec, options)
        if isinstance(spec, RegionMethod):
            scores = spec.score(model, x, regions, count, found.target, **own)
        else:
            scores = _reduced(regions, found, count, inputs.scale, reduction, signed)
            own |= {"reduction": reduction, "signed": signed, "output": output}
        explained[name] = [
            inputs.explanation(
                b,
                scores=_numpy(scores[b, : int(segments[b].max()) + 1]),
                dense=_numpy(found.dense[b]) if keep_maps and found.dense is not None else None,
                cam=_numpy(found.cam[b]) if keep_maps and found.cam is not None else None,
                method=name,
                settings={"model": model.name, **inputs.settings, **own},
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
        (K,) float32, of the scores; infinite after one pass.
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
    output: str = "log-odds",
    seed: int = 0,
    batch_size: int | None = None,
    segmentation: str | None = None,
    n_segments: int = 200,
    compactness: float = 10.0,
    labels: np.ndarray | None = None,
) -> Iterator[RunningExplanation]:
    """Explains by `region-gradient`, yielding what is known after each batch of passes; stop when it is enough.

    Parameters
    ----------
    passes
        At most how many. Other levels than "secants" are laid out for this many, so that stopping early costs some of
        their evenness.
    levels, leaders, fill, output, seed
        As the options of `region-gradient`; `LEVELS` in `videxplain.attribution.anytime` lists the levels.
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
    given = None if labels is None else [labels]
    inputs = _prepare(model, [clip], given, segmentation, n_segments, compactness)
    _refuse_fine(inputs, "region-gradient")
    regions = torch.from_numpy(inputs.segments[0]).to(inputs.x.device)
    count = int(regions.max()) + 1
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
        "model": model.name,
        **inputs.settings,
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
                settings={**settings, "seed": seed, "passes": estimate.passes},
                **_decision(model, decided, 0),
            ),
            _numpy(estimate.standard_error),
            estimate.passes,
            estimate.precision,
        )


@dataclass(frozen=True)
class _Inputs:
    """Clips made ready: x (B, C, T, h, w), and per clip its supervoxels and where they came from.

    Supervoxels are (T, n * h, n * w), where n is the `scale`, and so are the networks of the `geometries`.
    """

    clips: list[Clip]
    geometries: list[Geometry]
    x: torch.Tensor
    segments: list[np.ndarray]
    settings: dict[str, Any]
    scale: int

    def explanation(self, b: int, **found: Any) -> Explanation:
        clip = self.clips[b]
        return Explanation(
            labels=self.segments[b],
            frames=clip.frames,
            times=clip.times,
            held=clip.held,
            geometry=self.geometries[b],
            **found,
        )


def _prepare(
    model: Classifier,
    batch: Sequence[ClipLike],
    labels: Sequence[np.ndarray] | None,
    segmentation: str | None,
    n_segments: int,
    compactness: float,
    pictures: Callable[[torch.Tensor, list[np.ndarray]], list[np.ndarray]] = lambda _, views: views,
    segment_scale: int = 1,
) -> _Inputs:
    """Brings clips to the network's input and segments the `pictures` of them, or checks the `labels` given."""
    clips = [_whole(model, c if isinstance(c, Clip) else Clip.from_array(c)) for c in batch]
    geometries = [c.geometry or model.geometry(c.size) for c in clips]
    views = [c.frames if c.geometry else g.apply(c.frames) for c, g in zip(clips, geometries, strict=True)]
    # what is segmented is what the network sees
    x = model.prepare(
        [replace(c, frames=v, geometry=g) for c, v, g in zip(clips, views, geometries, strict=True)]
    )
    if labels is not None:
        if len(labels) != len(views):
            raise VidexplainError(f"{len(views)} clips need as many arrays of labels, not {len(labels)}")
        scale = _scale_of(labels[0], views[0])
        segments = [_checked(own, view, scale) for own, view in zip(labels, views, strict=True)]
        settings: dict[str, Any] = {"segmentation": "given"}
    else:
        # frames that are at the network's size already have nothing finer to show
        finest = [
            1 if c.geometry else g.finest(segment_scale) for c, g in zip(clips, geometries, strict=True)
        ]
        scale = min(finest)
        how = segmentation or ("slic" if x.shape[2] > 1 or scale > 1 else "quickshift")
        settings = {"segmentation": how, "n_segments": n_segments, "compactness": compactness}
        if scale > 1:
            views = [g.refined(scale).apply(c.frames) for c, g in zip(clips, geometries, strict=True)]
        options: Any = {"n_segments": n_segments, "compactness": compactness, "spacing": (scale, 1, 1)}
        segments = [segment(view, how, **options) for view in pictures(x, views)]
    if scale > 1:
        settings["segment_scale"] = scale
        geometries = [geometry.refined(scale) for geometry in geometries]
    return _Inputs(clips, geometries, x, segments, settings, scale)


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


def _pictures(
    model: Classifier,
    source: str,
    target: Target,
    output: Output,
    x: torch.Tensor,
    views: list[np.ndarray],
) -> list[np.ndarray]:
    """What is cut into supervoxels: the views, or those with the gradient, or the gradient alone."""
    if source == "image":
        return views
    dense = pixel_scores_of(model, x, ["vanilla"], target, output=output)["vanilla"].dense
    assert dense is not None
    share = 1.0 if source == "gradient" else 0.5
    return [_with_gradient(view, own, share) for view, own in zip(views, dense, strict=True)]


def _with_gradient(view: np.ndarray, dense: torch.Tensor, share: float) -> np.ndarray:
    """(T, h, w, 3) uint8: the frames and, to a `share`, the size of the gradient (C, T, h, w) as grey levels.

    The root spreads what is small, and one in a hundred voxels is white, so that a few do not leave the rest black.
    """
    scale = view.shape[1] // dense.shape[2]
    size = dense.abs().sum(dim=0).sqrt().repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    white = size.flatten().kthvalue(max(1, round(0.99 * size.numel()))).values.clamp(min=1e-30)
    grey = 255 * (size / white).clamp(max=1)[..., None].cpu().numpy()
    return ((1 - share) * view + share * grey + 0.5).astype(np.uint8)


def _whole(model: Classifier, clip: Clip) -> Clip:
    """The clip at the model's length: a short one is continued by holding its last frame, a long one refused."""
    missing = 0 if model.is_image_model else model.clip_length - len(clip)
    if missing < 0:
        raise VidexplainError(
            f"{model.name!r} takes clips of {model.clip_length} frames and this one has {len(clip)}; "
            f"cut it, for example with open_video(...).clips(length={model.clip_length})"
        )
    return clip.hold(missing)


def _voxel_scores(
    model: Classifier, x: torch.Tensor, chosen: dict[str, Method], target: Target, **settings: Any
) -> dict[str, PixelScores]:
    """Voxel scores per method; region methods get the class and its probability only."""
    voxel = [name for name, spec in chosen.items() if not isinstance(spec, RegionMethod)]
    if voxel:
        maps = pixel_scores_of(model, x, voxel, target, **settings)
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


def _accepted(spec: Method, options: dict[str, Any]) -> dict[str, Any]:
    """Those of `options` that the method takes."""
    return {name: value for name, value in options.items() if name in option_names(spec)}


def _check_options(chosen: dict[str, Method], options: dict[str, Any]) -> None:
    known = sorted({name for spec in chosen.values() for name in option_names(spec)})
    for name in options:
        if name not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has no options of its own"
            raise VidexplainError(
                f"option {name!r} means nothing to method {' or '.join(map(repr, chosen))}; {listed}"
            )


def _scale_of(labels: np.ndarray, view: np.ndarray) -> int:
    """How many times as fine as a view (T, h, w, 3) the labels are, if they are whole times."""
    return max(1, np.asarray(labels).shape[-1] // view.shape[2])


def _refuse_fine(inputs: _Inputs, method: str) -> None:
    if inputs.scale > 1:
        raise VidexplainError(
            f"method {method!r} scores supervoxels of the network's own input, which has no finer ones; "
            f"use a segment_scale of 1, or a method that scores voxels"
        )


def _checked(labels: np.ndarray, view: np.ndarray, scale: int) -> np.ndarray:
    """`labels` as int32 (T, n * h, n * w), or one sentence on why they cannot be supervoxels of the view."""
    labels = np.asarray(labels)
    labels = labels[None] if labels.ndim == 2 else labels
    frames, height, width = view.shape[:3]
    if labels.shape != (frames, scale * height, scale * width) or not np.issubdtype(labels.dtype, np.integer):
        raise VidexplainError(
            f"labels must be integers of shape {view.shape[:3]}, the network's input, or whole times as high and wide; "
            f"these are {labels.dtype} {labels.shape}"
        )
    if labels.min() != 0 or not np.bincount(labels.ravel()).all():
        raise VidexplainError(
            "labels must be 0..K-1 without holes; renumber them, for example with np.unique(..., return_inverse=True)"
        )
    return np.ascontiguousarray(labels, dtype=np.int32)
