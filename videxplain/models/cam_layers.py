"""A layer for class activation maps: where in its output the activation is, and how that lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from videxplain.errors import VidexplainError
from videxplain.models.layouts import Grid, layout_of_tokens, unfolded
from videxplain.models.nested import tensors_in
from videxplain.settings import TokenGrid, parse_axes

REMEDY = "tell its layout with cam_layout, or choose another (videxplain models --layers lists them)."


@dataclass(frozen=True)
class CamLayer:
    """A layer, and how its outputs become grids.

    Attributes
    ----------
    name
        Dotted name.
    where
        Which tensor of its output, as Python would reach it; "" for the output itself.
    layout
        See `videxplain.models.layouts`; None where the token grid and the output's shape tell.
    grid
        (t, h, w) behind axes that are folded into one.
    tokens
        The token grid, where it is told instead of a layout.
    in_time
        Whether its uses in one pass are steps in time, in order.
    """

    name: str
    where: str | None = None
    layout: str | None = None
    grid: Grid | None = None
    tokens: TokenGrid | None = None
    in_time: bool = False

    @property
    def token_grid(self) -> TokenGrid | None:
        """The grid behind tokens; None where the output is a grid already."""
        groups = parse_axes(self.layout) if self.layout else ()
        folded = next((group for group in groups if "hw" in group), None)
        if folded is None or self.grid is None:
            return self.tokens
        return TokenGrid(*self.grid, order="hwt" if folded == "hwt" else "thw")

    def batch_of(self, shape: torch.Size) -> int:
        """How many clips an activation is of, where these have an axis of their own, else 1."""
        groups = parse_axes(self.layout) if self.layout else ("b",)
        return shape[groups.index("b")] if "b" in groups else 1

    def pick(self, output: Any, image: bool) -> torch.Tensor:
        """The activation in the layer's raw output.

        Raises
        ------
        VidexplainError
            Where there is none, or more than one.
        """
        tensors = distinct(output)
        if self.where is not None:
            if self.where in tensors:
                return tensors[self.where]
            raise VidexplainError(
                f"layer {self.name!r} returns no tensor {self.where}, only {listed(tensors)}."
            )
        if len(tensors) > 1:
            fitting = {place: x for place, x in tensors.items() if self._layout_of(x, image) is not None}
            tensors = fitting or dict(list(tensors.items())[:1])
        if not tensors:
            raise VidexplainError(
                f"layer {self.name!r} returns {type(output).__name__}, in which there is no activation map; "
                + REMEDY
            )
        if len(tensors) > 1:
            raise several(self.name, tensors)
        return next(iter(tensors.values()))

    def _layout_of(self, x: torch.Tensor, image: bool) -> str | None:
        if self.layout is not None:
            return self.layout
        by_tokens = layout_of_tokens(x.shape, self.tokens, image) if self.tokens else None
        if by_tokens is None and x.ndim == (4 if image else 5):
            return "bchw" if image else "bcthw"
        return by_tokens

    def to_grid(self, activation: torch.Tensor, batch: int, image: bool) -> torch.Tensor:
        """An activation as (B, C, t, h, w)."""
        layout = self._layout_of(activation, image)
        tokens = self.tokens
        extent = (tokens.frames, tokens.height, tokens.width) if tokens else self.grid
        grid = None if layout is None else unfolded(activation, layout, batch, extent)
        if grid is None:
            said = f" as {layout!r}" if layout else ""
            raise VidexplainError(
                f"layer {self.name!r} puts out {tuple(activation.shape)} for {batch} clips, which is no grid{said}; "
                + REMEDY
            )
        return grid

    def grids(
        self, uses: Sequence[torch.Tensor], batch: int, image: bool, one_by_one: bool = False
    ) -> list[torch.Tensor]:
        """The activations of all its uses in one pass: one grid where they are steps in time, else a grid each.

        Parameters
        ----------
        one_by_one
            Whether the clips went through it one after the other, each with all the uses.
        """
        if one_by_one:
            each = len(uses) // batch
            by_use = [uses[use::each] for use in range(each)]
            grids = [torch.cat([self.to_grid(part, 1, image) for part in parts]) for parts in by_use]
        else:
            grids = [self.to_grid(use, batch, image) for use in uses]
        return [torch.cat(grids, dim=2)] if self.in_time and len(grids) > 1 else grids


def distinct(output: Any) -> dict[str, torch.Tensor]:
    """The tensors in an output by where they are, each once."""
    tensors: dict[str, torch.Tensor] = {}
    for where, tensor in tensors_in(output):
        if tensor.is_floating_point() and not any(tensor is other for other in tensors.values()):
            tensors[where] = tensor
    return tensors


def listed(tensors: dict[str, torch.Tensor]) -> str:
    return ", ".join(f"{where} {tuple(tensor.shape)}".strip() for where, tensor in tensors.items()) or "none"


def several(name: str, tensors: dict[str, torch.Tensor]) -> VidexplainError:
    example = next(iter(tensors))
    return VidexplainError(
        f"layer {name!r} returns several tensors that may be its grid: {listed(tensors)}; name one, such as "
        f"cam_layer={name + example!r}."
    )
