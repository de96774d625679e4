"""What a method scores: a network, clips, their supervoxels, and a question about a class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from videxplain.errors import VidexplainError
from videxplain.ops import segment_reduce
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import LITTLE, choose_fill
from videxplain.passes.forward_pass import ForwardPass
from videxplain.passes.needs import Needs
from videxplain.settings import Fill, Question, Score

if TYPE_CHECKING:
    from videxplain.attribution.methods import Masking, Method
    from videxplain.models import Classifier
    from videxplain.passes.masked_clip import MaskedClip


@dataclass(frozen=True)
class VoxelMaps:
    """What a method says of each voxel, before it is summed over supervoxels.

    Attributes
    ----------
    dense
        (B, C, T, H, W) float32 at the input's resolution, or None.
    cam
        (B, t, h, w) float32 at the CAM layer's resolution, or None. Of several layers the maps are added at their
        resolution; axes on which they differ have the input's.
    """

    dense: torch.Tensor | None = None
    cam: torch.Tensor | None = None


@dataclass(frozen=True)
class Decision:
    """What a network says of clips, and the class that is asked about.

    Attributes
    ----------
    target
        (B,) int64.
    probability
        (B,) float32, the target's.
    probabilities
        (B, classes) float32; of a regression its values.
    """

    target: torch.Tensor
    probability: torch.Tensor
    probabilities: torch.Tensor

    @classmethod
    def of(cls, model: Classifier, probabilities: torch.Tensor, question: Question) -> Decision:
        target = model.resolve_target(question.target, probabilities)
        return cls(target, probabilities.gather(1, target[:, None])[:, 0], probabilities)


def score_of(model: Classifier, question: Question, method: Method) -> Score:
    """Which score a method explains when it is asked a question of this network.

    Raises
    ------
    VidexplainError
        If a score was asked for that there is not.
    """
    if model.answers.task == "regression":
        if question.score is not None or question.against is not None:
            word = "score" if question.score is not None else "against"
            raise VidexplainError(
                f"{word} means nothing to a regression, whose value is explained; leave it out"
            )
        return "logit"
    if question.against is not None:
        return question.score or "log-odds"
    return method.score_of(question)


class VoxelQuery:
    """A question about clips that methods of voxels answer; they share one forward pass.

    Parameters
    ----------
    model
        The classifier. An image model scores each frame on its own, as if it were a clip of one frame.
    x
        (B, C, T, H, W) float, normalised (`Classifier.prepare`).
    question
        What is asked.
    needs
        What methods will ask of the shared pass.

    Attributes
    ----------
    x
        (N, C, T, H, W); of an image model N counts frames and T is 1.
    """

    def __init__(self, model: Classifier, x: torch.Tensor, question: Question, needs: Needs) -> None:
        self.model, self.question, self.needs = model, question, needs
        self._batch, self._frames = x.shape[0], x.shape[2]
        self._by_frame = model.is_image_model
        if self._by_frame and self._frames > 1:
            x = x.transpose(1, 2).flatten(0, 1).unsqueeze(2)
        self.x = x
        self._input_gradients: dict[tuple[bool, str], torch.Tensor] = {}

    def score_of(self, method: Method) -> Score:
        """The score whose gradient a method takes; against another class the logit, of each of the two."""
        score = score_of(self.model, self.question, method)
        return score if self.question.against is None else "logit"

    @cached_property
    def forward_pass(self) -> ForwardPass:
        """The pass that all methods share; it records what they need and no more."""
        return ForwardPass(
            self.model,
            self.x,
            needs_input_gradient=self.needs.input_gradient,
            needs_cam=self.needs.cam,
            needs_cam_gradient=self.needs.cam_gradient,
            needs_guided=self.needs.guided,
            guide_smooth=self.needs.guide_smooth,
        )

    @cached_property
    def decision(self) -> Decision:
        """What the network says of each clip."""
        probabilities = self.forward_pass.probabilities.detach().float()
        if self._by_frame:
            probabilities = probabilities.unflatten(0, (self._batch, self._frames)).mean(dim=1)
        return Decision.of(self.model, probabilities, self.question)

    @property
    def target(self) -> torch.Tensor:
        """(N,) int64, the class asked about for each row of x."""
        target = self.decision.target
        return target.repeat_interleave(self._frames) if self._by_frame else target

    def input_gradient(self, score: str, *, guided: bool = False) -> torch.Tensor:
        """Gradient of the target's `score` at x, taken once however many methods want it: x's shape, float32."""
        key = guided, score
        if key not in self._input_gradients:
            self._input_gradients[key] = self.forward_pass.input_gradient(
                self.target, score=score, guided=guided
            )
        return self._input_gradients[key]

    @cached_property
    def activations(self) -> list[torch.Tensor]:
        """Outputs of the CAM layers: (N, C, t, h, w) float32 each."""
        return [activation.detach().float() for activation in self.forward_pass.activations]

    @cached_property
    def activation_gradients(self) -> list[torch.Tensor]:
        """Gradients of the target's logit at them: (N, C, t, h, w) float32 each."""
        return self.forward_pass.activation_gradients(self.target)

    def maps_of(self, method: Method) -> VoxelMaps:
        """A method's maps, put together to clips where frames were seen on their own."""
        maps = method.maps(self)
        return VoxelMaps(self._of_clips(maps.dense), self._of_clips(maps.cam)) if self._by_frame else maps

    def _of_clips(self, maps: torch.Tensor | None) -> torch.Tensor | None:
        """Maps of frames as those of clips: (N, C, 1, H, W) -> (B, C, T, H, W), (N, 1, h, w) -> (B, T, h, w)."""
        if maps is None:
            return None
        if maps.ndim == 5:
            return maps.squeeze(2).unflatten(0, (self._batch, self._frames)).transpose(1, 2).contiguous()
        return maps.squeeze(1).unflatten(0, (self._batch, self._frames))


