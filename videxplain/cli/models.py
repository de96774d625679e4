"""`videxplain models`."""

from __future__ import annotations

import argparse

from videxplain.terminal import say


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--layers", metavar="NAME", help="list a network's layers that can serve Grad-CAM, with their grids"
    )
    command.add_argument(
        "--weights",
        default="random",
        help="weights for --layers (default: random, for the layers are the same)",
    )


def run(args: argparse.Namespace) -> None:
    from videxplain.models import MODELS, cam_candidates, load_model

    if args.layers:
        model = load_model(args.layers, weights=args.weights)
        for layer in cam_candidates(model):
            grid = "x".join(map(str, layer.grid))
            say(f"{'*' if layer.chosen else ' '} {layer.name:40s} {grid:10s} {layer.channels} channels")
        say("* is taken where none is named (--cam-layer)")
        return
    for name in MODELS:
        say(f"{name:28s} {MODELS[name].kind:6s} weights: {MODELS[name].weights}")
