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
from videxplain.passes.fast_layers import fast_layers
from videxplain.passes.guided import GuidedRule

if TYPE_CHECKING:
    from videxplain.models import Classifier


@contextmanager
def _captured(layer: nn.Module, *, cut: bool) -> Iterator[list[torch.Tensor]]:
    """Collects the layer's outputs; `cut` detaches them so that a backward pass ends there."""
    outputs: list[torch.Tensor] = []

    def capture(_module: nn.Module, _args: object, output: object) -> object:
        if isinstance(output, (tuple, list)):
            return type(output)([capture(_module, _args, output[0]), *output[1:]])
        if not isinstance(output, torch.Tensor):
            raise VidexplainError(
                f"the CAM layer returns a {type(output).__name__}, not a tensor; name another layer with cam_layer"
            )
        if cut:
            torch.set_grad_enabled(True)  # until the caller's no_grad block restores the mode on its exit
            output = output.detach().requires_grad_()
        outputs.append(output)
        # A copy goes on, for a ReLU in place would overwrite what was captured.
        return output.clone()

    handle = layer.register_forward_hook(capture)
    try:
        yield outputs
    finally:
        handle.remove()


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """A batch of which each part is one or more samples."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


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
    activation
        (B, C, t, h, w), the output of the CAM layer, or None.
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
        self._outputs: list[torch.Tensor] = []
        cut = needs_cam_gradient and not needs_input_gradient
        layer = model.net.get_submodule(model.cam_layer) if needs_cam else None
        with ExitStack() as stack:
            stack.enter_context(evaluating(model.net))
            # what is below sees single calls, and nothing of what a compiled network does
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            stack.enter_context(torch.set_grad_enabled(needs_input_gradient))
            if layer is not None:
                self._outputs = stack.enter_context(_captured(layer, cut=cut))
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
        if needs_cam and not self._outputs:
            raise VidexplainError(
                f"the CAM layer {model.cam_layer!r} was not used in the forward pass; name another layer"
            )
        if self._rule is not None:
            self._rule.attach(self.logits)
        self._check_rule()
        if not bool(torch.isfinite(self.logits).all()):
            raise VidexplainError(
                f"the network {model.name!r} gives NaN or infinite class scores; check its weights and precision"
            )
        if (
            model.takes_clips_one_by_one
        ):  # a layer's outputs for each clip, the last where it is used several times
            uses = len(self._outputs) // len(self.x)
            self._outputs = self._outputs[uses - 1 :: uses] if uses else []
        else:
            self._outputs = self._outputs[-1:]
        self.activation = model.cam_grid(_joined(self._outputs)) if needs_cam else None

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
        return self._gradient(self.objective(target, score), [self.x], guided)

    def activation_gradient(self, target: torch.Tensor, *, score: str = "logit") -> torch.Tensor:
        """Gradient of the target's `score` at the CAM layer: (B, C, t, h, w) float32."""
        gradient = self._gradient(self.objective(target, score), self._outputs, guided=False)
        return self.model.cam_grid(gradient)

    def _gradient(self, objective: torch.Tensor, at: list[torch.Tensor], guided: bool) -> torch.Tensor:
        if self._rule is not None:
            self._rule.active = guided
        gradient = _joined(derivatives(self.model, objective, at, retain_graph=True))
        if at[0] is self.x and not guided and not bool(gradient.any()):
            self.model.findings(self.x).note(
                f"the gradient of {self.model.name!r} is zero everywhere, so that scores made of it say nothing: the "
                "network rounds, or its score is as high as can be; use a method without gradients (occlusion, lime)."
            )
        if not bool(torch.isfinite(gradient).all()):
            raise VidexplainError(
                f"the gradients of {self.model.name!r} are NaN or infinite for this clip; "
                "try float32, or a method without gradients"
            )
        return gradient.detach().float()
