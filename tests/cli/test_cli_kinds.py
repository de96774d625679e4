"""Networks of every kind through `explain`, `annotate` and `evaluate`, as functions of a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import videxplain as vx
from videxplain.cli import main

NETWORKS = """
import numpy as np, torch
from torch import nn
import videxplain as vx

SHAPE = {"clip_length": 8, "size": (32, 32)}
NAMES = {"class_names": ["a", "b", "c"]}

class Net(nn.Module):
    def __init__(self, channels=3, outputs=3, head=lambda y: y):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.relu = nn.Conv3d(channels, 6, 3, padding=1, stride=(1, 2, 2)), nn.ReLU()
        self.fc, self.head = nn.Linear(6, outputs), head

    def forward(self, x):
        return self.head(9 * self.fc(self.relu(self.body(x)).mean((2, 3, 4))) - 2)

class Pathways(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.slow = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.ReLU())
        self.fast = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(10, 3)

    def forward(self, pathways):
        slow, fast = pathways
        parts = self.slow(slow), self.fast(fast)
        return self.fc(torch.cat([part.mean((2, 3, 4)) for part in parts], 1)) - 2

class Frames(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.frame, self.fc = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()), nn.Linear(6, 3)

    def forward(self, x):
        features = self.frame(x.transpose(1, 2).flatten(0, 1)).mean((2, 3))
        return self.fc(features).unflatten(0, (len(x), -1)) - 2

class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv3d(3, 16, (2, 8, 8), (2, 8, 8))
        self.block, self.fc = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.block(self.embed(x).flatten(2).transpose(1, 2)).mean(1)) - 2

def pathways():
    cam = {"cam_layer": ["slow", "fast"]}
    return vx.Classifier(Pathways(), arrange=lambda x: ([x[:, :, ::4], x],), **cam, **NAMES, **SHAPE)

def scan():
    return vx.Classifier(Net(1), channels=1, value_range=(0, 4095), **NAMES, **SHAPE)

def streams():
    groups = {"rgb": slice(0, 3), "flow": slice(3, 5)}
    picture = lambda frames: (255 * frames[..., :3]).astype(np.uint8)
    return vx.Classifier(Net(5), channels=5, channel_groups=groups, picture=picture, **NAMES, **SHAPE)

def one_output():
    return vx.Classifier(Net(outputs=1), task="multi-label", class_names=["cut"], **SHAPE)

def pair():
    return vx.Classifier(Net(outputs=1), class_names=["no", "yes"], **SHAPE)

def labels():
    return vx.Classifier(Net(), task="multi-label", **NAMES, **SHAPE)

def value():
    return vx.Classifier(Net(outputs=1), task="regression", class_names=["ef"], **SHAPE)

def values():
    return vx.Classifier(Net(outputs=2), task="regression", class_names=["ef", "rate"], **SHAPE)

def per_frame():
    return vx.Classifier(Frames(), per_frame=True, **NAMES, **SHAPE)

def softmax():
    return vx.Classifier(Net(head=lambda y: y.softmax(1)), outputs="probabilities", **NAMES, **SHAPE)

def parts():
    return vx.Classifier(Net(head=lambda y: {"verb": y, "noun": y[:, :2]}), select="noun", **SHAPE)

def tokens():
    return vx.Classifier(Tokens(), **NAMES, **SHAPE)

def hugging_face():
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification
    torch.manual_seed(0)
    width = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    shape = {"image_size": 32, "patch_size": 8, "num_frames": 8}
    return VideoMAEForVideoClassification(VideoMAEConfig(**width, **shape, initializer_range=0.2))
"""
FILM = np.random.default_rng(0).integers(0, 256, (12, 6, 6, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)
SCAN = np.random.default_rng(1).integers(0, 4096, (12, 6, 6)).astype(np.uint16).repeat(8, 1).repeat(8, 2)
STREAMS = np.random.default_rng(2).random((8, 48, 48, 5)).astype(np.float32)
KINDS = {
    "pathways": ("film", "grad-cam", {}),
    "scan": ("scan.npz", "vanilla", {}),
    "scan of pages": ("pages", "vanilla", {}),
    "streams": ("streams.npz", "vanilla", {}),
    "one_output": ("film", "occlusion", {}),
    "pair": ("film", "vanilla", {"target": "no"}),
    "labels": ("film", "guided", {"target": "b"}),
    "labels of two": ("film", "vanilla", {"target": "b", "against": "a"}),
    "value": ("film", "vanilla", {}),
    "values": ("film", "vanilla", {"target": "rate"}),
    "per_frame": ("film", "grad-cam", {"frame": 3}),
    "softmax": ("film", "vanilla", {}),
    "softmax of two": ("film", "input-x-gradient", {"target": "c", "against": "#1"}),
    "parts": ("film", "vanilla", {}),
    "tokens": ("film", "grad-cam", {}),
    "hugging_face": ("film", "grad-cam", {"target": 1}),
}
REFUSED = {
    "values": ([], "gives 2 values; say with target which one is explained"),
    "value": (["--against", "ef"], "against means nothing to a regression"),
    "labels": (["--target", "b", "--against", "b"], "cannot be explained against itself"),
    "softmax": (["--frame", "3"], "frame means nothing"),
    "per_frame": (["--frame", "9"], "answers for 8 frames, 0 to 7, and none for 9"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film as lossless frames, a scan of 12 bits as array and pages, and RGB with flow."""
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "every_kind.py").write_text(NETWORKS)
    for name, clip in (("film", FILM), ("pages", SCAN)):
        (folder / name).mkdir()
        for number, frame in enumerate(clip):
            Image.fromarray(frame).save(folder / name / f"{number:02d}.png")
    np.savez(folder / "scan.npz", frames=SCAN)
    np.savez(folder / "streams.npz", frames=STREAMS)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def flags(kind: str, method: str, asked: dict[str, Any]) -> list[str]:
    said = [part for name, value in asked.items() for part in (f"--{name}", str(value))]
    name = kind.split(" ")[0]
    return ["--model", f"every_kind:{name}", "--method", method, "--segments", "12", *said]


