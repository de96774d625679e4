"""Layers whose output is still a grid: which there are, the last of them, and tokens turned back into grids.

Class activation maps need a layer that still knows where things are. Convolutional networks put out
(B, C, [t,] h, w); some transformers (B, [t,] h, w, C); others a list of tokens (B, N, C), often with a class
token in front. A trial run tells which layer puts out what.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.settings import TokenGrid

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier


@dataclass(frozen=True)
class CamCandidate:
    """A layer that could serve for class activation maps.

    Attributes
    ----------
    name : dotted name.
    kind : class of the module.
    channels : feature channels.
    grid : (t, h, w).
    tokens : how its tokens are laid out; None for feature maps with channels first.
    chosen : whether it is the one taken when none is named.
    """

    name: str
    kind: str
    channels: int
    grid: tuple[int, int, int]
    tokens: TokenGrid | None = None
    chosen: bool = False


def first_tensor(output: Any) -> torch.Tensor:
    """The activation in a layer's raw output, which may be a tensor, a tuple or a Hugging Face output."""
    if isinstance(output, torch.Tensor):
        return output
    values = output.values() if isinstance(output, dict) else output
    if isinstance(output, dict | list | tuple):
        for value in values:
            if isinstance(value, torch.Tensor):
                return value
    raise VidexplainError(f"a layer that returns {type(output).__name__} has no activation map.")


def to_grid(activation: torch.Tensor, tokens: TokenGrid | None, *, image: bool, name: str) -> torch.Tensor:
    """A layer's output as (B, C, t, h, w); see `Classifier.cam_grid`."""
    if tokens is not None:
        extent = (tokens.frames, tokens.height, tokens.width)
        if activation.ndim == 3 and activation.shape[1] >= tokens.count:
            # Class and other extra tokens stand in front.
            patches = activation[:, activation.shape[1] - tokens.count :]
            if tokens.order == "hwt":
                return patches.unflatten(1, (*extent[1:], extent[0])).permute(0, 4, 3, 1, 2)
            return patches.unflatten(1, extent).permute(0, 4, 1, 2, 3)
        if activation.ndim == 5 and tuple(activation.shape[1:4]) == extent:
            return activation.permute(0, 4, 1, 2, 3)
        if image and activation.ndim == 4 and tuple(activation.shape[1:3]) == extent[1:]:
            return activation.permute(0, 3, 1, 2).unsqueeze(2)
    if activation.ndim == 5 and not image:
        return activation
    if activation.ndim == 4 and image:
        return activation.unsqueeze(2)
    hint = "; tell its layout with token_grid=(t, h, w)" if activation.ndim == 3 else ""
    raise VidexplainError(
        f"layer {name!r} puts out {tuple(activation.shape)}, which is no grid{hint}; "
        "choose another (videxplain models --layers lists them)."
    )


@dataclass
class _Record:
    name: str
    module: nn.Module
    output: torch.Tensor | None
    calls: int


def _trial(classifier: Classifier) -> tuple[torch.Tensor, list[_Record], set[int]]:
    """Run one random clip and note what every module puts out, in order of completion.

    Also returns the identities of tensors that came out of a pooling or dropout module.
    """
    records: dict[str, _Record] = {}
    passive: set[int] = set()
    keep: list[torch.Tensor] = []  # so that identities stay unique

    def hook(name: str) -> Any:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            try:
                tensor = first_tensor(output)
            except VidexplainError:
                return
            keep.append(tensor)
            if any(word in type(module).__name__ for word in ("Pool", "Dropout", "Flatten")):
                passive.add(id(tensor))
            calls = records.pop(name).calls if name in records else 0
            records[name] = _Record(name, module, tensor, calls + 1)

        return note

    x = _random_clip(classifier)
    handles = [m.register_forward_hook(hook(n)) for n, m in classifier.net.named_modules() if n]
    try:
        logits = classifier.logits(x.requires_grad_())
    finally:
        for handle in handles:
            handle.remove()
    return logits, list(records.values()), passive


