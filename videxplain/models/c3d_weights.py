"""C3D weights as they are in circulation, mapped to this package's C3D by name and shape.

Known layouts:

- PyTorch, named after the layers: `conv1.weight` ... `conv5b.bias`, `fc6` ... `fc8`;
- PyTorch, named after positions: `features.0.weight` ... `features.18.bias`, `classifier.0.weight`;
- MMAction2: `backbone.conv1a.conv.weight` (`.bn.` with batch normalisation), `backbone.fc6`,
  `cls_head.fc_cls`;
- Caffe2 blobs: `conv1a_w`, `conv1a_b`, ... (from `python -m videxplain.models.convert`);
- this package's own: `features.conv1.weight`, `classifier.fc6.weight`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from videxplain.errors import VidexplainError
from videxplain.models.c3d import C3D
from videxplain.models.weights import check_fit, fit_weights

_CONVOLUTIONS = ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b")
_POSITIONS = dict(zip((0, 3, 6, 8, 11, 13, 16, 18), _CONVOLUTIONS, strict=True))
_HEADS = {0: "fc6", 3: "fc7", 6: "fc8"}
_KIND = r"\.(?P<kind>weight|bias|running_mean|running_var|num_batches_tracked)"


@dataclass
class Mapped:
    """What became of a file of C3D weights.

    Attributes
    ----------
    state : weights under this package's names.
    unknown : names in the file that belong to no layer of C3D.
    missing : layers of C3D that the file has no weights for.
    """

    state: dict[str, torch.Tensor]
    unknown: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def report(self) -> str:
        """One line: how many tensors were used and what did not fit."""
        parts = [f"{len(self.state)} tensors used"]
        if self.missing:
            parts.append("nothing for " + ", ".join(self.missing))
        if self.unknown:
            parts.append("not used: " + ", ".join(self.unknown))
        return "; ".join(parts)


def _target(name: str) -> str | None:
    """This package's name for a published one, or None."""
    name = re.sub(r"_w$", ".weight", re.sub(r"_b$", ".bias", name))
    name = re.sub(r"^(backbone|cls_head|base|module)\.", "", name)
    if match := re.fullmatch(r"(?:features\.)?conv(\d)([ab]?)(?:\.(conv|bn))?" + _KIND, name):
        number, letter, part = match[1], match[2], match[3]
        key = number if number in "12" else number + letter
        if key in _CONVOLUTIONS:
            return f"features.{'bn' if part == 'bn' else 'conv'}{key}.{match['kind']}"
    if match := re.fullmatch(r"(?:features\.)?bn(\d[ab]?)" + _KIND, name):
        key = match[1].removesuffix("a") if match[1][0] in "12" else match[1]
        return f"features.bn{key}.{match['kind']}" if key in _CONVOLUTIONS else None
    if match := re.fullmatch(r"(?:classifier\.)?(fc6|fc7|fc8|fc_cls|fc)(?:-\d|_\w+)?" + _KIND, name):
        return f"classifier.{match[1] if match[1][-1].isdigit() else 'fc8'}.{match['kind']}"
    if match := re.fullmatch(r"features\.(\d+)" + _KIND, name):
        place = _POSITIONS.get(int(match[1]))
        return f"features.conv{place}.{match['kind']}" if place else None
    if match := re.fullmatch(r"classifier\.(\d+)" + _KIND, name):
        head = _HEADS.get(int(match[1]))
        return f"classifier.{head}.{match['kind']}" if head else None
    return None


def map_c3d(state: Mapping[str, torch.Tensor]) -> Mapped:
    """Bring published C3D weights to this package's names."""
    mapped = Mapped({})
    for name, tensor in state.items():
        target = _target(name)
        if target is None or target in mapped.state:
            mapped.unknown.append(name)
        elif not target.endswith("num_batches_tracked"):
            mapped.state[target] = tensor
    expected = [f"features.conv{key}" for key in _CONVOLUTIONS]
    expected += [f"classifier.{head}" for head in _HEADS.values()]
    mapped.missing = [name for name in expected if f"{name}.weight" not in mapped.state]
    return mapped


def c3d_from_weights(state: Mapping[str, torch.Tensor], origin: str, num_classes: int | None = None) -> C3D:
    """A C3D of the size that the weights ask for, with them inside.

    Parameters
    ----------
    state : weights in any of the known layouts.
    origin : the file's name, for messages.
    num_classes : checked against the weights. With it, and only then, a file without the last layer is taken,
        whose weights stay random.

    Raises
    ------
    VidexplainError : layers missing, or shapes that are not C3D's.
    """
    mapped = map_c3d(state)
    weights = mapped.state
    headless = mapped.missing == ["classifier.fc8"] and num_classes is not None
    if mapped.missing and not headless:
        advice = ""
        if mapped.missing == ["classifier.fc8"]:
            advice = "; pass num_classes to give the network a new, random last layer"
        raise VidexplainError(f"{origin!r} does not hold a whole C3D ({mapped.report()}){advice}.")
    first, hidden = weights["features.conv1.weight"], weights["classifier.fc6.weight"]
    last = None if headless else weights["classifier.fc8.weight"]
    if not all(
        tensor.ndim and tensor.numel() for tensor in (first, hidden, hidden if last is None else last)
    ):
        raise VidexplainError(f"the weights in {origin!r} are not of a C3D's shapes.")
    classes = num_classes if last is None else last.shape[0]
    assert classes is not None
    if num_classes not in (None, classes):
        raise VidexplainError(f"the weights in {origin!r} are for {classes} classes, not {num_classes}.")
    settings: dict[str, Any] = {"width": first.shape[0], "fc_width": hidden.shape[0]}
    settings["batch_norm"] = "features.bn1.weight" in weights
    try:
        with torch.device("meta"):  # shapes only: a file may ask for any size
            sketch = C3D(classes, **settings)
    except (RuntimeError, ValueError, TypeError) as error:
        raise VidexplainError(f"the weights in {origin!r} are not of a C3D's shapes.") from error
    own = sketch.state_dict()
    # A convolution's bias before batch normalisation is folded into the running mean.
    for key in [k for k in weights if k not in own and k.endswith(".bias")]:
        mean = key.replace("conv", "bn").replace(".bias", ".running_mean")
        if mean in weights and weights[mean].shape == weights[key].shape:
            weights[mean] = weights[mean] - weights[key]
            del weights[key]
    new = [key for key in own if key.startswith("classifier.fc8")] if headless else []
    check_fit(sketch, weights | {key: own[key] for key in new}, name="c3d", origin=origin)
    net = C3D(classes, **settings)
    weights |= {key: net.state_dict()[key] for key in new}
    fit_weights(net, weights, name="c3d", origin=origin)
    return net
