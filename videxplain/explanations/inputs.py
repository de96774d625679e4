"""What `explain` starts from: clips brought to the network's input and cut into supervoxels."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from videxplain.attribution.methods import Vanilla
from videxplain.attribution.query import VoxelQuery
from videxplain.clip import Clip, Geometry
from videxplain.errors import VidexplainError, VidexplainWarning, kind_of
from videxplain.explanations.explanation import Explanation
from videxplain.models.frames import seen
from videxplain.passes.needs import Needs
from videxplain.regions import Regions
from videxplain.segmentation import (
    SEGMENTATIONS,
    check_segmentation,
    is_consecutive,
    segment,
    used_options,
    without_idle,
)
from videxplain.segmentation.hierarchy import Hierarchy, merge_tree
from videxplain.settings import Question, Segmentation

if TYPE_CHECKING:
    from videxplain.models import Classifier

ClipLike: TypeAlias = "Clip | np.ndarray"


OF_REGIONS: dict[str, Any] = {"segmentation": "regions", "scale": 1}
"""What is recorded of how a clip is cut that comes with regions."""


@dataclass(frozen=True)
class Inputs:
    """Clips made ready: x (B, C, T, h, w), and per clip what is drawn of it, its supervoxels and where it came from.

    Supervoxels are (T, n * h, n * w), where n is the `scale`, and so are the networks of the `geometries`.
    """

    clips: list[Clip]
    pictures: list[np.ndarray]
    geometries: list[Geometry]
    x: torch.Tensor
    segments: list[np.ndarray]
    cut: dict[str, Any]
    scale: int
    region_names: list[dict[str, list[str]]] = field(default_factory=list)
    hierarchies: list[Hierarchy] = field(default_factory=list)

    def recorded(self, b: int) -> dict[str, Any]:
        """What clip `b` is and how it was cut, so that both can be made again."""
        clip = self.clips[b]
        return {
            "clip": clip.source,
            "start": clip.start,
            "stride": clip.stride,
            "frames_sha256": sha256(clip.frames),
            **self.cut,
            **(self.region_names[b] if self.region_names else {}),
            **(
                {}
                if self.cut["segmentation"] in SEGMENTATIONS
                else {"labels_sha256": sha256(self.segments[b])}
            ),
        }

    def regions(self) -> torch.Tensor:
        """All supervoxels (B, T, n * h, n * w) int32, on the network's device."""
        return torch.from_numpy(np.stack(self.segments)).to(self.x.device)

    def explanation(self, b: int, **parts: Any) -> Explanation:
        """Of clip `b`, with the other `parts` of an explanation."""
        clip = self.clips[b]
        return Explanation(
            labels=self.segments[b],
            frames=self.pictures[b],
            times=clip.times,
            held=clip.held,
            geometry=self.geometries[b],
            hierarchy=self.hierarchies[b] if self.hierarchies else None,
            **parts,
        )


