"""Damaged videos: small clips of many containers and codecs, cut off, with flipped bytes, with packets swapped.

python tests/damage.py COUNT      # annotates so many of them, each in a process of its own, and counts what happens
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import ffmpeg_oracle as oracle

import videxplain.annotate
import videxplain.models  # noqa: F401
from videxplain import cli

CLIPS = {
    "h264.mp4": ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "10"),
    "h264.mkv": ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "2"),
    "hevc.mp4": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"),
    "hevc.mov": ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"),
    "av1.mkv": ("-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"),
    "mpeg4.avi": (
        "-c:v",
        "mpeg4",
    ),
    "mpeg4.mov": ("-c:v", "mpeg4", "-g", "5"),
}
KINDS = ("truncated", "flipped", "swapped")
FRAMES = 20


def make_clips(folder: Path) -> list[Path]:
    """One sound clip of each kind, 20 frames of 64x48 with a tone."""
    paths = []
    for name, options in CLIPS.items():
        path = folder / name
        sound = ("-c:a", "libopus") if name.endswith("webm") else ("-c:a", "aac")
        picture = ("-f", "lavfi", "-i", "testsrc2=size=64x48:rate=25")
        tone = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.8")
        oracle.run(*picture, *tone, *options, *sound, "-frames:v", FRAMES, "-strict", "-2", path)
        paths.append(path)
    return paths


def damaged(clips: list[Path], folder: Path, count: int, seed: int = 0) -> Iterator[Path]:
    """`count` damaged copies, clips and kinds of damage in turn."""
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        clip = clips[number % len(clips)]
        kind = KINDS[number // len(clips) % len(KINDS)]
        path = folder / f"{number:04d}-{kind}-{clip.name}"
        if kind == "swapped":
            _swap_packets(clip, path, rng)
        else:
            data = bytearray(clip.read_bytes())
            if kind == "truncated":
                data = data[: rng.randrange(len(data))]
            else:
                for _ in range(rng.choice((1, 3, 10, 50))):
                    data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
            path.write_bytes(data)
        yield path


def _swap_packets(clip: Path, path: Path, rng: random.Random) -> None:
    """The same container with the contents of two video packets exchanged, and one left out."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in source.demux(stream) if packet.size]
        a, b, lost = rng.sample(range(len(packets)), 3)
        contents = [bytes(packet) for packet in packets]
        contents[a], contents[b] = contents[b], contents[a]
        for number, (packet, content) in enumerate(zip(packets, contents, strict=True)):
            if number != lost:
                changed = av.Packet(content)
                changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
                changed.duration, changed.stream = packet.duration, copy
                changed.is_keyframe = packet.is_keyframe
                with contextlib.suppress(av.FFmpegError):  # what the container refuses is lost as well
                    target.mux(changed)


def frames_that_ffmpeg_decodes(path: Path) -> int:
    """How many frames the ffmpeg program gets out of a file, whatever it says about the rest."""
    command = [oracle.ffmpeg_executable(), "-nostdin", "-loglevel", "quiet", "-i", str(path), "-map", "0:V:0"]
    command += ["-fps_mode", "passthrough", "-f", "framemd5", "-"]
    try:
        text = subprocess.run(command, capture_output=True, timeout=60).stdout.decode()
    except subprocess.TimeoutExpired:
        return 0
    return sum(1 for line in text.splitlines() if line and not line.startswith("#"))


def judge(source: Path, output: Path, status: int, said: str) -> str:
    """In a word what became of a damaged file; words in capitals are faults of ours."""
    if "Traceback" in said:
        return "TRACEBACK"
    expected = frames_that_ffmpeg_decodes(source)
    if status:
        if output.exists():
            return "FILE AFTER FAILURE"
        return "refused" if not expected else f"REFUSED {expected} FRAMES"
    got = frames_that_ffmpeg_decodes(output)
    return "explained" if got >= expected else f"LOST FRAMES ({got} of {expected})"


def annotate_in_a_fork(arguments: list[str], said: Path, limit: float = 120) -> int | None:
    """The command's exit status, None if it took longer than the limit (seconds); stderr goes to `said`.

    A forked process has all that is slow to import; it may be lost without harm to this one.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            with open(said, "w") as file:
                os.dup2(file.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                status = cli.main(["annotate", *arguments])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def main() -> None:
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output, said = folder / "out.mp4", folder / "said"
        for path in damaged(make_clips(folder), folder, int(sys.argv[1])):
            arguments = [str(path), "-o", str(output), "--quiet", "--segments", "12", "--preset", "ultrafast"]
            status = annotate_in_a_fork(arguments, said)
            outcome = "HANG" if status is None else judge(path, output, status, said.read_text())
            if status is not None and status not in (0, 1):
                outcome = f"DIED ({status})"
            outcomes[outcome] += 1
            if outcome[0].isupper():
                print(path.name, outcome, flush=True)
            for left in (output, path):
                left.unlink(missing_ok=True)
    for outcome, count in outcomes.most_common():
        print(f"{count:5d} {outcome}")


if __name__ == "__main__":
    main()
