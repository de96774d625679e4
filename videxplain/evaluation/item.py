"""One item under evaluation: its supervoxels, made once, and any method's scores for them."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videxplain.attribution.perturbation import lime_coefficients
from videxplain.errors import VidexplainError, unknown_name
from videxplain.evaluation.datasets import Sample, class_index
from videxplain.explanations.explain import explain
from videxplain.explanations.explanation import Explanation
from videxplain.files import whole_file
from videxplain.models import Classifier
from videxplain.passes.masked_clip import FILLS, MaskedClip
from videxplain.segmentation import segment
from videxplain.settings import METHOD_SETTINGS, SEGMENTATION_SETTINGS

_LIME = re.compile(r"lime-(logit-)?(\d+)")
_PACKAGE = re.compile(r"lime-package-(\d+)")
_SHAPLEY = re.compile(r"kernel-shap-(\d+)")
_PASSES = re.compile(r"region-gradient-(\d+)")
_NUMBERED = (_LIME, _PACKAGE, _SHAPLEY, _PASSES)

PAPER_ROWS = (
    "random",
    "lime-50",
    "lime-75",
    "lime-100",
    "lime-500",
    "lime-1000",
    "vanilla",
    "guided",
    "input-x-gradient",
    "grad-cam",
    "guided-grad-cam",
    "grad-cam++",
    "act-grad-cam",
    "guided-act-grad-cam",
    "relu-activation",
)
"""The rows of the paper's tables, in its order."""


def parse_rows(text: str | None) -> list[str]:
    """Rows of a table from "a,b,c"; None for the paper's, "all" for those and the rest of the registry.

    Raises
    ------
    VidexplainError : an unknown method.
    """
    if text is None:
        return list(PAPER_ROWS)
    if text == "all":
        # LIME stands there by its numbers of samples.
        return [
            *PAPER_ROWS,
            *(n for n in METHOD_SETTINGS if n not in PAPER_ROWS and not n.startswith("lime")),
        ]
    rows = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for row in rows:
        if row not in METHOD_SETTINGS and not any(kind.fullmatch(row) for kind in _NUMBERED):
            numbered = ["lime-50", "lime-logit-50", "lime-1000", "lime-package-50", "kernel-shap-500"]
            raise unknown_name("method", row, [*METHOD_SETTINGS, *numbered, "region-gradient-8"])
    if not rows:
        raise VidexplainError("there is no method to evaluate.")
    return rows


