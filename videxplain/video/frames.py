"""What a reader yields: decoded frames, converted to upright RGB only when somebody looks."""

from __future__ import annotations

import struct
import threading
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

# quarter turns counter-clockwise, then mirrored left to right
Orientation = tuple[int, bool]
UPRIGHT: Orientation = (0, False)

_local = threading.local()


def fraction(value: Any) -> Fraction | None:
    """One of PyAV's rational numbers, which from 19 on are not fractions, and 0 where they were None before."""
    return Fraction(value.numerator, value.denominator) if value else None


class Frame:
    """One frame of a video.

    Attributes
    ----------
    index : int
        Position in the order of presentation, from 0.
    time : Fraction
        Presentation time in seconds, strictly increasing from frame to frame.
    duration : Fraction or None
        How long it is shown, in seconds, where the container says so.
    image : uint8 array (H, W, 3)
        Upright RGB; converted on first access and kept.
    """

    __slots__ = ("_decoded", "_image", "_orientation", "_size", "duration", "index", "time")

    def __init__(
        self,
        index: int,
        time: Fraction,
        image: npt.NDArray[np.uint8] | None = None,
        *,
        duration: Fraction | None = None,
        decoded: av.VideoFrame | None = None,
        size: tuple[int, int] | None = None,
        orientation: Orientation = UPRIGHT,
    ) -> None:
        self.index = index
        self.time = time
        self.duration = duration
        self._image = image
        self._decoded = decoded
        self._size = size
        self._orientation = orientation

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """Upright RGB, uint8 (H, W, 3)."""
        if self._image is None:
            assert self._decoded is not None
            self._image = to_rgb(self._decoded, self._size, self._orientation)
            self._decoded = None
        return self._image

    def rgb(self) -> npt.NDArray[np.uint8]:
        """`image` without keeping it: a decoded frame takes half the memory while it waits."""
        if self._image is not None:
            return self._image
        assert self._decoded is not None
        return to_rgb(self._decoded, self._size, self._orientation)

    def stored(self) -> av.VideoFrame | None:
        """As it was decoded, if nobody has asked for `image`, and neither turning nor scaling is called for."""
        frame = self._decoded
        if frame is None or self._orientation != UPRIGHT:
            return None
        return frame if self._size in (None, (frame.height, frame.width)) else None

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, time={float(self.time):.6f})"


def reformatter(target: str) -> VideoReformatter:
    """This thread's converter to a pixel format: it keeps the tables of its last conversion, and is not thread-safe."""
    if not hasattr(_local, "reformatters"):
        _local.reformatters = {}
    return _local.reformatters.setdefault(target, VideoReformatter())


def to_rgb(
    frame: av.VideoFrame, size: tuple[int, int] | None = None, orientation: Orientation = UPRIGHT
) -> npt.NDArray[np.uint8]:
    """Upright RGB (H, W, 3) of a decoded frame, scaled to `size` (stored height, width) if that differs."""
    height, width = size or (frame.height, frame.width)
    rgb = reformatter("rgb24").reformat(frame, width=width, height=height, format="rgb24")
    rows = np.ascontiguousarray(_samples(rgb.planes[0])[:, : 3 * width])  # a copy only where they are padded
    return orient(rows.reshape(height, width, 3), orientation)


def planes(frame: av.VideoFrame) -> list[npt.NDArray[np.uint8]]:
    """Views (h, w) of the planes of a frame that has them apart, with 8 bits a sample."""
    return [_samples(plane)[:, : plane.width] for plane in frame.planes]


def _samples(plane: Any) -> npt.NDArray[np.uint8]:
    """A plane's rows, and what FFmpeg pads them with."""
    return np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, -1)


def orient(image: npt.NDArray[np.uint8], orientation: Orientation) -> npt.NDArray[np.uint8]:
    """The image turned and mirrored as its display matrix asks."""
    turns, mirrored = orientation
    if turns:
        image = np.rot90(image, turns)
    if mirrored:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Quarter turns and mirroring from a frame's display matrix (ISO/IEC 14496-12, 8.3.2).

    The matrix maps stored to displayed pixels in 16.16 fixed point, x to the right and y down. Turns that are
    no multiple of 90 degrees go to the nearest one.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("<5i", bytes(memoryview(data))[:20])
    mirrored = a * d - b * c < 0
    if mirrored:  # take the mirroring out: it is applied last, after the turn
        a, c = -a, -c
    # (a, b) is where the stored x axis goes; counter-clockwise with y down means towards -y
    turns = round(np.degrees(np.arctan2(-b, a)) / 90) % 4
    return turns, mirrored