def prepare(
    model: Classifier,
    batch: Sequence[ClipLike],
    segmentation: Segmentation,
    labels: Sequence[np.ndarray] | None = None,
    question: Question | None = None,
    stated: Sequence[str] = (),
    regions: Sequence[Regions] | None = None,
    levels: Sequence[int] | None = None,
) -> Inputs:
    """Brings clips to the network's input and cuts them, or checks the `labels` that are there instead.

    Parameters
    ----------
    question
        Whose gradient is cut, where the segmentation's source is one.
    stated
        Options that were given by name.
    regions
        One for each clip, instead of supervoxels.
    levels
        How many supervoxels there are at each of several levels, if there are; `labels` are then the finest.
    """
    require_classifier(model)
    if not batch:
        raise VidexplainError("there is no clip to explain.")
    if labels is not None and regions is not None:
        raise VidexplainError("labels and regions are both given; leave one out.")
    if labels is not None or regions is not None:
        refuse_cutting(segmentation, stated, "regions" if labels is None else "labels")
    if regions is not None and len(regions) != len(batch):
        raise VidexplainError(f"{len(batch)} clips need as many regions, not {len(regions)}.")
    clips = [whole_clip(model, c) for c in batch]
    drawn = [model.pictures(c.frames) for c in clips]
    geometries = [c.geometry or model.geometry(c.size) for c in clips]
    views = [_view(model, c, g) for c, g in zip(clips, geometries, strict=True)]
    # what is segmented is what the network sees
    x = model.prepare(
        [replace(c, frames=v, geometry=g) for c, v, g in zip(clips, views, geometries, strict=True)]
    )
    if model.settings.picture is None and model.channels not in (1, 3):
        model.findings(x).note(
            f"clips of {model.name!r} are drawn, and cut where no labels are given, as the mean of their "
            f"{model.channels} channels in grey; tell what to show of them with picture."
        )
    names: list[dict[str, list[str]]] = []
    cut: dict[str, Any]
    if regions is not None:
        scale, cut = 1, OF_REGIONS
        segments, names = _of_regions(regions, clips, geometries)
    elif labels is not None:
        if len(labels) != len(views):
            raise VidexplainError(f"{len(views)} clips need as many arrays of labels, not {len(labels)}")
        scale = _scale_of(labels[0], views[0])
        segments = [_checked(array, view, scale) for array, view in zip(labels, views, strict=True)]
        cut = {"segmentation": "given", "scale": scale}
    else:
        # frames that are at the network's size already have nothing finer to show
        scale = min(
            1 if c.geometry else g.finest(segmentation.scale) for c, g in zip(clips, geometries, strict=True)
        )
        if segmentation.name == "auto":
            name = "slic" if x.shape[2] > 1 or scale > 1 else "quickshift"
            segmentation = replace(segmentation, name=name)
        segmentation = replace(segmentation, scale=scale)
        check_segmentation(segmentation, stated)
        if levels:
            segmentation = without_idle(replace(segmentation, n_segments=levels[-1]))
        cut = used_options(segmentation)
        views = _pictures(model, clips, geometries, views, scale)
        views = _to_cut(model, segmentation.source, question or Question(), x, views)
        segments = [segment(v, segmentation, spacing=(scale, 1, 1), device=model.device) for v in views]
    hierarchies = []
    if levels:
        if labels is not None:
            views = _pictures(model, clips, geometries, views, scale)
        hierarchies = [merge_tree(s, view) for s, view in zip(segments, views, strict=True)]
        cut = {**cut, "levels": list(levels)}
    geometries = [geometry.refined(scale) for geometry in geometries] if scale > 1 else geometries
    return Inputs(clips, drawn, geometries, x, segments, cut, scale, names, hierarchies)


def _view(model: Classifier, clip: Clip, geometry: Geometry, scale: int = 1) -> np.ndarray:
    """What the network sees of a clip, or the same on a grid so many times as fine, where the clip has that."""
    if clip.geometry:  # its frames are at the network's size
        return clip.frames.repeat(scale, axis=1).repeat(scale, axis=2) if scale > 1 else clip.frames
    return seen(model, clip.frames, geometry.refined(scale) if scale > 1 else geometry)


def _pictures(
    model: Classifier, clips: list[Clip], geometries: list[Geometry], views: list[np.ndarray], scale: int
) -> list[np.ndarray]:
    """Pictures (T, n * h, n * w, 3) of the clips' views (T, h, w, C), n being the scale."""
    if scale > 1:
        views = [_view(model, c, g, scale) for c, g in zip(clips, geometries, strict=True)]
    return [model.pictures(view) for view in views]


def require_classifier(model: Any) -> None:
    """Raises where something else was given for a model."""
    if not hasattr(model, "frame_logits"):
        remedy = f"load_model({model!r})" if isinstance(model, str) else "Classifier(network)"
        raise VidexplainError(f"model has to be a Classifier, not {kind_of(model)}; {remedy} makes one.")


def _of_regions(
    regions: Sequence[Regions], clips: list[Clip], geometries: list[Geometry]
) -> tuple[list[np.ndarray], list[dict[str, list[str]]]]:
    """What the network sees of each clip's regions, and what is recorded of them: names, and those that it misses."""
    segments, names = [], []
    for each, clip, geometry in zip(regions, clips, geometries, strict=True):
        labels, seen_names, unseen = each.seen(clip, geometry)
        if unseen:
            more = f" and {len(unseen) - 5} more" if len(unseen) > 5 else ""
            warnings.warn(
                f"the network sees nothing of {', '.join(unseen[:5])}{more}, which get no score: they lie outside "
                "what is cut out for it, or are smaller than its pixels.",
                VidexplainWarning,
                stacklevel=2,
            )
        segments.append(labels)
        names.append({"regions": seen_names, **({"regions_unseen": unseen} if unseen else {})})
    return segments, names


