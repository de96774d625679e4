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


def facts(path: Path) -> dict[str, Any]:
    """What can be compared; sizes and the aspect ratio as they are shown, upright."""
    with vx.open_video(path) as video:
        shape = (video.width, video.height, video.sample_aspect_ratio)
    times = [time for time, _ in oracle.decoded(path)]
    with av.open(str(path)) as container:
        kinds = sorted(stream.type for stream in container.streams)
        sounds = [(s.codec_context.name, s.metadata.get("language")) for s in container.streams.audio]
        duration = Fraction(container.duration, av.time_base)
    return {"shape": shape, "times": times, "kinds": kinds, "sounds": sounds, "duration": duration}


@pytest.mark.parametrize("make", [variable, rotated, two_sounds, subtitled])
def test_the_container_keeps_what_it_had(tmp_path: Path, make: Any) -> None:
    source, out = make(tmp_path), tmp_path / "out.mp4"
    annotate(vx.load_model("c3d-motion"), source, out, segmentation="grid", n_segments=8, preset="ultrafast")
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
