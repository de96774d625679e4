"""Looks whether a network is explained rightly: each question is asked, whatever the others show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from videxplain.checking import answering, gradients, trying_methods
from videxplain.checking.subject import Subject
from videxplain.checking.table import Check, Row
from videxplain.clip import Clip
from videxplain.errors import VidexplainError, VidexplainWarning, out_of_memory
from videxplain.models import Classifier, load_model
from videxplain.models.input_form import in_one_line
from videxplain.settings import Question, Target, as_question, short_form

if TYPE_CHECKING:
    from videxplain.explanations.inputs import ClipLike

Look = Callable[[Subject], Row]
_QUESTIONS: dict[str, Look] = {
    "input": answering.takes,
    "modules": answering.modules,
    "same answer twice": answering.same_twice,
    "same answer in a batch": answering.same_in_batch,
    "depends on the clip": answering.depends_on_clip,
    "input left alone": answering.input_left_alone,
    "network left alone": answering.network_left_alone,
    "answers": answering.read_as,
    "class names": answering.class_names,
    "normalisation": answering.normalisation,
    "gradients": gradients.flow,
    "guided rule": gradients.rectifiers,
    "CAM layers": gradients.cam_layers,
    "replayed passes": gradients.replay,
    "region slopes": gradients.chords,
    "methods": trying_methods.methods,
}
"""In this order: the first use of a network, after which its clips may go through one by one, is in "answers"."""
_NEED_NO_PASS = ("input", "modules")


def check(
    model: nn.Module | Classifier | str,
    clip: ClipLike | None = None,
    target: Target | Question = None,
    *,
    against: int | str | None = None,
    frame: int | None = None,
) -> Check:
    """Looks whether a network is explained rightly.

    A network that does not work gives a table that says so.

    Parameters
    ----------
    model
        A network, a `Classifier` around one, or a name that `load_model` takes.
    clip
        As for `explain`; by default one is generated.
    target
        Class to ask about, the prediction by default; or a whole `Question`.
    against, frame
        As in `Question`.

    Returns
    -------
    Check
        A row for each question: a verdict, what was seen, what to do. `print` shows a table; `ok` is False where
        something failed.

    Raises
    ------
    VidexplainError
        For a network that there is not, and a clip or class that cannot be.
    """
    [question] = short_form({"against": against, "frame": frame}, as_question(target))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VidexplainWarning)  # the table says it
        if isinstance(model, str):
            model = load_model(model)
        try:
            classifier = _unused(model)
        except VidexplainError as error:
            return Check(type(model).__name__, "no clip", (Row("input", "failed", str(error)),))
        shown = "a generated clip" if clip is None else "the given clip"
        if isinstance(clip, Clip) and clip.source:
            shown = str(clip.source)
        x = classifier.prepare(generated_clip(classifier) if clip is None else clip)
        asked = model.settings if isinstance(model, Classifier) else classifier.settings
        subject = Subject(classifier, asked, x[:, :, :1] if classifier.is_image_model else x, question)
        return Check(classifier.name, shown, tuple(_rows(subject)))


def _unused(model: nn.Module | Classifier) -> Classifier:
    """One that has not been used, so that nothing of other uses is in it, and nothing of this one in others."""
    if not isinstance(model, Classifier):
        return Classifier(model)
    form = model.form
    settings = replace(model.settings, layout=form.layout, clip_length=form.clip_length, size=form.size)
    return Classifier(model.net, settings)


def generated_clip(model: Classifier) -> np.ndarray:
    """Frames (T, h, w, C) in which an object moves, on the scale that the network takes."""
    from videxplain.synthetic.moving_objects import generate

    height, width = model.size
    clip = generate(0, frames=max(model.clip_length, 2), size=(max(height, 32), max(width, 32)))
    frames = clip.frames
    frames = frames[: model.clip_length, :height, :width]
    if model.channels != 3:
        frames = np.repeat(frames.mean(axis=3, keepdims=True), model.channels, axis=3).astype(np.uint8)
    if model.settings.value_range is None:
        return frames
    low, high = model.settings.value_range
    return (low + frames / 255 * (high - low)).astype(np.float32)


def _rows(subject: Subject) -> list[Row]:
    rows = []
    runs = True
    for question, look in _QUESTIONS.items():
        if not runs and question not in _NEED_NO_PASS:
            continue
        row = _looked(question, look, subject)
        if question == "input":
            runs = row.verdict != "failed"
        rows.append(row)
    return rows


def _looked(question: str, look: Look, subject: Subject) -> Row:
    """The row, also where looking fails, of whatever kind that is."""
    try:
        return look(subject)
    except VidexplainError as error:
        return Row(question, "failed", str(error))
    except Exception as error:
        shortage = out_of_memory(error)
        if shortage is not None:
            return Row(question, "failed", str(shortage))
        return Row(
            question,
            "failed",
            f"it cannot be told, for the network fails: {type(error).__name__}: {in_one_line(error)}",
        )
