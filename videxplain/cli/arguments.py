"""Arguments that several commands share, and what becomes of them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import Field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from videxplain.attribution.methods import METHODS, Method, chosen
from videxplain.cli.manner import tell_network
from videxplain.errors import VidexplainError, unknown_name
from videxplain.files import IMAGE_SUFFIXES
from videxplain.segmentation import SEGMENTATIONS, check_segmentation
from videxplain.settings import (
    DEFAULT_MODEL,
    DEVICES,
    PRECISIONS,
    Picture,
    Question,
    Segmentation,
    Settings,
    from_text,
    hints_of,
)
from videxplain.terminal import complain, timed


def names(text: str) -> str | list[str]:
    """A name, or several with commas between them."""
    return text.split(",") if "," in text else text


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
        "--weights",
        help='a .safetensors or .pt file (file.pt#state_dict_ema: that part of it), or "random"; by default the '
        "network's own",
    )
    group.add_argument(
        "--device", default=None, help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)"
    )
    group.add_argument(
        "--cam-layer",
        type=names,
        metavar="NAME[,NAME]",
        help="layer for the CAM methods, or several (default: the last one with a grid)",
    )
    group.add_argument(
        "--cam-layout",
        type=names,
        metavar="AXES[,AXES]",
        help='axes of its output, such as "(bt)chw" (default: found by looking)',
    )
    group.add_argument(
        "--precision", help="float32 (default), or bfloat16: faster on GPUs and new CPUs, less exact"
    )


def add_settings(group: Any, *classes: type[Settings], left_out: Sequence[str] = ()) -> None:
    """A flag for each field that has one; fields of one name share theirs. What is not stated is None."""
    by_name: dict[str, list[tuple[type[Settings], Field[Any]]]] = {}
    for cls in classes:
        for field in fields(cls):
            if field.name in left_out:
                continue
            if field.metadata.get("short", True) and field.metadata.get("flag") != "":
                by_name.setdefault(field.name, []).append((cls, field))
    for name, having in by_name.items():
        flag = "--" + (having[0][1].metadata.get("flag") or name.replace("_", "-"))
        words = ", ".join(
            dict.fromkeys(field.metadata["help"] for _, field in having if field.metadata["help"])
        )
        help = f"{words}{_defaults(having)}".replace("%", "%%")
        if isinstance(having[0][1].default, bool):
            action = argparse.BooleanOptionalAction if having[0][1].default else "store_true"
            group.add_argument(flag, dest=name, action=action, default=None, help=help)
        else:
            reader = partial(from_text, name)
            kinds = [cls for cls, _ in having]
            group.add_argument(
                flag,
                dest=name,
                metavar=_METAVARS.get(_kind_of(*having[0]), "NAME"),
                type=lambda text, reader=reader, kinds=kinds: reader(text, *kinds),
                help=help,
            )


_METAVARS: dict[Any, str] = {int: "N", float: "X", tuple[int, ...]: "N,N"}


def _kind_of(cls: type[Settings], field: Field[Any]) -> Any:
    hint = hints_of(cls)[field.name]
    return next((kind for kind in get_args(hint) if kind in _METAVARS), hint)


def _defaults(having: list[tuple[type[Settings], Field[Any]]]) -> str:
    """Defaults in words; where classes differ, each with the methods that have it."""
    names: dict[Any, list[str]] = {}
    for cls, field in having:
        if not isinstance(field.default, bool) and field.default is not None:
            names.setdefault(field.default, []).append(getattr(cls, "name", ""))
    if not names:
        return ""
    if len(names) == 1:
        return f" (default: {next(iter(names))})"
    listed = [f"{value} of {', '.join(of)}" for value, of in names.items()]
    return f" (default: {'; '.join(listed)})"


def add_explanation(command: argparse.ArgumentParser, method: str) -> None:
    """What is explained and how, by default by this method."""
    group = command.add_argument_group("explanation")
    group.add_argument(
        "--method", default=method, help="a name from `videxplain methods` (default: %(default)s)"
    )
    group.add_argument(
        "--target",
        help='class to explain: a name, an index, or a rank such as "#2" (default: the predicted class)',
    )
    group.add_argument("--segmentation", metavar="NAME", help=f"{', '.join(SEGMENTATIONS)}; {_AUTO}")
    add_settings(group, Question, Segmentation)
    group = command.add_argument_group("options of some methods (`videxplain methods` lists whose)")
    add_settings(group, *(METHODS[name] for name in METHODS))


_AUTO = "by default slic for clips and quickshift for images"


def add_picture(command: argparse.ArgumentParser, *left_out: str) -> None:
    """How to draw, but for the fields that are left out; two styles have flags of their own."""
    group = command.add_argument_group("picture")
    add_settings(group, Picture, left_out=left_out)
    for flag, style in (("--heatmap", "heat"), ("--outline", "outline")):
        group.add_argument(
            flag, dest="style", action="store_const", const=style, help=f"short for --style {style}"
        )


def check_files(args: argparse.Namespace) -> None:
    """Raises, before anything is imported that takes long, where files are missing or a network cannot be as asked."""
    inputs = getattr(args, "input", None) or []
    for path in inputs if isinstance(inputs, list) else [inputs]:
        if not os.path.lexists(path) and "%" not in path.name and "\0" not in str(path):
            raise VidexplainError(f"there is no file {str(path)!r}; check the path.")
    if args.device and args.device.split(":")[0] not in DEVICES:
        raise unknown_name("device", args.device, DEVICES)
    if args.precision and args.precision not in PRECISIONS:
        raise unknown_name("precision", args.precision, PRECISIONS)
    part_of = (args.weights or "").rpartition("#")[0]  # as in file.pt#state_dict_ema
    if args.weights not in (None, "random") and not any(map(os.path.exists, (args.weights, part_of))):
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
    with timed("loading the network"):
        model = load_model(
            args.model or DEFAULT_MODEL,
            weights=args.weights,
            device=device,
            cam_layer=args.cam_layer,
            cam_layout=args.cam_layout,
            precision=args.precision,
        )
    tell_network(model)
    return model


def explanation_settings(args: argparse.Namespace, cut_by: str) -> tuple[Method, Question, Segmentation]:
    """What was asked for, checked before anything heavy is done.

    Parameters
    ----------
    cut_by
        What "auto" will be, as far as can be told.

    Raises
    ------
    VidexplainError
        For a method or segmentation that there is not, and an option that means nothing to it.
    """
    method_options = {name for each in METHODS for name in METHODS[each].options()}
    names = [*method_options, *Question.options(), *Segmentation.options()]
    options = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    (method,), question, (segmentation,) = chosen(
        [args.method], Question(target=args.target), options, Segmentation(name=args.segmentation or "auto")
    )
    by_name = replace(segmentation, name=cut_by) if segmentation.name == "auto" else segmentation
    check_segmentation(by_name, list(options))
    return method, question, segmentation


def add_span(command: argparse.ArgumentParser) -> None:
    """Where a clip begins in a video, and which of its frames it takes."""
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


def add_explained_video(command: argparse.ArgumentParser) -> None:
    """Where the video of saved explanations is."""
    command.add_argument(
        "--video", type=Path, help="the explained video, where it is not where it was when it was explained"
    )


def check_picture(path: Path, instead: str = "") -> None:
    """Refuses a name that no PNG can have, with what to do `instead`, and one in a folder that is not there."""
    if path.suffix.lower() != ".png":
        raise VidexplainError(f"{path} is not a .png name{instead}")
    if not path.parent.is_dir():
        raise VidexplainError(f"cannot write {path}: there is no folder {str(path.parent)!r}; make it first")


def read_input(args: argparse.Namespace, model: Any) -> Any:
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


def refuse_cutting(args: argparse.Namespace) -> None:
    """Raises if it is told how to cut supervoxels where there are regions."""
    for name in ("segmentation", *Segmentation.options()):
        if getattr(args, name, None) is not None:
            raise VidexplainError(
                f"{name} means nothing where the supervoxels are given (regions); leave one out"
            )
