"""The ffmpeg program: where it is, and carrying over what is not video from a source file."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg

from videxplain.errors import VidexplainError
from videxplain.interrupt import communicate
from videxplain.video.decoding import origin
from videxplain.video.opening import READING, Source, open_container, program_url

_TEXT_SUBTITLES = frozenset(
    {"subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "microdvd", "subviewer"}
)
_SUBTITLE_CODEC = {"mp4": "mov_text", "mov": "mov_text", "webm": "webvtt"}

# ticks per second that are fine enough for where sound begins in an MP4
_FINE = 90_000
# an optional mapping that matches nothing
_NO_STREAM = "9999?"
# characters of a tag: longer ones do not fit into a command line, nor does anyone read them
_LONGEST_TAG = 10_000

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}


@functools.lru_cache(maxsize=1)
def ffmpeg_executable() -> str:
    """Path of the ffmpeg program: the one on the PATH, else the one that the `imageio-ffmpeg` package brings.

    Raises
    ------
    VidexplainError
        If there is neither.
    """
    on_path = shutil.which("ffmpeg")
    if on_path:
        return on_path
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
    suffix = Path(os.fsdecode(path)).suffix.lower()
    if suffix not in CONTAINERS:
        raise VidexplainError(
            f"cannot tell a video format from the name {os.fsdecode(path)!r}; "
            f"let it end in one of {', '.join(CONTAINERS)}."
        )
    return CONTAINERS[suffix]


@dataclass(frozen=True)
class _Carried:
    """A stream of the source that goes into the output, and the encoder that makes it anew, or "copy"."""

    index: int
    kind: str
    encoder: str


def finish(
    video: str,
    output: str,
    source: Source | None,
    *,
    timescale: int | None = None,
    tags: dict[str, str] | None = None,
    default: bool = True,
    own_chapters: bool = False,
) -> list[str]:
    """Join a finished video track with everything else of `source` into `output`, copying streams.

    Parameters
    ----------
    video : path of a file that holds the video track
    output : path to write, with the ending of the wanted container; overwritten
    source : Source or None
        Its audio, subtitles, attachments (Matroska), chapters and metadata are carried over, if it has not changed.
    timescale : int, optional
        Ticks per second of the video track in MP4 and MOV.
    tags : dict, optional
        Language, title and handler_name of the video track.
    default : bool
        Whether the video track is marked as one to be shown by default; MP4 and MOV always do.
    own_chapters : bool
        Whether chapters are those of `video`, not of `source`.

    Returns
    -------
    list of str
        One sentence for each thing that could not be carried over as it was.

    Raises
    ------
    VidexplainError
        If ffmpeg fails, in ffmpeg's words.
    """
    container = container_format(output)
    options: dict[str, Any] = {"c": "copy", "f": container, "map_chapters": 0 if own_chapters else 1}
    notes: list[str] = []
    tags = {"handler_name": ""} | (tags or {})  # none, not the one of the MP4 that the track comes in
    # ffmpeg-python gives each option once: three names of the one video stream
    for stream, (name, text) in zip(("v:0", "v", "0"), tags.items(), strict=False):
        if len(text) > _LONGEST_TAG:
            notes.append(f"the picture's {name} was cut to {_LONGEST_TAG} characters.")
        options[f"metadata:s:{stream}"] = f"{name}={text[:_LONGEST_TAG]}"
    options["disposition:v:0"] = "default" if default else "0"
    if container in ("mp4", "mov"):
        options["movflags"] = "+faststart"
        if timescale:
            # the second is for when tracks begin and how long they last: sound needs it fine, picture in whole ticks
            movie = timescale * -(-_FINE // timescale)
            options |= {"video_track_timescale": timescale, "movie_timescale": movie}
    with contextlib.ExitStack() as names:
        picture: Any = ffmpeg.input(names.enter_context(program_url(video)))["v:0"]
        target = names.enter_context(program_url(output))
        if source is not None and not source.change():
            try:
                notes += _carry(picture, target, options | {"map_metadata": 1}, source, container)
            except (av.FFmpegError, OSError, ValueError, VidexplainError):
                notes.append("the source's sound and other streams could not be carried over.")
                source = None
        if source is not None and (change := source.change()):
            notes = [f"the input {change} meanwhile; its sound, other streams and tags were left out."]
            source = None
        if source is None:
            # no tags of the MP4 that the track comes in; chapters have titles
            none = {"map_metadata:g": -1, "map_metadata:s": -1} if own_chapters else {"map_metadata": -1}
            _run([picture], target, options | {"map_chapters": 0} | none)
    return notes


def _carry(picture: Any, target: str, options: dict[str, Any], source: Source, container: str) -> list[str]:
    """Write the picture with all of the source that can be had; returns sentences on the rest."""
    with contextlib.ExitStack() as stack:
        carried, notes, start = _plan(source, container, replaced=options["map_chapters"] != 1)
        reading = {**READING, "itsoffset": f"{-float(start):.6f}"}
        name = stack.enter_context(program_url(source))
        if len(source.timeline.shifts) > 1 and any(c.kind != "attachment" for c in carried):
            if any(c.kind == "attachment" for c in carried):
                notes.append("attached files were left out: the source's clock jumps.")
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(dir=os.path.dirname(target[len("file:") :]))
            )
            name, carried, lost = _on_one_clock(source, carried, start, os.path.join(folder, "streams.nut"))
            notes += lost
            reading = {}
        other: Any = ffmpeg.input(name, **reading)
        sound = "libopus" if container == "webm" else "aac"
        anew = [replace(c, encoder=sound) if c.kind == "audio" else c for c in carried]
        # a damaged track may be impossible to copy; sound that can be decoded is then encoded anew
        attempts = [
            (carried, None),
            (anew, "the source's sound could not be copied and was encoded anew."),
            (
                [c for c in carried if c.kind == "audio"],
                "the source's streams beside sound could not be copied.",
            ),
            (
                [c for c in anew if c.kind == "audio"],
                "of the source's streams only sound could be had, encoded anew.",
            ),
            ([], "the source's sound and other streams could not be carried over."),
        ]
        failure = VidexplainError("")
        tried: list[list[_Carried]] = []
        for streams, note in attempts:
            if streams in tried:
                continue
            tried.append(streams)
            try:
                # the source has to be an input for its metadata even where none of its streams is wanted
                chosen = [other[str(c.index)] for c in streams] or [other[_NO_STREAM]]
                _run(
                    [picture, *chosen],
                    target,
                    options | _encoders(streams),
                )
                return notes + ([note] if note else [])
            except VidexplainError as error:
                failure = error
        raise failure


def _encoders(streams: Sequence[_Carried]) -> dict[str, str]:
    """ffmpeg's options for streams that are not copied."""
    options = {}
    for kind in ("audio", "subtitle"):
        for number, stream in enumerate(c for c in streams if c.kind == kind):
            if stream.encoder != "copy":
                options[f"c:{kind[0]}:{number}"] = stream.encoder
    return options


