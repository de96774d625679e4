"""Arguments that several commands share, and what becomes of them."""

from __future__ import annotations

import argparse
from typing import Any

DEFAULT_MODEL = "c3d-motion"
METHOD_OPTIONS = ("samples", "passes", "until", "steps", "fill", "link", "seed")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def add_model(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("network")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a name from `videxplain models`, or module:factory (default: %(default)s)",
    )
    group.add_argument(
        "--weights", help='a .safetensors or .pt file, or "random"; by default the network\'s own'
    )
    group.add_argument(
        "--device", default=None, help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)"
    )
    group.add_argument(
        "--cam-layer", metavar="NAME", help="layer for the CAM methods (default: the last one with a grid)"
    )
    group.add_argument(
        "--precision", help="float32 (default), or bfloat16: faster on GPUs and new CPUs, less exact"
    )


def add_explanation(command: argparse.ArgumentParser, n_segments: int) -> None:
    group = command.add_argument_group("explanation")
    group.add_argument(
        "--method", default="guided", help="a name from `videxplain methods` (default: %(default)s)"
    )
    group.add_argument(
        "--target",
        help='class to explain: a name, an index, or a rank such as "#2" (default: the predicted class)',
    )
    group.add_argument(
        "--segments",
        type=positive,
        default=n_segments,
        metavar="N",
        help="about how many supervoxels (default: %(default)s)",
    )
    group.add_argument(
        "--compactness", type=float, default=10.0, help="shape against colour in SLIC (default: %(default)s)"
    )
    group.add_argument(
        "--segment-scale",
        type=positive,
        default=1,
        metavar="N",
        help="supervoxels on a grid N times as fine as the network's input, where frames are (default: %(default)s)",
    )
    group.add_argument(
        "--reduction",
        default="sum",
        help="of voxel scores in a supervoxel: sum (default), mean or max",
    )
    group.add_argument("--signed", action="store_true", help="keep the sign of voxel scores")
    group.add_argument(
        "--guided-any", action="store_true", help="let guided methods treat GELU, SiLU and the like as ReLU"
    )
    group = command.add_argument_group("options of some methods")
    group.add_argument(
        "--samples", type=positive, metavar="N", help="masks of LIME, KernelSHAP and RISE, noise draws"
    )
    group.add_argument(
        "--passes", type=positive, metavar="N", help="at most so many passes of region-gradient"
    )
    group.add_argument(
        "--until",
        type=float,
        metavar="ERROR",
        help="stop region-gradient at this error, in units of the top score",
    )
    group.add_argument("--steps", type=positive, metavar="N", help="steps of integrated-gradients")
    group.add_argument("--fill", help="what hides a supervoxel: mean, grey, black, blur or noise")
    group.add_argument(
        "--link",
        help="what LIME and KernelSHAP regress: identity, the probability (default), or logit, its log-odds",
    )
    group.add_argument("--seed", type=int, help="of whatever is drawn at random")


def add_picture(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("picture")
    group.add_argument(
        "--top-k", type=positive, default=5, help="how many supervoxels to light (default: %(default)s)"
    )
    style = group.add_mutually_exclusive_group()
    style.add_argument(
        "--heatmap",
        dest="style",
        action="store_const",
        const="heat",
        help="colour supervoxels by score (default)",
    )
    style.add_argument(
        "--style", choices=("heat", "outline", "spotlight", "side-by-side"), help="how to draw"
    )
    style.add_argument(
        "--outline",
        dest="style",
        action="store_const",
        const="outline",
        help="outline the top supervoxels only",
    )
    group.set_defaults(style="heat")


def load(args: argparse.Namespace) -> Any:
    import torch

    from videxplain.models import load_model

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load_model(
        args.model,
        weights=args.weights,
        device=device,
        cam_layer=args.cam_layer,
        precision=args.precision,
    )


def explanation_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "method": args.method,
        "target": args.target,
        "n_segments": args.segments,
        "compactness": args.compactness,
        "segment_scale": args.segment_scale,
        "reduction": args.reduction,
        "signed": args.signed,
        "guided_any": args.guided_any,
    } | {name: value for name in METHOD_OPTIONS if (value := getattr(args, name)) is not None}
