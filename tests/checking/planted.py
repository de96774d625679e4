"""Networks with one fault each, all around the same small one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Small(nn.Module):
    """Two convolutions and a linear layer."""

    def __init__(self, outputs: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c1 = nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1)
        self.c2 = nn.Conv3d(8, 16, 3, stride=2, padding=1)
        self.fc = nn.Linear(16, outputs)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        return self.c2(self.c1(x).relu()).relu()

    def forward(self, x: torch.Tensor) -> Any:
        return self.fc(self.hidden(x).mean((2, 3, 4)))


class Around(Small):
    """The small network with something done to its input, its hidden values and its answer."""

    def __init__(
        self,
        before: Callable[..., Any] = lambda x: x,
        inside: Callable[..., Any] = lambda y: y,
        after: Callable[..., Any] = lambda z: z,
        outputs: int = 5,
    ) -> None:
        super().__init__(outputs)
        self.before, self.inside, self.after = before, inside, after

    def forward(self, x: torch.Tensor) -> Any:
        return self.after(self.fc(self.inside(self.hidden(self.before(x))).mean((2, 3, 4))))


class Normed(Small):
    """With a batch norm between its convolutions."""

    def __init__(self, *, forced: bool = False, **options: Any) -> None:
        super().__init__()
        self.norm, self.forced = nn.BatchNorm3d(8, **options), forced

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.forced:
            self.norm.train()
        return self.fc(self.c2(self.norm(self.c1(x)).relu()).relu().mean((2, 3, 4)))


class NoGrad(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return super().forward(x)


class Inference(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return super().forward(x)


class EachFrame(Small):
    """As many outputs as frames, each of one frame."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        frames = F.conv3d(x, self.c1.weight[:, :, 1:2], stride=(1, 2, 2)).relu().mean((3, 4)).transpose(1, 2)
        return self.fc(frames.repeat(1, 1, 2)).flatten(1)


class OneClip(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.hidden(x).mean((2, 3, 4)).view(1, 16))


class Stateful(Small):
    """Adds what it saw before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.hidden(x).mean((2, 3, 4))
        y = y + self.seen
        self.seen = 0.5 * y[0].detach()
        return self.fc(y)


class Normalising(Small):
    """Takes values in [0, 1] and normalises them itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in ([0.45, 0.44, 0.4], [0.22, 0.21, 0.2]))
        return super().forward((x - mean) / std)


class WrongBackward(torch.autograd.Function):
    """The same, with a gradient that is not its own."""

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
        return y.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return 0.3 * gradient


class Missing(Small):
    """Lacks something."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return {}["weights"]


def quantised() -> nn.Module:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(Small().eval(), {nn.Linear}, dtype=torch.qint8)


def mean_over_batch(x: torch.Tensor) -> torch.Tensor:
    return (x - x.mean()) / x.std()


# what is made, settings, the question whose row tells, its verdict, and a word of it
FAULTS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str, str, str]] = {
    "dropout on": (
        lambda: Around(inside=lambda y: F.dropout(y, 0.5)),
        {},
        "same answer twice",
        "failed",
        "random",
    ),
    "batch norm in training": (lambda: Normed(forced=True), {}, "network left alone", "warning", "norm"),
    "batch norm without statistics": (
        lambda: Normed(track_running_stats=False),
        {},
        "same answer in a batch",
        "warning",
        "first in norm",
    ),
    "statistics of the batch by hand": (
        lambda: Around(mean_over_batch),
        {},
        "same answer in a batch",
        "warning",
        "beside another clip",
    ),
    "input overwritten": (lambda: Around(lambda x: x.mul_(2)), {}, "input left alone", "note", "overwrites"),
    "input overwritten unseen": (
        lambda: Around(lambda x: x.data.mul_(2)),
        {},
        "input left alone",
        "note",
        "overwrites",
    ),
    "detached": (lambda: Around(inside=torch.Tensor.detach), {}, "gradients", "failed", "does not depend"),
    "no_grad": (NoGrad, {}, "gradients", "failed", "no gradient"),
    "inference_mode": (Inference, {}, "gradients", "failed", "no gradient"),
    "detached in part": (
        lambda: Around(inside=lambda y: torch.cat([y[:, :8].detach(), y[:, 8:]], 1)),
        {},
        "gradients",
        "failed",
        "otherwise",
    ),
    "wrong backward pass": (
        lambda: Around(inside=WrongBackward.apply),
        {},
        "gradients",
        "failed",
        "otherwise",
    ),
    "rounded": (lambda: Around(after=lambda z: (99 * z).round()), {}, "gradients", "failed", "zero"),
    "scripted": (lambda: torch.jit.script(Small()), {}, "modules", "note", "scripted"),
    "quantised to integers": (quantised, {}, "modules", "warning", "quantised"),
    "two outputs": (lambda: Around(after=lambda z: (z, 2 * z)), {}, "input", "failed", "several tensors"),
    "softmax inside": (
        lambda: Around(after=lambda z: z.softmax(1)),
        {"outputs": "logits"},
        "answers",
        "warning",
        "softmax",
    ),
    "sigmoid inside": (
        lambda: Around(after=torch.sigmoid),
        {"outputs": "logits", "task": "multi-label"},
        "answers",
        "warning",
        "sigmoid",
    ),
    "logits said to be probabilities": (
        Small,
        {"outputs": "probabilities"},
        "answers",
        "warning",
        "lie between",
    ),
    "frames as classes": (EachFrame, {"per_frame": False}, "answers", "warning", "frames"),
    "frames with class names": (
        EachFrame,
        {"class_names": [f"name {n}" for n in "abcdefgh"]},
        "answers",
        "warning",
        "frames",
    ),
    "frames, found": (EachFrame, {}, "answers", "note", "each frame"),
    "one clip at a time": (OneClip, {}, "same answer in a batch", "note", "one clip at a time"),
    "answers the first clip only": (
        lambda: Around(after=lambda z: z[:1].expand(len(z), -1)),
        {},
        "same answer in a batch",
        "warning",
        "beside",
    ),
    "a state": (Stateful, {}, "network left alone", "warning", "seen"),
    "NaN": (lambda: Around(after=lambda z: z * float("nan")), {}, "input", "failed", "NaN"),
    "constant": (
        lambda: Around(after=lambda z: 0 * z + 1),
        {},
        "depends on the clip",
        "failed",
        "differ by 0",
    ),
    "normalised twice": (Normalising, {}, "normalisation", "warning", "by itself"),
    "divided by 255": (lambda: Around(lambda x: x / 255), {}, "normalisation", "warning", "nearly nothing"),
    "a KeyError": (Missing, {}, "input", "failed", "weights"),
    "too few class names": (Small, {"class_names": ["a", "b"]}, "input", "failed", "class names"),
    "GELU": (lambda: Around(inside=F.gelu), {}, "guided rule", "note", "GELU"),
}
