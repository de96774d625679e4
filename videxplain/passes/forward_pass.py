"""One forward pass, kept for the backward passes that scoring methods ask of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from videxplain.errors import VidexplainError
from videxplain.models.classifier import evaluating
from videxplain.models.input_form import in_one_line
from videxplain.models.nested import with_replaced
from videxplain.passes.fast_layers import fast_layers
from videxplain.passes.guided import GuidedRule

if TYPE_CHECKING:
    from videxplain.models import Classifier
    from videxplain.models.cam_layers import CamLayer


@contextmanager
def _captured(model: Classifier, layer: CamLayer, *, cut: bool) -> Iterator[list[torch.Tensor]]:
    """Collects the layer's activations; `cut` detaches them so that a backward pass ends there."""
    activations: list[torch.Tensor] = []

    def capture(_module: nn.Module, _args: object, output: object) -> object:
        activation = old = layer.pick(output, model.is_image_model)
        # what comes after another layer or another use depends on that one
        if cut and not (activation.requires_grad and torch.is_grad_enabled()):
            torch.set_grad_enabled(True)  # until the caller's no_grad block restores the mode on its exit
            activation = activation.detach().requires_grad_()
        activations.append(activation)
        # A copy goes on, for a ReLU in place would overwrite what was captured.
        return with_replaced(output, old, activation.clone())

    handle = model.net.get_submodule(layer.name).register_forward_hook(capture)
    try:
        yield activations
    finally:
        handle.remove()


