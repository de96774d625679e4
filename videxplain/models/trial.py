"""What a network's first passes show of it: whether it answers alike twice, alone and in a batch, and with logits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from videxplain.errors import VidexplainError, VidexplainWarning

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier

_ROUNDING = {torch.float64: 1e-4, torch.float32: 1e-3}
"""How far apart answers to the same clip may be, in units of the largest; less exact types may differ by `_COARSE`."""
_COARSE = 0.05
_SQUASHING = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid", "ExpBackward0": "an exponential"}
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
    notes
        What the user should know, in sentences.
    """

    is_deterministic: bool = True
    is_independent: bool = True
    replays: bool = True
    compared_replays: int = 0
    confirmed_replays: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Tells the user once, and keeps the sentence for results; what differs in figures only is the same."""
        if _without_figures(sentence) not in map(_without_figures, self.notes):
            self.notes.append(sentence)
            warnings.warn(sentence, VidexplainWarning, stacklevel=2)


def _without_figures(sentence: str) -> str:
    return "".join(letter for letter in sentence if not letter.isdigit())


def rounding(model: Classifier) -> float:
    """How far apart two answers of the network may be that differ by rounding only, in units of the largest."""
    return _COARSE if model.precision != "float32" else _ROUNDING.get(model.dtype, _COARSE)


def may_be_no_logits(model: Classifier, logits: torch.Tensor) -> bool:
    """Whether answers (B, frames, classes) look like probabilities, or like an answer for each frame of a clip."""
    frames = model.clip_length > 1 and logits.shape[-1] == model.clip_length and not model.has_class_names
    return frames or bool(((logits >= 0) & (logits <= 1)).all())


def try_out(model: Classifier, x: torch.Tensor) -> Findings:
    """Passes of the first of these clips (B, C, T, h, w): alone, beside its mirror image, and again if these differ.

    Raises
    ------
    VidexplainError
        If the network answers with probabilities where logits are wanted.
    """
    findings = Findings()
    clip = x[:1, :, :1] if model.is_image_model else x[:1]
    clip = clip.detach()
    # the caller may be anywhere, also where gradients are off
    with torch.inference_mode(False), torch.enable_grad():
        alone = model.frame_logits(clip.clone().requires_grad_())
    if may_be_no_logits(model, alone.detach()):
        _refuse_probabilities(model, alone)
        if alone.shape[-1] == clip.shape[2] > 1 and not model.has_class_names:
            _refuse_frames(model, clip, alone.detach())
    alone = alone.detach()
    if not bool(torch.isfinite(alone).all()):
        return findings  # whoever asks for gradients or scores tells
    with torch.no_grad():
        pair = torch.cat([clip, clip.flip(-1)])
        try:
            beside = model.frame_logits(pair)[:1]
        except torch.OutOfMemoryError:
            return findings
        except (RuntimeError, ValueError, VidexplainError):
            findings.is_independent = False  # some networks take one clip only
            return findings
        if _differ(model, alone, beside):
            if _differ(model, alone, model.frame_logits(clip)):
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


def _differ(model: Classifier, one: torch.Tensor, other: torch.Tensor) -> bool:
    scale = float(one.abs().max())
    return not bool(((one - other).abs() <= rounding(model) * scale).all())


def _refuse_probabilities(model: Classifier, logits: torch.Tensor) -> None:
    """Raises where logits (1, frames, classes) are probabilities, by their values and the operation they come from."""
    values = logits.detach()
    last = next((name for name in _last_operations(logits.grad_fn) if name in _SQUASHING), None)
    sums_to_one = logits.shape[-1] > 1 and bool(((values.sum(dim=-1) - 1).abs() < 1e-3).all())
    if last is None and not sums_to_one:
        return
    ending = _SQUASHING[last] if last else "softmax"
    raise VidexplainError(
        f"{model.name!r} answers with probabilities (it ends in {ending}), where logits are needed: a softmax of "
        "probabilities is no probability; give the network without its last activation."
    )


@torch.no_grad()
def _refuse_frames(model: Classifier, clip: torch.Tensor, logits: torch.Tensor) -> None:
    """Raises where as many outputs as there are frames each follow a frame of their own, and so are no classes."""
    noise = torch.randn(clip.shape[:2] + clip.shape[3:], generator=torch.Generator().manual_seed(0)).to(clip)
    for frame in (0, clip.shape[2] - 1):
        changed = clip.clone()
        changed[:, :, frame] += noise
        change = (model.frame_logits(changed) - logits).abs().flatten()
        others = change.sum() - change[frame]
        if not change[frame] > 3 * others / (len(change) - 1):
            return
    raise VidexplainError(
        f"{model.name!r} has an output for each of its {clip.shape[2]} frames, not for classes; wrap it in a module "
        "that returns (batch, classes), or give class_names if they are classes all the same."
    )


def _last_operations(node: Any) -> Iterator[str]:
    """The operations behind a result, from the last one, as far as only its shape was changed since."""
    while node is not None:
        yield node.name()
        if not node.name().removeprefix("Unsafe").startswith(_RESHAPING):
            return
        node = node.next_functions[0][0] if node.next_functions else None
