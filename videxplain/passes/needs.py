"""What methods ask of the forward pass that they share. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Needs:
    """What methods ask of the forward pass that they share; `|` joins the needs of two."""

    input_gradient: bool = False
    guided: bool = False
    guide_smooth: bool = False
    cam: bool = False
    cam_gradient: bool = False

    def __or__(self, other: Needs) -> Needs:
        return Needs(**{name: value or getattr(other, name) for name, value in vars(self).items()})
