"""What is checked: a network, a clip and a question, and what was seen of the network's passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from videxplain.errors import VidexplainError
from videxplain.models import Classifier
from videxplain.models.nested import tensors_in
from videxplain.models.trial import companion
from videxplain.passes.aim import Aim
from videxplain.passes.incremental import Recording
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import NetworkSettings, Question

REPEATS = 3
"""How often it is asked the same."""
_RING, _CELLS = 4, (2, 3, 3)
"""Masks in a ring, and blocks of the clip along each axis."""


@dataclass
class Observed:
    """What one pass did besides answering.

    Attributes
    ----------
    answers
        (1, frames, outputs), as the network gives them.
    overwritten
        Shapes of arguments that it has changed.
    changed
        Names of its own parameters and buffers that it has changed, and of modules whose mode.
    draws
        Whether it has drawn random numbers.
    returned
        The tensors in what it returned, where that is more than one.
    was_followed
        Whether its arguments and what it returned were seen.
    """

    answers: torch.Tensor
    overwritten: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    draws: bool = False
    returned: str = ""
    was_followed: bool = True


class Ring(NamedTuple):
    """Masks, the score of each, and the slopes from each to the next; None where there is no gradient."""

    clip: MaskedClip
    masks: torch.Tensor
    recording: Recording
    values: torch.Tensor
    slopes: torch.Tensor | None


@dataclass
class Subject:
    """A network that has not been used, so that a check shows nothing of earlier uses.

    Attributes
    ----------
    asked
        As the user set it up.
    clip
        (1, C, T, h, w), normalised; of an image model the first frame.
    """

    model: Classifier
    asked: NetworkSettings
    clip: torch.Tensor
    question: Question

    @cached_property
    def observed(self) -> Observed:
        """The first pass."""
        net = self.model.net
        arguments: list[tuple[torch.Tensor, torch.Tensor]] = []

        def keep(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            arguments.extend((x, x.detach().clone()) for x in tensors_of(args, kwargs))

        before, random = _state(net), _random_state(self.clip.device)
        returned: list[str] = []

        def note(_module: nn.Module, _args: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor):
                returned[:] = [f"{where} {tuple(x.shape)}" for where, x in tensors_in(output)]

        handles = []
        with suppress(RuntimeError):  # scripted modules take no hooks
            handles.append(net.register_forward_pre_hook(keep, with_kwargs=True))
            handles.append(net.register_forward_hook(note))
        try:
            seen = Observed(self.answers(self.clip))
        finally:
            for handle in handles:
                handle.remove()
        seen.returned, seen.was_followed = ", ".join(returned), bool(handles)
        seen.draws = random != _random_state(self.clip.device)
        after = _state(net)
        seen.changed = [name for name in before | after if before.get(name) != after.get(name)]
        seen.overwritten = [
            str(tuple(x.shape)) for x, was in arguments if not torch.equal(x.nan_to_num(), was.nan_to_num())
        ]
        return seen

    @torch.no_grad()
    def answers(self, clips: torch.Tensor) -> torch.Tensor:
        """What the network says of clips, as it is: (B, frames, outputs)."""
        return self.model.raw_answers(clips)

    @cached_property
    def repeats(self) -> list[torch.Tensor]:
        """What it answers to the same clip again."""
        return [self.answers(self.clip) for _ in range(REPEATS - 1)]

    @cached_property
    def other(self) -> torch.Tensor:
        """Another clip."""
        return companion(self.clip)

    @cached_property
    def other_answers(self) -> torch.Tensor:
        """What it answers to that."""
        return self.answers(self.other)

    @cached_property
    def asking(self) -> Classifier:
        """The network with the answer that the question is about, after its first use."""
        self.model.findings(self.clip)
        return self.model.asking(self.question, self.clip)

    @cached_property
    def target(self) -> int:
        """The class that is asked about."""
        return int(self.asking.resolve_target(self.question.target, self.asking.predict(self.clip))[0])

    @cached_property
    def logit(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """The target's logit of clips, less the other class's: (B,)."""
        model, target = self.asking, self.target
        if self.question.against is None:
            return lambda clips: model.logits(clips)[:, target]
        probabilities = model.predict(self.clip)
        other = int(model.resolve_target(self.question.against, probabilities)[0])

        def difference(clips: torch.Tensor) -> torch.Tensor:
            logits = model.logits(clips)
            return logits[:, target] - logits[:, other]

        return difference

    @cached_property
    def ring(self) -> Ring:
        """A few masks of the clip in blocks, once around."""
        model, shape = self.asking, self.clip.shape[2:]
        counts = [min(cells, n) for n, cells in zip(shape, _CELLS, strict=True)]
        t, y, x = (torch.arange(n) * count // n for n, count in zip(shape, counts, strict=True))
        labels = (t[:, None, None] * counts[1] + y[:, None]) * counts[2] + x
        aim = Aim(self.target, None, model.answers.task)
        clip = MaskedClip(model, self.clip[0], labels.to(self.clip.device), math.prod(counts), aim)
        generator = torch.Generator().manual_seed(0)
        masks = torch.randint(0, 2, (_RING, clip.num_segments), generator=generator).to(self.clip)
        recording = Recording()
        try:
            values, slopes = clip.gradient(masks, score="logit", ring=_RING, recording=recording)
        except VidexplainError:  # it has no gradient
            values, recording = clip.record(masks, score="logit")
            return Ring(clip, masks, recording, values, None)
        return Ring(clip, masks, recording, values, slopes)


def deviation(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, in units of the largest value."""
    if one.shape != other.shape:
        return float("inf")
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-30))


