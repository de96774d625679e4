"""How a layer lays out its grid: which layouts a shape may have, and outputs as (B, C, t, h, w).

A layout names the axes in order, those that are folded into one in brackets: "bcthw", "(bt)chw" for frames in the
batch, "b(thw)c" for tokens, "btc" for steps in time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from videxplain.settings import TokenGrid, parse_axes

Grid = tuple[int, int, int]
MOST_EXTRA_TOKENS = 2  # a class and a distillation token


@dataclass(frozen=True)
class Extent:
    """The clip that a layer's grid is a smaller form of.

    Attributes
    ----------
    frames, height, width
        Its size; 1 frame for image models.
    image
        Whether frames go through the network on their own.
    """

    frames: int
    height: int
    width: int
    image: bool = False

    def holds_picture(self, t: int, h: int, w: int) -> bool:
        """Whether (t, h, w) can be the clip shrunk: larger than one place, and shaped like the frame."""
        if h * w <= 1 or t > self.frames or h > self.height or w > self.width:
            return False
        return abs(h / w * self.width / self.height - 1) <= 0.5

    def rectangle(self, places: int) -> tuple[int, int] | None:
        """The rectangle of so many places that is shaped like the frame, if there is one."""
        h = round(math.sqrt(places * self.height / self.width))
        if h > 0 and places % h == 0:
            w = places // h
            if abs(h / w * self.width / self.height - 1) < 0.05 and h * w > 1:
                return h, w
        return None


def unfolded(
    activation: torch.Tensor, layout: str, batch: int, grid: Grid | None = None
) -> torch.Tensor | None:
    """An output in some layout as (B, C, t, h, w), axes that it lacks of length 1; None where it does not fit.

    Parameters
    ----------
    batch
        B.
    grid
        (t, h, w), for axes that are folded into one; tokens in front of them are left out.
    """
    groups = parse_axes(layout)
    if activation.ndim != len(groups):
        return None
    known = {"b": batch, **dict(zip("thw", grid or (), strict=False))}
    sizes: list[int] = []
    for axis, group in enumerate(groups):
        length = activation.shape[axis]
        if len(group) == 1:
            if group == "b" and length != batch:
                return None
            sizes.append(length)
            continue
        unknown = [letter for letter in group if letter not in known or ("b" in group and letter == "t")]
        rest = math.prod(known[letter] for letter in group if letter not in unknown)
        if len(unknown) > 1 or rest == 0 or (unknown and (length % rest or length < rest)):
            return None
        extra = 0 if unknown else length - rest
        if extra < 0 or (extra and "b" in group):
            return None
        if extra:
            activation = activation.narrow(axis, extra, rest)
        sizes += [length // rest if letter in unknown else known[letter] for letter in group]
    letters = "".join(groups)
    activation = activation.reshape(sizes)
    for letter in "cthw":
        if letter not in letters:
            activation, letters = activation.unsqueeze(-1), letters + letter
    return activation if letters == "bcthw" else activation.permute([letters.index(axis) for axis in "bcthw"])


def grid_of(shape: torch.Size, layout: str, batch: int, grid: Grid | None = None) -> Grid | None:
    """The (t, h, w) of an output of this shape."""
    places = unfolded(torch.empty(shape, device="meta"), layout, batch, grid)
    if places is None:
        return None
    t, h, w = places.shape[2:]
    return t, h, w


def layout_of_tokens(shape: torch.Size, tokens: TokenGrid, image: bool) -> str | None:
    """The layout of an output whose grid is told, by its shape."""
    extent = (tokens.frames, tokens.height, tokens.width)
    if len(shape) == 3 and shape[1] >= tokens.count:
        return f"b({tokens.order})c"
    if len(shape) == 5 and tuple(shape[1:4]) == extent:
        return "bthwc"
    if image and len(shape) == 4 and tuple(shape[1:3]) == extent[1:]:
        return "bhwc"
    return None


_OF_IMAGES = {4: ("bchw", "bhwc"), 3: ("b(hw)c",)}
_OF_CLIPS = {
    5: ("bcthw", "btchw", "bthwc"),
    4: ("(bt)chw", "(bt)hwc", "(tb)chw", "bt(hw)c", "bchw", "bhwc"),
    3: ("b(thw)c", "(bt)(hw)c", "(tb)(hw)c", "(bhw)tc"),
}
_CURVES = {3: ("btc", "tbc", "bct"), 2: ("(bt)c", "(tb)c")}


def pictures(
    shape: torch.Size, extent: Extent, orders: Sequence[str] = ("thw",)
) -> Iterator[tuple[str, Grid]]:
    """The layouts and grids with places that an output for one clip may have, the most usual first.

    `orders` are those that tokens of whole clips may have, as `TokenGrid` names them.
    """
    for layout in (_OF_IMAGES if extent.image else _OF_CLIPS).get(len(shape), ()):
        if any("hw" in group for group in parse_axes(layout)):  # of tokens only the number is seen
            for order in orders if "(thw)" in layout else ("thw",):
                in_order = layout.replace("(thw)", f"({order})")
                yield from ((in_order, grid) for grid in _token_grids(shape, in_order, extent))
            continue
        grid = grid_of(shape, layout, 1)
        # one frame in the batch is the clip's own axis
        if grid and extent.holds_picture(*grid) and (grid[0] > 1 or "(" not in layout):
            yield layout, grid


def curves(shape: torch.Size, extent: Extent) -> Iterator[tuple[str, Grid]]:
    """The layouts and grids of steps in time without places that an output for one clip may have."""
    for layout in () if extent.image else _CURVES.get(len(shape), ()):
        grid = grid_of(shape, layout, 1)
        if grid and 1 < grid[0] <= extent.frames and grid[1:] == (1, 1):
            yield layout, grid


def _token_grids(shape: torch.Size, layout: str, extent: Extent) -> Iterator[Grid]:
    """The grids that so many tokens may be of: the frames or a part of them, times a rectangle, behind extra tokens."""
    groups = parse_axes(layout)
    tokens = next(axis for axis, group in enumerate(groups) if "h" in group)
    in_tokens = "t" in groups[tokens]
    if in_tokens:
        frames = [n for n in range(extent.frames, 0, -1) if extent.frames % n == 0]
    else:
        frames = [shape[axis] for axis, group in enumerate(groups) if "t" in group] or [1]
    for extra in range(MOST_EXTRA_TOKENS + 1):
        for t in frames:
            places, rest = divmod(shape[tokens] - extra, t if in_tokens else 1)
            rectangle = extent.rectangle(places) if places > 0 and not rest else None
            if t == 1 and layout.startswith(("(bt", "(tb")):  # the clip's own axis
                continue
            if rectangle and t <= extent.frames and grid_of(shape, layout, 1, (t, *rectangle)):
                yield t, *rectangle
