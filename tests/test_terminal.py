"""Names of files and classes are shown, never obeyed by the terminal."""

from __future__ import annotations

import io
import os
from pathlib import Path

import ffmpeg_oracle as oracle
import pytest

from videxplain import cli
from videxplain.terminal import say, shown

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202egnp.\u2066\rx"


def harmless(text: str) -> bool:
    return all(c in "\n\t" or (c.isprintable()) for c in text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat", "cat"),
        ("Zürich 東京 🏃", "Zürich 東京 🏃"),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb\rc", r"a\x0ab\x0dc"),
        ("\x9b\u202e\u2028", r"\x9b\u202e\u2028"),
        (os.fsdecode(b"\xff.mp4"), r"\xff.mp4"),
    ],
)
def test_shown(text: str, expected: str) -> None:
    assert shown(text) == expected and harmless(expected)


def test_a_terminal_without_these_letters() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    say("Zürich\n\x1b", file=stream)
    stream.flush()
    assert stream.buffer.getvalue() == b"Z\\xfcrich\n\\x1b\n"


def test_every_command_that_names_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = EVIL.replace("/", "")
    video = tmp_path / f"{name}.mp4"
    oracle.run(
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=64x48:rate=25:duration=0.7",
        "-c:v",
        "libx264",
        tmp_path / "in.mp4",
    )
    (tmp_path / "in.mp4").rename(video)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / f"{name}.mp4").write_bytes(video.read_bytes())
    (tmp_path / "videos" / f"{name}broken.mp4").write_text("nothing")
    commands = [
        ["annotate", video.name, "-o", f"{name}out.mp4"],
        ["annotate", "videos", "-o", f"{name}folder"],
        ["annotate", f"{name}missing.mp4", "-o", "x.mp4"],
        ["annotate", video.name, "-o", f"{name}nowhere/x.mp4"],
        ["explain", video.name, "-o", f"{name}.png"],
        ["explain", video.name, "-o", f"{name}.gif"],
        ["explain", video.name, "-o", "x.png", "--target", name],
        ["explain", video.name, "-o", "x.png", "--model", name],
        ["explain", video.name, "-o", "x.png", "--weights", name],
        ["explain", video.name, "-o", "x.png", "--method", name],
        ["evaluate", "curves", "--data", name],
        ["models", "--layers", name],
        [name],
        ["annotate", name],
        ["annotate", name, "-o", name, "--top-k", name],
    ]
    said = ""
    for command in commands:
        try:
            cli.main(command)
        except SystemExit as end:
            assert end.code == 2
        captured = capsys.readouterr()
        text = (captured.out + captured.err).replace("\rout", "")
        lines = [
            line for line in text.split("\n") if "frame" not in line or "\\x1b" in line or "explained" in line
        ]
        bars = [line for line in lines if "frame/s" in line or "%|" in line]
        for line in lines:
            if line not in bars:
                assert harmless(line), (command[0], line)
        for bar in bars:
            assert "\x1b]" not in bar and "\u202e" not in bar and "\x07" not in bar
        said += text
    assert r"\x1b]0;owned\x07" in said
