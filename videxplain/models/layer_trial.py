"""What a network's layers put out for a random clip, what that may be, and whether it is that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.cam_layers import CamLayer, distinct
from videxplain.models.layouts import Extent, Grid, curves, pictures
from videxplain.models.places import change_follows, change_moves, change_shows, changes, moved_clips

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier


@dataclass(frozen=True)
class Option:
    """What one tensor of a layer's output may be."""

    layer: CamLayer
    grid: Grid
    tensors: list[torch.Tensor]  # of each use

    @property
    def rank(self) -> int:
        """0 for places in time, 1 where frames are on their own, 2 for places without time, 3 for time alone."""
        layout = str(self.layer.layout)
        if self.grid[1:] == (1, 1):
            return 3
        if self.layer.in_time or layout.startswith(("(bt)", "(tb)")):
            return 1
        return 0 if "t" in layout else 2


@dataclass
class Record:
    """What a layer put out at each of its uses in a pass of one clip."""

    name: str
    module: nn.Module
    outputs: list[Any]


def extent_of(classifier: Classifier) -> Extent:
    image = classifier.is_image_model
    return Extent(1 if image else classifier.clip_length, *classifier.size, image)


def is_compiled_whole(module: nn.Module) -> bool:
    """Whether what a module puts out cannot be seen: torch.jit runs it as one piece with what it is in."""
    return isinstance(module, torch.jit.ScriptModule)


def _random_clip(classifier: Classifier) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, classifier.channels, classifier.clip_length, *classifier.size, generator=generator)
    return x[:, :, : extent_of(classifier).frames].to(classifier.device)


def trial(classifier: Classifier, names: list[str] | None = None) -> tuple[torch.Tensor, list[Record]]:
    """Run one random clip and note what modules put out, in order of completion: those named, or all."""
    records: dict[str, Record] = {}

    def hook(name: str) -> Any:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            record = records.pop(name, None) or Record(name, module, [])
            record.outputs.append(output)  # kept, so that identities stay unique
            records[name] = record

        return note

    x = _random_clip(classifier)
    modules = [
        (n, m)
        for n, m in classifier.net.named_modules()
        if n and (names is None or n in names) and not is_compiled_whole(m)
    ]
    handles = [module.register_forward_hook(hook(name)) for name, module in modules]
    try:
        logits = classifier.logits(x.requires_grad_() if torch.is_grad_enabled() else x)
    finally:
        for handle in handles:
            handle.remove()
    return logits, list(records.values())


def options_of(
    record: Record, classifier: Classifier, where: str | None = None, *, any_order: bool = False
) -> Iterator[Option]:
    """What a layer's outputs may be by their shapes, the most usual first.

    Parameters
    ----------
    where
        Of that tensor only.
    any_order
        Whether the frame of tokens may change slowest or fastest; else as the network's kind tells.
    """
    extent, orders = extent_of(classifier), _token_orders(classifier)[: 2 if any_order else 1]
    uses = [distinct(output) for output in record.outputs]
    for place, tensor in uses[0].items():
        if where not in (None, place) or not all(place in use for use in uses):
            continue
        tensors = [use[place] for use in uses]
        alike = all(use.shape == tensor.shape for use in tensors)
        if 1 < len(uses) <= extent.frames and alike and not extent.image:
            part = replace(extent, frames=extent.frames // len(uses))
            steps = [*pictures(tensor.shape, part, orders), *curves(tensor.shape, part)]
            if tensor.ndim == 2 and len(tensor) == 1:
                steps.append(("bc", (1, 1, 1)))
            for layout, grid in steps:
                layer = CamLayer(record.name, place, layout, grid, in_time=True)
                yield Option(layer, (grid[0] * len(uses), *grid[1:]), tensors)
        for layout, grid in (*pictures(tensor.shape, extent, orders), *curves(tensor.shape, extent)):
            yield Option(CamLayer(record.name, place, layout, grid), grid, tensors)


def _token_orders(classifier: Classifier) -> list[str]:
    """The usual order of tokens first."""
    modules = classifier.net.modules()
    frames_fastest = any("timesformer" in type(module).__name__.lower() for module in modules)
    return ["hwt", "thw"] if frames_fastest else ["thw", "hwt"]


def _grids_of(classifier: Classifier, layer: CamLayer, clips: torch.Tensor) -> list[torch.Tensor]:
    """What a layer puts out for clips, as grids (B, C, t, h, w)."""
    outputs: list[Any] = []
    module = classifier.net.get_submodule(layer.name)
    handle = module.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    try:
        classifier.logits(clips)
    finally:
        handle.remove()
    image = classifier.is_image_model
    activations = [layer.pick(output, image) for output in outputs]
    return layer.grids(activations, len(clips), image, classifier.takes_clips_one_by_one)


def keeps_places(classifier: Classifier, option: Option) -> bool:
    """Whether the place that a change of the clip moves to is the one in the layer that changes most."""
    changed = _seen_changes(classifier, option)
    return changed is not None and all(map(change_moves, changed))


def follows_places(classifier: Classifier, option: Option) -> bool:
    """Whether a change that moves in the clip moves in the layer alike, if not as far."""
    changed = _seen_changes(classifier, option)
    return changed is not None and all(map(change_follows, changed))


def _seen_changes(classifier: Classifier, option: Option) -> list[torch.Tensor] | None:
    """What changes where in each use of a layer, as `changes` has it; None where it cannot be had."""
    with torch.no_grad():
        try:
            changed = _changes(classifier, option, 5)
            if not all(map(change_shows, changed)):
                # a rectifier hides what is added, or what is taken away
                less = _changes(classifier, option, -5)
                changed = [one + other for one, other in zip(changed, less, strict=True)]
        except VidexplainError:
            return None
    return changed


def _changes(classifier: Classifier, option: Option, change: float) -> list[torch.Tensor]:
    clips = moved_clips(_random_clip(classifier), option.grid, change)
    try:
        grids = _grids_of(classifier, option.layer, clips)
    except VidexplainError:  # one clip at a time is what some networks take
        parts = [_grids_of(classifier, option.layer, clip[None]) for clip in clips]
        grids = [torch.cat(grid) for grid in zip(*parts, strict=True)]
    return [changes(grid) for grid in grids]
