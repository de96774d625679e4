"""Scenes of what was saved, or is in memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from videxplain.annotate.saved import FORMAT as OF_VIDEOS
from videxplain.annotate.saved import SavedExplanations
from videxplain.errors import VidexplainError, kind_of
from videxplain.explanations.evidence import Evidence
from videxplain.explanations.explanation import Explanation
from videxplain.explanations.when import WhenCurve
from videxplain.reading import read_json
from videxplain.view.clip_scene import ClipScene
from videxplain.view.measured import read_evidence, read_when
from videxplain.view.scene import Scene
from videxplain.view.video_scene import VideoScene

PathLike = str | os.PathLike[str]
Shown = Scene | Explanation | Evidence | Sequence[Explanation] | PathLike | Sequence[PathLike]
"""What a page can be made of."""


def open_scene(
    folders: Sequence[PathLike],
    video: PathLike | None = None,
    *,
    evidence: PathLike | Evidence | None = None,
    when: PathLike | WhenCurve | None = None,
) -> ClipScene | VideoScene:
    """What `explain --save` or `annotate --save` wrote; several folders where they are of one clip, or of one video.

    Parameters
    ----------
    video
        The explained video, where it is not where it was.
    evidence, when
        Of an explained clip: what `videxplain evidence` and `videxplain when` gave, or a file of their JSON.

    Raises
    ------
    VidexplainError
        If a folder holds neither, or they do not go together.
    """
    kinds = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise VidexplainError(
                f"there is no folder {str(folder)!r}; `videxplain explain` and `annotate` write one with --save DIR"
            )
        try:
            kinds.append(read_json(folder / "manifest.json").get("format"))
        except (OSError, ValueError) as error:
            raise VidexplainError(f"{folder} holds no explanation that can be read: {error}") from error
    if OF_VIDEOS in kinds:
        if set(kinds) != {OF_VIDEOS}:
            raise VidexplainError("a page shows one clip or one video, not both; make a page for each")
        if evidence is not None or when is not None:
            raise VidexplainError("evidence and when-curves are of one clip, not of a video; leave them out")
        return VideoScene([SavedExplanations(folder) for folder in folders], video)
    if video is not None:
        raise VidexplainError("video is for what `annotate --save` wrote; an explained clip has its frames")
    return _of_clip([Explanation.load(folder) for folder in folders], evidence, when)


def _of_clip(
    explanations: Sequence[Explanation],
    evidence: PathLike | Evidence | None,
    when: PathLike | WhenCurve | None,
) -> ClipScene:
    """A scene of explanations, with what was measured of them, which may have to be read."""
    if isinstance(evidence, str | os.PathLike):
        evidence = read_evidence(evidence, explanations[0])
    if isinstance(when, str | os.PathLike):
        when = read_when(when, explanations[0])
    return ClipScene(explanations, evidence=evidence, when=when)


def scene_of(
    what: Shown, *, evidence: PathLike | Evidence | None = None, when: PathLike | WhenCurve | None = None
) -> Scene:
    """A scene of explanations in memory, or in folders.

    Raises
    ------
    VidexplainError
        If it is neither.
    """
    if isinstance(what, ClipScene | VideoScene):
        if evidence is not None or when is not None:
            raise VidexplainError("evidence and when-curves are given with explanations, not with a scene")
        return what
    if isinstance(what, str | os.PathLike):
        return open_scene([what], evidence=evidence, when=when)
    if isinstance(what, Evidence):
        if evidence is not None:
            raise VidexplainError("evidence was given twice; leave one out")
        evidence = what
        what = what.explanation
    explanations = [what] if isinstance(what, Explanation) else what
    if isinstance(explanations, list | tuple) and explanations:
        if all(isinstance(one, str | os.PathLike) for one in explanations):
            return open_scene(explanations, evidence=evidence, when=when)
        if all(isinstance(one, Explanation) for one in explanations):
            return _of_clip(explanations, evidence, when)
    raise VidexplainError(
        f"a page is made of an explanation, evidence, a list of explanations, or folders that were saved, not of "
        f"{kind_of(what)}"
    )
