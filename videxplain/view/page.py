"""The page as text: one file with all that it needs, or one that asks the local server for its data."""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
import tempfile
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from videxplain.errors import VidexplainError
from videxplain.files import whole_file
from videxplain.view.clip_scene import ClipScene
from videxplain.view.opening import PathLike, Shown, scene_of
from videxplain.view.scene import Scene, packed_labels, window_json
from videxplain.view.video_scene import VideoScene

if TYPE_CHECKING:
    from videxplain.explanations.evidence import Evidence
    from videxplain.explanations.when import WhenCurve

STATIC = (
    "page.js",
    "ask.js",
    "data.js",
    "elements.js",
    "film.js",
    "lanes.js",
    "marks.js",
    "painter.js",
    "table.js",
    "style.css",
)
"""Files of the page, in the folder `static`."""
INSIDE_BYTES = 32 << 20
"""Videos up to this size are inside an exported page, larger ones beside it."""
_PLAYED = {"h264", "vp8", "vp9", "av1"}
_CONTAINERS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}
_IMPORT = re.compile(r'from "\./([a-z]+\.js)"')

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">{policy}
<link rel="icon" href="data:,">
<title>{title}</title>
{style}
</head>
<body>
<div id="page"></div>
{scripts}
</body>
</html>
"""
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src blob: data:; "
    "media-src 'self' blob: data: file:"
)


def static(name: str) -> str:
    """The text of one of the page's files."""
    return (files("videxplain.view") / "static" / name).read_text(encoding="utf-8")


@lru_cache
def one_module(name: str = "page.js") -> str:
    """A module with what it imports inside it, as `data:` addresses: it works in a single file, without a server."""

    def address(match: re.Match[str]) -> str:
        inner = base64.b64encode(one_module(match[1]).encode()).decode()
        return f'from "data:text/javascript;base64,{inner}"'

    return _IMPORT.sub(address, static(name))


def embedded_data(scene: Scene, folder: Path, most: int | None = None) -> dict[str, Any]:
    """All of a scene in plain values; bytes are base64.

    Parameters
    ----------
    folder
        For a copy of the video, where browsers cannot play it as it is.
    most
        Bytes of a video that may be inside. Of a larger one there is the path, as "beside".
    """
    summary = scene.summary()
    windows = range(len(summary["windows"]))
    data: dict[str, Any] = {
        "summary": summary,
        "windows": [window_json(scene, index) for index in windows],
        "labels": [
            [_text(packed_labels(layer.labels)) for layer in scene.layers(index)] for index in windows
        ],
    }
    if isinstance(scene, ClipScene):
        pictures = (scene.frame(t) for t in range(summary["frames"]))
        data["frames"] = [{"data": _text(content), "type": kind} for content, kind in pictures]
    if isinstance(scene, VideoScene):
        video = playable(scene, folder)
        if most is not None and video.stat().st_size > most:
            data["beside"] = video
        else:
            data["video"] = {"data": _text(video.read_bytes()), "type": _CONTAINERS[video.suffix.lower()]}
    return data


def export_page(
    what: Shown,
    path: PathLike,
    *,
    evidence: PathLike | Evidence | None = None,
    when: PathLike | WhenCurve | None = None,
) -> list[Path]:
    """Writes a page that works without a server and offline; a video of more than 32 MiB goes beside it.

    Parameters
    ----------
    what
        An explanation, several of the same frames, what `evidence` gave, or a folder that `annotate(..., save=folder)`
        or `Explanation.save` wrote; several folders where they are of one clip, or of one video and its supervoxels.
    path
        Of the page, ending in .html.
    evidence, when
        What `videxplain.evidence` and `videxplain.when` gave for the same clip, or files of their JSON: the page shows
        the sets of supervoxels, and the curve as a lane.

    Returns
    -------
    list of Path
        What was written: the page, and maybe the video.

    Raises
    ------
    VidexplainError
        If it cannot be written, or `what` cannot be shown.
    """
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise VidexplainError(f"a page is written as .html, and {path.name!r} is not named so")
    if not path.parent.is_dir():
        raise VidexplainError(f"there is no folder {str(path.parent)!r} to write {path.name!r} into")
    written = [path]
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = embedded_data(scene_of(what, evidence=evidence, when=when), Path(folder), INSIDE_BYTES)
            if video := data.pop("beside", None):
                beside = path.with_name(path.stem + video.suffix.lower())
                if beside.resolve() != video.resolve():
                    with whole_file(beside) as scratch:
                        shutil.copyfile(video, scratch)
                data["video"] = {"name": quote(beside.name)}
                written.append(beside)
            with whole_file(path) as scratch:
                Path(scratch).write_text(exported_html(data), encoding="utf-8")
    except OSError as error:
        raise VidexplainError(f"cannot write the page to {str(path)!r}: {error.strerror or error}") from error
    return written


def exported_html(data: dict[str, Any]) -> str:
    """The page with its data inside."""
    values = json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    module = base64.b64encode(one_module().encode()).decode()
    start = f"""import {{ mount, embedded }} from "data:text/javascript;base64,{module}";
const data = JSON.parse(document.getElementById("data").textContent);
mount(document.getElementById("page"), embedded(data));"""
    return _HTML.format(
        policy=f'\n<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        title=html.escape(page_title(data["summary"])),
        style=f"<style>\n{static('style.css')}</style>",
        scripts=f'<script type="application/json" id="data">{values}</script>\n<script type="module">{start}</script>',
    )


def served_html(summary: dict[str, Any]) -> str:
    """The page that asks the local server for its data."""
    return _HTML.format(
        policy="",
        title=html.escape(page_title(summary)),
        style='<link rel="stylesheet" href="static/style.css">',
        scripts='<script type="module" src="static/start.js"></script>',
    )


def page_title(summary: dict[str, Any]) -> str:
    return f"{summary['source_name']} explained"


def playable(scene: VideoScene, folder: Path) -> Path:
    """The explained video as browsers play it: itself, or a copy in `folder`."""
    from videxplain.settings import Encoding
    from videxplain.video import TrackFormat, VideoWriter
    from videxplain.video.opening import open_container

    video = scene.video
    if scene.path.is_file() and scene.path.suffix.lower() in _CONTAINERS and video.source is not None:
        with open_container(scene.path) as container:
            stream = container.streams.video[0]  # the one that browsers take
            context = stream.codec_context
            plain = context.codec.canonical_name in _PLAYED and context.pix_fmt in ("yuv420p", "yuvj420p")
            if plain and stream.index == video.stream_index:
                return scene.path
    copy = folder / "video.mp4"
    with VideoWriter(copy, TrackFormat.like(video, Encoding(codec="h264"))) as writer:
        for frame in video.frames():
            writer.write(frame.rgb(), frame.time, frame.duration)
    return copy


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
