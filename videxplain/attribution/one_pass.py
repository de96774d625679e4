"""The paper's methods: maps from one forward pass and at most one backward pass."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from videxplain.attribution import cam
from videxplain.attribution.query import VoxelMaps

if TYPE_CHECKING:
    from videxplain.attribution.methods import OnePass
    from videxplain.attribution.query import VoxelQuery


def maps(query: VoxelQuery, method: OnePass) -> VoxelMaps:
    """The gradient at the input, a class activation map, or both (section 3 of the paper)."""
    dense = activation_map = None
    if method.dense is not None:
        dense = query.input_gradient(query.score_of(method), guided=method.dense == "guided")
        if method.dense == "input-x-gradient":
            dense = dense * query.x.detach()
    if method.cam is not None:
        of = getattr(cam, method.cam)
        gradients = [query.activation_gradients] if method.cam_gradient else []
        if query.question.frame is not None and method.cam_gradient:
            of = partial(cam.by_time_step, of)
        each = [of(*parts) for parts in zip(query.activations, *gradients, strict=True)]
        activation_map = cam.added(each, query.x.shape[2:])
    return VoxelMaps(dense, activation_map)
