"""Lint, format and types are part of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NATIVE = sorted(
    str(p)
    for end in ("cpp", "h", "cu", "cuh")
    for top in ("csrc", "tests")
    for p in (ROOT / top).rglob(f"*.{end}")
)


def tool(name: str) -> str:
    """The program installed beside this Python, whatever PATH says."""
    return str(Path(sys.executable).with_name(name))


def run(program: str, *arguments: str) -> None:
    done = subprocess.run([program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_lint() -> None:
    run(tool("ruff"), "check", ".")


def test_ruff_format() -> None:
    run(tool("ruff"), "format", "--check", ".")


@pytest.mark.slow
def test_mypy() -> None:
    run(tool("mypy"))


@pytest.mark.skipif(not NATIVE, reason="no native sources")
def test_clang_format() -> None:
    run(tool("clang-format"), "--dry-run", "-Werror", *NATIVE)
