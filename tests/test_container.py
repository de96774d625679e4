"""What the explained video has in common with its input, as PyAV reads both: frames, times, streams, shape."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import ffmpeg_oracle as oracle
import pytest

import videxplain as vx
from videxplain.annotate import annotate

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=1.4")
SOUND = ("-f", "lavfi", "-i", "sine=duration=1.4")
WRITERS_OWN = ("encoder", "duration")
"""Tags that whoever writes the file sets."""


def variable(folder: Path) -> Path:
    path = folder / "variable.mp4"
    oracle.run(*PICTURE, "-vf", "select='not(mod(n*n,7))+eq(n,3)'", "-fps_mode", "vfr", *X264, path)
    return path


def rotated(folder: Path) -> Path:
    oracle.run(*PICTURE, *X264, "-vf", "setsar=4/3", folder / "flat.mp4")
    oracle.run("-display_rotation", 90, "-i", folder / "flat.mp4", "-c", "copy", folder / "rotated.mp4")
    return folder / "rotated.mp4"


def two_sounds(folder: Path) -> Path:
    path = folder / "sounds.mp4"
    maps = ("-map", 0, "-map", 1, "-map", 2, "-c:a:0", "aac", "-c:a:1", "libopus")
    oracle.run(*PICTURE, *SOUND, *SOUND, *maps, "-metadata:s:a:1", "language=fra", *X264, path)
    return path


def subtitled(folder: Path) -> Path:
    (folder / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    path = folder / "subtitled.mp4"
    oracle.run(*PICTURE, *SOUND, "-i", folder / "s.srt", "-c:s", "mov_text", *X264, path)
    return path


def coarse(folder: Path) -> Path:
    """A picture with few ticks a second, and sound that begins between them."""
    path = folder / "coarse.mp4"
    oracle.run(*PICTURE, "-itsoffset", 0.33, *SOUND, *X264, "-video_track_timescale", 25, path)
    return path


def named(folder: Path, suffix: str = ".mp4") -> Path:
    path = folder / f"named{suffix}"
    names = ("-metadata:s:v:0", "language=deu", "-metadata:s:v", "title=Left camera")
    oracle.run(*PICTURE, *SOUND, *names, *X264, path)
    return path


def named_matroska(folder: Path) -> Path:
    return named(folder, ".mkv")


def facts(path: Path) -> dict[str, Any]:
    """What can be compared; sizes and the aspect ratio as they are shown, upright."""
    with vx.open_video(path) as video:
        shape = (video.width, video.height, video.sample_aspect_ratio)
    times = [time for time, _ in oracle.decoded(path)]
    with av.open(str(path)) as container:
        kinds = sorted(stream.type for stream in container.streams)
        sounds = [(s.codec_context.name, s.metadata.get("language")) for s in container.streams.audio]
        duration = Fraction(container.duration, av.time_base)
        picture = container.streams.video[0]
        tags = {name: text for name, text in picture.metadata.items() if name.lower() not in WRITERS_OWN}
        default = bool(picture.disposition & av.stream.Disposition.default)
        starts = [stream.start_time * stream.time_base for stream in container.streams.audio]
    return {
        "shape": shape,
        "times": times,
        "kinds": kinds,
        "sounds": sounds,
        "duration": duration,
        "picture": (tags, default),
        "starts": [round(start, 4) for start in starts],
    }


@pytest.mark.parametrize("make", [variable, rotated, two_sounds, subtitled, coarse, named, named_matroska])
def test_the_container_keeps_what_it_had(tmp_path: Path, make: Any) -> None:
    source = make(tmp_path)
    out = tmp_path / f"out{source.suffix}"
    annotate(
        vx.load_model("c3d-motion"),
        source,
        out,
        segmentation="grid",
        n_segments=8,
        preset="ultrafast",
        footer="over",
    )
    before, after = facts(source), facts(out)
    assert abs(before.pop("duration") - after.pop("duration")) <= Fraction(1, 20)
    assert len(before["times"]) > 3
    assert [n for _, n in after["sounds"] if n not in (None, "und")] == [
        n for _, n in before["sounds"] if n not in (None, "und")
    ]
    assert [c for c, _ in after.pop("sounds")] == [c for c, _ in before.pop("sounds")]
    assert after == before
    with vx.open_video(out) as video:
        assert video.orientation == (0, False), "turned already"
    for n in range(before["kinds"].count("audio")):
        assert len(oracle.decoded(out, f"a:{n}")) == len(oracle.decoded(source, f"a:{n}"))


def test_a_transport_stream_begins_at_zero_with_its_sound_in_place(tmp_path: Path) -> None:
    source, out = tmp_path / "late.ts", tmp_path / "out.mp4"
    late = ("-itsoffset", 0.4, *SOUND, "-c:a", "mp2", "-output_ts_offset", 40000)
    oracle.run(*PICTURE, *late, *X264, source)
    annotate(
        vx.load_model("c3d-motion"),
        source,
        out,
        segmentation="grid",
        n_segments=8,
        preset="ultrafast",
        footer="over",
    )
    before, after = [[oracle.decoded(path, kind) for kind in ("v:0", "a:0")] for path in (source, out)]
    assert after[0][0][0] == 0 and before[0][0][0] > 40000
    for own, other in zip(before, after, strict=True):
        assert len(own) == len(other)
        shifts = [time - shifted for (time, _), (shifted, _) in zip(own, other, strict=True)]
        assert max(abs(shift - before[0][0][0]) for shift in shifts) < Fraction(1, 20_000)
    with av.open(str(out)) as container:
        assert container.duration < 3 * av.time_base


def carried(source: Path, out: Path) -> tuple[list[tuple[str, str]], str]:
    """Kinds and codecs of what an explained video has beside its picture, and what was told."""
    summary = annotate(
        vx.load_model("c3d-motion"), source, out, segmentation="grid", n_segments=8, preset="ultrafast"
    )
    with av.open(str(out)) as container:
        streams = [
            (s.type, s.codec_context.codec.canonical_name if s.codec_context else "")
            for s in container.streams
        ]
    return [stream for stream in streams if stream[0] != "video"], " ".join(summary.notes)


@pytest.mark.parametrize("suffix", [".avi", ".flv", ".mkv"])
def test_mp3_is_copied(tmp_path: Path, suffix: str) -> None:
    source, out = tmp_path / f"in{suffix}", tmp_path / "out.mp4"
    oracle.run(*PICTURE, *SOUND, *X264, "-c:a", "libmp3lame", "-ar", 44100, source)
    assert carried(source, out) == ([("audio", "mp3")], "")
    assert [md5 for _, md5 in oracle.decoded(source, "a:0", "-c:a", "copy")] == [
        md5 for _, md5 in oracle.decoded(out, "a:0", "-c:a", "copy")
    ]


@pytest.mark.parametrize("sound", ["truehd", "pcm_s16le"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_only_the_sound_that_a_container_lacks_is_made_anew(tmp_path: Path, sound: str, suffix: str) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    source, out = tmp_path / "in.mkv", tmp_path / f"out{suffix}"
    maps = ("-map", 0, "-map", 1, "-map", 1, "-map", 2)
    codecs = ("-c:a:0", sound, "-c:a:1", "ac3", "-c:s", "srt", "-strict", -2)
    oracle.run(*PICTURE, *SOUND, "-i", tmp_path / "s.srt", *maps, *X264, *codecs, source)
    kept = sound == "pcm_s16le" and suffix == ".mov"
    streams, notes = carried(source, out)
    assert streams == [("audio", sound if kept else "aac"), ("audio", "ac3"), ("subtitle", "mov_text")]
    assert (
        (f"({sound}) was converted to aac" in notes) != kept
        and "subrip" in notes
        and "could not" not in notes
    )
    assert b"Hello" in oracle.run("-i", out, "-map", "0:s", "-f", "srt", "-")


def test_opus_goes_into_mp4_and_not_into_mov(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    oracle.run(*PICTURE, *SOUND, *X264, "-c:a", "libopus", source)
    assert carried(source, tmp_path / "out.mp4") == ([("audio", "opus")], "")
    streams, notes = carried(source, tmp_path / "out.mov")
    assert streams == [("audio", "aac")] and "(opus) was converted to aac" in notes


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"no font")
    (tmp_path / "cover.srt").write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    attached = ("-attach", tmp_path / "font.ttf", "-metadata:s:t", "mimetype=font/ttf")
    oracle.run(*PICTURE, *X264, *attached, "-metadata:s:v", "stereo_mode=left_right", tmp_path / "in.mkv")
    oracle.run(*PICTURE, *X264, "-timecode", "01:00:00:00", tmp_path / "in.mov")
    streams, notes = carried(tmp_path / "in.mkv", tmp_path / "out.mp4")
    assert streams == [] and "font.ttf" in notes and "stereo" in notes
    streams, notes = carried(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert streams == [("attachment", "")] and "font.ttf" not in notes
    streams, notes = carried(tmp_path / "in.mov", tmp_path / "out.mp4")
    assert streams == [] and "timecode" in notes and "TimeCodeHandler" in notes


def test_telemetry_is_told(tmp_path: Path) -> None:
    """A track of data such as cameras write."""
    source = tmp_path / "in.ts"
    oracle.run(*PICTURE, *X264, tmp_path / "v.mp4")
    with av.open(str(tmp_path / "v.mp4")) as picture, av.open(str(source), "w") as target:
        video = target.add_stream_from_template(picture.streams.video[0])
        klv = target.add_data_stream("klv")
        for packet in picture.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                target.mux(packet)
        packet = av.Packet(b"GPSU" * 8)
        packet.pts = packet.dts = 0
        packet.stream = klv
        target.mux(packet)
    _, notes = carried(source, tmp_path / "out.mp4")
    assert "data stream 1 (klv) does not fit" in notes


def test_long_tags_of_all_kinds(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    (tmp_path / "c.txt").write_text(
        f";FFMETADATA1\ncomment={'y' * 200_000}\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=500\ntitle={'c' * 200_000}\n"
    )
    names = ("-metadata:s:v:0", f"title={'x' * 100_000}", "-metadata:s:a:0", f"title={'z' * 100_000}")
    oracle.run(*PICTURE, *SOUND, "-i", tmp_path / "c.txt", "-map_metadata", 2, *names, *X264, source)
    for suffix in (".mp4", ".mkv", ".mov"):
        streams, notes = carried(source, tmp_path / f"out{suffix}")
        assert [kind for kind, _ in streams if kind == "audio"] == ["audio"] and "title was cut" in notes
