"""What a network's first passes show of it: whether it answers alike twice, alone and in a batch, and with logits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from videxplain.errors import VidexplainError, VidexplainWarning
from videxplain.models.answers import AnswerForm
from videxplain.settings import Outputs, Task

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier

_ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-3}
"""How far apart answers to the same clip may be, in units of the largest; less exact types may differ by `_COARSE`."""
_COARSE = 0.05
_SQUASHING: dict[str, tuple[str, Task, Outputs]] = {
    "SoftmaxBackward0": ("softmax", "single-label", "probabilities"),
    "SigmoidBackward0": ("sigmoid", "multi-label", "probabilities"),
    "LogSoftmaxBackward0": ("log-softmax", "single-label", "log-probabilities"),
    "LogSigmoidBackward0": ("log-sigmoid", "multi-label", "log-probabilities"),
}
"""The operation that an answer comes from: its name, and what it makes of the answer."""
_RESHAPING = (
    *("View", "Reshape", "Squeeze", "Unsqueeze", "Select", "Slice", "Alias", "Clone", "ToCopy"),
    *("Transpose", "Permute", "Flatten", "Mean", "Cat"),
)
"""How the names of nodes begin that change the form of probabilities at most."""


@dataclass
class Findings:
    """What using a network on clips of one shape has shown.

    Attributes
    ----------
    is_deterministic
        Whether it gives the same clip the same answer twice.
    is_independent
        Whether it answers a clip alike alone and in a batch; where not, clips go through it one by one.
    replays
        Whether passes that compute boxes only (`incremental`) equal whole ones, as far as it was tried.
    compared_replays, confirmed_replays
        How many of them have been compared with a whole pass, and how many of these changed the answer, alike.
    reading
        What the answers were taken for where that was not said, in a sentence.
    notes
        What the user should know, in sentences.
    chords
        Likewise, of the slopes that region gradients follow, where these miss a part.
    """

    is_deterministic: bool = True
    is_independent: bool = True
    replays: bool = True
    compared_replays: int = 0
    confirmed_replays: int = 0
    reading: str = ""
    notes: list[str] = field(default_factory=list)
    chords: str = ""
    _told: set[str] = field(default_factory=set)

    def note(self, sentence: str) -> None:
        """Tells the user once, and keeps the sentence for results; what differs in figures only is the same."""
        if self.tell(sentence):
            self.notes.append(sentence)

    def tell(self, sentence: str) -> bool:
        """Tells the user once what is of one clip, and not of the network; whether it had not been told."""
        words = _without_figures(sentence)
        is_new = words not in self._told
        if is_new:
            self._told.add(words)
            warnings.warn(sentence, VidexplainWarning, stacklevel=3)
        return is_new


def _without_figures(sentence: str) -> str:
    return "".join(letter for letter in sentence if not letter.isdigit())


def rounding(model: Classifier) -> float:
    """How far apart two answers of the network may be that differ by rounding only, in units of the largest."""
    return _COARSE if model.precision != "float32" else _ROUNDING.get(model.dtype, _COARSE)


def may_be_no_logits(model: Classifier, logits: torch.Tensor) -> bool:
    """Whether answers (B, frames, classes) have to be looked at more closely before they are taken for logits."""
    count = logits.shape[-1]
    frames = model.clip_length > 1 and (count == model.clip_length or logits.shape[1] > 1)
    inside = bool(((logits >= 0) & (logits <= 1)).all())
    return count == 1 or inside or (frames and not model.is_image_model) or bool((logits <= 0).all())


def try_out(model: Classifier, x: torch.Tensor) -> Findings:
    """Passes of the first of these clips (B, C, T, h, w): alone, beside another one, and again if these differ.

    The first time it is told as well how the answers are to be read, as far as that was not said.
    """
    findings = Findings()
    clip = x[:1, :, :1] if model.is_image_model else x[:1]
    clip = clip.detach()
    # the caller may be anywhere, also where gradients are off
    with torch.inference_mode(False), torch.enable_grad():
        alone = model.raw_answers(clip.clone().requires_grad_())
    if not model.answers_are_known:
        model.answers, sentence = _answers(model, clip, alone)
        model.answers_are_known = True
        if sentence:
            findings.reading = sentence
            findings.note(sentence)
    if fault := misread(model, alone):
        findings.note(fault)
    alone = alone.detach()
    if not bool(torch.isfinite(alone).all()):
        return findings  # whoever asks for gradients or scores tells
    with torch.no_grad():
        pair = torch.cat([companion(clip), clip])  # last, for some networks answer the first clip only
        try:
            beside = model.raw_answers(pair)[1:]
        except torch.OutOfMemoryError:
            return findings
        except (RuntimeError, ValueError, VidexplainError):
            findings.is_independent = False  # some networks take one clip only
            return findings
        if _differ(model, alone, beside):
            if _differ(model, alone, model.raw_answers(clip)):
                findings.is_deterministic = False
                findings.note(
                    f"{model.name!r} gives the same clip different answers, so that its explanations hold chance; "
                    "look for a dropout that is left on (F.dropout without training=self.training)."
                )
            else:
                findings.is_independent = False
                findings.note(
                    f"{model.name!r} answers a clip differently beside other clips, so that clips go through it one by "
                    "one; look for a normalisation by the statistics of the batch."
                )
    return findings


def companion(clip: torch.Tensor) -> torch.Tensor:
    """Another clip: its mirror image, stronger, so that mean, deviation and maximum of both are others."""
    return 1.5 * clip.flip(-1)


def _differ(model: Classifier, one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = float(one.abs().max())
    return not bool(((one - other).abs() <= rounding(model) * scale).all())


def _answers(model: Classifier, clip: torch.Tensor, answers: torch.Tensor) -> tuple[AnswerForm, str]:
    """How answers (1, frames, outputs) to a clip are to be read, and what is to be told of it, if anything.

    What the settings say holds. Else probabilities are known by the operation that they come from, or by rows that sum
    to one; one output is a sigmoid's; and outputs that follow one frame each are answers for frames.
    """
    asked, form = model.settings, model.answers
    values, told = answers.detach(), []
    by_frame = answers.shape[1] > 1 and not model.is_image_model
    if asked.per_frame is None and values.shape[-1] == clip.shape[2] > 1 and values.shape[1] == 1:
        by_frame = not model.has_class_names and follow_frames(model, clip, values)
    if asked.per_frame is None and by_frame:
        form = replace(form, per_frame=True)
        told.append(
            "it gives an answer for each frame, so that the mean over the frames is explained; frame=0 and so on asks "
            "about one (per_frame=False: these are classes)"
        )
        if values.shape[1] == 1:
            values = values.transpose(1, 2)
    alone = values.shape[-1] == 1
    last = next((name for name in _last_operations(answers.grad_fn) if name in _SQUASHING), None)
    inside = bool(((values >= 0) & (values <= 1)).all())
    if form.task != "regression" and asked.outputs is None:
        if last is not None:
            ending, task, outputs = _SQUASHING[last]
            form = replace(form, outputs=outputs, task=asked.task or task)
            told.append(f"it ends in {ending}, so that its answers are taken for {outputs}")
        elif inside and not alone and bool(((values.sum(dim=-1) - 1).abs() < 1e-3).all()):
            form = replace(form, outputs="probabilities")
            told.append("its answers sum to one, so that they are taken for probabilities")
        elif not alone and bool((values.exp().sum(dim=-1).log().abs() < 1e-3).all()):
            form = replace(form, outputs="log-probabilities")
        elif inside and values.unique().numel() > 2:
            told.append(
                "its answers lie all between 0 and 1; say outputs='probabilities' if that is what they are"
            )
    if alone and asked.task is None and form.task == "single-label" and not form.is_pair:
        form = replace(form, task="multi-label")
        told.append(
            "it has one output, which is taken for that of a sigmoid; task='regression' explains the value itself"
        )
    return form, f"{model.name!r}: {'; '.join(told)}." if told else ""


def misread(model: Classifier, answers: torch.Tensor) -> str:
    """Where raw answers (1, frames, outputs) are not what the settings say they are, in a sentence; else nothing."""
    asked, task = model.settings, model.answers.task
    if task == "regression" or not bool(torch.isfinite(answers).all()):
        return ""
    values, several = answers.detach(), answers.shape[-1] > 1
    last = next((name for name in _last_operations(answers.grad_fn) if name in _SQUASHING), None)
    ending, ends_as, ends_in = _SQUASHING[last] if last else ("", task, "logits")
    inside = bool(((values >= -1e-3) & (values <= 1 + 1e-3)).all())
    sums = inside and several and bool(((values.sum(dim=-1) - 1).abs() < 1e-3).all())
    said = f"outputs={asked.outputs!r} was said"
    fault = ""
    if asked.outputs == "logits":
        # log-probabilities of one class of several are logits as well
        if ends_in == "probabilities" or (ends_in == "log-probabilities" and task == "multi-label"):
            fault = f"{said}, and it ends in {ending}; say outputs={ends_in!r}"
        elif sums:
            fault = (
                f"{said}, and its answers sum to one; say outputs='probabilities' if that is what they are"
            )
    elif asked.outputs == "probabilities" and not inside:
        low, high = values.min(), values.max()
        fault = f"{said}, and its answers lie between {low:.3g} and {high:.3g}; say outputs='logits'"
    elif asked.outputs == "log-probabilities" and bool((values > 1e-3).any()):
        fault = f"{said}, and its answers are as high as {values.max():.3g}; say outputs='logits'"
    elif asked.outputs == "probabilities" and task == "single-label" and several and not sums:
        total = values.sum(dim=-1).mean()
        fault = f"{said} of one label, and they sum to {total:.3g}; say task='multi-label' for several labels"
    if not fault and asked.task is not None and ending and several and ends_as != task:
        fault = f"task={task!r} was said, and it ends in {ending}; say task={ends_as!r}"
    return f"{model.name!r} may be explained wrongly: {fault}." if fault else ""


@torch.no_grad()
def follow_frames(model: Classifier, clip: torch.Tensor, answers: torch.Tensor) -> bool:
    """Whether as many outputs as there are frames each follow a frame of their own, and so are no classes."""
    noise = torch.randn(clip.shape[:2] + clip.shape[3:], generator=torch.Generator().manual_seed(0)).to(clip)
    for frame in (0, clip.shape[2] - 1):
        changed = clip.clone()
        changed[:, :, frame] += noise
        change = (model.raw_answers(changed) - answers).abs().flatten()
        others = change.sum() - change[frame]
        if not change[frame] > 3 * others / (len(change) - 1):
            return False
    return True


def _last_operations(node: Any) -> Iterator[str]:
    """The operations behind a result, from the last one, as far as only its shape was changed since."""
    while node is not None:
        yield node.name()
        if not node.name().removeprefix("Unsafe").startswith(_RESHAPING):
            return
        node = node.next_functions[0][0] if node.next_functions else None