def _random_clip(classifier: Classifier) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, classifier.channels, classifier.clip_length, *classifier.size, generator=generator)
    return x.to(classifier.device)


@torch.no_grad()
def _keeps_places(classifier: Classifier, candidate: CamCandidate) -> bool:
    """Whether tokens are where they are said to be: changes in a corner of the clip show in that corner of the grid.

    As many tokens as a picture might have may just as well be steps in time, or channels.
    """
    assert candidate.tokens is not None
    found: list[torch.Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        image = classifier.is_image_model
        found.append(to_grid(first_tensor(output), candidate.tokens, image=image, name=candidate.name)[0])

    x = _random_clip(classifier)
    handle = classifier.net.get_submodule(candidate.name).register_forward_hook(keep)
    try:
        classifier.logits(x)
        whole = found.pop()
        for corner in (0, -1):
            changed = x.clone()
            part = changed[0]
            for axis, places in enumerate(candidate.grid, start=1):
                side = max(1, part.shape[axis] // places)
                part = part.narrow(axis, 0 if corner == 0 else part.shape[axis] - side, side)
            part += 5
            classifier.logits(changed)
            change = (found.pop() - whole).float().abs().sum(dim=0)
            peak = torch.unravel_index(change.argmax(), change.shape)
            near = all(
                (int(at) < n / 2) == (corner == 0) or n == 1 for at, n in zip(peak, change.shape, strict=True)
            )
            if not near or not change.max() > 1.5 * change.median():
                return False
    finally:
        handle.remove()
    return True


def _batch(classifier: Classifier) -> int:
    return classifier.clip_length if classifier.is_image_model else 1


def _channels_first(shape: torch.Size, classifier: Classifier) -> tuple[int, int, int] | None:
    """Grid of a (B, C, [t,] h, w) output, or None."""
    axes = 2 if classifier.is_image_model else 3
    if len(shape) != axes + 2 or shape[0] != _batch(classifier):
        return None
    t, h, w = (1, *shape[2:]) if axes == 2 else shape[2:]
    return (t, h, w) if _plausible(t, h, w, classifier) else None


def _channels_last(shape: torch.Size, module: nn.Module, classifier: Classifier) -> TokenGrid | None:
    """Grid of a (B, [t,] h, w, C) output of a layer normalisation, or None."""
    axes = 2 if classifier.is_image_model else 3
    normalised = getattr(module, "normalized_shape", None)
    if normalised != (shape[-1],) or len(shape) != axes + 2 or shape[0] != _batch(classifier):
        return None
    t, h, w = (1, *shape[1:-1]) if axes == 2 else shape[1:-1]
    return TokenGrid(t, h, w) if _plausible(t, h, w, classifier) else None


def _plausible(t: int, h: int, w: int, classifier: Classifier) -> bool:
    """Whether (t, h, w) can be the input shrunk: larger than one place, and shaped like the frame."""
    height, width = classifier.size
    if h * w <= 1 or t > classifier.clip_length or h > height or w > width:
        return False
    return abs(h / w * width / height - 1) <= 0.5


def _token_grid(
    shape: torch.Size, first_grid: tuple[int, int, int], classifier: Classifier
) -> TokenGrid | None:
    """Grid of a (B, N, C) output: the patches' frames times a rectangle shaped like the frame, or None."""
    if len(shape) != 3 or shape[0] != _batch(classifier) or shape[1] < 4:
        return None
    height, width = classifier.size
    order: Literal["thw", "hwt"] = (
        "hwt" if any("timesformer" in type(m).__name__.lower() for m in classifier.net.modules()) else "thw"
    )
    if order == "hwt":
        first_grid = (classifier.clip_length, *first_grid[1:])
    for extra in (0, 1, 2):  # no, a class, a class and a distillation token
        patches = shape[1] - extra
        frames = first_grid[0]
        if patches <= 0 or patches % frames:
            continue
        h = round(math.sqrt(patches // frames * height / width))
        if h > 0 and patches // frames % h == 0:
            w = patches // frames // h
            if abs(h / w * width / height - 1) < 0.05 and h * w > 1:
                return TokenGrid(frames, h, w, order)
    return None


def cam_candidates(classifier: Classifier) -> list[CamCandidate]:
    """Layers whose output is still a grid (h * w > 1), in the order in which they finish.

    Of several modules with the same output, such as a stage and its last block, the outermost is listed;
    modules that run more than once per pass, poolings and dropouts are left out. Tokens count as long as the
    class score depends on them: after the last attention it is the class token alone that decides.

    Raises
    ------
    VidexplainError : the network fails on its own input shape.
    """
    # The caller may be anywhere, also where gradients are off.
    with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        return _candidates(classifier)


def _candidates(classifier: Classifier) -> list[CamCandidate]:
    logits, records, passive = _trial(classifier)
    found: dict[int, tuple[CamCandidate, torch.Tensor]] = {}
    first_grid: tuple[int, int, int] | None = None
    for record in records:
        output = record.output
        if output is None or record.calls > 1 or id(output) in passive:
            continue
        shape = output.shape
        tokens = _channels_last(shape, record.module, classifier)
        grid = None if tokens else _channels_first(shape, classifier)
        if tokens is None and grid is None and (first_grid or len(shape) == 3):
            is_norm = hasattr(record.module, "normalized_shape")
            if first_grid and (is_norm or next(record.module.children(), None) is not None):
                tokens = _token_grid(shape, first_grid, classifier)
        if tokens is not None:
            grid = (tokens.frames, tokens.height, tokens.width)
        if grid is None:
            if first_grid is None and isinstance(record.module, nn.Conv2d) and len(shape) == 4:
                first_grid = (1, shape[2], shape[3])  # patches of a video model, frame by frame
            continue
        first_grid = first_grid or grid
        channels = shape[-1] if tokens else shape[1]
        found.pop(id(output), None)
        found[id(output)] = (
            CamCandidate(record.name, type(record.module).__name__, channels, grid, tokens),
            output,
        )
    listed = _deciding(logits, list(found.values()))
    while listed and listed[-1].tokens is not None and not _keeps_places(classifier, listed[-1]):
        listed = [c for c in listed if c.tokens != listed[-1].tokens]
    return [
        CamCandidate(c.name, c.kind, c.channels, c.grid, c.tokens, chosen=i == len(listed) - 1)
        for i, c in enumerate(listed)
    ]


def _deciding(
    logits: torch.Tensor, candidates: list[tuple[CamCandidate, torch.Tensor]]
) -> list[CamCandidate]:
    """Drop outputs on whose places the class scores do not depend."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits)
    usable = [(c, t) for c, t in candidates if t.requires_grad]
    if not usable or not logits.requires_grad:
        return []
    gradients = torch.autograd.grad(
        (logits * weights).sum(), [tensor for _, tensor in usable], allow_unused=True
    )
    kept = []
    for (candidate, _), gradient in zip(usable, gradients, strict=True):
        if gradient is None:
            continue
        if candidate.tokens is not None and gradient.ndim == 3:
            gradient = gradient[:, gradient.shape[1] - candidate.tokens.count :]
        if bool((gradient != 0).any()):
            kept.append(candidate)
    return kept


def find_cam_layer(classifier: Classifier) -> CamCandidate:
    """The last layer whose output is still a grid and decides the class score."""
    candidates = cam_candidates(classifier)
    if not candidates:
        raise VidexplainError(
            f"{classifier.name} has no layer whose output is a grid and decides the class, so class "
            "activation maps cannot be made; name one with cam_layer, or use a gradient method."
        )
    return candidates[-1]
