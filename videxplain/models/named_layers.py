"""How the layers that `cam_layer` names lay out their grids: as it is told, or found by looking."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.cam_layers import CamLayer, distinct, listed, several
from videxplain.models.layer_trial import Option, Record, is_compiled_whole, keeps_places, options_of, trial
from videxplain.models.layouts import grid_of
from videxplain.settings import TokenGrid, parse_axes

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier

_PLAIN_CLIPS = (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AvgPool3d)
_UNFOLDED = ("bcthw", "bthwc", "bchw", "bhwc")
_PLAIN_IMAGES = (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)


def look_up(classifier: Classifier, *, by_kind: bool = True) -> list[CamLayer]:
    """How the layers that `cam_layer` names lay out their grids, as far as it is not told.

    Parameters
    ----------
    by_kind
        Take convolutions and the like for what they are, without a pass.

    Raises
    ------
    VidexplainError
        For a layer that is no grid, or more than one.
    """
    asked = classifier.settings
    wanted = [asked.cam_layer] if isinstance(asked.cam_layer, str) else list(asked.cam_layer or ())
    told = asked.cam_layout
    layouts = list(told) if told is not None and not isinstance(told, str) else [told]
    layouts = layouts * len(wanted) if len(layouts) == 1 else layouts
    plain = _PLAIN_IMAGES if classifier.is_image_model else _PLAIN_CLIPS
    layers: list[CamLayer | None] = []
    for name, layout in zip(wanted, layouts, strict=True):
        module, where = split_name(name)
        if is_compiled_whole(dict(classifier.net.named_modules())[module]):
            raise VidexplainError(
                f"what layer {name!r} of {classifier.name} puts out cannot be seen: it is scripted or traced; use the "
                "network before torch.jit, or a method without class activation maps"
            )
        layer = CamLayer(module, where, layout, tokens=TokenGrid.of(asked.token_grid))
        is_plain = by_kind and isinstance(classifier.net.get_submodule(module), plain)
        layers.append(layer if layer.tokens or (is_plain and layout is None) else None)
    if None in layers:
        with torch.inference_mode(False), torch.no_grad(), torch.compiler.set_stance("force_eager"):
            names = [split_name(name)[0] for name, layer in zip(wanted, layers, strict=True) if layer is None]
            records = {record.name: record for record in trial(classifier, names)[1]}
            layers = [
                layer or _looked_up(classifier, records, *split_name(name), layout)
                for name, layout, layer in zip(wanted, layouts, layers, strict=True)
            ]
    return [layer for layer in layers if layer is not None]


def split_name(name: str) -> tuple[str, str | None]:
    """A layer's dotted name, and which tensor of its output: "rnn[0]" is ("rnn", "[0]")."""
    module, bracket, rest = name.partition("[")
    return module, bracket + rest or None


def _looked_up(
    classifier: Classifier, records: dict[str, Record], name: str, where: str | None, layout: str | None
) -> CamLayer:
    record = records.get(name)
    if record is None:
        raise VidexplainError(f"the CAM layer {name!r} was not used in the forward pass; name another layer")
    tensors = distinct(record.outputs[0])
    if where is not None and where not in tensors:
        raise VidexplainError(f"layer {name!r} returns no tensor {where}, only {listed(tensors)}.")
    options = list(options_of(record, classifier, where, any_order=True))
    if layout is not None:
        return _as_told(classifier, record, options, CamLayer(name, where, layout))
    # what has no time may seem to be right where time changes fastest
    options = sorted(_without_attention(options), key=lambda option: (option.rank, option.grid[0] == 1))
    by_tensor: dict[str | None, Option] = {}
    sure = len(options) == 1 and len(record.outputs) == 1
    for option in options:
        place = option.layer.where
        if place in by_tensor:
            continue
        if (sure and option.layer.layout in _UNFOLDED) or keeps_places(classifier, option):
            by_tensor[place] = option
    best = min((option.rank for option in by_tensor.values()), default=None)
    left = [option for option in by_tensor.values() if option.rank == best]
    if len(left) > 1:
        raise several(name, {str(o.layer.where): o.tensors[0] for o in left})
    if left:
        return left[0].layer
    return _as_usual(classifier, record, where, tensors)


def _without_attention(options: list[Option]) -> list[Option]:
    """Without weights of attention, which have as many rows and columns as another tensor has tokens."""
    counts = {o.tensors[0].shape[1] for o in options if o.tensors[0].ndim == 3}
    return [
        option
        for option in options
        if not (option.tensors[0].ndim == 4 and set(option.tensors[0].shape[2:]) <= counts)
    ]


def _as_told(classifier: Classifier, record: Record, options: list[Option], told: CamLayer) -> CamLayer:
    """The tensor and the grid behind a layout that was told."""
    options = [option for option in options if option.layer.layout == told.layout]
    for option in options:
        if keeps_places(classifier, option):
            return option.layer
    tensors = distinct(record.outputs[0])
    layer = options[0].layer if options else told
    fitting = {
        place: x
        for place, x in tensors.items()
        if told.where in (None, place) and grid_of(x.shape, str(told.layout), 1, layer.grid)
    }
    if not fitting:
        shapes = listed(tensors)
        folded = any(len(group) > 1 for group in parse_axes(str(told.layout)))
        hint = "; token_grid=(t, h, w) tells the grid behind its tokens" if folded else ""
        raise VidexplainError(
            f"layer {record.name!r} puts out {shapes} for a clip, which is not in the layout {told.layout!r}{hint}."
        )
    if len(fitting) > 1:
        raise several(record.name, fitting)
    return replace(layer, where=next(iter(fitting)), in_time=False)


def _as_usual(
    classifier: Classifier, record: Record, where: str | None, tensors: dict[str, torch.Tensor]
) -> CamLayer:
    """Maps with channels first, of whatever size; raises for what is none."""
    axes = 4 if classifier.is_image_model else 5
    maps = {place: x for place, x in tensors.items() if where in (None, place) and x.ndim == axes}
    if len(maps) > 1:
        raise several(record.name, maps)
    if not maps:
        hint = (
            "" if all(x.ndim < 3 for x in tensors.values()) else ", or its tokens with token_grid=(t, h, w)"
        )
        raise VidexplainError(
            f"layer {record.name!r} puts out {listed(tensors)} for a clip, which is no grid whose places follow the "
            f"clip's; tell its layout with cam_layout{hint}, or choose another (videxplain models --layers lists them)."
        )
    layout = "bchw" if classifier.is_image_model else "bcthw"
    return CamLayer(record.name, next(iter(maps)), layout)
