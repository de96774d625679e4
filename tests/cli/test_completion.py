from __future__ import annotations

import json
import shutil
import subprocess

import pytest

import videxplain as vx
from videxplain.cli import COMMANDS, main
from videxplain.ops import backends

pytest.importorskip("shtab", reason="the extra videxplain[completion] is not installed")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_and_options(capsys, tmp_path):
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "completion.sh"
    script.write_text(capsys.readouterr().out)

    def completed(*words):
        ask = f"""source {script}
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}
_shtab_videxplain 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}" """
        return subprocess.run(["bash", "-c", ask], capture_output=True, text=True).stdout.split()

    assert set(COMMANDS) <= set(completed("videxplain", "''"))
    assert "--segments" in completed("videxplain", "explain", "--seg")
    assert "--quiet" in completed("videxplain", "evaluate", "--qu")


def test_info_as_json(capsys):
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["system"]["videxplain"] == vx.__version__
    assert set(told["operations"]) == set(backends())
    assert all(told["operations"][name].startswith(backend) for name, (backend, _) in backends().items())
