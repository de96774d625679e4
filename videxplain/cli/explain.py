"""`videxplain explain`."""

from __future__ import annotations

import argparse
from math import copysign
from pathlib import Path
from typing import Any

from videxplain.cli.arguments import (
    add_explanation,
    add_model,
    add_picture,
    check_files,
    explanation_settings,
    load,
    positive,
)
from videxplain.errors import VidexplainError
from videxplain.evaluation.caveats import CAVEATS
from videxplain.files import IMAGE_SUFFIXES
from videxplain.settings import Picture, short_form
from videxplain.terminal import say, shown


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "input",
        type=Path,
        metavar="IMAGE_OR_CLIP",
        help="a video, an image, a folder of images, .npy or .npz",
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png")
    command.add_argument(
        "--at",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="where in a video the clip begins (default: 0)",
    )
    command.add_argument(
        "--stride",
        type=positive,
        default=1,
        help="take every N-th frame into the clip (default: %(default)s)",
    )
    command.add_argument(
        "--save", type=Path, metavar="DIR", help="also write labels, scores and settings as data"
    )
    add_model(command)
    add_explanation(command)
    add_picture(command, "timeline")


def run(args: argparse.Namespace) -> None:
    check_files(args)
    from videxplain.video.images import frames_in

    # of several pages all may be taken for a clip
    single = args.input.suffix.lower() in IMAGE_SUFFIXES and frames_in(str(args.input)) == 1
    cut_by = "quickshift" if single and not args.scale else "slic"
    method, question, segmentation = explanation_settings(args, cut_by)
    (picture,) = short_form({"style": args.style, "top_k": args.top_k}, Picture())
    from videxplain.video import check_source

    if args.output.suffix.lower() != ".png":
        raise VidexplainError(f"{args.output} is not a .png name; `videxplain annotate` writes videos")
    check_source(args.input)
    if not args.output.parent.is_dir():
        raise VidexplainError(
            f"cannot write {args.output}: there is no folder {str(args.output.parent)!r}; make it first"
        )
    from PIL import Image

    from videxplain.explanations.explain import explain
    from videxplain.files import whole_file

    model = load(args)
    clip = _read_clip(args, model)
    explanation = explain(model, clip, method, question, segmentation=segmentation)
    with whole_file(args.output) as scratch:
        Image.fromarray(explanation.sheet(top_k=picture.top_k, style=picture.style)).save(scratch, "PNG")
    if args.save:
        explanation.save(args.save)
    say(f"{shown(args.output)}: {shown(explanation.headline(1))}, {explanation.num_segments} supervoxels")
    if explanation.held:
        say(f"the clip is short: its last frame was held {explanation.held} times")
    for region in explanation.top(picture.top_k):
        t, y, x = region.centre
        share = f"{region.share:6.1%}"
        if question.against is not None:  # whose sign tells for which class it speaks
            share = f"{copysign(region.share, region.score):+6.1%}"
        say(f"  supervoxel {region.id:4d}  share {share}  centre t={t:.1f} y={y:.0f} x={x:.0f}")
    for name, scores in explanation.input_scores.items():
        share = abs(scores).sum() / (sum(abs(part).sum() for part in explanation.input_scores.values()) or 1)
        say(f"  input {shown(name)}  share {share:6.1%}")
    if explanation.method in CAVEATS:
        say(CAVEATS[explanation.method])


def _read_clip(args: argparse.Namespace, model: Any) -> Any:
    """The image, or the clip of the model's length that begins at `--at`."""
    from itertools import islice

    import numpy as np

    from videxplain.clip import Clip
    from videxplain.video import open_video, read_clip
    from videxplain.video.arrays import is_array
    from videxplain.video.images import find_images

    deep = model.wants_all_bits and (
        args.input.suffix.lower() in IMAGE_SUFFIXES or find_images(str(args.input)) is not None
    )
    if deep or is_array(args.input):
        return read_clip(
            args.input,
            channels=model.channels,
            at=args.at,
            stride=args.stride,
            length=model.clip_length,
        )
    if args.input.suffix.lower() in IMAGE_SUFFIXES:
        return Clip.from_image(args.input)
    with open_video(args.input) as video:
        wanted = (frame for frame in video.frames() if frame.time >= args.at)
        span = (model.clip_length - 1) * args.stride + 1
        frames = list(islice(wanted, 0, span, args.stride))
    if not frames:
        raise VidexplainError(f"{args.input} has no frame at or after {args.at:g} s; give an earlier --at")
    return Clip(
        np.stack([frame.image for frame in frames]),
        tuple(frame.time for frame in frames),
        start=frames[0].index,
        stride=args.stride,
        source=str(args.input),
    )
