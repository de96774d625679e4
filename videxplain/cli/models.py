"""`videxplain models`."""

from __future__ import annotations

import argparse
from typing import Any

from videxplain.cli.tables import print_table
from videxplain.terminal import say

_RECOMMENDED = ("c3d-motion", "efficientnet-lite0", "r2plus1d_18", "resnet50", "transnetv2")
# data set and classes of those that are not torchvision's, which tells its own
_ABOUT: dict[str, tuple[str, int]] = {
    "c3d": ("Sports-1M", 487),
    "c3d-motion": ("generated clips", 8),
    "efficientnet-lite0": ("ImageNet", 1000),
    "efficientnet-lite1": ("ImageNet", 1000),
    "efficientnet-lite2": ("ImageNet", 1000),
}
_NOTES = {
    "c3d-motion": "only knows how things move in generated clips",
    "transnetv2": "shot transitions, an answer for each frame",
}


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--layers", metavar="NAME", help="list a network's layers that can serve Grad-CAM, with their grids"
    )
    command.add_argument(
        "--weights",
        default="random",
        help="weights for --layers (default: random, for the layers are the same)",
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    from videxplain.models import MODELS, cam_candidates, load_model

    if args.layers:
        model = load_model(args.layers, weights=args.weights)
        layers = [
            {
                "layer": layer.name,
                "grid": "x".join(map(str, layer.grid)),
                "channels": layer.channels,
                "taken": layer.chosen,
            }
            for layer in cam_candidates(model)
        ]
        print_table(layers, as_json=args.json)
        if not args.json:
            say("the layer that is taken is that where none is named (--cam-layer)")
        return
    names = [name for name in _RECOMMENDED if name in MODELS]
    names += [name for name in MODELS if name not in names]
    print_table([_row(name, MODELS[name]) for name in names], as_json=args.json)


def _row(name: str, info: Any) -> dict[str, Any]:
    data, classes = _ABOUT.get(name, (None, None))
    parameters = None
    if info.weights == "torchvision":
        import torchvision

        weights = torchvision.models.get_model_weights(name).DEFAULT
        data = weights.name.split("_")[0].replace("IMAGENET1K", "ImageNet").replace("KINETICS", "Kinetics-")
        classes, parameters = len(weights.meta["categories"]), weights.meta["num_params"]
    return {
        "name": name,
        "for": info.kind,
        "data set": data,
        "classes": classes,
        "parameters": parameters,
        "weights": info.weights,
        "note": _NOTES.get(name),
    }