def tensors_of(*values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _state(net: nn.Module) -> dict[str, Any]:
    """What changes where a network changes itself."""
    state: dict[str, Any] = {}
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        state[name] = id(tensor), None if tensor.is_inference() else tensor._version
    for name, module in net.named_modules():
        state[f"the mode of {name or 'the network'}"] = module.training
    return state


def _random_state(device: torch.device) -> bytes:
    cpu = torch.get_rng_state()
    state = cpu if device.type != "cuda" else torch.cat([cpu, torch.cuda.get_rng_state(device)])
    return state.numpy().tobytes()


# Where something happens


@contextmanager
def _hooked(
    net: nn.Module, before: Callable[[str], None] | None, after: Callable[[str, Any], None]
) -> Iterator[None]:
    """Inside, both are called with the name of each module that runs, and the latter with what it returns."""
    handles = []
    for name, module in net.named_modules():
        with suppress(RuntimeError):  # some modules take no hooks
            if before is not None:
                handles.append(module.register_forward_pre_hook(lambda *_, name=name: before(name)))
            handles.append(
                module.register_forward_hook(lambda _m, _a, output, name=name: after(name, output))
            )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def where_random(subject: Subject) -> list[str]:
    """Names of the innermost modules in which random numbers are drawn; "" is the network itself."""
    device, stack = subject.clip.device, list[bytes]()
    found: list[str] = []

    def enter(name: str) -> None:
        stack.append(_random_state(device))

    def leave(name: str, _: Any) -> None:
        inside = any(other == name or other.startswith(f"{name}." if name else "") for other in found)
        if stack and stack.pop() != _random_state(device) and not inside:
            found.append(name)

    with _hooked(subject.model.net, enter, leave):
        subject.answers(subject.clip)
    return found


def where_mixed(subject: Subject) -> str | None:
    """The first module whose output for a clip is another beside another clip; None if none is seen."""

    def digests(clips: torch.Tensor) -> dict[str, list[tuple[float, float]]]:
        made: dict[str, list[tuple[float, float]]] = {}

        def note(name: str, output: Any) -> None:
            for _, x in tensors_in(output):
                if x.is_floating_point() and x.ndim and len(x) % len(clips) == 0 and name:
                    part = x[: len(x) // len(clips)].detach().double()
                    made.setdefault(name, []).append((float(part.mean()), float(part.abs().mean())))

        with _hooked(subject.model.net, None, note):
            subject.answers(clips)
        return made

    alone, beside = (digests(clips) for clips in (subject.clip, torch.cat([subject.clip, subject.other])))
    for name, values in alone.items():
        for one, other in zip(values, beside.get(name, []), strict=False):
            if any(abs(a - b) > 1e-3 * one[1] for a, b in zip(one, other, strict=True)):
                return name
    return None
