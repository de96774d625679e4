"""One item under evaluation: its supervoxels, made once, and any method's scores for them."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videxplain.attribution.methods import Lime
from videxplain.attribution.perturbation import lime_coefficients
from videxplain.attribution.query import Query
from videxplain.clip import Clip
from videxplain.errors import VidexplainError
from videxplain.evaluation.datasets import Sample, class_index
from videxplain.evaluation.rows import EvaluationSettings, Row
from videxplain.explanations.explain import explain
from videxplain.explanations.explanation import Explanation
from videxplain.files import whole_file
from videxplain.models import Classifier
from videxplain.passes.aim import Aim
from videxplain.passes.fill_choice import choose_fill
from videxplain.passes.masked_clip import MaskedClip
from videxplain.segmentation import segment, without_idle
from videxplain.settings import Fill, Question, Segmentation, short_form


@dataclass(frozen=True)
class ReferenceCache:
    """Where LIME references are kept: a folder, and the `fingerprint` of the network that they are for."""

    folder: Path
    digest: str


@dataclass(frozen=True)
class Scored:
    """Scores (K,) float64 and the seconds they took, segmentation left out."""

    scores: np.ndarray
    seconds: float


class Item:
    """A sample, segmented, with the class to be explained.

    Attributes
    ----------
    labels : int32 (T, h, w) at the network's input size.
    mask : bool (T, h, w), or None.
    target : the predicted class.
    probability : its probability.
    correct : whether it is the sample's label; None where that is unknown.
    segmentation_seconds : what the supervoxels took.
    notes : why a method was left out, by method.
    fine_tuned : the network that experiments of `fine_tunes` judge on; otherwise the model.
    """

    def __init__(
        self,
        model: Classifier,
        sample: Sample,
        name: str,
        settings: EvaluationSettings,
        num_segments: int,
        cache: ReferenceCache | None = None,
        fine_tuned: Classifier | None = None,
    ) -> None:
        self.model, self.sample, self.name, self.settings = model, sample, name, settings
        self.cache, self.fine_tuned = cache, fine_tuned or model
        clip = sample.clip
        if not model.is_image_model:
            clip = clip.hold(max(0, model.clip_length - len(clip)))
        self.clip = clip
        geometry = model.geometry(clip.size)
        frames = model.pictures(geometry.apply(clip.frames))
        self.x = model.prepare(clip)
        name_of_cut = settings.segmentation
        if name_of_cut == "auto":
            name_of_cut = "slic" if len(frames) > 1 else "quickshift"
        cut = Segmentation(name=name_of_cut, n_segments=num_segments, compactness=settings.compactness)
        start = time.perf_counter()
        self.labels = segment(frames, without_idle(cut), device=model.device)
        self.segmentation_seconds = time.perf_counter() - start
        self.num_segments = int(self.labels.max()) + 1
        if self.num_segments < 2:
            raise VidexplainError(f"{name}: the segmentation found one supervoxel only.")
        self.mask = None
        if sample.mask is not None:
            white = sample.mask.astype(np.uint8)[..., None].repeat(3, axis=-1) * 255
            if len(white) < len(clip):
                white = np.concatenate([white, white[-1:].repeat(len(clip) - len(white), axis=0)])
            self.mask = geometry.apply(white)[..., 0] > 127
        probabilities = model.predict(self.x)[0]
        if model.answers.task == "regression":
            raise VidexplainError(f"{model.name!r} gives values, and the experiments are on classes.")
        if not bool(torch.isfinite(probabilities).all()):
            raise VidexplainError(f"{name}: the network answers with NaN or infinite values.")
        self.target = int(probabilities.argmax())
        self.probability = float(probabilities[self.target])
        known = class_index(sample.label, model.class_names)
        self.correct = None if known is None else known == self.target
        self.notes: dict[str, str] = {}
        self._pools: dict[int, tuple[torch.Tensor, torch.Tensor, float]] = {}

    def seed(self, purpose: str) -> int:
        """A seed of its own for each item and purpose."""
        words = f"{self.settings.seed}/{self.name}/{purpose}"
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")

    @property
    def fill(self) -> Fill:
        """What hides supervoxels: of "auto" what moves this item's answer."""
        return self._chosen_fill if self.settings.fill == "auto" else self.settings.fill

    @cached_property
    def _chosen_fill(self) -> Fill:
        labels = torch.from_numpy(self.labels).to(self.x.device)
        aim = Aim(self.target, task=self.model.answers.task)
        return choose_fill(self.model, self.x[0], labels, self.num_segments, aim).fill

    def query(self) -> Query:
        """The question why the item has its predicted class."""
        labels = torch.from_numpy(self.labels)[None].to(self.x.device)
        return Query(self.model, self.x, labels, self.num_segments, Question(target=self.target))

    def noisy(self, deviation: float) -> Clip:
        """The clip with noise of this deviation, in units of the range of its values."""
        frames: np.ndarray = self.clip.frames
        whole = frames.dtype.kind == "u"
        low, high = (0, np.iinfo(frames.dtype).max) if whole else (frames.min(), frames.max())
        noise = np.random.default_rng(self.seed("noise")).normal(0, deviation * (high - low), frames.shape)
        changed = np.clip(frames + noise, low, high)
        changed = (np.rint(changed) if whole else changed).astype(frames.dtype)
        return replace(self.clip, frames=changed)

    def masked(self, fill: Fill | None = None, model: Classifier | None = None) -> MaskedClip:
        """The clip with supervoxels to be hidden, by the item's fill and for its model if not told otherwise."""
        return MaskedClip(
            model or self.model,
            self.x[0],
            torch.from_numpy(self.labels).to(self.x.device),
            self.num_segments,
            self.target,
            fill=fill or self.fill,
            seed=self.seed("fill"),
        )

    def scored(self, row: str, *, alone: bool = False, draw: int = 0) -> Scored:
        """A method's scores.

        Rows of our LIME with one fill share their samples, the first N of one draw (`draw` says which); with `alone`,
        for timing, they do not.
        """
        parsed = Row.parse(row)
        if self._shares_samples(parsed) and not alone:
            return self._lime(parsed, draw)
        start = time.perf_counter()
        explanation = self.explained(row, draw=draw)
        seconds = time.perf_counter() - start
        return Scored(np.asarray(explanation.scores, dtype=np.float64), seconds)

    def explained(
        self, row: str, *, draw: int = 0, clip: Clip | None = None, labels: np.ndarray | None = None
    ) -> Explanation:
        """A row's explanation of this item, from a seed of its own; or of a changed clip, with its supervoxels."""
        parsed = Row.parse(row)
        shared: dict[str, Any] = {
            "seed": self.seed(parsed.method.name + (f"-{draw}" if draw else "")),
            "fill": self.fill,
            "guide_smooth": self.settings.guide_smooth,
        }
        idle = {*parsed.stated, *parsed.method.idle_options()}
        known = [name for name in parsed.method.options() if name in shared and name not in idle]
        (method,) = short_form({name: shared[name] for name in known}, parsed.method)
        question = replace(parsed.question, target=self.target)
        labels = self.labels if labels is None else labels
        return explain(self.model, clip or self.clip, method, question, labels=labels)

    def _shares_samples(self, row: Row) -> bool:
        """Whether a row is LIME whose masks and fill are those of the item."""
        return isinstance(row.method, Lime) and row.method.batched and not {"seed", "fill"} & set(row.stated)

    def _lime(self, row: Row, draw: int) -> Scored:
        assert isinstance(row.method, Lime)
        rows = [row, *map(Row.parse, self.settings.rows)]
        most = max(r.method.samples for r in rows if isinstance(r.method, Lime) and self._shares_samples(r))
        if draw not in self._pools:
            start = time.perf_counter()
            masks, values = self._draw(most, self.seed("lime" + (f"-{draw}" if draw else "")))
            self._pools[draw] = masks, values, (time.perf_counter() - start) / most
        masks, values, each = self._pools[draw]
        samples = row.method.samples
        start = time.perf_counter()
        if row.method.score_of(row.question) == "log-odds":
            # of a probability in double precision, and finite where even that is 1
            values = values.logit(eps=1e-16)
        scores = lime_coefficients(
            masks[:samples],
            values[:samples],
            kernel_width=row.method.kernel_width,
            ridge=row.method.ridge,
        ).numpy()
        return Scored(scores, each * samples + time.perf_counter() - start)

    def _draw(self, samples: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """LIME's masks (samples, K) and the target's probabilities under them."""
        generator = torch.Generator().manual_seed(seed)
        masks = torch.randint(0, 2, (samples, self.num_segments), generator=generator)
        masks[0] = 1
        return masks, self.masked().probability(masks.to(self.x)).cpu()

    def reference(self) -> np.ndarray:
        """Scores (K,) of the LIME that others are compared with, from samples that no row uses.

        Kept in the cache under a hash of everything that they depend on.
        """
        seed = self.seed("reference")
        settings = self.settings
        words = [settings.reference, seed, self.fill, self.target, self.cache and self.cache.digest]
        digest = hashlib.sha256(repr(words).encode())
        for part in (self.x.cpu().numpy(), self.labels):
            digest.update(np.ascontiguousarray(part).tobytes())
        path = self.cache and self.cache.folder / f"{digest.hexdigest()}.npy"
        if path and path.exists():
            return np.load(path)
        scores = lime_coefficients(*self._draw(settings.reference, seed)).numpy()
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as scratch, scratch.open("wb") as file:
                np.save(file, scores)
        return scores
