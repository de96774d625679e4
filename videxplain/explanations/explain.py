"""Segment, score, reduce: the method of "Gradient Weighted Superpixels for Interpretability in CNNs" (section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from videxplain import __version__
from videxplain.attribution.choice import Auto
from videxplain.attribution.coarse_to_fine import coarse_to_fine
from videxplain.attribution.methods import Method, chosen
from videxplain.attribution.nesting import check_nesting
from videxplain.attribution.query import Query
from videxplain.errors import VidexplainError, kind_of
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.inputs import ClipLike, Inputs, prepare
from videxplain.models.answers import AnswerForm
from videxplain.regions import Regions
from videxplain.segmentation import as_segmentation
from videxplain.settings import Nesting, Question, Segmentation, Target, as_question

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from videxplain.models import Classifier
    from videxplain.options import ClipOptions

NUM_PREDICTIONS = 5  # kept in an Explanation


def explain(
    model: Classifier,
    clip: ClipLike,
    method: str | Method = "auto",
    target: Target | Question = None,
    *,
    segmentation: str | Segmentation | None = None,
    labels: np.ndarray | None = None,
    keep_maps: bool = False,
    **options: Unpack[ClipOptions],
) -> Explanation:
    """Explains why a classifier gives a clip its class.

    Parameters
    ----------
    model
        The classifier (`load_model`, or `Classifier(net, ...)` around any network).
    clip
        A `Clip`, or frames (T, H, W, 3) uint8, or an image (H, W, 3) uint8, of any size; of other networks what their
        `NetworkSettings` tell (channels, value_range). A clip shorter than the network's is continued by holding its
        last frame.
    method
        How voxels or supervoxels are scored: a name (`videxplain methods` lists them), or a method with its options
        such as `Lime(samples=500)`. By default `Auto()`: what did best on networks of this kind within the time of 8
        forward and backward passes; `settings["became"]` tells which that was.
    target
        Class to explain by index, name or rank ("#2"), the prediction by default; or a whole `Question`.
    segmentation
        "slic" (the default for clips), "quickshift" (the default for images, as in the paper), "grid", or a whole
        `Segmentation`.
    labels
        Supervoxels made elsewhere, integers (T, h, w) at the network's input size or (T, n * h, n * w), instead of a
        segmentation. Masks and boxes of objects, in the source's pixels, are `regions`.
    keep_maps
        Keep the voxel scores in `Explanation.dense` and `Explanation.cam`.
    **options
        Fields of the method, the segmentation and the question by their names: `samples=500`, `n_segments=100`,
        `score="log-odds"`. And `regions`, a `Regions`: objects to be explained instead of supervoxels; or `levels`
        such as (20, 80, 320): supervoxels that are unions of finer ones, whose scores `Explanation.at` tells. With
        `coarse_to_fine` masks hide coarse ones first, see `videxplain.settings.Nesting`.

    Returns
    -------
    Explanation
        The supervoxels, their scores, and what made them.

    Raises
    ------
    VidexplainError
        One sentence on what is wrong with the clip, the class, the method, an option or the network.

    Examples
    --------
    >>> import videxplain as vx
    >>> from videxplain.synthetic.moving_objects import generate
    >>> clip = generate(0, motion="left").frames  # (T, H, W, 3) uint8
    >>> explanation = explain(vx.load_model("c3d-motion"), clip, "grad-cam", n_segments=50)
    >>> explanation.target_name, len(explanation.top(3))
    ('left', 3)
    """
    if isinstance(clip, list | tuple):
        raise VidexplainError("explain() takes one clip; explain_batch() takes a list of clips.")
    request = Request.of([method], target, segmentation, keep_maps, dict(options))
    return request.explanations(model, [clip], None if labels is None else [labels])[0][0]


def explain_batch(
    model: Classifier,
    clips: Sequence[ClipLike],
    method: str | Method = "auto",
    target: Target | Question = None,
    *,
    segmentation: str | Segmentation | None = None,
    labels: Sequence[np.ndarray] | None = None,
    keep_maps: bool = False,
    **options: Unpack[ClipOptions],
) -> list[Explanation]:
    """Explains several clips of one length at once, as `explain` does each.

    Parameters
    ----------
    model
        As for `explain`; `regions` is a list of one for each clip.
    clips
        One or more.
    method
        As for `explain`; `regions` is a list of one for each clip.
    target
        One class for all clips, or a list of one each.
    segmentation
        As for `explain`; `regions` is a list of one for each clip.
    labels
        One array for each clip.
    keep_maps, **options
        As for `explain`; `regions` is a list of one for each clip.

    Returns
    -------
    list of Explanation
        One for each clip, in order.

    Raises
    ------
    VidexplainError
        As `explain`.
    """
    request = Request.of([method], target, segmentation, keep_maps, dict(options))
    return request.explanations(model, clips, labels)[0]


@dataclass(frozen=True)
class Request:
    """What is to be explained of clips, and how: settings that are parsed and checked.

    Attributes
    ----------
    stated
        Names of the segmentation's options that were given, so that they count even where they are the defaults.
    regions
        For each clip, instead of supervoxels.
    nesting
        Levels of supervoxels.
    """

    methods: list[Method]
    question: Question
    segmentation: Segmentation
    keep_maps: bool = False
    stated: tuple[str, ...] = ()
    regions: list[Regions] | None = None
    nesting: Nesting = Nesting()  # noqa: RUF009  it is frozen

    @classmethod
    def of(
        cls,
        methods: Sequence[str | Method],
        target: Target | Question,
        segmentation: str | Segmentation | None,
        keep_maps: bool,
        options: dict[str, Any],
    ) -> Request:
        """Of what the user wrote; refuses what cannot be before any work."""
        if keep_maps and (as_question(target).against or options.get("against")) is not None:
            raise VidexplainError("keep_maps means nothing with against, whose scores are of two maps")
        regions = _regions(options.pop("regions", None))
        picked, question, (cutting, nesting) = chosen(
            methods, as_question(target), options, as_segmentation(segmentation), Nesting()
        )
        if keep_maps and any(isinstance(method, Auto) for method in picked):
            raise VidexplainError(
                "keep_maps means nothing to method 'auto', which may score supervoxels as a whole; name one of voxels, "
                "such as guided"
            )
        stated = [name for name in cutting.options() if options.get(name) is not None]
        if segmentation is not None:
            stated.append("name")
        if nesting.levels is not None:
            is_stated = "n_segments" in stated or cutting.n_segments != Segmentation().n_segments
            check_nesting(nesting, picked, n_segments=is_stated, regions=regions is not None)
        return cls(picked, question, cutting, keep_maps, tuple(stated), regions, nesting)

    def recorded(self) -> dict[str, Any]:
        """What another run has to be given to ask the same, of the one method."""
        (method,) = self.methods
        score = {"score": self.question.score} if self.question.score else {}
        asked_for = {**method.recorded(), **_of_question(self.question), **score}
        return {"method": method.name, "target": self.question.target, **asked_for}

    def explanations(
        self, model: Classifier, clips: Sequence[ClipLike], labels: Sequence[np.ndarray] | None
    ) -> list[list[Explanation]]:
        """For each method those of all clips."""
        return self.explained(model, self.inputs(model, clips, labels))

    def inputs(
        self, model: Classifier, clips: Sequence[ClipLike], labels: Sequence[np.ndarray] | None
    ) -> Inputs:
        """Clips as the network takes them, and their supervoxels."""
        inputs = prepare(
            model,
            clips,
            self.segmentation,
            labels,
            self.question,
            self.stated,
            self.regions,
            self.nesting.levels,
        )
        for method in self.methods:
            method.require_network_grid(inputs.scale)
        return inputs

    def explained(self, model: Classifier, inputs: Inputs) -> list[list[Explanation]]:
        """For each method those of all inputs."""
        regions = inputs.regions()
        count = int(regions.max()) + 1
        query = Query(
            model, inputs.x, regions, count, self.question, scale=inputs.scale, methods=self.methods
        )
        explained = []
        for method in self.methods:
            if self.nesting.coarse_to_fine:
                scores = coarse_to_fine(query, method, inputs.hierarchies, self.nesting.levels or ())
            else:
                scores = method.score(query)
            maps = query.maps_made(method)
            by_input = method.input_scores(query)
            run = {**provenance(model, inputs.x, method), **asked(method, query)}  # with what use has shown
            explained.append(
                [
                    inputs.explanation(
                        b,
                        scores=as_numpy(scores[b, : int(segments.max()) + 1]),
                        dense=as_numpy(maps.dense[b]) if self.keep_maps and maps.dense is not None else None,
                        cam=as_numpy(maps.cam[b]) if self.keep_maps and maps.cam is not None else None,
                        input_scores={
                            name: as_numpy(part[b, : int(segments.max()) + 1])
                            for name, part in by_input.items()
                        },
                        standard_error=as_numpy(errors[: int(segments.max()) + 1])
                        if (errors := query.standard_errors.get((method, b))) is not None
                        else None,
                        method=method.name,
                        settings={**inputs.recorded(b), **run, **query.used(method, b), **against(query, b)},
                        **decided(query, b),
                    )
                    for b, segments in enumerate(inputs.segments)
                ]
            )
        return explained


def _regions(value: Any) -> list[Regions] | None:
    """A list of the regions that were given, one or several; anything else is refused."""
    several = value if value is None or isinstance(value, list | tuple) else [value]
    for regions in several or ():
        if not isinstance(regions, Regions):
            raise VidexplainError(
                f"regions has to be Regions, not {kind_of(regions)}; Regions.from_masks(...) and its like make them, "
                "Regions.read(path) reads them."
            )
    return None if several is None else list(several)


def asked(method: Method, query: Query) -> dict[str, Any]:
    """A method's options and what it was asked, for what is recorded."""
    score = {"score": query.score_of(method)} if method.asks else {}
    if query.model.answers != AnswerForm():
        score |= vars(query.model.answers)
    return {**method.suited(query.model).recorded(), **_of_question(query.question), **score}


