"""Asking the network again: about a window without some of its regions, and by other methods and for other classes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch

from videxplain.attribution.methods import METHODS
from videxplain.errors import VidexplainError, unknown_name
from videxplain.explanations.explain import explain
from videxplain.explanations.inputs import prepare
from videxplain.passes.fills import KNOWN_FILLS, TIME_FILLS
from videxplain.passes.masked_clip import MaskedClip
from videxplain.settings import Segmentation
from videxplain.view.scene import Layer, Scene

if TYPE_CHECKING:
    from videxplain.clip import Clip
    from videxplain.models import Classifier

_CLASSES_TOLD = 5
_KEPT = 4


class Asker:
    """A network that answers questions about the windows of a scene.

    Parameters
    ----------
    model
        The classifier that was explained.
    scene
        What is on the page.

    Raises
    ------
    VidexplainError
        If it is another network than the one that was explained.
    """

    def __init__(self, model: Classifier, scene: Scene, expected: str | None = None) -> None:
        if expected is not None and model.fingerprint() != expected:
            raise VidexplainError(
                f"{model.name!r} has other weights than the network that was explained; its answers would not fit"
            )
        self.model, self.scene = model, scene
        self._clips: OrderedDict[int, Clip] = OrderedDict()
        self._masked: OrderedDict[tuple[int, int, str], MaskedClip] = OrderedDict()

    def choices(self) -> dict[str, Any]:
        """What can be asked, for the page."""
        clip = not self.model.is_image_model and (self.model.clip_length or 2) > 1
        fills = [fill for fill in KNOWN_FILLS if clip or fill not in TIME_FILLS]
        regression = self.model.answers.task == "regression"
        return {
            "fills": fills,
            "fill": "grey",
            "methods": list(METHODS),
            "classes": [] if regression else list(self.model.class_names),
        }

    def answer(self, kind: str, question: Any) -> dict[str, Any]:
        """What a page asks, "hide" or "explain", as plain values.

        Raises
        ------
        VidexplainError
            If the question is incomplete, or asks for what there is not.
        """
        if not isinstance(question, dict) or kind not in ("hide", "explain"):
            raise VidexplainError("a question is 'hide' or 'explain', with its values by name")
        window, layer, target = (question.get(name) for name in ("window", "layer", "target"))
        if type(window) is not int or type(layer) is not int:
            raise VidexplainError("window and layer have to be whole numbers")
        if kind == "hide":
            regions = question.get("regions")
            if not isinstance(regions, list) or not all(type(region) is int for region in regions):
                raise VidexplainError("regions have to be a list of whole numbers")
            return self.hide(window, layer, regions, question.get("keep") is True, str(question.get("fill")))
        if type(target) is not int:
            raise VidexplainError("target has to be a whole number")
        return self.explain(window, layer, str(question.get("method")), target).to_json()

    def hide(self, window: int, layer: int, regions: list[int], keep: bool, fill: str) -> dict[str, Any]:
        """The most probable classes as they are, and with the regions hidden, or with all others hidden."""
        if fill not in KNOWN_FILLS:
            raise unknown_name("fill", fill, KNOWN_FILLS)
        masked = self._masked_clip(window, layer, fill)
        count = masked.num_segments
        if not regions or not all(0 <= region < count for region in regions):
            raise VidexplainError(f"regions have to be one or more of 0 to {count - 1}")
        rows = torch.ones(2, count)
        rows[1] = 0.0 if keep else 1.0
        rows[1, regions] = 1.0 if keep else 0.0
        before, after = self._answers(masked, rows.to(masked.x))
        top = set(before.topk(min(_CLASSES_TOLD, len(before))).indices.tolist())
        top |= set(after.topk(min(_CLASSES_TOLD, len(after))).indices.tolist())
        names = self.model.class_names
        ranked = sorted(top, key=lambda index: -float(after[index]))
        return {
            "before": [[names[index], float(before[index])] for index in ranked],
            "after": [[names[index], float(after[index])] for index in ranked],
        }

    def explain(self, window: int, layer: int, method: str, target: int) -> Layer:
        """The window's regions scored by another method, for another class."""
        if method not in METHODS:
            raise unknown_name("method", method, list(METHODS))
        labels = self._layer(window, layer).labels
        clip = self._clip(window)
        told = explain(self.model, clip, method, target, labels=self._whole(labels, clip))
        return Layer(
            title=f"{method}: {told.target_name}",
            method=method,
            target=told.target,
            target_name=told.target_name,
            probability=told.probability,
            headline=told.headline(),
            scores=told.scores,
            labels=labels,
            errors=told.standard_error,
            numbers=self._layer(window, layer).numbers,
        )

    def _answers(self, masked: MaskedClip, rows: torch.Tensor) -> torch.Tensor:
        """All classes' probabilities of each row, or a regression's values: (m, classes)."""
        if self.model.answers.task == "regression":
            return masked.values(rows, score="logit")[:, None]
        return masked.probabilities(rows)

    def _layer(self, window: int, layer: int) -> Layer:
        if not 0 <= window < len(self.scene):
            raise VidexplainError(f"there is no window {window}; there are 0 to {len(self.scene) - 1}")
        layers = self.scene.layers(window)
        if not 0 <= layer < len(layers):
            raise VidexplainError(f"there is no explanation {layer} in this window")
        return layers[layer]

    def _clip(self, window: int) -> Clip:
        clip = self._clips.get(window) or self.scene.clip(window)
        self._clips[window] = clip
        while len(self._clips) > _KEPT:
            self._clips.popitem(last=False)
        return clip

    def _whole(self, labels: Any, clip: Clip) -> Any:
        """Labels of the held frames too, which repeat the last one's."""
        import numpy as np

        length = len(clip) if self.model.is_image_model else self.model.clip_length or len(clip)
        missing = max(len(clip), length) - len(labels)
        return np.concatenate([labels, labels[-1:].repeat(missing, axis=0)]) if missing > 0 else labels

    def _masked_clip(self, window: int, layer: int, fill: str) -> MaskedClip:
        key = window, layer, fill
        if key not in self._masked:
            asked = self._layer(window, layer)
            clip = self._clip(window)
            labels = self._whole(asked.labels, clip)
            inputs = prepare(self.model, [clip], Segmentation(), [labels])
            grid = inputs.segments[0]
            if inputs.scale != 1:  # the network sees every n-th row and column
                grid = grid[:, inputs.scale // 2 :: inputs.scale, inputs.scale // 2 :: inputs.scale]
            self._masked[key] = MaskedClip(
                self.model,
                inputs.x[0],
                torch.from_numpy(grid.copy()).to(inputs.x.device),
                len(asked.scores),
                asked.target,
                fill=fill,  # type: ignore[arg-type]
            )
            while len(self._masked) > _KEPT:
                self._masked.popitem(last=False)
        return self._masked[key]