def slow_but(*quick: str) -> list[Any]:
    return [kind if kind in quick else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize("kind", slow_but(*set(KINDS) - {"hugging_face"}))
def test_explain_gives_what_python_gives(kind: str, here: Path) -> None:
    source, method, asked = KINDS[kind]
    if kind == "hugging_face":
        pytest.importorskip("transformers", reason="the extra videxplain[transformers] is not installed")
    assert main(["explain", source, "-o", "out.png", "--save", "saved", *flags(kind, method, asked)]) == 0
    saved = vx.Explanation.load("saved")
    frames = {"film": FILM, "streams.npz": STREAMS}.get(source, SCAN)[:8]
    model = vx.load_model(f"every_kind:{kind.split(' ')[0]}")
    right = vx.explain(model, frames, method, **asked, n_segments=12)
    np.testing.assert_array_equal(saved.scores, right.scores)
    assert saved.scores.any() and saved.headline() == right.headline()
    with Image.open("out.png") as picture:
        assert picture.width == 4 * 48 and picture.height > 2 * 48, "frames over a footer"


def test_signs_are_printed_where_they_tell_for_which_class(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, method, asked = KINDS["softmax of two"]
    assert (
        main(["explain", source, "-o", "out.png", "--save", "saved", *flags("softmax", method, asked)]) == 0
    )
    printed = [
        line.split("share")[1].split()[0]
        for line in capsys.readouterr().out.splitlines()
        if " share " in line
    ]
    best = sorted(vx.Explanation.load("saved").scores, reverse=True)[:5]
    assert [share[0] for share in printed] == ["+" if score > 0 else "-" for score in best]


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("command", ["explain", "annotate"])
def test_questions_that_cannot_be_are_refused(
    command: str, kind: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    options, message = REFUSED[kind]
    (here / "refused").mkdir(exist_ok=True)
    output = {"explain": "refused/out.png", "annotate": "refused/out.mp4"}[command]
    source = {"explain": "film", "annotate": "film/%02d.png"}[command]
    assert main([command, source, "-o", output, *flags(kind, "vanilla", {}), *options]) == 1
    said = capfd.readouterr().err.strip().splitlines()
    assert message in said[-1] and not list((here / "refused").iterdir())


@pytest.mark.parametrize("kind", slow_but("pathways", "value", "per_frame", "softmax of two"))
def test_annotate(kind: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    av = pytest.importorskip("av")
    source, method, asked = KINDS[kind]
    source = {"film": "film/%02d.png", "pages": "pages/%02d.png"}.get(source, source)
    output = here / f"{kind.replace(' ', '-')}.mp4"
    done = main(["annotate", source, "-o", str(output), "--quiet", *flags(kind, method, asked)])
    if not source.startswith("film"):
        assert done == 1 and not output.exists()
        assert "annotate reads videos as 8-bit RGB" in capfd.readouterr().err
        return
    assert done == 0
    with av.open(str(output)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 12
    # something is drawn on the picture, above the line of text
    assert np.abs(frames[5][:24].astype(int) - FILM[5][:24]).mean() > 10


def data_of(kind: str, here: Path, film: Callable[[Path, np.ndarray], None]) -> str:
    """A folder with one clip in each of two classes, as the kind's network takes it."""
    source = KINDS[kind][0]
    data = here / f"data-{source.split('.')[0]}"
    for number, label in enumerate(("a", "b")):
        (data / label).mkdir(parents=True, exist_ok=True)
        if source == "film":
            film(data / label / "clip.mp4", np.roll(FILM, number, axis=0))
        else:
            clip = STREAMS if source == "streams.npz" else SCAN
            np.savez(data / label / "clip.npz", frames=np.roll(clip, number, axis=0))
    return data.name


@pytest.mark.parametrize(
    ("experiment", "kind"),
    [
        ("removal", "value"),
        *(
            pytest.param("removal", kind, marks=pytest.mark.slow)
            for kind in ("scan", "streams", "pathways", "one_output", "labels", "per_frame", "tokens")
        ),
        pytest.param("agreement", "softmax", marks=pytest.mark.slow),
    ],
)
def test_evaluate(
    kind: str, experiment: str, here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from fractions import Fraction

    def film(path: Path, frames: np.ndarray) -> None:
        import av

        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(10))
            stream.width, stream.height, stream.pix_fmt = 48, 48, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())

    named = ["--model", f"every_kind:{kind.split(' ')[0]}", "--data", data_of(kind, here, film)]
    rows = ["--methods", "vanilla,lime-20", "--segments", "12", "--quiet", "--out", str(tmp_path)]
    more = ["--reference", "20"] if experiment == "agreement" else []
    done = main(["evaluate", experiment, *named, *rows, *more])
    said = capfd.readouterr()
    refused = {
        "value": "gives values, and the experiments are on classes",
        "one_output": "does not decide for it; there is no decision that removal could change",
    }
    if kind in refused:
        assert done == 1 and "none of 2 items could be evaluated" in said.err
        assert refused[kind] in said.err.splitlines()[-1]
        return
    assert done == 0 and "2 of 2 items" in said.out
    assert (tmp_path / "report.html").exists()
