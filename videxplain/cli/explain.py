"""`videxplain explain`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from math import copysign
from pathlib import Path
from typing import TYPE_CHECKING

from videxplain.attribution.nesting import check_nesting
from videxplain.cli.arguments import (
    add_explanation,
    add_model,
    add_picture,
    add_settings,
    add_span,
    check_files,
    check_picture,
    explanation_settings,
    load,
    read_input,
    refuse_cutting,
)
from videxplain.cli.manner import tell_settings
from videxplain.errors import VidexplainError
from videxplain.evaluation.caveats import CAVEATS
from videxplain.explanations.as_json import to_json
from videxplain.files import IMAGE_SUFFIXES
from videxplain.settings import Nesting, Picture, short_form
from videxplain.terminal import say, shown, timed

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "input",
        type=Path,
        metavar="IMAGE_OR_CLIP",
        help="a video, an image, a folder of images, .npy or .npz",
    )
    command.add_argument("-o", "--output", type=Path, required=True, metavar="OUT.png")
    add_span(command)
    command.add_argument(
        "--save", type=Path, metavar="DIR", help="also write labels, scores and settings as data"
    )
    command.add_argument(
        "--trust",
        action="store_true",
        help="also tell what the explanation rests on, by some 30 forward passes",
    )
    command.add_argument(
        "--sanity",
        action="store_true",
        help="with --trust: also explain the network with random weights, which has to change the scores",
    )
    command.add_argument("--json", action="store_true", help="print JSON instead of sentences")
    command.add_argument(
        "--regions",
        type=Path,
        metavar="PATH",
        help="explain objects instead of supervoxels: numbers in .npy or .npz, a folder of PNGs, a video "
        "without loss (FFV1), COCO (.json), MOTS (.txt) or CVAT for video (.xml)",
    )
    add_model(command)
    add_explanation(command, "auto")
    group = command.add_argument_group(
        "levels", "where scores add up, the picture shows each level, the coarsest on top"
    )
    add_settings(group, Nesting)
    add_picture(command, "timeline", "when")


def _as_json(args: argparse.Namespace, explanation: Explanation, top_k: int) -> str:
    """What the sentences tell, and the settings, as one JSON object."""
    return to_json(
        {
            "output": str(args.output),
            "target": explanation.target_name,
            "probability": explanation.probability,
            "predictions": explanation.predictions,
            "method": explanation.method,
            "settings": explanation.settings,
            "held": explanation.held,
            "supervoxels": explanation.num_segments,
            "top": [asdict(supervoxel) for supervoxel in explanation.top(top_k)],
        }
    )


def run(args: argparse.Namespace) -> None:
    check_files(args)
    if args.sanity and not args.trust:
        raise VidexplainError("--sanity is part of what --trust tells; give both")
    if args.json and args.trust:
        raise VidexplainError("--json does not tell what --trust finds; leave one out")
    from videxplain.video.images import frames_in

    # of several pages all may be taken for a clip
    single = args.input.suffix.lower() in IMAGE_SUFFIXES and frames_in(str(args.input)) == 1
    cut_by = "quickshift" if single and not args.scale else "slic"
    method, question, segmentation = explanation_settings(args, cut_by)
    (picture,) = short_form({name: getattr(args, name, None) for name in Picture.options()}, Picture())
    (nesting,) = short_form({name: getattr(args, name) for name in Nesting.options()}, Nesting())
    if args.regions is not None:
        refuse_cutting(args)
    if nesting.levels is not None:
        stated = args.n_segments is not None
        check_nesting(nesting, [method], n_segments=stated, regions=args.regions is not None)
    from videxplain.video import check_source

    check_picture(args.output, "; `videxplain annotate` writes videos")
    check_source(args.input)
    import numpy as np
    from PIL import Image

    from videxplain.explanations.explain import explain
    from videxplain.files import whole_file
    from videxplain.regions import Regions
    from videxplain.render import sheet_of

    regions = None if args.regions is None else Regions.read(args.regions, of=str(args.input))
    cutting = segmentation if regions is None else None
    model = load(args)
    with timed("reading the clip"):
        clip = read_input(args, model)
    levels = {"levels": nesting.levels, "coarse_to_fine": nesting.coarse_to_fine or None}
    with timed("explaining"):
        explanation = explain(model, clip, method, question, segmentation=cutting, regions=regions, **levels)
    tell_settings(
        explanation.method,
        explanation.settings,
        named=args.method != "auto",
        why_fill="as asked for" if args.fill else "taken by the first passes (docs/studies/fills.md)",
    )
    drawn = [explanation]
    if explanation.is_additive and nesting.levels is not None:
        drawn = [explanation.at(level) for level in nesting.levels]
    with timed("drawing"), whole_file(args.output) as scratch:
        sheets = [sheet_of(each, picture) for each in drawn]
        Image.fromarray(np.concatenate(sheets)).save(scratch, "PNG")
    if args.save:
        explanation.save(args.save)
    if args.json:
        say(_as_json(args, explanation, picture.top_k))
        return
    kind = "region" if explanation.regions else "supervoxel"
    say(f"{shown(args.output)}: {shown(explanation.headline(1))}, {explanation.num_segments} {kind}s")
    if became := explanation.settings.get("became"):
        say(f"method auto became {became}: {explanation.settings['because']} (docs/studies/judged.md)")
    if explanation.held:
        say(f"the clip is short: its last frame was held {explanation.held} times")
    for region in explanation.top(picture.top_k):
        t, y, x = region.centre
        share = f"{region.share:6.1%}"
        if question.against is not None:  # whose sign tells for which class it speaks
            share = f"{copysign(region.share, region.score):+6.1%}"
        title = f"region {shown(region.name)}" if region.name else f"supervoxel {region.id:4d}"
        say(f"  {title}  share {share}  centre t={t:.1f} y={y:.0f} x={x:.0f}")
    for name, scores in explanation.input_scores.items():
        share = abs(scores).sum() / (sum(abs(part).sum() for part in explanation.input_scores.values()) or 1)
        say(f"  input {shown(name)}  share {share:6.1%}")
    if args.trust:
        from videxplain.explanations.trust import trust

        say(str(trust(model, clip, explanation, question, sanity=args.sanity)))
    else:
        say(f"trust {explanation.trust().verdict} (no pass was made for that; --trust measures)")
    if (named := str(became or explanation.method)) in CAVEATS:
        say(CAVEATS[named])
