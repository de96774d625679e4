"""`videxplain view`."""

from __future__ import annotations

import argparse
from pathlib import Path

from videxplain.cli.arguments import add_explained_video, add_model, check_files, positive
from videxplain.cli.manner import tell_network
from videxplain.errors import VidexplainError
from videxplain.terminal import say, shown, timed


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="what `explain --save DIR` or `annotate --save DIR` wrote; several where they are of one clip, or of one "
        "video by several methods over the same supervoxels",
    )
    add_explained_video(command)
    for name, what in (("evidence", "the sets of supervoxels"), ("when", "the curve over time")):
        command.add_argument(
            f"--{name}",
            type=Path,
            metavar="FILE.json",
            help=f"of an explained clip: show {what} that `videxplain {name} --json` printed",
        )
    command.add_argument(
        "--export",
        type=Path,
        metavar="PAGE.html",
        help="write the page as a file that works offline, and exit",
    )
    command.add_argument("--port", type=positive, help="of the local server (default: a free one)")
    command.add_argument("--open", action="store_true", help="open the page in the browser")
    command.add_argument(
        "--no-network",
        action="store_true",
        help="do not load the network, so that nothing can be asked again",
    )
    add_model(command)


def run(args: argparse.Namespace) -> None:
    check_files(args)
    if args.export is not None and (args.port is not None or args.open):
        raise VidexplainError("a page that is exported needs no --port and no --open; leave them out")
    from videxplain.view.opening import open_scene
    from videxplain.view.page import export_page

    with timed("opening the data"):
        scene = open_scene(args.folders, args.video, evidence=args.evidence, when=args.when)
    if args.export is not None:
        with timed("writing the page"):
            written = export_page(scene, args.export)
        for path in written:
            say(shown(str(path)))
        return
    from videxplain.view.server import serve

    asker, reason = (
        (None, "This page was opened with --no-network.") if args.no_network else _asker(args, scene)
    )
    if asker is None and not args.no_network:
        say(f"note: nothing can be asked again: {shown(reason)}")

    def ready(address: str) -> None:
        say(f"{address}\nOpen this address in a browser; Ctrl-C ends the server.")
        if args.open:
            import webbrowser

            webbrowser.open(address)

    serve(scene, port=args.port or 0, asker=asker, no_asker=reason, ready=ready)


def _asker(args: argparse.Namespace, scene):  # type: ignore[no-untyped-def]
    """The network that was explained, and why there is none."""
    import torch

    from videxplain.models import load_model
    from videxplain.view.asking import Asker

    told = scene.provenance()
    name = args.model or told.get("model")
    try:
        device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
        with timed("loading the network"):
            model = load_model(
                name,
                weights=args.weights if args.weights is not None else told.get("weights"),
                device=device,
                precision=args.precision or told.get("precision"),
            )
        tell_network(model)
        return Asker(model, scene, told.get("model_sha256")), ""
    except VidexplainError as error:
        return None, f"{str(error).rstrip('.')}. Give the network with --model and --weights."
