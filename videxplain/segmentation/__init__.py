"""Clip to labels: which voxel belongs to which supervoxel. Imports torch only where frames are cut."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from videxplain.errors import VidexplainError
from videxplain.registry import Registry
from videxplain.settings import Segmentation, as_settings, short_form

if TYPE_CHECKING:
    import torch

__all__ = ["SEGMENTATIONS", "as_segmentation", "check_segmentation", "grid_for", "segment", "to_segment"]

Spacing: TypeAlias = tuple[float, float, float]
Labels: TypeAlias = npt.NDArray[np.int32]
Cut: TypeAlias = Callable[..., np.ndarray]
SEGMENTATIONS: Registry[Cut] = Registry("segmentation", plugins="videxplain.segmentations")
"""Functions from frames (T, H, W, 3) uint8 to labels (T, H, W), integers 0..K-1 without holes.

Each takes as keywords what it can use of `n_segments`, `compactness`, `spacing` and `device`; what it does not take is
refused. Installed packages add functions by entry points of the group "videxplain.segmentations".
"""
_OPTIONS = ("n_segments", "compactness")


def as_segmentation(segmentation: str | Segmentation | None) -> Segmentation:
    """A segmentation by its name, or itself."""
    if isinstance(segmentation, str):
        return Segmentation(name=segmentation)
    return as_settings(segmentation, Segmentation, "segmentation")


def _takes(name: str) -> set[str]:
    """Keywords that a segmentation's function takes."""
    return set(inspect.signature(SEGMENTATIONS[name]).parameters)


def check_segmentation(settings: Segmentation, stated: Collection[str] = ()) -> None:
    """Raises where a segmentation is unknown, or has an option that means nothing to it.

    Parameters
    ----------
    settings
        With a name other than "auto".
    stated
        Options that were given by name, so that they count even where they are the defaults.
    """
    taken = _takes(settings.name)
    for option in _OPTIONS:
        is_stated = option in stated or getattr(settings, option) != getattr(Segmentation(), option)
        if is_stated and option not in taken:
            others = [name for name in SEGMENTATIONS if option in _takes(name)]
            raise VidexplainError(
                f"{option} means nothing to the segmentation {settings.name!r}; leave it out, or choose "
                f"{' or '.join(others)}"
            )


def without_idle(settings: Segmentation) -> Segmentation:
    """The same without the options that mean nothing to it."""
    taken = _takes(settings.name)
    idle = {name: getattr(Segmentation(), name) for name in _OPTIONS if name not in taken}
    return replace(settings, **idle)


def used_options(settings: Segmentation) -> dict[str, Any]:
    """What a segmentation's labels depend on, by name, for what is recorded with them."""
    taken = _takes(settings.name)
    options = {name: getattr(settings, name) for name in _OPTIONS if name in taken}
    return {"segmentation": settings.name, **options, "scale": settings.scale, "source": settings.source}


def segment(
    frames: npt.NDArray[np.uint8],
    segmentation: str | Segmentation = "slic",
    *,
    n_segments: int | None = None,
    compactness: float | None = None,
    spacing: Spacing = (1.0, 1.0, 1.0),
    exact: bool = False,
    device: torch.device | str | None = None,
) -> Labels:
    """Cuts a clip into supervoxels, an image into superpixels.

    Parameters
    ----------
    frames
        (T, H, W, 3) uint8; an image (H, W, 3) is a clip of one frame.
    segmentation
        "slic" (3-D), "quickshift" (scikit-image's, images only), "grid" (boxes) or one from another package; or a
        whole `Segmentation`, whose `scale` and `source` are for `explain`.
    n_segments
        About how many, 200 by default; quickshift finds its own number.
    compactness
        SLIC's weight of shape against colour, 10 by default.
    spacing
        Distance between neighbouring voxels along t, y, x; below 1 along t makes longer supervoxels.
    exact
        SLIC with scikit-image's labels, voxel for voxel (`skimage.segmentation.slic(..., start_label=0)`); slower.
    device
        A CUDA device for "slic", which finds the same labels as the CPU; all else is done on the CPU.

    Returns
    -------
    (T, H, W) int32
        Ids 0..K-1 without holes.

    Raises
    ------
    VidexplainError
        For frames of another kind, an unknown segmentation, numbers that are not positive, and options that it does
        not have.
    """
    array = np.asarray(frames)
    array = array[None] if array.ndim == 3 else array
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or array.size == 0:
        raise VidexplainError(f"frames must be uint8 (T, H, W, 3), not {array.dtype} {array.shape}")
    given = {"n_segments": n_segments, "compactness": compactness}
    (settings,) = short_form(given, as_segmentation(segmentation))
    if settings.name == "auto":
        settings = replace(settings, name="slic" if len(array) > 1 else "quickshift")
    check_segmentation(settings, [name for name, value in given.items() if value is not None])
    if len(spacing) != 3 or not all(s > 0 and math.isfinite(s) for s in spacing):
        raise VidexplainError(f"spacing must be three positive numbers, not {spacing}")
    if exact:
        if settings.name != "slic":
            raise VidexplainError(
                f"exact means SLIC as scikit-image does it; {settings.name!r} has no such form"
            )
        from videxplain.segmentation import exact as like_scikit_image

        return like_scikit_image.slic(
            array, n_segments=settings.n_segments, compactness=settings.compactness, spacing=spacing
        )
    return _cut(array, settings, spacing, device)


