"""Frames brought to the size and the number that a network takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from videxplain.clip import Clip
from videxplain.errors import VidexplainError

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier


def fitted_clips(model: Classifier, clips: Clip | np.ndarray | Sequence[Clip | np.ndarray]) -> np.ndarray:
    """A batch of clips, uint8 (B, T, h, w, 3); see `Classifier.prepare`."""
    single = isinstance(clips, np.ndarray) or hasattr(clips, "frames")
    items: list[Any] = [clips] if single else list(clips)  # type: ignore[arg-type]
    if not items:
        raise VidexplainError("there is no clip to prepare.")
    frames = [
        _fitted(model, getattr(item, "frames", item), getattr(item, "geometry", None) is not None)
        for item in items
    ]
    lengths = {len(part) for part in frames}
    if len(lengths) > 1:
        raise VidexplainError(f"clips in one batch have to be of one length, not {sorted(lengths)} frames.")
    return np.stack(frames)


def _fitted(model: Classifier, frames: np.ndarray, at_size: bool) -> np.ndarray:
    """uint8 (T, H, W, 3) of any size to the network's size and length."""
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8:
        kind = getattr(frames, "dtype", type(frames).__name__)
        raise VidexplainError(f"frames have to be uint8 RGB in a numpy array, not {kind}.")
    if frames.ndim == 3:
        frames = frames[None]
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise VidexplainError(f"frames have to be (T, H, W, 3), not {tuple(frames.shape)}.")
    if not model.is_image_model:
        missing = model.clip_length - len(frames)
        if missing < 0:
            raise VidexplainError(
                f"a clip of {len(frames)} frames is too long for {model.name}, which takes "
                f"{model.clip_length}; cut it with open_video(...).clips(length={model.clip_length})."
            )
        if missing:
            frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    height, width = frames.shape[1:3]
    if not at_size:
        return model.geometry((height, width)).apply(frames)
    if (height, width) != model.size:
        raise VidexplainError(
            f"a clip with a geometry has to be at the size of {model.name}, {model.size[1]}x{model.size[0]}, "
            f"not {width}x{height}."
        )
    return frames