def _run(inputs: Sequence[Any], output: str, options: dict[str, Any]) -> None:
    # timestamps stay exactly as they are, so that picture and sound keep their places
    job = ffmpeg.output(*inputs, output, max_interleave_delta=0, max_muxing_queue_size=9999, **options)
    job = job.global_args("-copyts", "-nostdin", "-loglevel", "error").overwrite_output()
    process = job.run_async(cmd=ffmpeg_executable(), pipe_stdout=True, pipe_stderr=True)
    said = communicate(process).decode(errors="replace").strip().splitlines()
    if process.returncode:
        reason = said[-1] if said else "no reason given"
        raise VidexplainError(f"ffmpeg could not write {output!r}: {reason}.")


def _plan(source: Source, container: str, *, replaced: bool) -> tuple[list[_Carried], list[str], Fraction]:
    """Streams to carry over, sentences on what is made anew or left out, and where times begin."""
    carried: list[_Carried] = []
    notes: list[str] = []
    with open_container(source) as file:
        for stream in file.streams:
            encoder: str | None
            name = f"{stream.type} stream {stream.index} ({_kind_of(stream)})"
            if stream.type == "video":
                continue
            elif stream.type == "audio":
                encoder = _sound_encoder(stream, container)
            elif stream.type == "subtitle":
                encoder = _subtitle_encoder(stream, container)
            else:
                encoder = "copy" if stream.type == "attachment" and container == "matroska" else None
            if encoder is None:
                notes.append(f"{name} does not fit into {container} and was left out.")
                continue
            if encoder != "copy":
                notes.append(f"{name} was converted to {encoder} for {container}.")
            carried.append(_Carried(stream.index, stream.type, encoder))
        others = len(file.streams.video) - 1
        if others > 0:
            notes.append(f"the source's other video streams ({others}, covers counted) were left out.")
        if replaced and file.chapters():
            notes.append("the source's chapters gave way to those of the explanation.")
        return carried, notes, origin(file)


