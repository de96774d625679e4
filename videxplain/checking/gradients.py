"""Rows about gradients, class activation maps, and passes that save work."""

from __future__ import annotations

from contextlib import nullcontext

import torch

from videxplain.checking.answering import is_deterministic
from videxplain.checking.subject import Subject
from videxplain.checking.table import Row
from videxplain.errors import VidexplainError
from videxplain.models.classifier import evaluating
from videxplain.models.layer_trial import Option, follows_places
from videxplain.models.trial import rounding
from videxplain.passes.forward_pass import ForwardPass, derivatives
from videxplain.passes.guided import GuidedRule

_STEP, _BLOCKS, _TOLERANCE = 0.005, 3, 0.1
"""By what share a clip is changed to see how the score follows; parts of it along each axis; how far apart slopes and
gradients may be, beside what kinks and rounding make of it."""
_REPLAYED, _MISSED = 4, 0.1
"""How many replayed passes are compared with whole ones, and what share of changes slopes may miss without a word."""


def flow(subject: Subject) -> Row:
    """Whether gradients flow, and whether the score changes as they say."""
    question = "gradients"
    model = subject.asking
    no_gradient = "use a method without gradients (occlusion, lime), or let the network keep its gradients"
    x = subject.clip.clone().requires_grad_()
    try:
        with torch.inference_mode(False), torch.enable_grad(), evaluating(model.net):
            score = subject.logit(x)
            (gradient,) = derivatives(model, score.sum(), [x])
    except VidexplainError as error:
        return Row(question, "failed", str(error), no_gradient)
    if not bool(torch.isfinite(gradient).all()):
        return Row(
            question, "failed", "they are NaN or infinite", "try float32, or a method without gradients"
        )
    if not bool(gradient.any()):
        return Row(
            question, "failed", "they are zero everywhere: the network rounds, or cannot change", no_gradient
        )
    if model.precision != "float32" or model.dtype not in (torch.float32, torch.float64):
        return Row(question, "ok", "they flow; whether they are right cannot be told in so few bits")
    if not is_deterministic(subject):
        return Row(
            question, "note", "they flow; whether they are right cannot be told, for its answers hold chance"
        )
    off, rough = _off(subject, gradient.detach())
    seen = f"they flow; the score changes as they say, to {off:.1%}"
    figures = {"deviation": off}
    if rough > 0.5:
        return Row(
            question, "ok", "they flow; whether they are right cannot be told, for the score is not smooth"
        )
    if off > _TOLERANCE + 3 * rough:
        return Row(
            question,
            "failed",
            f"they flow, but the score changes otherwise than they say: the two differ by {off:.0%}",
            "look for detach(), .data, no_grad or a backward pass of its own in a part of the network; gradient "
            "methods see the rest only, those that hide supervoxels (lime, occlusion) see all",
            figures,
        )
    return Row(question, "ok", seen, figures=figures)


@torch.no_grad()
def _off(subject: Subject, gradient: torch.Tensor) -> tuple[float, float]:
    """How far slopes, as differences tell them, are from what a gradient says, and how far from each other.

    In units of all slopes. Along the clip itself, and parts of it, a score changes most, and most smoothly.
    """
    errors, scatter, total = 0.0, 0.0, 0.0
    for direction in _directions(subject.clip):
        wide, narrow = (_slope(subject, direction * step) / step for step in (2 * _STEP, _STEP))
        said = float((gradient.double() * direction.double()).sum())
        errors += abs(narrow - said)
        scatter += abs(wide - narrow)
        total += max(abs(narrow), abs(said))
    return (errors / total, scatter / total) if total else (0.0, 1.0)


def _directions(x: torch.Tensor) -> list[torch.Tensor]:
    """A clip, its second half along each axis, and two of its parts drawn at random."""
    directions = [x]
    for axis in (2, 3, 4):
        if x.shape[axis] > 1:
            half = x.clone()
            half.narrow(axis, 0, x.shape[axis] // 2).zero_()
            directions.append(half)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        shares = torch.rand(1, 1, *(min(_BLOCKS, n) for n in x.shape[2:]), generator=generator).to(x)
        directions.append(x * torch.nn.functional.interpolate(shares, size=x.shape[2:]))
    return directions


def _slope(subject: Subject, change: torch.Tensor) -> float:
    up, down = (float(subject.logit(subject.clip + sign * change).double()) for sign in (1, -1))
    return (up - down) / 2


def rectifiers(subject: Subject) -> Row:
    """Which nonlinearities the guided rule treats, and which it does not."""
    model, question, rule = subject.asking, "guided rule", GuidedRule()
    x = subject.clip.clone().requires_grad_()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.compiler.set_stance("force_eager"),
        evaluating(model.net),
        nullcontext() if model.form.arrange is None else rule.within(model.net),
        rule,
    ):
        logits = model.logits(x)
    if not logits.requires_grad:
        return Row(question, "note", "there is no gradient that it could change")
    rule.attach(logits)
    seen = f"rectifiers: {_counted(rule.guided) or 'none'}"
    figures = {name: float(count) for name, count in (rule.guided + rule.unguided).items()}
    if rule.unguided or not rule.rectifiers:
        return Row(
            question,
            "note",
            f"{seen}; not guided: {_counted(rule.unguided) or 'nothing'}",
            "guided methods refuse it; use vanilla, grad-cam or region-gradient, or guide_smooth=True",
            figures,
        )
    return Row(question, "ok", seen, figures=figures)