def derivatives(
    model: Classifier,
    of: torch.Tensor,
    at: Sequence[torch.Tensor],
    by: torch.Tensor | None = None,
    *,
    retain_graph: bool = False,
) -> tuple[torch.Tensor, ...]:
    """`torch.autograd.grad` of a network's results, with `by` for its `grad_outputs`.

    Raises
    ------
    VidexplainError
        If no gradient gets there.
    """
    if not of.requires_grad:
        raise VidexplainError(
            f"no gradient flows through {model.name!r}: its forward pass detaches or runs without gradients; "
            "use a method without gradients (occlusion, lime)"
        )
    try:
        found = torch.autograd.grad(of, at, by, retain_graph=retain_graph, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise VidexplainError(
            f"no gradient can be taken through {model.name!r} ({in_one_line(error)}); use a method without gradients "
            "(occlusion, lime)"
        ) from error
    if any(part is None for part in found):
        model.check_gradients()
        raise VidexplainError(
            f"the class score of {model.name!r} does not depend on the input or layer asked about, as far as gradients "
            "tell; name another layer, or use a method without gradients (occlusion, lime)"
        )
    return found


class ForwardPass:
    """A forward pass of a classifier and the gradients that can be asked of it.

    Parameters
    ----------
    model
        The classifier; left exactly as it was, also after an exception.
    x
        (B, C, T, H, W), normalised.
    needs_input_gradient, needs_cam, needs_cam_gradient, needs_guided
        What will be asked; the pass records no more than that. Without `needs_input_gradient` nothing before the
        CAM layer is recorded and backward passes end there.
    guide_smooth
        Extend the guided rule to smooth rectifiers (GELU, SiLU, ...).

    Attributes
    ----------
    logits, probabilities
        (B, classes); the probabilities float64.
    activations
        (B, C, t, h, w) each, what the CAM layers put out: one grid for each layer, and for each of its uses unless
        these are steps in time; none where they are not asked for.
    """

    def __init__(
        self,
        model: Classifier,
        x: torch.Tensor,
        *,
        needs_input_gradient: bool = True,
        needs_cam: bool = False,
        needs_cam_gradient: bool = False,
        needs_guided: bool = False,
        guide_smooth: bool = False,
    ) -> None:
        self.model = model
        model.findings(x)
        self.x = x.detach()
        self._rule = GuidedRule(smooth=guide_smooth) if needs_guided else None
        self._uses: list[list[torch.Tensor]] = []
        cut = needs_cam_gradient and not needs_input_gradient
        layers = self._cam_layers() if needs_cam else []
        with ExitStack() as stack:
            stack.enter_context(evaluating(model.net))
            # what is below sees single calls, and nothing of what a compiled network does
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(torch.set_grad_enabled(needs_input_gradient))
            self._uses = [stack.enter_context(_captured(model, layer, cut=cut)) for layer in layers]
            if self._rule is not None:
                stack.enter_context(self._rule)
                if model.form.arrange is not None:
                    stack.enter_context(self._rule.within(model.net))
            stack.enter_context(fast_layers(self.x))
            if needs_input_gradient:
                self.x.requires_grad_()
            frame_logits = model.frame_logits(self.x)
            self.logits = frame_logits.mean(dim=1)
            # In float32 a confident network's probability is 1, and its derivative by the target's own logit nothing.
            self.probabilities = model.answers.probabilities(frame_logits.double()).mean(dim=1)
        for layer, uses in zip(layers, self._uses, strict=True):
            if not uses:
                raise VidexplainError(
                    f"the CAM layer {layer.name!r} was not used in the forward pass; name another layer"
                )
        if self._rule is not None:
            self._rule.attach(self.logits)
        self._check_rule()
        if not bool(torch.isfinite(self.logits).all()):
            raise VidexplainError(
                f"the network {model.name!r} gives NaN or infinite class scores; check its weights and precision"
            )
        once = len(x) if model.takes_clips_one_by_one else 1
        if any(
            layer.where is None and len(uses) > once for layer, uses in zip(layers, self._uses, strict=True)
        ):
            model.look_at_uses()
        self.activations = self._grids(self._uses) if needs_cam else []

    def _cam_layers(self) -> list[CamLayer]:
        """The network's; tells where there are several though none was named."""
        model, layers = self.model, self.model.cam_layers
        if len(layers) > 1 and model.settings.cam_layer is None:
            names = ", ".join(repr(layer.name) for layer in layers)
            model.findings(self.x).note(
                f"{model.name!r} has {len(layers)} branches, so that class activation maps are those of the last layer "
                f"of each, {names}, added; cam_layer names one or others."
            )
        return layers

    def _grids(self, uses_of_layers: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        """Activations, or gradients at them, as the grids (B, C, t, h, w) of all CAM layers."""
        model, batch = self.model, len(self.x)
        return [
            grid
            for layer, uses in zip(model.cam_layers, uses_of_layers, strict=True)
            for grid in layer.grids(uses, batch, model.is_image_model, model.takes_clips_one_by_one)
        ]

    def _check_rule(self) -> None:
        rule = self._rule
        if rule is None:
            return
        # A ReLU somewhere beside the path, as in a position bias, does not make a GELU network a ReLU network.
        if rule.rectifiers == 0 or rule.unguided:
            also = " beside its ReLUs" if rule.rectifiers else ""
            met = f"{', '.join(sorted(rule.unguided))}{also}" if rule.unguided else "no ReLU at all"
            raise VidexplainError(
                f"the guided rule is defined on ReLU and {self.model.name!r} has {met}; "
                "use another method (vanilla, grad-cam), or extend the rule with guide_smooth (--guide-smooth)"
            )

    def objective(self, target: torch.Tensor, score: str) -> torch.Tensor:
        """Sum over the batch of each sample's target probability or logit; samples do not interact."""
        values = self.probabilities if score == "probability" else self.logits
        with torch.enable_grad():
            return values.gather(1, target[:, None]).sum()

    def input_gradient(
        self, target: torch.Tensor, *, score: str = "probability", guided: bool = False
    ) -> torch.Tensor:
        """Gradient of the target's `score` ("probability" or "logit") at the input: (B, C, T, H, W) float32."""
        self._set_guided(guided)
        (gradient,) = derivatives(self.model, self.objective(target, score), [self.x], retain_graph=True)
        if not guided and not bool(gradient.any()):
            self.model.findings(self.x).note(
                f"the gradient of {self.model.name!r} is zero everywhere, so that scores made of it say nothing: the "
                "network rounds, or its score is as high as can be; use a method without gradients (occlusion, lime)."
            )
        return self._checked(gradient)

    def activation_gradients(self, target: torch.Tensor, *, score: str = "logit") -> list[torch.Tensor]:
        """Gradients of the target's `score` at each of `activations`: (B, C, t, h, w) float32."""
        self._set_guided(False)
        flat = [use for uses in self._uses for use in uses]
        gradients = iter(derivatives(self.model, self.objective(target, score), flat, retain_graph=True))
        grids = self._grids([[next(gradients) for _ in uses] for uses in self._uses])
        if not any(bool(grid.any()) for grid in grids):
            self.model.findings(self.x).note(
                f"the score of {self.model.name!r} does not change with the places of the layer "
                f"{self.model.cam_layer!r}, so that its map says nothing; name an earlier layer with cam_layer."
            )
        return [self._checked(grid) for grid in grids]

    def _set_guided(self, guided: bool) -> None:
        if self._rule is not None:
            self._rule.active = guided

    def _checked(self, gradient: torch.Tensor) -> torch.Tensor:
        if not bool(torch.isfinite(gradient).all()):
            raise VidexplainError(
                f"the gradients of {self.model.name!r} are NaN or infinite for this clip; "
                "try float32, or a method without gradients"
            )
        return gradient.detach().float()
