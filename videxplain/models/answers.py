"""What a network answers: the part of what it returns, how classes are in it, and the class that a target means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videxplain.errors import VidexplainError, unknown_name
from videxplain.models.nested import tensors_in
from videxplain.settings import Outputs, Task

if TYPE_CHECKING:
    from videxplain.models.classifier import Classifier

Select = str | int | Callable[..., Any] | None


@dataclass(frozen=True)
class AnswerForm:
    """How answers (B, frames, outputs) are to be read; see `NetworkSettings`."""

    task: Task = "single-label"
    outputs: Outputs = "logits"
    per_frame: bool = False
    is_pair: bool = False
    """Whether one output, a sigmoid's, tells between two classes."""

    def logits(self, answers: torch.Tensor) -> torch.Tensor:
        """Logits of the classes, whose softmax or sigmoid is the probability; of a regression the values themselves."""
        if self.is_pair:
            second = replace(self, task="multi-label", is_pair=False).logits(answers)
            return torch.cat([torch.zeros_like(second), second], dim=-1)
        if self.task == "regression" or self.outputs == "logits":
            return answers
        if self.outputs == "log-probabilities":
            if self.task == "single-label":
                return answers
            return answers - torch.log1p(-answers.exp().clamp(max=1 - torch.finfo(answers.dtype).eps))
        limits = torch.finfo(answers.dtype)
        if self.task == "single-label":
            return answers.clamp(min=limits.tiny).log()
        return answers.clamp(limits.eps, 1 - limits.eps).logit()

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        """Of each class, from `logits`; of a regression the values themselves."""
        if self.task == "regression":
            return logits
        return logits.sigmoid() if self.task == "multi-label" else logits.softmax(dim=-1)

    def decides(self, probabilities: torch.Tensor, target: int) -> torch.Tensor:
        """Whether probabilities (m, classes) decide for a class: it comes first; of several labels it is likely."""
        if self.task == "multi-label":
            return probabilities[:, target] >= 0.5
        return probabilities.argmax(dim=1) == target


def answer_of(output: Any, rows: int, frames: int, select: Select, name: str) -> torch.Tensor:
    """The answer (rows, outputs) or (rows, frames, outputs) in whatever a network returns.

    Parameters
    ----------
    rows, frames
        Of the network's input.
    select
        Which part, as `NetworkSettings` has it; of two that might be it none is guessed.
    name
        The network's, for sentences.
    """
    if select is not None:
        part = _selected(output, select, name)
        if not isinstance(part, torch.Tensor):
            raise VidexplainError(f"{name}: what select gives is {_kind(part)}, not a tensor.")
        if not _fits(part, rows, None):
            raise VidexplainError(
                f"{name}: what select gives has the shape {tuple(part.shape)}; it has to be ({rows}, outputs), or "
                f"({rows}, frames, outputs)."
            )
        return _in_rows(part)
    answer = _named_logits(output)
    if answer is None:
        tensors = list(tensors_in(output))
        fitting: dict[str, torch.Tensor] = {}
        for most_axes in (
            2,
            3,
            1,
        ):  # an answer for each clip, for each of its frames, one value for each clip
            fitting = fitting or {w: x for w, x in tensors if _fits(x, rows, frames, most_axes)}
        if len(fitting) > 1:
            listed = ", ".join(f"{where} {tuple(x.shape)}" for where, x in fitting.items())
            raise VidexplainError(
                f"{name} returns {_kind(output)}, in which several tensors may be the answer: {listed}; say which with "
                "select, such as select=1 or select='logits'."
            )
        answer = next(iter(fitting.values()), None)
    elif not _fits(answer, rows, frames):
        answer = None
    if answer is None:
        others = {len(x) for _, x in tensors_in(output) if x.ndim and _fits(x, len(x), frames, 2)}
        if len(others) == 1:
            raise VidexplainError(
                f"{name} answered {rows} inputs with {others.pop()} rows; check its layout."
            )
        raise VidexplainError(
            f"{name} returns {_kind(output)}, in which no answer ({rows}, classes) is found; say which part it is with "
            "select."
        )
    return _in_rows(answer)


def _selected(output: Any, select: str | int | Callable[..., Any], name: str) -> Any:
    """The part that was asked for."""
    if callable(select):
        return select(output)
    try:
        if isinstance(select, str) and not isinstance(output, Mapping):
            return getattr(output, select)
        return output[select]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise VidexplainError(f"{name} returns {_kind(output)}, which has no part {select!r}.") from None


def _in_rows(answer: torch.Tensor) -> torch.Tensor:
    """(rows, outputs) or (rows, frames, outputs) of a tensor that may have further axes of length 1, or one only."""
    if answer.ndim == 1:
        return answer[:, None]
    if answer[0].numel() == answer.shape[1]:
        return answer.flatten(1)
    return answer.flatten(2)


def _fits(x: Any, rows: int, frames: int | None, axes: int | None = None) -> bool:
    """Whether a tensor can be an answer, with so many `axes` before those of length 1 at the end."""
    if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x.ndim < 1 or len(x) != rows:
        return False
    if x.ndim == 1:
        return axes in (1, None)
    if x[0].numel() == x.shape[1]:
        return axes in (2, None)
    by_frame = x.ndim >= 3 and x[0].numel() == x.shape[1] * x.shape[2] and frames in (x.shape[1], None)
    return by_frame and axes in (3, None)


def _kind(output: Any) -> str:
    """What a network returned, in words."""
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} {tuple(output.shape)}"
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} with {', '.join(map(repr, output))}"
    return f"a {type(output).__name__}"


def _named_logits(output: Any) -> Any:
    """What an output calls its logits, or None."""
    return output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)


def class_index(model: Classifier, target: Any, probabilities: torch.Tensor) -> int:
    """The class that one target means.

    Parameters
    ----------
    target
        Index, class name, "#k" for the k-th most probable class (from 1), None for the most probable.
    probabilities
        (num_classes,)

    Raises
    ------
    VidexplainError
        There is no such class.
    """
    count = len(probabilities)
    if target is None:
        if model.answers.task == "regression" and count > 1:
            raise VidexplainError(
                f"{model.name} gives {count} values; say with target which one is explained, by its number or name."
            )
        return int(probabilities.argmax())
    if isinstance(target, str):
        if target in model.class_names:
            return model.class_names.index(target)
        if target.startswith("#") and target[1:].isdigit():
            rank = int(target[1:])
            if not 1 <= rank <= count:
                raise VidexplainError(f"target {target!r} is out of range; there are {count} classes.")
            return int(probabilities.argsort(descending=True, stable=True)[rank - 1])
        folded = [class_name.casefold() for class_name in model.class_names]
        if target.casefold() in folded:
            return folded.index(target.casefold())
        if not target.lstrip("-").isdigit():
            raise unknown_name("class", target, model.class_names)
        target = int(target)
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise VidexplainError(f"a class is an index, a name or '#k', not {target!r}.")
    if not 0 <= target < count:
        raise VidexplainError(f"class {target} is out of range; {model.name} has classes 0 to {count - 1}.")
    return int(target)
