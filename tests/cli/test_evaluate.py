"""`videxplain evaluate` as a user meets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videxplain.attribution.methods import METHODS
from videxplain.cli import main


@pytest.mark.slow
def test_localization_of_the_bundled_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The supervoxels that guided backpropagation lights lie on what moves; random ones seldom do."""
    out = tmp_path / "run"
    command = ["evaluate", "localization", "--count", "10", "--methods", "random,guided", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "10 of 10 items" in printed and "pointing game" in printed and "report.html" in printed
    lines = (out / "table.csv").read_text().splitlines()
    centre = {line.split(",")[1]: float(line.split(",")[3]) for line in lines[1:]}
    assert lines[0].startswith("segments,method,items,centre,")
    assert centre["guided"] >= 0.7 and centre["random"] <= 0.45
    first = (out / "report.html").read_bytes()
    assert main(command) == 0  # nothing is left to do, and nothing changes
    assert (out / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["removals"], "did you mean 'removal'"),
        (["removal", "--methods", "guide"], "did you mean 'guided'"),
        (["removal", "--fill", "pink"], "unknown fill 'pink'"),
        (["removal", "--data", "{tmp}/none"], "there is no data"),
        (["removal", "--segments", "many"], "--segments takes whole numbers"),
        (["removal", "--shard", "1"], "--shard is two numbers"),
        (["removal", "--shard", "3/2", "--count", "1"], "no shard 3 of 2"),
        (["removal", "--engine", "steam", "--count", "1"], "unknown engine 'steam'"),
        (["removal", "--count", "0"], "0 generated clips"),
        (["removal", "--model", "c3d-motions"], "did you mean 'c3d-motion'"),
        (["removal", "--out", "{tmp}/full"], "not empty"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    if "--out" not in filled:
        filled += ["--out", str(tmp_path / "run")]
    if "--model" not in filled:
        filled += ["--model", "c3d-motion"]
    assert main(["evaluate", *filled]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and message in error[0]
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_methods_that_fail_the_sanity_check_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from videxplain.evaluation.caveats import CAVEATS

    assert set(CAVEATS) < set(METHODS)
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)).save(photo)
    for method, noted in (("guided", True), ("vanilla", False)):
        arguments = ["--model", "resnet18", "--weights", "random", "--method", method]
        assert main(["explain", str(photo), "-o", str(tmp_path / "o.png"), *arguments]) == 0
        assert ("note: guided" in capsys.readouterr().out) == noted
