"""Plain words on the pages that people read first: short sentences, and none of the turns that stop readers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the clone's docs")
LONG = {"long-videos.md", "networks.md", "questions.md"}
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "howto").glob("*.md")),
]
EASY = [page for page in PAGES if page.name not in LONG]
MOST_WORDS = 35
TURNS = (
    r"\blit\b", r"made the network say", r"\bgoes on behind\b", r"\bbehind (?:it|them|the last)\b", r"all but \d",
    r"\bwin \.\d", r"\bstands in (?!for)", r"what serves it", r"can be had on its own", r"asks each mask for more",
    r"sure of itself", r"passes are beyond", r"beside LIME's", r"what it rests on", r"a window of frames apart",
    r"explain \.\d+ less(?! variance)", r"frame by frame is not asked",
    r"\bcut where the network is\b", r"as another LIME-\d+ does",
    r"\bof one's own\b",
)  # fmt: skip
"""Turns of phrase that readers of their second language stumble over."""


def sentences(page: Path) -> list[str]:
    """The sentences of a page: no code, tables, headings or markup."""
    text = re.sub(r"^(```|~~~).*?^\1$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(\s*\||#|!\[|\[!|    ).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*(?:[-*]|\d+\.|:)\s", "\n\n", text, flags=re.MULTILINE)  # items stand alone
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$", "formula", text, flags=re.DOTALL)
    parts = [part for block in re.split(r"\n\s*\n", text) for part in re.split(r"(?<=[.!?:;])\s+", block)]
    return [" ".join(part.split()) for part in parts if part.strip()]


@pytest.mark.parametrize("page", EASY, ids=lambda page: page.name)
def test_sentences_are_short(page):
    long = [sentence for sentence in sentences(page) if len(sentence.split()) > MOST_WORDS]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_words_are_plain(page):
    text = page.read_text("utf-8")
    found = [turn for turn in TURNS if re.search(turn, text, re.IGNORECASE)]
    assert not found


def test_the_check_sees_what_it_should(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        f"# A heading\n\n{'word ' * 40}. Short.\n\n```sh\n{'code ' * 50}\n```\n\n- one item\n- another\n"
    )
    assert [len(sentence.split()) for sentence in sentences(page)] == [41, 1, 2, 1]