def _kind_of(stream: Any) -> str:
    """What people call a stream's contents: its codec, or the name of an attached file or of a track of data."""
    codec = _codec(stream) or getattr(stream, "name", None)
    told = stream.metadata.get("filename") or stream.metadata.get("handler_name")
    return ", ".join(filter(None, (codec, told and told.strip()))) or "of unknown kind"


def _codec(stream: Any) -> str | None:
    """The codec's own name: decoders have others, such as mp3float."""
    context = stream.codec_context
    return context.codec.canonical_name if context is not None and context.codec else None


def _sound_encoder(stream: Any, container: str) -> str | None:
    codec = _codec(stream)
    if codec is None:
        return None
    # few players know uncompressed sound in MP4, though it may be there
    if _fits(stream, container) and not (container == "mp4" and codec.startswith("pcm_")):
        return "copy"
    return "libopus" if container == "webm" else "aac"


def _subtitle_encoder(stream: Any, container: str) -> str | None:
    codec, wanted = _codec(stream), _SUBTITLE_CODEC.get(container)
    if codec == wanted:
        return "copy"
    if container == "matroska":
        return "srt" if codec == "mov_text" else ("copy" if codec else None)
    return wanted if codec in _TEXT_SUBTITLES else None


def _fits(stream: Any, container: str) -> bool:
    """Whether the container's writer takes a header with the stream."""
    try:
        with av.open(io.BytesIO(), "w", format=container) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
        return True
    except (av.FFmpegError, ValueError):
        return False


def _on_one_clock(
    source: Source, carried: Sequence[_Carried], start: Fraction, path: str
) -> tuple[str, list[_Carried], list[str]]:
    """The streams in a file of their own, their times brought to the picture's clock, which jumped in the source."""
    with open_container(source) as file, av.open(f"file:{path}", "w", format="nut") as copy:
        copy.metadata.update(file.metadata)
        targets = {}
        moved: list[_Carried] = []
        for entry in carried:
            if entry.kind == "attachment":
                continue
            stream = file.streams[entry.index]
            targets[entry.index] = copy.add_stream_from_template(stream)
            targets[entry.index].metadata.update(stream.metadata)
            moved.append(replace(entry, index=len(moved)))
        lost = 0
        for packet in _shifted(file, targets, source, start):
            if packet is None:
                lost += 1
                continue
            packet.stream = targets[packet.stream.index]
            copy.mux(packet)
    note = [f"{lost} packets of sound or text were left out: they overlap where the source's clock jumps."]
    return f"file:{path}", moved, note if lost else []


def _shifted(file: Any, wanted: dict[int, Any], source: Source, start: Fraction) -> Iterator[Any]:
    """Packets of some streams, each later than the one before of its stream; None in place of those that are not."""
    clocks = {index: source.timeline.follow() for index in wanted}
    last: dict[int, int] = {}
    for packet in file.demux([file.streams[index] for index in wanted]):
        index = packet.stream.index
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            continue
        clocks[index](packet)
        base = packet.time_base
        ticks = round(start * base.denominator / base.numerator)
        packet.dts = (packet.dts if packet.dts is not None else packet.pts) - ticks
        packet.pts = packet.dts if packet.pts is None else packet.pts - ticks
        if index not in last or packet.dts > last[index]:
            last[index] = packet.dts
            yield packet
        else:
            yield None
