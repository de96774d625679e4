"""What short help and the tables of networks and methods tell, against what networks and methods do."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import videxplain as vx
from videxplain.attribution.methods import METHODS
from videxplain.cli import COMMANDS, EXAMPLES, main


class Small(torch.nn.Module):
    """Three classes from a grid of features; `slopes` tells whether gradients can be had."""

    def __init__(self, slopes: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, stride=4), torch.nn.ReLU())
        self.head = torch.nn.Linear(4, 3)
        self.slopes = slopes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer = self.head(self.features(x).mean(dim=(2, 3)))
        return answer if self.slopes else answer.detach()


def table(capsys: pytest.CaptureFixture[str], command: str) -> dict[str, dict]:
    assert main([command, "--json"]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_methods_need_gradients_and_tell_classes_apart_as_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(capsys, "methods")
    assert set(rows) == set(METHODS)
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    labels = (np.indices((32, 32)) // 16 * np.array([2, 1])[:, None, None]).sum(axis=0)[None].astype(np.int32)
    settings = {"size": (32, 32), "layout": "BCHW"}
    for name, row in rows.items():
        if name.startswith("lrp") or name == "auto":
            continue
        options = {"samples": 32} if row["options"].get("samples") else {}

        def scores(target: int, net: torch.nn.Module, name=name, options=options) -> np.ndarray:
            model = vx.Classifier(net, **settings)
            return vx.explain(model, image, name, target, labels=labels, **options).scores

        one, other = (scores(target, Small().eval()) for target in (0, 1))
        assert np.array_equal(one, other) != row["by class"], name
        if row["gradients"]:
            with pytest.raises(vx.VidexplainError):
                scores(0, Small(slopes=False).eval())
        else:
            assert np.isfinite(scores(0, Small(slopes=False).eval())).all()


@pytest.mark.parametrize("name", ["resnet18", "c3d-motion"])
def test_models_have_the_classes_and_parameters_that_are_listed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row = table(capsys, "models")[name]
    model = vx.load_model(name, weights="random")
    assert row["classes"] == model.num_classes
    if row["parameters"] is not None:
        assert row["parameters"] == sum(p.numel() for p in model.net.parameters())


@pytest.mark.parametrize("command", ["models", "methods"])
def test_columns_line_up(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    first = next(iter(table(capsys, command)))
    assert main([command]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("name ") and lines[1].startswith(f"{first} ")
    column = lines[0].index("for " if command == "models" else "passes")
    block = lines[: lines.index("")] if "" in lines else lines
    assert all(line[column - 1] == " " and line[column] != " " for line in block)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_help_is_short_and_all_options_are_at_hand(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {}
    for flag in ("-h", "--help-all"):
        with pytest.raises(SystemExit) as ended:
            main([command, flag])
        assert ended.value.code == 0
        texts[flag] = capsys.readouterr().out
    assert len(texts["-h"].splitlines()) <= 40
    assert f"All options: videxplain {command} --help-all" in texts["-h"]
    assert all(f"  videxplain {example}\n" in texts["-h"] for example in EXAMPLES[command])
    flags = {word for example in EXAMPLES[command] for word in example.split() if word.startswith("--")}
    assert all(f"{flag} " in texts["--help-all"] for flag in flags), "examples have options that there are"


def test_help_of_a_command_imports_no_torch() -> None:
    code = (
        "import sys, videxplain.cli as c\n"
        "for command in c.COMMANDS:\n"
        "    try: c.main([command, '-h'])\n"
        "    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_explain_prints_json(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    image = np.random.default_rng(0).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "in.png")
    out = tmp_path / "out.png"
    command = ["explain", str(tmp_path / "in.png"), "-o", str(out), "--method", "guided", "--top-k", "3"]
    assert main([*command, "--model", "c3d-motion", "--segmentation", "grid", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = vx.explain(
        vx.load_model("c3d-motion"), vx.Clip.from_image(tmp_path / "in.png"), "guided", segmentation="grid"
    )
    assert told["target"] == expected.target_name and len(told["top"]) == 3
    assert [row["id"] for row in told["top"]] == expected.top_ids(3).tolist()
