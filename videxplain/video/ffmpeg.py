"""The ffmpeg program: where it is, and carrying over what is not video from a source file."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from videxplain.errors import VidexplainError
from videxplain.interrupt import communicate
from videxplain.video.frames import open_container
from videxplain.video.reader import origin

# what each container can hold as it is; the rest is converted where that is possible, or left out and told
_MP4_AUDIO = frozenset(
    {"aac", "mp3", "mp2", "ac3", "eac3", "opus", "alac", "flac", "dts", "truehd", "vorbis"}
)
_WEBM_AUDIO = frozenset({"opus", "vorbis"})
_TEXT_SUBTITLES = frozenset(
    {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "microdvd", "subviewer"}
)
_SUBTITLE_CODEC = {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".webm": "webvtt"}

# ticks per second that are fine enough for where sound begins in an MP4
_FINE = 90_000
# an optional mapping that matches nothing
_NO_STREAM = "9999?"

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@functools.lru_cache(maxsize=1)
def ffmpeg_executable() -> str:
    """Path of the ffmpeg program: the one on the PATH, else the one that the `imageio-ffmpeg` package brings.

    Raises
    ------
    VidexplainError
        If there is neither.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise VidexplainError(
            "no ffmpeg program was found; install imageio-ffmpeg, or ffmpeg itself."
        ) from error


