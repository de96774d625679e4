"""Clocks that jump or begin late: picture and sound as ffmpeg places them, or where it fails, as they were recorded."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

import videxplain as vx
from videxplain.annotate import annotate

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25:duration=2")
SOUND = ("-f", "lavfi", "-i", "sine=duration=2:sample_rate=48000")
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-bf", 2, "-pix_fmt", "yuv420p")
MPEG2 = ("-c:v", "mpeg2video", "-c:a", "mp2")


def part(path: Path, offset: int = 0, codecs: tuple[object, ...] = X264) -> bytes:
    """Two seconds with a tone, by a clock that begins at `offset`."""
    oracle.run(*PICTURE, *SOUND, *codecs, "-output_ts_offset", offset, path)
    return path.read_bytes()


def explained(source: Path, output: Path) -> vx.annotate.Summary:
    return annotate(
        vx.load_model("c3d-motion"), source, output, segmentation="grid", n_segments=8, preset="ultrafast"
    )


def by_ffmpeg(path: Path, *options: object) -> dict[str, list[Fraction]]:
    """When frames and packets of sound are shown, after ffmpeg has set the clock right by itself."""
    text = oracle.run(
        *options, "-i", path, "-map", "v:0", "-map", "a:0", "-fps_mode", "passthrough", "-enc_time_base:v", "demux",
        "-c:a", "copy", "-c:v", "rawvideo", "-f", "framecrc", "-",
    ).decode()  # fmt: skip
    bases, times = {}, {"v:0": [], "a:0": []}
    for line in text.splitlines():
        if line.startswith("#tb "):
            number, base = line[4:].split(":")
            bases[number] = Fraction(base.strip())
        elif not line.startswith("#"):
            number, _, pts = (field.strip() for field in line.split(",")[:3])
            times["va"[int(number)] + ":0"].append(int(pts) * bases[number])
    return times


def close(ours: list[Fraction], theirs: list[Fraction], tolerance: Fraction = Fraction(1, 20_000)) -> bool:
    return len(ours) == len(theirs) and all(
        abs(a - b) <= tolerance for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("order", ["ba", "ab", "aba"])
def test_a_clock_that_jumps_goes_on_as_ffmpeg_has_it(tmp_path: Path, order: str) -> None:
    parts = {"a": part(tmp_path / "a.ts"), "b": part(tmp_path / "b.ts", 20_000)}
    source, output = tmp_path / "in.ts", tmp_path / "out.mp4"
    source.write_bytes(b"".join(parts[letter] for letter in order))
    summary = explained(source, output)
    assert vx.open_video(source).duration is None, "what its first and last time stamp say is not true"
    expected, found = by_ffmpeg(source), by_ffmpeg(output, "-copyts")
    assert summary.frames == 50 * len(order) == len(expected["v:0"])
    for kind, theirs in expected.items():
        assert close(found[kind], theirs), kind
    assert any("jumped (at 2.0" in note or "jumped (at 1.9" in note for note in summary.notes)


@pytest.mark.parametrize(
    "suffix, codecs, parts", [("ts", X264, 2), ("ts", X264, 3), ("mpg", MPEG2, 3), ("mkv", X264, 2)]
)
def test_a_clock_that_begins_again(
    tmp_path: Path, suffix: str, codecs: tuple[object, ...], parts: int
) -> None:
    """Recordings put one behind the other: each plays as it does alone. ffmpeg may leave a gap, or lose sound."""
    source, output = tmp_path / f"in.{suffix}", tmp_path / "out.mp4"
    one = part(tmp_path / f"one.{suffix}", codecs=codecs)
    source.write_bytes(one * parts)
    summary = explained(source, output)
    assert summary.frames == 50 * parts and "jumped" in " ".join(summary.notes)
    alone = by_ffmpeg(tmp_path / f"one.{suffix}")
    for kind in ("v:0", "a:0"):
        times = [time for time, _ in oracle.decoded(output, kind)]
        assert abs(len(times) - parts * len(alone[kind])) <= parts, kind
        assert abs(times[-1] - (alone[kind][-1] + 2 * (parts - 1))) < Fraction(1, 10), kind
        assert max(b - a for a, b in pairwise(times)) < Fraction(1, 10), kind


@pytest.mark.parametrize("suffix", ["mkv", "flv", "mp4", "mpg"])
def test_a_clock_that_begins_late(tmp_path: Path, suffix: str) -> None:
    source, output = tmp_path / f"late.{suffix}", tmp_path / "out.mp4"
    part(source, 5000, MPEG2 if suffix == "mpg" else X264)
    summary = explained(source, output)
    assert summary.frames == 50 and summary.notes == []
    expected, found = by_ffmpeg(source), by_ffmpeg(output, "-copyts")
    for kind, theirs in expected.items():
        assert close(found[kind], theirs, Fraction(1, 300)), (
            kind
        )  # for what is cut from the first packet of sound
    with vx.open_video(source) as video:
        assert video.duration is not None and abs(video.duration - 2) < Fraction(1, 10)


def test_a_pause_in_a_recording_stays(tmp_path: Path) -> None:
    """Six seconds without packets are no jump, and Matroska may pause for minutes."""
    for suffix, offset in (("ts", 8), ("mkv", 600)):
        source, output = tmp_path / f"in.{suffix}", tmp_path / "out.mp4"
        source.write_bytes(part(tmp_path / f"a.{suffix}") + part(tmp_path / f"b.{suffix}", offset))
        summary = explained(source, output)
        times = [time for time, _ in oracle.decoded(output)]
        assert abs(times[50] - times[0] - offset) < Fraction(1, 10) and summary.notes == []


def test_sound_that_overlaps_where_recordings_were_joined_is_told(tmp_path: Path) -> None:
    """The sound of each goes on for a second without a picture: of that of the second, the beginning finds no place."""
    source, output = tmp_path / "in.ts", tmp_path / "out.mp4"
    oracle.run(*PICTURE, "-f", "lavfi", "-i", "sine=duration=3:sample_rate=48000", *X264, tmp_path / "one.ts")
    source.write_bytes((tmp_path / "one.ts").read_bytes() * 2)
    summary = explained(source, output)
    found = by_ffmpeg(output, "-copyts")
    assert summary.frames == 100 and "overlap" in " ".join(summary.notes)
    assert abs(found["a:0"][-1] - found["v:0"][-1] - 1) < Fraction(1, 10)
    assert max(b - a for a, b in pairwise(found["a:0"])) < Fraction(1, 15)
