"""The site's pages: their code runs, their names exist, and messages lead to their page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import videxplain as vx
from videxplain.cli import COMMANDS, build_parser, fill
from videxplain.cli import main as command

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="needs the clone's docs")
PAGES = sorted(
    path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if "gallery" not in path.parts
)
RUN = (
    "quickstart.md",
    "concepts.md",
    "trust.md",
    "howto/own-network.md",
    "howto/objects.md",
    "howto/exports.md",
)
"""Pages whose Python is run from top to bottom."""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", RUN)
@pytest.mark.filterwarnings("ignore::videxplain.VidexplainWarning")
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known: dict[str, object] = {"__name__": page}
    code = blocks(page, "python")
    assert code
    for block in code:
        exec(compile(block, page, "exec"), known)


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_spelled_rightly(page):
    """Every `videxplain` command of a page is one that the parser takes."""
    lines = "".join(blocks(page, "sh") + blocks(page, "console")).replace("\\\n", " ").splitlines()
    for line in lines:
        words = shlex.split(line.removeprefix("$ ").partition(" > ")[0], comments=True)
        if words[:1] != ["videxplain"] or words[-1].startswith("-h"):
            continue
        try:
            build_parser().parse_args(words[1:])
        except SystemExit as stopped:
            pytest.fail(f"{page}: {line!r} is refused ({stopped})")


def test_every_public_name_is_in_the_reference():
    listed = set(
        re.findall(r"^   (\w+)$", (DOCS / "reference" / "index.md").read_text("utf-8"), re.MULTILINE)
    )
    assert listed == set(vx.__all__) - {"__version__"}


def test_every_page_is_reached():
    """By a table of contents."""
    reached = set()
    for page in PAGES:
        for listing in blocks(page, r"\{toctree\}"):
            for line in listing.splitlines():
                if line and not line.startswith(":"):
                    path = ((DOCS / page).parent / f"{line}.md").resolve()
                    reached.add(path.relative_to(DOCS).as_posix())
    assert set(PAGES) - reached == {"index.md"}


def test_links_lead_somewhere():
    for page in PAGES:
        text = (DOCS / page).read_text("utf-8")
        for target in re.findall(r"\]\(([^)#\s]+)", text):
            if (
                not re.match(r"\w+:", target)
                and not target.startswith("gallery/")
                and "/gallery/" not in target
            ):
                assert ((DOCS / page).parent / target).exists(), f"{page} links to {target}"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_in_the_docs(name):
    assert any(f"videxplain {name}" in (DOCS / page).read_text("utf-8") for page in PAGES)


@pytest.mark.parametrize(
    ("arguments", "heading"),
    [
        (["explain", "gone.mp4", "-o", "out.png"], "there is no file"),
        (["view", "gone", "--export", "out.html"], "there is no folder"),
        (["explain", "{here}", "-o", "out.png", "--method", "magic"], "unknown ..."),
        (["explain", "{here}", "-o", "out.png", "--samples", "5"], "means nothing to"),
        (["explain", "{here}", "-o", "out.jpg"], "is not a .png name"),
        (["explain", "{here}", "-o", "out.png", "--weights", "gone.pt"], "there is no file"),
        (["explain", "{here}", "-o", "out.png", "--device", "tpu"], "unknown ..."),
        (["explain", "{here}", "-o", "gone/out.png"], "there is no folder"),
        (["explain", "{empty}", "-o", "out.png"], "is empty"),
        (["annotate", "{text}", "-o", "out.mp4"], "is not a video that ffmpeg can read"),
    ],
)
def test_messages_are_explained(arguments, heading, tmp_path, monkeypatch, capsys):
    """A message and a heading of the troubleshooting page share their words."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video" * 1000)
    here = tmp_path / "here.npy"
    import numpy as np

    np.save(here, np.zeros((16, 32, 32, 3), np.uint8))
    places = {"here": str(here), "empty": "empty.mp4", "text": "text.mp4"}
    assert command([part.format(**places) for part in arguments]) == 1
    said = capsys.readouterr().err
    headings = re.findall(r"^## (.*)", (DOCS / "troubleshooting.md").read_text("utf-8"), re.MULTILINE)
    (wanted,) = [line for line in headings if f'"{heading}' in line or heading in line][:1]
    words = [part.strip(" .") for part in heading.split("...")]
    assert all(word in said for word in words if word), said
    assert wanted


def test_options_in_sentences_exist():
    """Every `--option` that a page names is one of some command."""
    parser = build_parser()
    fill(parser)
    commands = next(action.choices for action in parser._actions if action.choices)
    known = {
        text for command in commands.values() for action in command._actions for text in action.option_strings
    }
    for page in PAGES:
        if page == "extending.md" or page.startswith("studies/"):  # name options of scripts as well
            continue
        for named in re.findall(r"`(--[a-z][a-z-]*)", (DOCS / page).read_text("utf-8")):
            assert named in known, f"{page}: {named}"
