"""What `videxplain when`, `evidence`, `motion` and `compare` share: arguments, and a picture or JSON of the answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from videxplain.attribution.methods import METHODS, Masking, Method, chosen
from videxplain.cli.arguments import (
    add_model,
    add_settings,
    add_span,
    check_files,
    check_picture,
    load,
    read_input,
)
from videxplain.cli.manner import tell_settings
from videxplain.errors import VidexplainError
from videxplain.segmentation import SEGMENTATIONS, check_segmentation
from videxplain.settings import Question, Segmentation
from videxplain.terminal import say, shown, timed


def add_answer(
    command: argparse.ArgumentParser,
    method: str,
    *left_out: str,
    cuts: bool = True,
    methods: Sequence[type[Method]] | None = None,
    several: bool = False,
) -> None:
    """Arguments of a command that answers one question about one clip.

    Parameters
    ----------
    method
        What scores by default, in words.
    left_out
        Options of methods that it does not take.
    cuts
        Whether the clip is cut into supervoxels.
    methods
        Whose options it takes; by default those that hide supervoxels.
    several
        Whether it takes several methods and classes.
    """
    command.add_argument(
        "input", type=Path, metavar="CLIP", help="a video, an image, a folder of images, .npy or .npz"
    )
    command.add_argument("-o", "--output", type=Path, metavar="OUT.png", help="write a picture of the answer")
    command.add_argument("--json", action="store_true", help="print JSON instead of sentences")
    add_span(command)
    add_model(command)
    group = command.add_argument_group("question")
    group.add_argument(
        "--target",
        help='a class by name, index, or rank such as "#2" (default: the predicted class)'
        + (", or several with commas between them" if several else ""),
    )
    add_settings(group, Question)
    named = (
        "names from `videxplain methods`, with commas between them"
        if several
        else "a name from `videxplain methods`"
    )
    group.add_argument("--method", help=f"{named} (default: {method})")
    if cuts:
        group = command.add_argument_group("supervoxels")
        group.add_argument("--segmentation", metavar="NAME", help=f"{', '.join(SEGMENTATIONS)}")
        add_settings(group, Segmentation, left_out=["scale"])
    group = command.add_argument_group("options of some methods (`videxplain methods` lists whose)")
    if methods is None:
        methods = [METHODS[name] for name in METHODS if issubclass(METHODS[name], Masking)]
    add_settings(group, *methods, left_out=left_out)


def answered(
    args: argparse.Namespace, default: Method | list[str], ask: Callable[..., Any], *, cuts: bool = True
) -> Any:
    """The answer, with its picture or JSON written; everything is checked before the network is loaded.

    Parameters
    ----------
    default
        The method where none is named; a list is of all that are asked, and `ask` knows them.
    ask
        (model, clip, options) -> the answer.
    """
    check_files(args)
    names = {name for each in METHODS for name in METHODS[each].options()} | set(Question.options())
    names |= set(Segmentation.options()) if cuts else set()
    options = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    several = isinstance(default, list)
    methods = default if isinstance(default, list) else [args.method or default]
    cutting = [Segmentation(name=args.segmentation or "auto")] if cuts else []
    _, _, settings = chosen(methods, Question(target=None if several else args.target), options, *cutting)
    for segmentation in settings:
        if segmentation.name != "auto":
            check_segmentation(segmentation, list(options))
    if args.output is None and not args.json:
        raise VidexplainError("nothing is asked for: name a picture with -o OUT.png, or say --json")
    if args.output is not None:
        check_picture(args.output)
    from PIL import Image

    from videxplain.files import whole_file
    from videxplain.video import check_source

    check_source(args.input)
    model = load(args)
    with timed("reading the clip"):
        clip = read_input(args, model)
    if args.method and not several:
        options["method"] = args.method
    if cuts and args.segmentation:
        options["segmentation"] = args.segmentation
    with timed("asking the network"):
        answer = ask(model, clip, options)
    told = getattr(answer, "explanation", answer)
    if (recorded := getattr(told, "settings", None)) is not None:
        why = "as asked for" if "fill" in options else "the default of this command"
        tell_settings(told.method, recorded, named=args.method is not None, why_fill=why)
    if args.output is not None:
        with timed("drawing"), whole_file(args.output) as scratch:
            Image.fromarray(answer.picture()).save(scratch, "PNG")
    if args.json:
        say(answer.to_json())
    else:
        say(f"{shown(args.output)}: {shown(answer)}")
    return answer
