"""Exporting what was explained."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from videxplain.errors import VidexplainError
from videxplain.exports import coco, csv, cvat, fiftyone, napari, rerun, tensorboard, webvtt  # noqa: F401  register
from videxplain.exports.explained import Explained
from videxplain.exports.formats import FORMATS, Format
from videxplain.files import whole_file, whole_folder
from videxplain.terminal import shown
from videxplain.view.clip_scene import ClipScene
from videxplain.view.opening import open_scene, scene_of
from videxplain.view.video_scene import VideoScene

if TYPE_CHECKING:
    from videxplain.explanations.explanation import Explanation

TOP_K = 5


def export(
    what: Explanation | ClipScene | VideoScene | str | os.PathLike[str],
    path: str | os.PathLike[str],
    to: str,
    *,
    video: str | os.PathLike[str] | None = None,
    top_k: int | None = None,
    progress: bool = False,
) -> Path:
    """Writes what was explained in another tool's format, in pixels and frame numbers of the source.

    Parameters
    ----------
    what
        An explanation, or the folder that `Explanation.save` or `annotate(..., save=folder)` wrote.
    path
        Of the file or folder to write.
    to
        "coco", "csv", "cvat", "fiftyone", "napari", "rerun", "tensorboard", or "webvtt".
    video
        The explained video, where it is not where it was when it was explained.
    top_k
        How many regions of each window, best first (default 5), 0 for all; of coco, cvat, fiftyone, and the pictures of
        tensorboard. The others have all.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    VidexplainError
        If `what` cannot be read, or `path` not be written. Nothing is left there then.
    """
    form, path = FORMATS[to], Path(os.fspath(path))
    check_output(path, to, form)
    if top_k is not None and not form.takes_top_k:
        raise VidexplainError(f"top_k means nothing to {to}, which holds all regions; leave it out")
    if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 0):
        raise VidexplainError(f"top_k is how many regions there are at most, or 0 for all, not {top_k!r}")
    if form.package and find_spec(form.package) is None:
        raise VidexplainError(
            f"exporting to {to} needs {form.package}, which is not installed; "
            "install it with pip install 'videxplain[export]'"
        )
    scene = (
        scene_of(what)
        if video is None or not isinstance(what, str | os.PathLike)
        else open_scene([what], video)
    )
    assert isinstance(scene, ClipScene | VideoScene)
    bar = tqdm(unit="window", desc=shown(path.name), leave=False, disable=not progress)
    with bar:
        explained = Explained(scene, bar.update)
        bar.total = len(explained)
        whole = whole_file if form.suffix else whole_folder
        with whole(path) as scratch:
            form.write(explained, scratch, TOP_K if top_k is None else top_k)
    return path


def check_output(path: Path, to: str, form: Format) -> None:
    """Raises an error unless a format can be written there."""
    if form.suffix and path.suffix.lower() != form.suffix:
        raise VidexplainError(f"{to} is written as {form.suffix}, and {path.name!r} is not named so")
    if not form.suffix and path.suffix.lower() in {FORMATS[name].suffix for name in FORMATS} - {""}:
        raise VidexplainError(f"{to} is written as a folder, and {path.name!r} is named like a file")
    if not path.absolute().parent.is_dir():
        raise VidexplainError(f"there is no folder {str(path.parent)!r} to write {path.name!r} into")