def refuse_cutting(segmentation: Segmentation, stated: Sequence[str], instead: str) -> None:
    """Raises if there are options of a segmentation beside supervoxels that were made elsewhere."""
    for name in (part.name for part in fields(segmentation)):
        if name in stated or getattr(segmentation, name) != getattr(Segmentation(), name):
            title = "segmentation" if name == "name" else name
            raise VidexplainError(
                f"{title} means nothing where the supervoxels are given ({instead}); leave one out"
            )


def _to_cut(
    model: Classifier, source: str, question: Question, x: torch.Tensor, views: list[np.ndarray]
) -> list[np.ndarray]:
    """What is cut into supervoxels: pictures of the views, or those with the gradient, or the gradient alone."""
    if source == "image":
        return views
    query = VoxelQuery(model, x, Question(target=question.target), Needs(input_gradient=True))
    dense = query.maps_of(Vanilla()).dense
    assert dense is not None
    share = 1.0 if source == "gradient" else 0.5
    return [_with_gradient(view, gradient, share) for view, gradient in zip(views, dense, strict=True)]


def sha256(array: np.ndarray) -> str:
    """Of an array's values."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _with_gradient(view: np.ndarray, dense: torch.Tensor, share: float) -> np.ndarray:
    """(T, h, w, 3) uint8: the frames and, to a `share`, the size of the gradient (C, T, h, w) as grey levels.

    The root spreads what is small, and one in a hundred voxels is white, so that a few do not leave the rest black.
    """
    scale = view.shape[1] // dense.shape[2]
    size = dense.abs().sum(dim=0).sqrt().repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    white = size.flatten().kthvalue(max(1, round(0.99 * size.numel()))).values.clamp(min=1e-30)
    grey = 255 * (size / white).clamp(max=1)[..., None].cpu().numpy()
    return ((1 - share) * view + share * grey + 0.5).astype(np.uint8)


def _as_clip(model: Classifier, clip: Any) -> Clip:
    """A clip of whatever is one, or one sentence on how to make one of what was given."""
    if isinstance(clip, Clip):
        return clip
    if isinstance(clip, str | os.PathLike):
        raise VidexplainError(
            f"a path was given where a clip is wanted ({os.fspath(clip)!r}); open it with open_video(path).clips(...), "
            "an image with Clip.from_image(path), or an array with read_clip(path)."
        )
    if not isinstance(clip, np.ndarray):
        raise VidexplainError(
            f"a clip has to be a Clip or a numpy array of frames (T, H, W, {model.channels}), not {kind_of(clip)}."
        )
    try:
        return Clip.from_array(clip, channels=model.channels)
    except ValueError as error:
        raise VidexplainError(f"{error}.") from error


def whole_clip(model: Classifier, clip: ClipLike) -> Clip:
    """The clip at the model's length: a short one is continued by holding its last frame, a long one refused."""
    clip = _as_clip(model, clip)
    missing = 0 if model.is_image_model else model.clip_length - len(clip)
    if missing < 0:
        raise VidexplainError(
            f"{model.name!r} takes clips of {model.clip_length} frames and this one has {len(clip)}; "
            f"cut it, for example with open_video(...).clips(length={model.clip_length})"
        )
    return clip.hold(missing)


def _scale_of(labels: np.ndarray, view: np.ndarray) -> int:
    """How many times as fine as a view (T, h, w, 3) the labels are, if they are whole times."""
    return max(1, np.asarray(labels).shape[-1] // view.shape[2])


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
    if not is_consecutive(labels):
        raise VidexplainError(
            "labels must be 0..K-1 without holes; renumber them, for example with np.unique(..., return_inverse=True)"
        )
    return np.ascontiguousarray(labels, dtype=np.int32)