class Query:
    """A question about clips and their supervoxels.

    Parameters
    ----------
    model
        The classifier.
    x
        (B, C, T, H, W) float, normalised (`Classifier.prepare`).
    labels
        (B, T, n * H, n * W) int32, supervoxel ids, where n is the `scale`.
    num_segments
        K, one more than the highest id of the batch.
    question
        What is asked; by default about the predicted class.
    scale
        How many times as fine as x the labels are.
    methods
        Those that will score it: methods of voxels then share one forward pass.

    Attributes
    ----------
    voxels
        The same question about voxels.
    standard_errors
        (K,) of the scores of a sample, by (method, sample), of methods that tell them.
    finest
        Supervoxels (T, H, W) whose fill hides the query's regions, where those are unions of them, and how many.
    """

    def __init__(
        self,
        model: Classifier,
        x: torch.Tensor,
        labels: torch.Tensor,
        num_segments: int,
        question: Question | None = None,
        *,
        scale: int = 1,
        methods: Sequence[Method] = (),
    ) -> None:
        self.x, self.labels, self.num_segments = x, labels, num_segments
        self.question, self.scale, self.methods = question or Question(), scale, methods
        self.model = model.asking(self.question, x)
        needs = [method.needs for method in methods]
        self._asks_voxels = any(part is not None for part in needs)
        self.voxels = VoxelQuery(self.model, x, self.question, joined(needs))
        self._maps: dict[Method, VoxelMaps] = {}
        self._fills: dict[int, Fill] = {}
        self._used: dict[tuple[Method, int], dict[str, Any]] = {}
        self.standard_errors: dict[tuple[Method, int], torch.Tensor] = {}
        self.finest: tuple[torch.Tensor, int] | None = None
        for method in methods:
            method.require_network_grid(scale)

    @cached_property
    def decision(self) -> Decision:
        """What the network says of each clip."""
        if self._asks_voxels:
            return self.voxels.decision
        return Decision.of(self.model, self.model.predict(self.x), self.question)

    @property
    def target(self) -> torch.Tensor:
        """(B,) int64, the class asked about for each clip."""
        return self.decision.target

    @cached_property
    def against(self) -> torch.Tensor | None:
        """(B,) int64, the other class, if there is one."""
        if self.question.against is None:
            return None
        against = self.model.resolve_target(self.question.against, self.decision.probabilities)
        if bool((against == self.target).any()):
            name = self.model.class_names[int(against[against == self.target][0])]
            raise VidexplainError(
                f"{name!r} cannot be explained against itself; name another class with against"
            )
        return against

    def aims(self) -> list[Aim]:
        """What is asked about each clip."""
        others = [None] * len(self.target) if self.against is None else self.against.tolist()
        task = self.model.answers.task
        return [Aim(target, other, task) for target, other in zip(self.target.tolist(), others, strict=True)]

    def score_of(self, method: Method) -> Score:
        """The score that a method explains."""
        return score_of(self.model, self.question, method)

    def prefer_log_odds(self, method: Method) -> None:
        """Asks for the log-odds, which still move where a probability is near 0 or 1, if the user named no score.

        Of a regression, and of a method that has no log-odds, nothing changes.
        """
        regression = self.model.answers.task == "regression"
        if self.question.score is None and not regression and "log-odds" in method.asks:
            self.question = replace(self.question, score="log-odds")

    def fill(self, b: int) -> Fill:
        """What hides supervoxels of sample `b` where the user did not say: chosen once, whatever methods ask."""
        if b not in self._fills:
            choice = choose_fill(self.model, self.x[b], self.labels[b], self.num_segments, self.aims()[b])
            if sentence := choice.sentence(self.model.name):
                self.model.findings(self.x).tell(sentence)
            self._fills[b] = choice.fill
        return self._fills[b]

    def check_fill(self, b: int, clip: MaskedClip, fill: Fill) -> None:
        """Tells where a fill that the user named asked the network little, by the passes that were made anyway.

        Not where the log-odds or the logit were asked for, which move where a probability does not.
        """
        if self.question.score in ("log-odds", "logit"):
            return
        moved = clip.moved(float(self.decision.probabilities[b, clip.target]))
        if moved is not None and moved < LITTLE:
            self.model.findings(self.x).tell(
                f"fill {fill!r} hardly asks {self.model.name!r} anything: with half of the supervoxels hidden its "
                f"answer moved by {moved:.1g} of itself, so that scores hold much chance; leave fill out, and one is "
                "chosen."
            )

    def record(self, method: Method, b: int, **used: Any) -> None:
        """Notes what a method took where its options leave it open, for what is recorded of sample `b`."""
        self._used.setdefault((method, b), {}).update(used)

    def used(self, method: Method, b: int) -> dict[str, Any]:
        """What was noted."""
        return self._used.get((method, b), {})

    def over_unions(self, b: int, union: torch.Tensor, method: Masking) -> Query:
        """The same question about unions of the supervoxels of sample `b`: `union` (K,) has each one's, from 0.

        What hides a union is what hides its parts, so that its score is that of hiding all of them.
        """
        labels = union.to(self.labels.device)[self.labels[b].long()].to(self.labels.dtype)
        query = Query(
            self.model,
            self.x[b : b + 1],
            labels[None],
            int(union.max()) + 1,
            replace(self.question, target=int(self.target[b])),
            methods=[method],
        )
        query.decision = Decision(*(part[b : b + 1] for part in vars(self.decision).values()))
        query.finest = self.labels[b].long(), self.num_segments
        if method.fill == "auto":
            query._fills[0] = self.fill(b)
        return query

    @cached_property
    def turned(self) -> Query:
        """The question about the other class alone, over the same forward pass."""
        assert self.against is not None
        question = replace(self.question, target=self.against.tolist(), against=None, score="logit")
        query = Query(
            self.model,
            self.x,
            self.labels,
            self.num_segments,
            question,
            scale=self.scale,
            methods=self.methods,
        )
        query.voxels.forward_pass = self.voxels.forward_pass
        return query

    def maps_of(self, method: Method) -> VoxelMaps:
        """Voxel scores of a method, made once."""
        if method not in self._maps:
            self._maps[method] = self.voxels.maps_of(method)
        return self._maps[method]

    def maps_made(self, method: Method) -> VoxelMaps:
        """Voxel scores of a method, if it has made some."""
        return self._maps.get(method, VoxelMaps())

    def reduced(self, maps: VoxelMaps, reduction: str, signed: bool) -> torch.Tensor:
        """Scores (B, K): sum, mean or max of | up(cam) * dense | over each supervoxel, or without the bars.

        Each voxel of the network is n * n of the labels' grid, which share its dense score; a CAM is sampled on that
        grid.
        """
        dense, n = maps.dense, self.scale
        if n > 1 and dense is not None:
            dense = (dense if signed else dense.abs()).sum(dim=1, keepdim=True)
            dense = dense.repeat_interleave(n, dim=3).repeat_interleave(n, dim=4)
        scores = segment_reduce(
            self.labels, dense, maps.cam, self.num_segments, reduction=reduction, signed=signed
        )
        return scores / n**2 if n > 1 and reduction == "sum" else scores


def joined(needs: Iterable[Needs | None]) -> Needs:
    """What several methods need of one forward pass."""
    total = Needs()
    for part in needs:
        total = total if part is None else total | part
    return total


def check_input(model: Classifier, x: Any) -> torch.Tensor:
    """`x` as (B, C, T, H, W) on the model's device, or one sentence on what is wrong with it."""
    if not isinstance(x, torch.Tensor):
        raise VidexplainError(
            f"x must be a float tensor (B, C, T, H, W), not {type(x).__name__}; see Classifier.prepare"
        )
    if not x.is_floating_point():
        raise VidexplainError(
            f"x has dtype {x.dtype}; give normalised floating-point values, as Classifier.prepare makes them"
        )
    if x.ndim == 4 and model.is_image_model:
        x = x.unsqueeze(2)
    if x.ndim != 5 or x.shape[0] == 0:
        raise VidexplainError(
            f"x has shape {tuple(x.shape)}; expected (B, C, T, H, W) with at least one sample"
        )
    if not bool(torch.isfinite(x).all()):
        raise VidexplainError("x holds NaN or infinite values; check how the clip was normalised")
    return x.to(model.device)
