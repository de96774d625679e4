"""What type checkers see of the public calls: no Any, and every mistake."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORRECT, MISTAKEN = HERE / "user_script.py", HERE / "mistakes.py"
MISTAKES = {number for number, line in enumerate(MISTAKEN.read_text().splitlines(), 1) if "# mistake" in line}
pytestmark = pytest.mark.slow


def checked(*command: str, folder: Path) -> str:
    """What a checker prints; it looks at the videxplain that this Python has."""
    import videxplain

    path = str(Path(videxplain.__file__).parents[1])
    environment = {**os.environ, "MYPYPATH": "" if "site-packages" in path else path}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=folder, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_mypy(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    strict = ("mypy", "--strict", "--follow-imports=silent", "--no-color-output")
    assert "Success" in checked(*strict, "--disallow-any-expr", str(CORRECT), folder=tmp_path)
    said = checked(*strict, str(MISTAKEN), folder=tmp_path)
    assert {int(line) for line in re.findall(r"mistakes.py:(\d+): error", said)} == MISTAKES


def test_pyright(tmp_path: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is not installed; the test extra has it")
    import videxplain

    if "1." not in checked("pyright", "--version", folder=tmp_path):
        pytest.skip("pyright could not fetch what it runs on")
    for script in (CORRECT, MISTAKEN):
        (tmp_path / script.name).write_text(script.read_text())
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(Path(videxplain.__file__).parents[1])]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ("pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(tmp_path))
    report = json.loads(checked(*command, folder=tmp_path))
    lines: dict[str, set[int]] = {CORRECT.name: set(), MISTAKEN.name: set()}
    for found in report["generalDiagnostics"]:
        if found["severity"] == "error":
            lines[Path(found["file"]).name].add(found["range"]["start"]["line"] + 1)
    assert lines == {CORRECT.name: set(), MISTAKEN.name: MISTAKES}, report["generalDiagnostics"]
