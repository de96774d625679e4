"""Arguments that several commands share, and what becomes of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from videxplain.errors import VidexplainError, unknown_name
from videxplain.settings import settings_for
from videxplain.terminal import complain

DEFAULT_MODEL = "c3d-motion"
METHOD_OPTIONS = ("samples", "passes", "until", "steps", "fill", "link", "seed")
_DEVICES = ("cpu", "cuda", "mps", "xpu")
_PRECISIONS = ("float32", "bfloat16")
_COMMON_OPTIONS = ("reduction", "signed", "guided_any")


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
        help="a name from `videxplain models`, or module:factory (default: c3d-motion, which only knows the motions of "
        "generated clips)",
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
        metavar="N",
        help=f"about how many supervoxels (default: {n_segments})",
    )
    group.add_argument("--compactness", type=float, help="shape against colour in SLIC (default: 10)")
    group.add_argument(
        "--segment-scale",
        type=positive,
        default=1,
        metavar="N",
        help="supervoxels on a grid N times as fine as the network's input, where frames are (default: %(default)s)",
    )
    group.add_argument(
        "--reduction",
        help="of voxel scores in a supervoxel: sum (default), mean or max",
    )
    group.add_argument("--signed", action="store_true", default=None, help="keep the sign of voxel scores")
    group.add_argument(
        "--guided-any",
        action="store_true",
        default=None,
        help="let guided methods treat GELU, SiLU and the like as ReLU",
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


def check_files(args: argparse.Namespace) -> None:
    """Raises, before anything is imported that takes long, where files are missing or a network cannot be as asked."""
    inputs = getattr(args, "input", None) or []
    for path in inputs if isinstance(inputs, list) else [inputs]:
        if not os.path.lexists(path) and "%" not in path.name and "\0" not in str(path):
            raise VidexplainError(f"there is no file {str(path)!r}; check the path.")
    if args.device and args.device.split(":")[0] not in _DEVICES:
        raise unknown_name("device", args.device, _DEVICES)
    if args.precision and args.precision not in _PRECISIONS:
        raise unknown_name("precision", args.precision, _PRECISIONS)
    if args.weights not in (None, "random") and not Path(args.weights).exists():
        raise VidexplainError(f"there is no file {args.weights!r} with weights")


def load(args: argparse.Namespace) -> Any:
    """The network that was asked for, or the bundled one, which says what it is not for."""
    if args.model is None:
        complain(
            f"no --model was given: {DEFAULT_MODEL} answers, a small network that only knows how things move in "
            "generated clips; its answers for other videos and for photographs mean nothing"
        )
    import torch

    from videxplain.models import load_model

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return load_model(
        args.model or DEFAULT_MODEL,
        weights=args.weights,
        device=device,
        cam_layer=args.cam_layer,
        precision=args.precision,
    )


def explanation_options(args: argparse.Namespace) -> dict[str, Any]:
    """Those options of `explain` that were given, checked before anything heavy is done.

    Raises
    ------
    VidexplainError
        For a method that there is not, and an option that means nothing to it.
    """
    options = {
        name: value
        for name in (*_COMMON_OPTIONS, *METHOD_OPTIONS)
        if (value := getattr(args, name)) is not None
    }
    settings_for([args.method], options)
    cutting = {"n_segments": args.segments, "compactness": args.compactness}
    return {
        "method": args.method,
        "target": args.target,
        "segment_scale": args.segment_scale,
        **{name: value for name, value in cutting.items() if value is not None},
        **options,
    }
