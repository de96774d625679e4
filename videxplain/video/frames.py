"""What a reader yields: decoded frames, converted to upright RGB only when somebody looks."""

from __future__ import annotations

import struct
import threading
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.sidedata.sidedata import Type as SideData
from av.video.reformatter import VideoReformatter

# quarter turns counter-clockwise, then mirrored left to right
Orientation = tuple[int, bool]
UPRIGHT: Orientation = (0, False)

_local = threading.local()
# AVColorSpace: what swscale converts to RGB, and what comes nearest to some that it does not
_CONVERTED = frozenset({1, 2, 4, 5, 6, 7, 9})
_BT709, _UNTOLD, _BT601 = 1, 2, 6
_NEAREST = {10: 9, 12: _BT709, 13: 9, 14: 9, 15: 9}
_MATRIX_NAMES = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "SMPTE 2085",
    12: "chroma-derived",
    13: "chroma-derived constant luminance",
    14: "ICtCp",
    15: "IPT-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_KINDS: Any = SideData


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

    __slots__ = ("_decoded", "_image", "_orientation", "_size", "_stretch", "duration", "index", "time")

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
        stretch: float = 1.0,
    ) -> None:
        self.index = index
        self.time = time
        self.duration = duration
        self._image = image
        self._decoded = decoded
        self._size = size
        self._orientation = orientation
        self._stretch = stretch

    @property
    def image(self) -> npt.NDArray[np.uint8]:
        """Upright RGB, uint8 (H, W, 3)."""
        if self._image is None:
            assert self._decoded is not None
            self._image = to_rgb(self._decoded, self._size, self._orientation, self._stretch)
            self._decoded = None
        return self._image

    def rgb(self) -> npt.NDArray[np.uint8]:
        """`image` without keeping it: a decoded frame takes half the memory while it waits."""
        if self._image is not None:
            return self._image
        assert self._decoded is not None
        return to_rgb(self._decoded, self._size, self._orientation, self._stretch)

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
    frame: av.VideoFrame,
    size: tuple[int, int] | None = None,
    orientation: Orientation = UPRIGHT,
    stretch: float = 1.0,
) -> npt.NDArray[np.uint8]:
    """Upright RGB (H, W, 3) of a decoded frame, fitted into `size` (stored height, width) with black where it differs.

    `stretch` is how much wider its pixels are meant to be than those of the result.
    """
    whole = (frame.height, frame.width)
    size = size or whole
    inner = whole if size == whole else fitted(whole, size, stretch)
    height, width = inner
    rgb = reformatter("rgb24").reformat(frame, width=width, height=height, format="rgb24")
    rows = np.ascontiguousarray(_samples(rgb.planes[0])[:, : 3 * width])  # a copy only where they are padded
    return orient(letterboxed(rows.reshape(height, width, 3), size), orientation)


def fitted(whole: tuple[int, int], size: tuple[int, int], stretch: float = 1.0) -> tuple[int, int]:
    """Height and width of a picture of size `whole` that just fits into `size`, its pixels `stretch` times as wide."""
    height, width = whole[0], whole[1] * stretch
    scale = min(size[0] / height, size[1] / width)
    return max(1, min(size[0], round(height * scale))), max(1, min(size[1], round(width * scale)))


def letterboxed(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """The image in the middle of a black one of a size that holds it; itself if that is its own."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas = np.zeros((*size, 3), np.uint8)
    canvas[top : top + height, left : left + width] = image
    return canvas


def convertible(frame: av.VideoFrame) -> str | None:
    """Sees to it that a frame's colours can be converted; the name of the matrix that another one stands in for."""
    told = frame.colorspace
    if told in _CONVERTED or frame.format.is_rgb:
        return None
    frame.colorspace = _NEAREST.get(told, _BT601)
    return _MATRIX_NAMES.get(told)  # that of RGB says nothing here


def color_of(frame: av.VideoFrame) -> dict[str, int]:
    """Colour tags, in FFmpeg's numbers, for a track of Y'CbCr that shows what the frame shows."""
    names = ("colorspace", "color_range", "color_primaries", "color_trc")
    told = {name: int(getattr(frame, name, 0) or _UNTOLD) for name in names}
    if frame.format.is_rgb:
        return told | rgb_color(frame.height)
    told["color_range"] = int(frame.color_range or 0)
    return told


def rgb_color(height: int) -> dict[str, int]:
    """Colour tags for a track made of RGB pictures: the matrix that players expect at that height, not full range."""
    return {"colorspace": _BT709 if height >= 720 else _BT601, "color_range": 1}


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


def side_data_of(frame: av.VideoFrame) -> dict[str, Any]:
    """What comes with a frame beside its samples, by PyAV's names; what that has no name for is left out."""
    try:
        return _named(frame)
    except ValueError:  # it names all or nothing
        pass
    graph = av.filter.Graph()
    last = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
    )
    newest = max(kind.value for kind in _KINDS)
    filters = [("sidedata", f"mode=delete:type={kind}") for kind in range(newest + 1, newest + 17)]
    for name, options in [*filters, ("buffersink", None)]:
        link = graph.add(name, options)
        last.link_to(link)
        last = link
    graph.configure()
    graph.push(frame)
    return _named(graph.pull())


def _named(frame: Any) -> dict[str, Any]:
    return {data.type.name: data for data in frame.side_data}


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """Quarter turns and mirroring from a frame's display matrix (ISO/IEC 14496-12, 8.3.2).

    The matrix maps stored to displayed pixels in 16.16 fixed point, x to the right and y down. Turns that are
    no multiple of 90 degrees go to the nearest one.
    """
    data = side_data_of(frame).get("DISPLAYMATRIX")
    if data is None:
        return UPRIGHT
    a, b, _, c, d = struct.unpack("<5i", bytes(memoryview(data))[:20])
    mirrored = a * d - b * c < 0
    if mirrored:  # take the mirroring out: it is applied last, after the turn
        a, c = -a, -c
    # (a, b) is where the stored x axis goes; counter-clockwise with y down means towards -y
    turns = round(np.degrees(np.arctan2(-b, a)) / 90) % 4
    return turns, mirrored
