"""Rows about what a network takes and answers."""

from __future__ import annotations

import re
from collections import Counter

import torch
from torch import nn

from videxplain.checking.first_values import first_values
from videxplain.checking.subject import REPEATS, Subject, deviation, where_mixed, where_random
from videxplain.checking.table import Row, Verdict
from videxplain.errors import VidexplainError
from videxplain.models.hugging_face_config import is_hugging_face
from videxplain.models.layer_trial import is_compiled_whole
from videxplain.models.trial import follow_frames, misread, rounding

_TINY = 1 / 64
"""Values at the first layer that no usual normalisation makes so small."""
_FAR, _SPREAD = 10, 50
"""How far from the mean that a first batch norm expects is too far, in deviations, and how many times too wide."""
_LISTED = 3
_MADE_UP = re.compile(r"(label|class)[ _]?\d+", re.IGNORECASE)


def takes(subject: Subject) -> Row:
    """Whether it runs with a clip as it is set up, and gives figures."""
    model, asked = subject.model, subject.asked
    shape = str(model.form)
    if asked.layout is None or asked.size is None or (asked.clip_length is None and asked.layout != "BCHW"):
        shape += ", partly found by trying"
    answers = subject.observed.answers
    seen = f"{shape}; answers {tuple(answers.shape)}: clips, frames, outputs"
    if not bool(torch.isfinite(answers).all()):
        share = 1 - float(torch.isfinite(answers).float().mean())
        return Row(
            "input",
            "failed",
            f"{seen}; {share:.0%} of them are NaN or infinite",
            "check its weights, its normalisation and its precision",
        )
    return Row("input", "ok", seen)


def modules(subject: Subject) -> Row:
    """What kinds of modules it is made of, and their modes."""
    net = subject.model.net
    said: list[str] = []
    remedies: list[str] = []
    verdict: Verdict = "ok"
    scripted = [name for name, m in net.named_modules() if is_compiled_whole(m)]
    if scripted:
        verdict = "note"
        said.append(
            "it is scripted or traced"
            if "" in scripted
            else f"{named(scripted)} {'are' if len(scripted) > 1 else 'is'} scripted or traced"
        )
        remedies.append(
            "nothing inside a scripted module is seen: no CAM layers, no replayed passes; give the network that it was "
            "made of"
        )
    quantised = [name for name, m in net.named_modules() if ".quantized" in type(m).__module__]
    quantised += [name for name, x in (*net.named_parameters(), *net.named_buffers()) if x.is_quantized]
    if quantised:
        verdict = "warning"
        said.append(f"{named(quantised)} {'are' if len(quantised) > 1 else 'is'} quantised to integers")
        remedies.append(
            "integers have no gradients; explain the network before it was quantised, or use occlusion or lime"
        )
    bare = [
        name
        for name, m in net.named_modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is None
    ]
    if bare:
        verdict = "warning"
        said.append(f"no statistics, so that those of the batch are used, in {named(bare)}")
        remedies.append("make batch norms with track_running_stats=True and train them so")
    fresh = [name for name, m in net.named_modules() if _is_untrained(m)]
    if fresh:
        verdict = "note" if verdict == "ok" else verdict
        said.append(f"the statistics of {named(fresh)} are as they were made")
        remedies.append("its weights are random, or were loaded without them")
    training = Counter(
        type(m).__name__
        for m in net.modules()
        if m.training and isinstance(m, nn.modules.dropout._DropoutNd | nn.modules.batchnorm._BatchNorm)
    )
    if training:
        kinds = ", ".join(f"{count} {kind}" for kind, count in training.items())
        said.append(f"in training mode ({kinds}), explained in evaluation mode and left as it is")
    count = sum(x.numel() for x in net.parameters())
    said = said or ["nothing that cannot be looked into"]
    return Row(
        "modules",
        verdict,
        f"{count:,} parameters, {subject.model.dtype}; {'; '.join(said)}".replace("torch.", ""),
        "; ".join(remedies),
    )


def _is_untrained(module: nn.Module) -> bool:
    if not isinstance(module, nn.modules.batchnorm._BatchNorm) or module.running_mean is None:
        return False
    assert module.running_var is not None
    return not bool(module.running_mean.any()) and bool((module.running_var == 1).all())


