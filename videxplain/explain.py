"""Segment, score, reduce: the method of "Gradient Weighted Superpixels for Interpretability in CNNs" (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from videxplain import ops
from videxplain.attribution.methods import METHODS, Method, RegionMethod, option_names
from videxplain.attribution.scores import Output, PixelScores, Target, pixel_scores_of
from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError, unknown_name
from videxplain.explanation import Explanation
from videxplain.segmentation import segment

if TYPE_CHECKING:
    from videxplain.models import Classifier

ClipLike: TypeAlias = "Clip | np.ndarray"
NUM_PREDICTIONS = 5
REDUCTIONS = ("sum", "mean", "max")


def explain(
    model: Classifier,
    clip: ClipLike | Sequence[ClipLike],
    method: str = "guided",
    target: Target = None,
    *,
    methods: Sequence[str] | None = None,
    segmentation: str | None = None,
    n_segments: int = 200,
    compactness: float = 10.0,
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
    n_segments, compactness
        About how many supervoxels, and how much their shape counts against their colour (SLIC).
    labels
        Supervoxels made elsewhere, integers (T, h, w) at the network's input size, instead of a segmentation.
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
    specs = {name: METHODS[name] for name in (methods or [method])}
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    _check_options(specs, options)
    single = not isinstance(clip, (list, tuple))
    clips = [_as_clip(c) for c in ([clip] if single else clip)]
    views = [_view(model, c) for c in clips]
    x = model.prepare([view.frames for view in views])

    if labels is None:
        segmentation = segmentation or ("slic" if x.shape[2] > 1 else "quickshift")
        segments = [
            segment(v.frames, method=segmentation, n_segments=n_segments, compactness=compactness)
            for v in views
        ]
        settings = {"segmentation": segmentation, "n_segments": n_segments, "compactness": compactness}
    else:
        segments = [
            _check_labels(own, v) for own, v in zip([labels] if single else labels, views, strict=True)
        ]
        settings = {"segmentation": "given"}
    counts = [int(s.max()) + 1 for s in segments]
    regions = torch.from_numpy(np.stack(segments)).to(x.device)

    maps = _voxel_scores(model, x, specs, target, output=output, guided_any=guided_any, **options)
    by_method: dict[str, list[Explanation]] = {}
    for name, spec in specs.items():
        found = maps[name]
        own = _accepted(spec, options)
        if isinstance(spec, RegionMethod):
            scores = spec.score(model, x, regions, max(counts), found.target, **own)
        else:
            own |= {"reduction": reduction, "signed": signed, "output": output}
            scores = ops.segment_reduce(
                regions, found.dense, found.cam, max(counts), reduction=reduction, signed=signed
            )
        by_method[name] = [
            Explanation(
                labels=segments[b],
                scores=scores[b, :count].detach().float().cpu().numpy(),
                target=int(found.target[b]),
                target_name=model.labels[int(found.target[b])],
                probability=float(found.probability[b]),
                predictions=_predictions(model, found.probabilities[b]),
                method=name,
                settings={"model": model.name, **settings, **own},
                frames=view.source,
                times=view.times,
                geometry=view.geometry,
                held=view.held,
                dense=found.dense[b].cpu().numpy() if keep_maps and found.dense is not None else None,
                cam=found.cam[b].cpu().numpy() if keep_maps and found.cam is not None else None,
            )
            for b, (count, view) in enumerate(zip(counts, views, strict=True))
        ]
    results = {name: found[0] if single else found for name, found in by_method.items()}
    return results if methods is not None else results[method]


@dataclass(frozen=True)
class _View:
    """A clip as the network sees it: `frames` uint8 (T, h, w, 3) of its size and length, `source` of the clip's own."""

    frames: np.ndarray
    source: np.ndarray
    times: tuple[Any, ...]
    geometry: Geometry
    held: int


def _as_clip(clip: ClipLike) -> Clip:
    return clip if isinstance(clip, Clip) else Clip.from_array(clip)


def _view(model: Classifier, clip: Clip) -> _View:
    """Fits a clip to the model: its size by the model's geometry, its length by holding the last frame."""
    missing = 0 if model.is_image_model else model.clip_length - len(clip)
    if missing < 0:
        raise VidexplainError(
            f"{model.name!r} takes clips of {model.clip_length} frames and this one has {len(clip)}; "
            f"cut it, for example with open_video(...).clips(length={model.clip_length})"
        )
    clip = clip.hold(missing)
    geometry = model.geometry(clip.frames.shape[1:3])
    return _View(geometry.apply(clip.frames), clip.frames, clip.times, geometry, clip.held)


def _voxel_scores(
    model: Classifier, x: torch.Tensor, specs: dict[str, Method], target: Target, **settings: Any
) -> dict[str, PixelScores]:
    """Voxel scores per method; region methods get the class and its probability only."""
    voxel = [name for name, spec in specs.items() if not isinstance(spec, RegionMethod)]
    if voxel:
        maps = pixel_scores_of(model, x, voxel, target, **settings)
        first = maps[voxel[0]]
        plain = PixelScores(None, None, first.target, first.probability, first.probabilities)
    else:
        maps = {}
        probabilities = model.predict(x)
        classes = model.resolve_target(target, probabilities)
        plain = PixelScores(
            None, None, classes, probabilities.gather(1, classes[:, None])[:, 0], probabilities
        )
    return {name: maps.get(name, plain) for name in specs}


def _predictions(model: Classifier, probabilities: torch.Tensor) -> list[tuple[str, float]]:
    best = probabilities.topk(min(NUM_PREDICTIONS, len(probabilities)))
    return [(model.labels[i], p) for i, p in zip(best.indices.tolist(), best.values.tolist(), strict=True)]


def _accepted(spec: Method, options: dict[str, Any]) -> dict[str, Any]:
    """Those of `options` that the method takes."""
    names = option_names(spec)
    return {name: value for name, value in options.items() if name in names}


def _check_options(specs: dict[str, Method], options: dict[str, Any]) -> None:
    known = sorted({name for spec in specs.values() for name in option_names(spec)})
    for name in options:
        if name not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has no options of its own"
            raise VidexplainError(
                f"option {name!r} means nothing to method {' or '.join(map(repr, specs))}; {listed}"
            )


def _check_labels(labels: np.ndarray, view: _View) -> np.ndarray:
    """`labels` as int32 (T, h, w), or one sentence on why they cannot be supervoxels of the view."""
    labels = np.asarray(labels)
    labels = labels[None] if labels.ndim == 2 else labels
    if labels.shape != view.frames.shape[:3] or not np.issubdtype(labels.dtype, np.integer):
        raise VidexplainError(
            f"labels must be integers of shape {view.frames.shape[:3]}, the network's input; "
            f"these are {labels.dtype} {labels.shape}"
        )
    if not np.array_equal(np.unique(labels), np.arange(labels.max() + 1)):
        raise VidexplainError(
            "labels must be 0..K-1 without holes; renumber them, for example with np.unique(..., return_inverse=True)"
        )
    return np.ascontiguousarray(labels, dtype=np.int32)
