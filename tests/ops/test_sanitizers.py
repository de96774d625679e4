"""The CPU kernels without torch, compiled with sanitizers and run on random volumes with one thread and with three."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-O1", "-g", "-ffp-contract=off", "-Wno-psabi", "-pthread")
SANITIZERS = {
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-fsanitize=thread",),
}
SOURCES = sorted((ROOT / "csrc" / "cpu").glob("*.cpp"))
PER_VARIANT = [path for path in SOURCES if '#include "vectors.h"' in path.read_text()]
"""Compiled once for each instruction set."""
VARIANTS: dict[str, tuple[str, ...]] = {"plain": ()}
if platform.machine() in ("x86_64", "AMD64"):
    VARIANTS["avx2"] = ("-mavx2", "-mfma")
    VARIANTS["avx512"] = ("-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="no g++ to compile the kernels with"),
]


def compiled(folder: Path, sanitizer: str) -> Path:
    common = [str(COMPILER), *FLAGS, *SANITIZERS[sanitizer]]
    objects = []
    for name, flags in VARIANTS.items():
        for source in PER_VARIANT:
            objects.append(str(folder / f"{name}-{source.stem}.o"))
            subprocess.run([*common, *flags, "-c", str(source), "-o", objects[-1]], check=True)
    sources = [str(path) for path in SOURCES if path not in PER_VARIANT]
    sources.append(str(ROOT / "tests" / "csrc" / "cpu_kernels.cpp"))
    target = folder / "cpu_kernels"
    define = ["-DVX_X86"] if len(VARIANTS) > 1 else []
    subprocess.run([*common, *define, *sources, *objects, "-o", str(target)], check=True)
    return target


@pytest.mark.parametrize("sanitizer", SANITIZERS)
def test_random_volumes(tmp_path: Path, sanitizer: str) -> None:
    """With each instruction set, or the best that this machine has of it."""
    program = compiled(tmp_path, sanitizer)
    for instructions in VARIANTS:
        options = {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66", "VIDEXPLAIN_ISA": instructions}
        done = subprocess.run([str(program), "60"], capture_output=True, text=True, env=os.environ | options)
        assert done.returncode == 0, (instructions, (done.stdout + done.stderr)[:6000])
