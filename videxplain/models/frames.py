"""Frames as a network takes them, in size, number, channels and scale, and as they are cut and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videxplain.clip import Clip, Geometry, as_frames
from videxplain.errors import VidexplainError

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier

Range = tuple[float, float]
_FAR = 10
"""Values so many times the range away from it are on another scale."""
_GREY = np.array((0.299, 0.587, 0.114))
"""What red, green and blue add to the lightness, as in BT.601."""


def fitted_clips(model: Classifier, clips: Clip | np.ndarray | Sequence[Clip | np.ndarray]) -> np.ndarray:
    """A batch of clips (B, T, h, w, C); see `Classifier.prepare`."""
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
    types = {str(part.dtype) for part in frames}
    if len(types) > 1:
        raise VidexplainError(
            f"clips in one batch have to be of one type, not {' and '.join(sorted(types))}."
        )
    return np.stack(frames)


def _fitted(model: Classifier, frames: np.ndarray, at_size: bool) -> np.ndarray:
    """Frames of any size to the network's size, length and channels: (T, h, w, C)."""
    if not isinstance(frames, np.ndarray):
        wanted = "uint8 RGB" if model.channels == 3 else f"(T, H, W, {model.channels})"
        raise VidexplainError(f"frames have to be {wanted} in a numpy array, not {type(frames).__name__}.")
    frames = as_frames(frames, model.channels)
    check_frames(model, frames)
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
        return _suited(model, seen(model, frames, model.geometry((height, width))))
    if (height, width) != model.size:
        raise VidexplainError(
            f"a clip with a geometry has to be at the size of {model.name}, {model.size[1]}x{model.size[0]}, "
            f"not {width}x{height}."
        )
    return _suited(model, frames)


def seen(model: Classifier, frames: np.ndarray, geometry: Geometry) -> np.ndarray:
    """Frames through a geometry, with black around them."""
    low, _ = value_range(frames.dtype, model.settings.value_range)
    return geometry.apply(frames, black=low if frames.dtype.kind == "f" else max(low, 0))


def value_range(dtype: np.dtype, asked: Range | None) -> Range:
    """The values of frames that mean black and white."""
    if asked is not None:
        return asked
    return (0.0, 1.0) if dtype.kind == "f" else (0.0, float(np.iinfo(dtype).max))


def scaled(batch: np.ndarray, asked: Range | None, device: torch.device) -> torch.Tensor:
    """The same values with black at 0 and white at 1, float32, on the device."""
    low, high = value_range(batch.dtype, asked)
    if batch.dtype != np.uint8:
        return torch.from_numpy(((batch.astype(np.float64) - low) / (high - low)).astype(np.float32)).to(
            device
        )
    values = torch.from_numpy(batch).to(device).to(torch.float32)
    return (values - low if low else values) / (high - low)


def pictures(model: Classifier, frames: np.ndarray) -> np.ndarray:
    """What is cut and drawn of frames (T, H, W, C): uint8 (T, H, W, 3); see `NetworkSettings.picture`.

    Raises
    ------
    VidexplainError
        If the network's `picture` makes something else of them.
    """
    check_frames(model, frames)
    picture, expected = model.settings.picture, (*frames.shape[:3], 3)
    if picture is None:
        if frames.dtype == np.uint8 and frames.shape[3] == 3:
            return frames
        low, high = value_range(frames.dtype, model.settings.value_range)
        grey = frames if frames.shape[3] == 3 else frames.mean(axis=3, dtype=np.float64)
        levels = (np.asarray(grey, np.float64) - low) / (high - low)
        drawn = np.clip(255 * levels + 0.5, 0, 255).astype(np.uint8)
    else:
        drawn = np.asarray(picture(_suited(model, frames)))
        if drawn.dtype != np.uint8 or drawn.shape not in (expected, expected[:3]):
            raise VidexplainError(
                f"picture has to make uint8 {expected} or {expected[:3]} of frames {tuple(frames.shape)}, not "
                f"{drawn.dtype} {tuple(drawn.shape)}."
            )
    return np.ascontiguousarray(np.broadcast_to(drawn[..., None], expected) if drawn.ndim == 3 else drawn)


def _suited(model: Classifier, frames: np.ndarray) -> np.ndarray:
    """Frames with as many channels as the network takes: colour becomes grey for one."""
    if frames.shape[3] == model.channels:
        return frames
    return (frames @ _GREY + 0.5).astype(np.uint8)[..., None]


def check_frames(model: Classifier, frames: np.ndarray) -> None:
    """Raises where frames (T, H, W, C) cannot be what the network takes."""
    dtype, channels, asked = frames.dtype, model.channels, model.settings.value_range
    if dtype not in (np.uint8, np.uint16, np.float32, np.float64):
        raise VidexplainError(
            f"frames have to be uint8, uint16, float32 or float64, not {dtype}; convert them with astype."
        )
    if frames.ndim != 4 or 0 in frames.shape:
        raise VidexplainError(f"frames have to be (T, H, W, {channels}), not {tuple(frames.shape)}.")
    turns_grey = channels == 1 and frames.shape[3] == 3 and dtype == np.uint8
    if frames.shape[3] != channels and not turns_grey:
        raise VidexplainError(
            f"frames have to be (T, H, W, {channels}) for {model.name}, not {tuple(frames.shape)}: it takes "
            f"{channels} channel{'s' if channels > 1 else ''}, as it was set up (channels)."
        )
    if dtype == np.uint8 and asked is None:
        return
    low, high = value_range(dtype, asked)
    least, most = float(frames.min()), float(frames.max())
    if not np.isfinite(least) or not np.isfinite(most):
        raise VidexplainError("frames hold NaN or infinite values; look where they come from.")
    if dtype.kind == "u" and high > np.iinfo(dtype).max:
        raise VidexplainError(
            f"{dtype} frames cannot fill the value range ({low:g}, {high:g}) of {model.name}; give the values that it "
            "was trained on."
        )
    if asked is None and (least < low or most > high):
        wanted = "uint8 RGB" if channels == 3 else "integers"
        raise VidexplainError(
            f"frames have to be {wanted} in a numpy array, not {dtype} with values from {least:g} to {most:g}: those "
            "of floating point are from 0 to 1, if value_range=(lowest, highest) does not tell what is black and white."
        )
    spare = _FAR * (high - low)
    if least < low - spare or most > high + spare:
        raise VidexplainError(
            f"{dtype} frames with values from {least:g} to {most:g} are not on the scale ({low:g}, {high:g}) of "
            f"{model.name} (value_range); tell which values mean black and white, or bring them to that scale."
        )
