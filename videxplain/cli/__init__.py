"""The `videxplain` command. Nothing heavy is imported before a command needs it: `--help` must answer at once."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from videxplain import __version__
from videxplain.cli.manner import ONLY_PRINT, add_manner, is_verbose
from videxplain.errors import VidexplainError, VidexplainWarning, out_of_memory
from videxplain.interrupt import STATUS, guarded
from videxplain.terminal import complain, shown, telling_details

COMMANDS = {
    "demo": "explain a generated video with the bundled model; needs no file, no network",
    "annotate": "explain a video from its first frame to its last, into an MP4",
    "explain": "explain one image or one clip, into a PNG",
    "when": "tell when in a clip the network saw what made it decide",
    "evidence": "look for the least of a clip that keeps a class, and that destroys it",
    "motion": "tell whether a network goes by motion or by look",
    "compare": "explain a clip by several methods, or for several classes, side by side",
    "view": "look at what was saved in a browser, and ask the network again",
    "export": "write what was saved in the format of another tool",
    "evaluate": "rerun the paper's experiments, and newer ones, on a network and data",
    "check": "look whether a network is explained rightly: a verdict a question",
    "models": "list the networks that can be explained",
    "methods": "list the scoring methods and their options",
    "completion": "print a script that lets a shell complete commands and options",
    "info": "versions, the backend that serves each operation and why, devices, ffmpeg, weights",
}
"""What each does; its arguments and its work are in the module of its name."""
EXAMPLES = {
    "demo": ["demo", "demo -o shown.mp4 --seconds 20 --seed 3"],
    "annotate": [
        "annotate in.mp4 -o out.mp4 --model r2plus1d_18",
        "annotate in.mp4 -o out.mp4 --model r2plus1d_18 --save data --style side-by-side",
        "annotate videos -o explained --model my_package:my_network --weights my.pt",
    ],
    "explain": [
        "explain cat.jpg -o cat.png --model efficientnet-lite0",
        "explain in.mp4 -o in.png --model r2plus1d_18 --at 3.5 --stride 2 --save data",
        "explain cat.jpg -o why.png --model efficientnet-lite0 --against '#2' --method grad-cam",
    ],
    "when": ["when in.mp4 -o when.png --model r2plus1d_18", "when in.mp4 --json --parts 8"],
    "evidence": ["evidence in.mp4 -o evidence.png --model r2plus1d_18"],
    "motion": ["motion in.mp4 -o motion.png --model r2plus1d_18"],
    "compare": [
        "compare in.mp4 -o both.png --method guided,grad-cam",
        "compare in.mp4 -o both.png --target left,right",
    ],
    "view": ["view data", "view data --export page.html"],
    "export": ["export data --to coco -o coco", "export data --to csv -o regions.csv"],
    "evaluate": ["evaluate removal --model r2plus1d_18 --data clips --out results"],
    "check": ["check --model r2plus1d_18", "check in.mp4 --model my_package:my_network --json"],
    "models": ["models", "models --json", "models --layers r2plus1d_18"],
    "methods": ["methods", "methods --json"],
    "completion": ["completion bash > ~/.local/share/bash-completion/completions/videxplain"],
    "info": ["info", "info --json"],
}
"""Command lines that short help shows."""
COMMON = frozenset(
    {
        "output",
        "model",
        "weights",
        "method",
        "target",
        "style",
        "save",
        "json",
        "export",
        "layers",
        "seconds",
        "at",
        "to",
    }
)
"""Options that short help explains."""


def entry() -> None:
    """The command as a process."""
    status = main()
    if status == STATUS:  # a thread that hangs would keep Python from ending
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0 done, 1 an error said in one sentence, 2 wrong usage, 130 Ctrl-C."""
    try:
        with guarded(), _harmless_warnings():
            args = build_parser().parse_args(argv)
            with telling_details(is_verbose(args)):
                return args.run(args) or 0
    except VidexplainError as error:
        complain(error)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        complain(f"{error.strerror or error}{where}")
        return 1
    except RuntimeError as error:
        shortage = out_of_memory(error)
        if shortage is None:
            raise
        complain(shortage)
        return 1
    except KeyboardInterrupt as error:
        complain(str(error) or "interrupted")
        return STATUS


@contextlib.contextmanager
def _harmless_warnings() -> Iterator[None]:
    """Warnings repeat names of files and classes as well."""
    plain = warnings.formatwarning

    def harmless(message: Any, category: Any, *args: Any, **options: Any) -> str:
        if issubclass(category, VidexplainWarning):
            return f"videxplain: note: {shown(message)}\n"
        return shown(plain(message, category, *args, **options), lines=True)

    warnings.formatwarning = harmless
    try:
        yield
    finally:
        warnings.formatwarning = plain


class _Parser(argparse.ArgumentParser):
    """Its messages repeat arguments."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(shown(message, lines=True), file)


class _ShortHelp(argparse.Action):
    """Prints what most people need, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        assert isinstance(parser, _Command)
        parser._print_message(parser.format_short_help(), sys.stdout)
        parser.exit()


class _Command(_Parser):
    """Asks its module for its arguments when it is the one that was called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"add_help": False})
        self.add_argument("-h", "--help", nargs=0, action=_ShortHelp, help="show the usual options, and exit")
        self.add_argument("--help-all", action="help", help="show all options, and exit")

    def format_short_help(self) -> str:
        """The description, examples, and the arguments that are needed most."""
        actions = [action for action in self._actions if not action.option_strings or action.dest in COMMON]
        places = [action for action in actions if not action.option_strings]
        formatter = self._get_formatter()
        formatter.add_usage(None, places, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        formatter.start_section("arguments")
        formatter.add_arguments(actions)
        formatter.end_section()
        examples = EXAMPLES.get(self.prog.split()[-1], [])
        lines = ["\nexamples:", *(f"  videxplain {example}" for example in examples)] if examples else []
        usage, rest = formatter.format_help().rstrip().split("\n\n", 1)
        return "\n".join(
            [f"{usage} [options]\n\n{rest}", *lines, "", f"All options: {self.prog} --help-all", ""]
        )

    def fill(self) -> None:
        """Adds the command's arguments, once."""
        module = import_module(f"videxplain.cli.{self.prog.split()[-1]}")
        if self.get_default("run") is None:
            module.add_arguments(self)
            if self.prog.split()[-1] not in ONLY_PRINT:
                add_manner(self)
            self.set_defaults(run=module.run)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self.fill()
        return super().parse_known_args(args, namespace)


def fill(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of all commands, which otherwise wait until one is called."""
    for action in parser._actions:
        for command in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            command.fill()


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="videxplain", description="Shows which parts of a video made a classifier decide as it did."
    )
    parser.add_argument("-V", "--version", action="version", version=f"videxplain {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Command)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    return parser
