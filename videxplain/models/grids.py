"""Layers whose output is still a grid: which there are, and the last of them.

Class activation maps need a layer that still knows where things are. Convolutional networks put out
(B, C, [t,] h, w), networks that see frames on their own (B * T, C, h, w), transformers lists of tokens, often with a
class token in front, and layers over time no places at all. A trial run tells which layer puts out what.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from videxplain.errors import VidexplainError
from videxplain.models.cam_layers import CamLayer, distinct
from videxplain.models.input_form import in_one_line
from videxplain.models.layer_trial import Option, Record, extent_of, keeps_places, options_of, trial
from videxplain.models.layouts import Grid, pictures

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier

_Pair: TypeAlias = tuple[Record, Option]


@dataclass(frozen=True)
class CamCandidate:
    """A layer that could serve for class activation maps.

    Attributes
    ----------
    name : dotted name.
    kind : class of the module.
    channels : feature channels.
    grid : (t, h, w).
    layer : how its output becomes that grid.
    chosen : whether it is taken when none is named: the last one, and the last one of each other branch.
    """

    name: str
    kind: str
    channels: int
    grid: Grid
    layer: CamLayer
    chosen: bool = False


def cam_candidates(classifier: Classifier) -> list[CamCandidate]:
    """Layers whose output is still a grid (h * w > 1), in the order in which they finish.

    Of several modules with the same output, such as a stage and its last block, the outermost is listed;
    modules that run more than once per pass are listed where their uses are steps in time; poolings and dropouts are
    left out. Tokens count as long as the class score depends on them: after the last attention it is the class token
    alone that decides.

    Raises
    ------
    VidexplainError : the network fails on its own input shape.
    """
    # The caller may be anywhere, also where gradients are off.
    with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        logits, records = trial(classifier)
        return _candidates(classifier, logits, records)


def _candidates(classifier: Classifier, logits: torch.Tensor, records: list[Record]) -> list[CamCandidate]:
    found: dict[int, tuple[Record, Option]] = {}
    passive = {
        id(next(iter(distinct(record.outputs[-1]).values()), None))
        for record in records
        if any(word in type(record.module).__name__ for word in ("Pool", "Dropout", "Flatten"))
    }
    patches: Grid | None = None  # the first grid
    for record in records:
        option = _usual(record, classifier, patches)
        if option is None or id(option.tensors[-1]) in passive:
            continue
        patches = patches or option.grid
        found.pop(id(option.tensors[-1]), None)
        found[id(option.tensors[-1])] = record, option
    deciding = _deciding(classifier, logits, list(found.values()))
    listed: list[_Pair] = []
    for rank in range(3):
        listed = listed or _right([pair for pair in deciding if pair[1].rank == rank], classifier)
    ends = _ends(listed[-1], deciding, classifier) if listed else []
    by_name = {record.name: (record, option) for record, option in [*listed, *ends]}
    chosen = {record.name for record, _ in ends}
    return [
        CamCandidate(
            name,
            type(record.module).__name__,
            _channels(option, classifier),
            option.grid,
            option.layer,
            chosen=name in chosen,
        )
        for name, (record, option) in sorted(by_name.items(), key=lambda item: records.index(item[1][0]))
    ]


def _ends(last: _Pair, deciding: list[_Pair], classifier: Classifier) -> list[_Pair]:
    """The last layer and those of other branches: layers that depend on none of the ends, and no end on them."""
    ends, others = [last], deciding
    while True:
        others = [pair for pair in others if _is_apart(pair[1], ends[-1][1])]
        further: list[_Pair] = []
        for rank in range(3):
            further = further or _right([pair for pair in others if pair[1].rank == rank], classifier)
        if not further:
            return ends
        ends.append(further[-1])


def _is_apart(one: Option, other: Option) -> bool:
    """Whether neither is computed from the other."""
    outputs = [{(tensor.grad_fn, tensor.output_nr) for tensor in option.tensors} for option in (one, other)]
    behind = [_computed_from(option.tensors) for option in (one, other)]
    return not (outputs[0] & behind[1] or outputs[1] & behind[0])


def _computed_from(tensors: list[torch.Tensor]) -> set[tuple[Any, int]]:
    """All that tensors are computed from and they themselves, as outputs of nodes of the graph."""
    waiting: list[tuple[Any, int]] = [(tensor.grad_fn, tensor.output_nr) for tensor in tensors]
    met = set(waiting)
    while waiting:
        node, _ = waiting.pop()
        for before in node.next_functions if node is not None else ():
            if before not in met:
                met.add(before)
                waiting.append(before)
    return met


def _right(pairs: list[_Pair], classifier: Classifier) -> list[_Pair]:
    """Layers up to the last one that is what it seems to be."""
    while pairs:
        record, last = pairs[-1]
        if settled := _settled(last, classifier):
            return [*pairs[:-1], (record, settled)]
        wrong = last.layer.layout, last.grid
        pairs = [pair for pair in pairs if (pair[1].layer.layout, pair[1].grid) != wrong]
    return []


def _channels(option: Option, classifier: Classifier) -> int:
    return option.layer.to_grid(option.tensors[0], 1, classifier.is_image_model).shape[1]


def _usual(record: Record, classifier: Classifier, patches: Grid | None) -> Option | None:
    """What a layer that nobody named is taken for, if for anything."""
    if len(record.outputs) > 1:
        options = [option for option in options_of(record, classifier) if option.layer.in_time]
    else:
        options = list(options_of(record, classifier))
    options = [option for option in options if option.rank < 3 and option.tensors[0].requires_grad]
    places = {option.layer.where for option in options if option.rank == min(o.rank for o in options)}
    if len(places) > 1:  # a layer inside it will do
        return None
    normalised = getattr(record.module, "normalized_shape", None)
    if normalised is not None:  # over the channels, which then come last
        options.sort(key=lambda option: not str(option.layer.layout).endswith("c"))
    for option in options:
        layout, tensor = str(option.layer.layout), option.tensors[0]
        if option.layer.where not in places or layout in ("btchw", "(bhw)tc"):
            continue
        if layout.endswith(("hw)c", "(thw)c", "(hwt)c")):
            steps = classifier.clip_length if "hwt" in layout else patches and patches[0]
            is_block = normalised is not None or next(record.module.children(), None) is not None
            if patches is None or not is_block or option.grid[0] != steps:
                continue
        elif layout.endswith("c") and normalised != (tensor.shape[-1],):
            continue
        return option
    return None


def _settled(option: Option, classifier: Classifier) -> Option | None:
    """An option once it has been looked where a change of the clip shows, or the right one; None where it is wrong."""
    extent, layout, tensor = extent_of(classifier), option.layer.layout, option.tensors[0]
    if not option.layer.in_time:
        if layout in ("bchw", "bhwc", "bthwc") and (extent.image or layout == "bthwc"):
            return option
        if layout == "bcthw":
            other = next((grid for name, grid in pictures(tensor.shape, extent) if name == "btchw"), None)
            if other is None or keeps_places(classifier, option):
                return option
            by_time = replace(option, layer=replace(option.layer, layout="btchw", grid=other), grid=other)
            return by_time if keeps_places(classifier, by_time) else option
    if keeps_places(classifier, option):
        return option
    if layout and layout.startswith("(bt)"):
        by_clip = replace(option, layer=replace(option.layer, layout=layout.replace("(bt)", "(tb)")))
        return by_clip if keeps_places(classifier, by_clip) else None
    return None


def _deciding(classifier: Classifier, logits: torch.Tensor, pairs: list[_Pair]) -> list[_Pair]:
    """Drop outputs on whose places the class scores do not depend."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits)
    if not pairs or not logits.requires_grad:
        return []
    tensors = [tensor for _, option in pairs for tensor in option.tensors]
    try:
        gradients = iter(torch.autograd.grad((logits * weights).sum(), tensors, allow_unused=True))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise VidexplainError(
            f"no gradient can be taken through {classifier.name!r} ({in_one_line(error)}), so that it has no class "
            "activation maps; use a method without gradients (occlusion, lime)"
        ) from error
    kept = []
    for record, option in pairs:
        of_uses = [gradient for _, gradient in zip(option.tensors, gradients, strict=False)]
        grids = [
            option.layer.to_grid(gradient, 1, classifier.is_image_model)
            for gradient in of_uses
            if gradient is not None
        ]
        if any(bool((grid != 0).any()) for grid in grids):
            kept.append((record, option))
    return kept


def find_cam_layers(classifier: Classifier) -> list[CamLayer]:
    """The last layer whose output is still a grid and decides the class score; of several branches that of each."""
    with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        logits, records = trial(classifier)
        candidates = _candidates(classifier, logits, records)
    if not logits.requires_grad:
        raise VidexplainError(
            f"no gradient flows through {classifier.name!r}: its forward pass detaches or runs without gradients, so "
            "that it has no class activation maps; use a method without gradients (occlusion, lime)"
        )
    if candidates:
        return [candidate.layer for candidate in candidates if candidate.chosen]
    over_time = [r.name for r in records if any(o.rank == 3 for o in options_of(r, classifier))]
    curve = f" ({over_time[-1]!r} is over time, and gives a curve)" if over_time else ""
    raise VidexplainError(
        f"{classifier.name} has no layer whose output is a grid and decides the class, so class "
        f"activation maps cannot be made; name one with cam_layer{curve}, or use a gradient method."
    )
