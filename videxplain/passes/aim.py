"""The one number of a network's answers that is explained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

import torch

from videxplain.errors import VidexplainError, unknown_name
from videxplain.settings import Score, Task

TEMPERATURE = 4.0
"""What divides log-odds before they become a "tempered" probability."""


@dataclass(frozen=True)
class Aim:
    """What is asked about one clip.

    Attributes
    ----------
    target
        Index of a class, or of a value of a regression.
    against
        Index of another class: the log-odds of the first one against it.
    task
        How answers become probabilities.
    """

    target: int
    against: int | None = None
    task: Task = "single-label"

    def score(self, logits: torch.Tensor, score: Score) -> torch.Tensor:
        """The number for each clip, (B, frames, classes) -> (B,); the mean over frames where these have answers.

        The target's "probability"; its "log-odds" l = log(p / (1 - p)); its "logit"; or the "tempered" probability
        between the first two, 1 / (1 + exp(-l / TEMPERATURE)), that of a network which is less sure of itself
        (temperature scaling, Guo et al. 2017). The mean change of a confident network's probability is that in the few
        masks where it is low, and that of the log-odds is as much that in masks where the probability hardly moves.

        Against another class l is log(p / p_other), the difference of both logits. Of a regression it is the value.
        """
        if score not in get_args(Score):
            raise unknown_name("score", score, get_args(Score))
        if self.task == "regression":
            return logits[..., self.target].mean(dim=1)
        if self.against is not None:
            log_odds = logits[..., self.target] - logits[..., self.against]
            if score == "probability":
                raise VidexplainError(
                    "of one class against another the log-odds are explained, not a probability"
                )
        elif score == "logit":
            return logits[..., self.target].mean(dim=1)
        elif score == "probability":
            probabilities = logits.sigmoid() if self.task == "multi-label" else logits.softmax(dim=-1)
            return probabilities[..., self.target].mean(dim=1)
        elif self.task == "multi-label":
            log_odds = logits[..., self.target]
        else:
            others = torch.cat([logits[..., : self.target], logits[..., self.target + 1 :]], dim=-1)
            log_odds = logits[..., self.target] - others.logsumexp(dim=-1)
        if score == "tempered":
            log_odds = torch.sigmoid(log_odds / TEMPERATURE)
        return log_odds.mean(dim=1)

    def answer(self, logits: torch.Tensor) -> torch.Tensor:
        """The target's probability, or a regression's value, whatever it is against: (B, frames, classes) -> (B,)."""
        return replace(self, against=None).score(logits, "probability")
