"""Builds the documentation: `pip install '.[docs]' && sphinx-build -W docs out/docs`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from docs_links import link_to_repository  # noqa: E402

import videxplain  # noqa: E402

project, author = "videxplain", "The videxplain authors"
copyright = "The videxplain authors"
version = release = videxplain.__version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["sg_execution_times.rst", "two_classes.py"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = False

html_theme = "furo"
html_title = f"videxplain {version}"
html_show_sphinx = False

myst_enable_extensions = ["deflist", "dollarmath", "colon_fence"]
myst_heading_anchors = 3
math_number_all = False

autosummary_generate = True
autodoc_typehints = "none"  # signatures are long with them; docstrings say types in words
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

intersphinx_mapping: dict[
    str, tuple[str, None]
] = {}  # links to other projects are written out, so that builds need no network

sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "within_subsection_order": "FileNameSortKey",
    "image_scrapers": ("docs_links.written_pictures",),
    "matplotlib_animations": False,
}


def setup(app: object) -> None:
    app.connect("source-read", link_to_repository)  # type: ignore[attr-defined]