def container_format(path: str | os.PathLike[str]) -> str:
    """ffmpeg's name of the container that a file name asks for.

    Raises
    ------
    VidexplainError
        If the ending is none that the writer knows.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in CONTAINERS:
        raise VidexplainError(
            f"cannot tell a video format from the name {os.fspath(path)!r}; "
            f"let it end in one of {', '.join(CONTAINERS)}."
        )
    return CONTAINERS[suffix]


def finish(
    video: str,
    output: str,
    source: str | None,
    *,
    timescale: int | None = None,
    tags: dict[str, str] | None = None,
    default: bool = True,
) -> list[str]:
    """Join a finished video track with everything else of `source` into `output`, copying streams.

    Parameters
    ----------
    video : path of a file that holds the video track
    output : path to write, with the ending of the wanted container; overwritten
    source : path of a file, or None
        Its audio, subtitles, attachments (Matroska), chapters and metadata are carried over.
    timescale : int, optional
        Ticks per second of the video track in MP4 and MOV.
    tags : dict, optional
        Language, title and handler_name of the video track.
    default : bool
        Whether the video track is marked as one to be shown by default; MP4 and MOV always do.

    Returns
    -------
    list of str
        One sentence for each thing that could not be carried over as it was.

    Raises
    ------
    VidexplainError
        If ffmpeg fails, in ffmpeg's words.
    """
    options: dict[str, Any] = {"c": "copy", "map_metadata": -1, "f": container_format(output)}
    tags = {"handler_name": ""} | (tags or {})  # none, not the one of the MP4 that the track comes in
    # ffmpeg-python gives each option once: three names of the one video stream
    for stream, (name, text) in zip(("v:0", "v", "0"), tags.items(), strict=False):
        options[f"metadata:s:{stream}"] = f"{name}={text}"
    options["disposition:v:0"] = "default" if default else "0"
    if CONTAINERS[Path(output).suffix.lower()] in ("mp4", "mov"):
        options["movflags"] = "+faststart"
        if timescale:
            # the second is for when tracks begin and how long they last: sound needs it fine, picture in whole ticks
            movie = timescale * -(-_FINE // timescale)
            options |= {"video_track_timescale": timescale, "movie_timescale": movie}
    inputs: list[Any] = [ffmpeg.input(video)["v:0"]]
    if source is None:
        _run(inputs, output, options)
        return []
    streams, carried, notes, start = _plan(source, Path(output).suffix.lower())
    options |= {"map_metadata": 1, "map_chapters": 1} | carried
    other: Any = ffmpeg.input(source, itsoffset=f"{-float(start):.6f}")
    try:
        # the source has to be an input for its metadata even where none of its streams is wanted
        _run(inputs + [other[index] for index in _names(streams)], output, options)
    except VidexplainError:
        # a damaged track may be impossible to copy; sound that can be decoded is then encoded anew
        sound = [index for index in streams if index in _indices(source, "audio")]
        retry = {key: value for key, value in options.items() if not key.startswith("c:")} | {"c:a": "aac"}
        if CONTAINERS[Path(output).suffix.lower()] == "webm":
            retry["c:a"] = "libopus"
        try:
            _run(inputs + [other[index] for index in _names(sound)], output, retry)
            notes.append("the source's streams could not be copied; its sound was encoded anew.")
        except VidexplainError:
            plain = {key: value for key, value in options.items() if not key.startswith(("c:", "map_"))}
            _run(inputs, output, plain | {"map_metadata": -1})
            notes.append("the source's sound and other streams could not be carried over.")
    return notes


def _run(inputs: Sequence[Any], output: str, options: dict[str, Any]) -> None:
    # timestamps stay exactly as they are, so that picture and sound keep their places
    job = ffmpeg.output(*inputs, output, max_interleave_delta=0, max_muxing_queue_size=9999, **options)
    job = job.global_args("-copyts", "-nostdin", "-loglevel", "error").overwrite_output()
    process = job.run_async(cmd=ffmpeg_executable(), pipe_stdout=True, pipe_stderr=True)
    said = communicate(process).decode(errors="replace").strip().splitlines()
    if process.returncode:
        reason = said[-1] if said else "no reason given"
        raise VidexplainError(f"ffmpeg could not write {output!r}: {reason}.")


def _names(streams: Sequence[int]) -> list[str]:
    return [str(index) for index in streams] or [_NO_STREAM]


def _indices(source: str, kind: str) -> list[int]:
    with open_container(source) as container:
        return [stream.index for stream in container.streams if stream.type == kind]


def _plan(source: str, suffix: str) -> tuple[list[int], dict[str, Any], list[str], Fraction]:
    """Indices of streams to carry over, ffmpeg options for them, sentences on what is lost, and where times begin."""
    chosen: list[int] = []
    options: dict[str, Any] = {}
    notes: list[str] = []
    counts = {"a": 0, "s": 0}
    with open_container(source) as container:
        start = origin(container)
        for stream in container.streams:
            codec = getattr(stream.codec_context, "name", None) if stream.codec_context else None
            if stream.type == "audio":
                action = _audio_action(codec, suffix)
            elif stream.type == "subtitle":
                action = _subtitle_action(codec, suffix)
            elif stream.type == "attachment" and suffix == ".mkv":
                chosen.append(stream.index)
                continue
            else:
                continue
            letter = stream.type[0]
            name = f"{stream.type} stream {stream.index} ({codec})"
            if action is None:
                notes.append(f"{name} does not fit into {suffix} and was left out.")
                continue
            if action != "copy":
                options[f"c:{letter}:{counts[letter]}"] = action
                notes.append(f"{name} was converted to {action} for {suffix}.")
            chosen.append(stream.index)
            counts[letter] += 1
        others = len(container.streams.video) - 1
        if others > 0:
            notes.append(f"the source's other video streams ({others}, covers counted) were left out.")
    return chosen, options, notes, start


def _audio_action(codec: str | None, suffix: str) -> str | None:
    if codec is None:
        return None
    if suffix == ".mkv" or (suffix == ".mov" and codec.startswith("pcm_")):
        return "copy"
    if suffix == ".webm":
        return "copy" if codec in _WEBM_AUDIO else "libopus"
    return "copy" if codec in _MP4_AUDIO else "aac"


def _subtitle_action(codec: str | None, suffix: str) -> str | None:
    wanted = _SUBTITLE_CODEC.get(suffix)
    if codec == wanted:
        return "copy"
    if suffix == ".mkv":
        return "srt" if codec == "mov_text" else ("copy" if codec else None)
    return wanted if codec in _TEXT_SUBTITLES else None