def named(names: list[str]) -> str:
    """Some of them, and how many more."""
    shown = ", ".join(name or "the network itself" for name in names[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def same_twice(subject: Subject) -> Row:
    """Whether it gives the same clip the same answer."""
    first = subject.observed.answers
    differs = max(deviation(first, answers) for answers in subject.repeats)
    figures = {"largest deviation": differs}
    seen = f"{REPEATS} answers to one clip differ by {differs:.2g} of the largest"
    if differs > rounding(subject.model):
        where = where_random(subject)
        drawn = f"; random numbers are drawn in {named(where)}" if where else ""
        return Row(
            "same answer twice",
            "failed",
            seen + drawn,
            "look for a dropout that is left on (F.dropout without training=self.training), or a state that is kept",
            figures,
        )
    if subject.observed.draws:
        return Row(
            "same answer twice",
            "note",
            f"{seen}; random numbers are drawn in {named(where_random(subject))}",
            "its answers hold chance where that matters",
            figures,
        )
    return Row("same answer twice", "ok", seen, figures=figures)


def is_deterministic(subject: Subject) -> bool:
    return same_twice(subject).verdict != "failed"


def same_in_batch(subject: Subject) -> Row:
    """Whether it answers two clips together as it does each alone."""
    model, question = subject.model, "same answer in a batch"
    alone = torch.cat([subject.observed.answers, subject.other_answers])
    if not is_deterministic(subject):
        return Row(question, "note", "not looked at, for its answers differ anyhow")
    try:
        together = subject.answers(torch.cat([subject.clip, subject.other]))
    except torch.OutOfMemoryError:
        raise
    except VidexplainError as error:
        return Row(
            question,
            "note",
            f"it takes one clip at a time: {error}",
            "nothing: clips go through it one by one, which is slower",
        )
    by_clip = [deviation(one, other) for one, other in zip(alone, together, strict=True)]
    differs = max(by_clip)
    seen = f"answers alone and beside another clip differ by {differs:.2g} of the largest"
    figures = {"largest deviation": differs}
    if differs <= rounding(model):
        return Row(question, "ok", seen, figures=figures)
    where = where_mixed(subject)
    return Row(
        question,
        "warning",
        seen + (f", first in {where}" if where else ""),
        "clips go through it one by one, which is slower; look for a normalisation by the statistics of the batch, or "
        "for axes that are mixed up",
        figures,
    )


def input_left_alone(subject: Subject) -> Row:
    """Whether it overwrites what it is given."""
    shapes = subject.observed.overwritten
    if shapes:
        return Row(
            "input left alone",
            "note",
            f"it overwrites its input of {', '.join(shapes)}",
            "nothing: it is given a copy each time; in your own code give it x.clone()",
        )
    if not subject.observed.was_followed:
        return Row(
            "input left alone", "ok", "cannot be told of a scripted network; it is given a copy each time"
        )
    return Row("input left alone", "ok", "its arguments are as they were after a pass")


def network_left_alone(subject: Subject) -> Row:
    """Whether a pass changes the network itself."""
    changed = subject.observed.changed
    if changed:
        return Row(
            "network left alone",
            "warning",
            f"a pass in evaluation mode changes {named(changed)}",
            "its answers may depend on what it has seen before; let it keep nothing and set no mode in its forward",
        )
    return Row("network left alone", "ok", "its weights, buffers and modes are as they were after a pass")


def depends_on_clip(subject: Subject) -> Row:
    """Whether its answer is another for another clip."""
    differs = deviation(subject.observed.answers, subject.other_answers)
    seen = f"answers to two clips differ by {differs:.2g} of the largest"
    figures = {"largest deviation": differs}
    if differs > 1e-6:
        return Row("depends on the clip", "ok", seen, figures=figures)
    return Row(
        "depends on the clip",
        "failed",
        seen,
        "nothing can be explained; check its weights, its normalisation, and whether it rounds its answers",
        figures,
    )


def read_as(subject: Subject) -> Row:
    """What its answers are taken for, and how that was found."""
    model, asked = subject.model, subject.asked
    findings = model.findings(subject.clip)
    form = model.answers
    said = [name for name in ("task", "outputs", "per_frame", "select") if getattr(asked, name) is not None]
    parts: list[str] = [form.task] if form.task == "regression" else [form.task, form.outputs]
    parts += ["an answer for each frame"] if form.per_frame else []
    parts += ["one output for two classes"] if form.is_pair else []
    seen = f"{', '.join(parts)}; {f'{named(said)} as said' if said else 'as found by looking'}"
    if subject.observed.returned:
        seen += f"; it returns {subject.observed.returned}"
    with torch.enable_grad():
        answers = model.raw_answers(subject.clip.clone().requires_grad_())
    count = answers.shape[-1]
    frames = subject.clip.shape[2]
    if fault := misread(model, answers):
        return Row("answers", "warning", seen, fault)
    values = answers.detach()
    if (
        not form.per_frame
        and answers.shape[1] == 1
        and count == frames > 1
        and follow_frames(model, subject.clip, values)
    ):
        return Row(
            "answers",
            "warning",
            f"{seen}; but each of its {count} outputs follows one of the {frames} frames",
            "these are frames and no classes; say per_frame=True, and no class_names for them",
        )
    if findings.reading:
        return Row("answers", "note", seen, findings.reading)
    return Row("answers", "ok", seen)


def class_names(subject: Subject) -> Row:
    """Where the names of classes are from, and whether they tell classes apart."""
    model, question = subject.model, "class names"
    names, count = model.class_names, model.num_classes
    if not model.has_class_names:
        what = "values" if model.answers.task == "regression" else "classes"
        return Row(question, "ok", f"{count} {what}, for which no names are known (class_names gives them)")
    seen = f"{count}, such as {', '.join(map(repr, names[:2]))}"
    seen += ", of its config" if is_hugging_face(model.net) else ", as given"
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        return Row(question, "note", f"{seen}; twice: {named(repeated)}", "ask about these by their index")
    if all(_MADE_UP.fullmatch(name) for name in names):
        return Row(question, "note", f"{seen}, which say nothing", "give them with class_names")
    return Row(question, "ok", seen)


def normalisation(subject: Subject) -> Row:
    """Whether what reaches its first layer is what networks are trained with."""
    model, question = subject.model, "normalisation"
    first = first_values(model, subject.clip)
    given = f"mean {_short(model.mean)}, std {_short(model.std)}"
    if first is None:
        return Row(question, "ok", f"{given}; what its first layer sees cannot be told")
    low, high = float(first.values.min()), float(first.values.max())
    seen = f"{given}; values from {low:.3g} to {high:.3g} reach {first.where}"
    figures = {"lowest": low, "highest": high}
    largest = max(abs(low), abs(high))
    if first.centres and first.scales and any(model.mean):
        return Row(
            question,
            "warning",
            f"{seen}, after the network has normalised them by itself as well",
            "say mean=(0,) * 3, std=(1,) * 3 if it takes values in [0, 1]; std=(1 / 255,) * 3 for 0 to 255",
            figures,
        )
    if largest < _TINY:
        return Row(
            question,
            "warning",
            f"{seen}, which is nearly nothing",
            "a network that divides by 255 itself takes mean=(0,) * 3, std=(1 / 255,) * 3",
            figures,
        )
    if first.expected is not None:
        mean, std = first.expected
        channels = first.values.transpose(0, 1).flatten(1)
        off = float(((channels.mean(dim=1) - mean).abs() / std).max())
        spread = channels.std(dim=1) / std
        times = float(torch.maximum(spread, 1 / spread.clamp(min=1e-30)).max())
        if off > _FAR or times > _SPREAD:
            return Row(
                question,
                "warning",
                f"{seen}, a batch norm that expects others: their mean is {off:.0f} of its deviations away, and their "
                f"spread differs {times:.0f} times",
                "say mean, std and value_range as in training",
                figures,
            )
    return Row(question, "ok", seen, figures=figures)


def _short(values: object) -> str:
    return "(" + ", ".join(f"{value:.3g}" for value in values) + ")"  # type: ignore[attr-defined]
