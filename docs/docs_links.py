"""What the documentation's build needs beside Sphinx: links into the repository, and pictures that examples write."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
REPOSITORY = "https://github.com/videxplain/videxplain/blob/main/"
_LINK = re.compile(r"(\]\()((?:\.\./)+[^)#\s]+)((?:#[^)]*)?\))")


def link_to_repository(app: Any, name: str, source: list[str]) -> None:
    """Links of pages to files outside docs/ lead to the repository; a file that is not there fails the build."""
    page = DOCS / name
    if not page.with_suffix(".md").exists():
        return

    def replaced(match: re.Match[str]) -> str:
        target = (page.parent / match[2]).resolve()
        if target.is_relative_to(DOCS):
            return match[0]  # Sphinx looks after these
        if not target.exists():
            raise ValueError(f"{name} links to {match[2]}, which is not there")
        return f"{match[1]}{REPOSITORY}{target.relative_to(ROOT).as_posix()}{match[3]}"

    source[0] = _LINK.sub(replaced, source[0])


def written_pictures(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """The PNG files that a part of an example has written, as the gallery shows them."""
    from sphinx_gallery.scrapers import figure_rst

    folder = Path(variables["src_file"]).parent
    paths = []
    for page in folder.glob("*.html"):  # too large for the site
        page.unlink()
    for picture in sorted(folder.glob("*.png")):
        path = Path(next(variables["image_path_iterator"]))
        shutil.move(picture, path)
        paths.append(str(path))
    return figure_rst(paths, settings["src_dir"])