def _counted(names: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(names.items()))


def cam_layers(subject: Subject) -> Row:
    """Which layers make class activation maps, and whether their grids lie as the input does."""
    model, question = subject.asking, "CAM layers"
    how = "found by looking" if subject.asked.cam_layer is None else "as named"
    try:
        layers = model.cam_layers
        run = ForwardPass(model, subject.clip, needs_cam=True, needs_cam_gradient=True)
    except VidexplainError as error:
        named = subject.asked.cam_layer is not None
        return Row(
            question,
            "failed" if named else "note",
            str(error),
            "CAM methods refuse it; use others, or name a layer with cam_layer",
        )
    grids = ["x".join(map(str, use.shape[2:])) for use in run.activations]
    seen = f"{model.cam_layer}, {how}; grid {', '.join(grids)}"
    target = torch.tensor([subject.target], device=subject.clip.device)
    try:
        gradients = run.activation_gradients(target)
    except VidexplainError as error:
        return Row(question, "note", f"{seen}; {error}", "CAM methods that take gradients refuse it")
    if not any(bool(grid.any()) for grid in gradients):
        return Row(
            question,
            "warning",
            f"{seen}; the score does not change with it",
            "name an earlier layer with cam_layer",
        )
    if len(run.activations) == len(layers):
        options = [
            Option(layer, tuple(use.shape[2:]), [])  # type: ignore[arg-type]
            for layer, use in zip(layers, run.activations, strict=True)
        ]
        if not all(follows_places(model, option) for option in options):
            told = subject.asked.cam_layout is not None
            return Row(
                question,
                "warning" if told else "note",
                f"{seen}; a change that moves in the clip does not move in it alike",
                "check cam_layout"
                if told
                else "its places may be mixed, as by attention; compare with another method",
            )
        seen += "; a change that moves in the clip moves in it alike"
    return Row(question, "ok", seen)


def replay(subject: Subject) -> Row:
    """Whether passes that compute boxes only give what whole ones do."""
    question = "replayed passes"
    if not is_deterministic(subject):
        return Row(question, "note", "not looked at, for its answers differ anyhow")
    clip, masks, recording = subject.ring[:3]
    if subject.clip.device.type != "cpu":
        return Row(question, "ok", "whole passes only, as on every GPU")
    if not recording.is_whole:
        return Row(question, "ok", "whole passes only, for it does something that is not seen")
    if not recording.is_local:
        return Row(question, "ok", "whole passes only, for most of its work is in layers that see everything")
    rows = [(n % len(masks), n * clip.num_segments // _REPLAYED) for n in range(_REPLAYED)]
    flipped, replayed = [], []
    for row, k in rows:
        mask = masks[row : row + 1].clone()
        mask[:, k] = 1 - mask[:, k]
        flipped.append(mask)
        replayed.append(clip.rescore(recording, [row], mask, [k], score="logit"))
    if not clip.findings.replays:
        return Row(
            question, "note", "they fail or differ, so that whole passes are taken", "nothing; it is slower"
        )
    expected = torch.cat([clip.values(mask, score="logit") for mask in flipped])
    before = torch.cat([clip.values(masks[row : row + 1], score="logit") for row, _ in rows])
    change = float((expected - before).abs().max())
    error = float((expected - torch.cat(replayed)).abs().max())
    noise = rounding(subject.model) * 0.1 * float(expected.abs().max())
    seen = (
        f"{len(rows)} of them differ from whole ones by {error:.2g}, where the score changes by {change:.2g}"
    )
    figures = {"largest deviation": error, "largest change": change}
    if error > 0.01 * change + noise:
        return Row(
            question,
            "failed",
            seen,
            "region gradients and occlusion are wrong; please report it, with the network",
            figures,
        )
    return Row(question, "ok", seen, figures=figures)


def chords(subject: Subject) -> Row:
    """Whether a ring's slopes sum to what the score changes by."""
    question, (_, masks, _, values, slopes) = "region slopes", subject.ring
    if slopes is None:
        return Row(
            question, "note", "there is no gradient", "region-gradient refuses it; use lime or kernel-shap"
        )
    changes = values - values.roll(-1)
    said = (slopes * (masks - masks.roll(-1, dims=0))).sum(dim=1)
    size, noise = float(changes.abs().sum()), rounding(subject.model) * float(values.abs().sum())
    if size < noise:
        return Row(question, "ok", "the score hardly changes from mask to mask")
    missed = float((said - changes).abs().sum()) / size
    seen = f"of a ring of {len(masks)} masks they miss {missed:.1%} of the change"
    figures = {"share missed": missed}
    if missed <= _MISSED:
        return Row(question, "ok", seen, figures=figures)
    return Row(
        question,
        "note",
        f"{seen}, as in networks with attention or layer normalisation, or with operations that are not seen",
        "region-gradient is less sure; compare it with lime or kernel-shap",
        figures,
    )