@dataclass(frozen=True)
class Settings:
    """How items are explained; part of a run's identity.

    Attributes
    ----------
    rows : methods; "lime-N" is our batched LIME with N samples, "lime-logit-N" the same of the log-odds,
        "lime-package-N" that of the `lime` package, "kernel-shap-N" KernelSHAP with N samples; "region-gradient-N"
        takes N passes.
    segments : numbers of supervoxels to try, each on its own.
    segmentation : None means SLIC for clips and QuickShift for images, as in the paper.
    fill : what takes a hidden supervoxel's place, in removal, curves and LIME alike. Grey is nearest to the paper's
        median of the image; "mean", a supervoxel's own mean colour, leaves motion to be seen in the shapes of
        supervoxels, so that a network of motion is not bothered by it.
    reference : samples of the LIME that `agreement` compares with.
    seed : of everything random.
    """

    rows: tuple[str, ...] = PAPER_ROWS
    segments: tuple[int, ...] = (100,)
    segmentation: str | None = None
    compactness: float = 10.0
    fill: str = "grey"
    reference: int = 1000
    seed: int = 0
    stride: int = 1
    steps: int = 20
    guided_any: bool = False

    def __post_init__(self) -> None:
        if self.fill not in FILLS:
            raise unknown_name("fill", self.fill, FILLS)
        if not self.segments or min(self.segments) < 2:
            raise VidexplainError("evaluating needs at least 2 supervoxels.")


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
    """

    def __init__(
        self,
        model: Classifier,
        sample: Sample,
        name: str,
        settings: Settings,
        num_segments: int,
        cache: ReferenceCache | None = None,
    ) -> None:
        self.model, self.sample, self.name, self.settings = model, sample, name, settings
        self.cache = cache
        clip = sample.clip
        if not model.is_image_model:
            clip = clip.hold(max(0, model.clip_length - len(clip)))
        self.clip = clip
        geometry = model.geometry(clip.size)
        frames = geometry.apply(clip.frames)
        self.x = model.prepare(clip)
        method = settings.segmentation or ("slic" if len(frames) > 1 else "quickshift")
        wanted: dict[str, Any] = {"n_segments": num_segments, "compactness": settings.compactness}
        options = SEGMENTATION_SETTINGS.get(method, {})
        start = time.perf_counter()
        self.labels = segment(
            frames, method, device=model.device, **{k: v for k, v in wanted.items() if k in options}
        )
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
        if not bool(torch.isfinite(probabilities).all()):
            raise VidexplainError(f"{name}: the network answers with NaN or infinite values.")
        self.target = int(probabilities.argmax())
        self.probability = float(probabilities[self.target])
        known = class_index(sample.label, model.labels)
        self.correct = None if known is None else known == self.target
        self.notes: dict[str, str] = {}
        self._pools: dict[int, tuple[torch.Tensor, torch.Tensor, float]] = {}

    def seed(self, purpose: str) -> int:
        """A seed of its own for each item and purpose."""
        words = f"{self.settings.seed}/{self.name}/{purpose}"
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4], "big")

    def masked(self, *, batch_size: int | None = None) -> MaskedClip:
        return MaskedClip(
            self.model,
            self.x[0],
            torch.from_numpy(self.labels).to(self.x.device),
            self.num_segments,
            self.target,
            fill=self.settings.fill,
            batch_size=batch_size,
            seed=self.seed("fill"),
        )

    def scored(self, row: str, *, alone: bool = False, draw: int = 0) -> Scored:
        """A method's scores.

        The rows "lime-N" and "lime-logit-N" share their samples, the first N of one draw (`draw` says which); with
        `alone`, for timing, they do not.
        """
        if (lime := _LIME.fullmatch(row)) and not alone:
            return self._lime(int(lime[2]), draw, log_odds=bool(lime[1]))
        start = time.perf_counter()
        explanation = self.explained(row)
        seconds = time.perf_counter() - start
        return Scored(np.asarray(explanation.scores, dtype=np.float64), seconds)

    def explained(self, row: str) -> Explanation:
        """A row's explanation of this item, from a seed of its own."""
        options: dict[str, Any] = {}
        name = row
        if lime := _LIME.fullmatch(row):
            link = "logit" if lime[1] else "identity"
            name, options = "lime-batched", {"samples": int(lime[2]), "link": link}
        elif package := _PACKAGE.fullmatch(row):
            name, options = "lime", {"samples": int(package[1])}
        elif shapley := _SHAPLEY.fullmatch(row):
            name, options = "kernel-shap", {"samples": int(shapley[1])}
        elif passes := _PASSES.fullmatch(row):
            name, options = "region-gradient", {"passes": int(passes[1])}
        known = {field.name for field in fields(METHOD_SETTINGS[name])}
        shared: dict[str, Any] = {"seed": self.seed(name), "fill": self.settings.fill}
        if "base" not in known:  # of smoothgrad, which is not guided
            shared["guided_any"] = self.settings.guided_any
        options |= {key: value for key, value in shared.items() if key in known}
        return explain(
            self.model,
            self.clip,
            method=name,
            target=self.target,
            labels=self.labels,
            **options,
        )

    def _lime(self, samples: int, draw: int, *, log_odds: bool) -> Scored:
        most = max([samples, *(int(m[2]) for r in self.settings.rows if (m := _LIME.fullmatch(r)))])
        if draw not in self._pools:
            start = time.perf_counter()
            masks, values = self._draw(most, self.seed("lime" + (f"-{draw}" if draw else "")))
            self._pools[draw] = masks, values, (time.perf_counter() - start) / most
        masks, values, each = self._pools[draw]
        start = time.perf_counter()
        if log_odds:  # of a probability in double precision, and finite where even that is 1
            values = values.logit(eps=1e-16)
        scores = lime_coefficients(masks[:samples], values[:samples]).numpy()
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
        words = [settings.reference, seed, settings.fill, self.target, self.cache and self.cache.digest]
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