def _cut(
    frames: np.ndarray, settings: Segmentation, spacing: Spacing, device: torch.device | str | None
) -> Labels:
    """Labels by the registered function, checked."""
    name, taken = settings.name, _takes(settings.name)
    options: dict[str, Any] = {
        "n_segments": settings.n_segments,
        "compactness": settings.compactness,
        "spacing": spacing,
        "device": device,
    }
    if "spacing" not in taken and tuple(spacing) != (1, 1, 1):
        raise VidexplainError(f"{name} knows no other spacing, and no finer grid, than its own; use slic")
    labels = SEGMENTATIONS[name](frames, **{key: value for key, value in options.items() if key in taken})
    labels = np.asarray(labels)
    if labels.shape != frames.shape[:3] or not np.issubdtype(labels.dtype, np.integer):
        raise VidexplainError(
            f"the segmentation {name!r} gave {labels.dtype} {labels.shape} for frames {frames.shape[:3]}; it has to "
            "give integers of their shape"
        )
    if not is_consecutive(labels):
        raise VidexplainError(f"the segmentation {name!r} gave ids that are not 0..K-1 without holes")
    return np.ascontiguousarray(labels, dtype=np.int32)


def is_consecutive(labels: np.ndarray) -> bool:
    """Whether ids are 0..K-1 without holes."""
    return bool(labels.min() == 0 and np.bincount(labels.ravel()).all())


def to_segment(frames: np.ndarray, device: torch.device | str | None) -> torch.Tensor:
    """A clip (T, H, W, 3) as a batch of one, on the device if SLIC has kernels for it, else on the CPU."""
    import torch

    batch = torch.from_numpy(np.ascontiguousarray(frames))[None]
    return batch.to(device) if device is not None and torch.device(device).type == "cuda" else batch


def grid_for(
    shape: tuple[int, int, int], n_segments: int, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> tuple[int, int, int]:
    """Cells along t, y, x whose product is about `n_segments` and which are about as long as they are wide and high."""
    extent = [size * step for size, step in zip(shape, spacing, strict=True)]
    cells = [1, 1, 1]
    wanted = float(n_segments)
    # the shortest axis first: what rounding takes from it or gives it, the others make good
    axes = sorted(range(3), key=extent.__getitem__)
    for i, axis in enumerate(axes):
        rest = [extent[a] for a in axes[i:]]
        side = (math.prod(rest) / wanted) ** (1 / len(rest))
        cells[axis] = min(max(round(extent[axis] / side), 1), shape[axis])
        wanted = max(1.0, wanted / cells[axis])
    return cells[0], cells[1], cells[2]


@SEGMENTATIONS.register("slic")
def _slic(
    frames: np.ndarray,
    *,
    n_segments: int,
    compactness: float,
    spacing: Spacing,
    device: torch.device | str | None,
) -> np.ndarray:
    """3-D SLIC in CIELAB; components below half the mean size join the neighbour nearest in colour."""
    from videxplain import ops

    grid = grid_for(frames.shape[:3], n_segments, spacing)  # type: ignore[arg-type]
    labels, _ = ops.supervoxels(to_segment(frames, device), grid, compactness, spacing)
    return labels[0].cpu().numpy()


@SEGMENTATIONS.register("quickshift")
def _quickshift(frames: np.ndarray) -> np.ndarray:
    """scikit-image's quickshift with the settings of the `lime` package, seeded; for images."""
    from skimage.segmentation import quickshift

    if len(frames) > 1:
        raise VidexplainError("quickshift segments images; use slic for clips")
    labels = quickshift(frames[0], kernel_size=4, max_dist=200, ratio=0.2, rng=0)
    _, consecutive = np.unique(labels, return_inverse=True)
    return consecutive.reshape(frames.shape[:3]).astype(np.int32)


@SEGMENTATIONS.register("grid")
def _grid(frames: np.ndarray, *, n_segments: int, spacing: Spacing) -> np.ndarray:
    """Boxes, as alike as whole voxels allow."""
    shape = frames.shape[:3]
    cells = grid_for(shape, n_segments, spacing)  # type: ignore[arg-type]
    t, y, x = (axis * n // size for axis, n, size in zip(np.indices(shape), cells, shape, strict=True))
    return np.ascontiguousarray((t * cells[1] + y) * cells[2] + x, dtype=np.int32)