def _of_question(question: Question) -> dict[str, Any]:
    """What is asked, but for the class and its score."""
    parts = {"against": question.against, "frame": question.frame}
    if question.objective is not None:
        parts["objective"] = getattr(question.objective, "__qualname__", repr(question.objective))
    return {name: value for name, value in parts.items() if value is not None}


def against(query: Query, b: int) -> dict[str, Any]:
    """The name of the class that sample `b` is explained against, for what is recorded."""
    return {} if query.against is None else {"against": query.model.class_names[int(query.against[b])]}


def decided(query: Query, b: int) -> dict[str, Any]:
    """What the network decided on sample `b`, and which class is explained."""
    model, decision = query.model, query.decision
    probabilities, target = decision.probabilities[b], int(decision.target[b])
    best = probabilities.topk(min(NUM_PREDICTIONS, len(probabilities)))
    ranked = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return {
        "target": target,
        "target_name": model.class_names[target],
        "probability": float(decision.probability[b]),
        "predictions": [(model.class_names[i], p) for i, p in ranked],
    }


def as_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()


def provenance(model: Classifier, x: torch.Tensor, method: Method) -> dict[str, Any]:
    """Which network and which versions made an explanation, and what was noticed of the network on the way."""
    findings = model.findings(x)
    record: dict[str, Any] = {
        "videxplain": __version__,
        "torch": torch.__version__,
        "model": model.name,
        "model_sha256": model.fingerprint(),
        "precision": model.precision,
        "device": model.device.type,
        **model.origin,
    }
    notes = [*findings.notes]
    if findings.chords and method.follows_chords(model):
        notes.append(findings.chords)
    if notes:
        record["notes"] = notes
    return record
