"""Packs the shared library that CMake builds into the wheel; everything else stands in pyproject.toml.

Without a compiler, or without torch to compile against, the package installs without it and works on Numba.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
LIBRARY = {"darwin": "libvidexplain.dylib", "win32": "videxplain.dll"}.get(sys.platform, "libvidexplain.so")
REASON = "native.txt"  # why there is no library, for `videxplain info`


def torch_folder() -> Path | None:
    """The torch of the environment that is installed into; pip's isolated build hides it from `import`."""
    asked = os.environ.get("TORCH_ROOT")
    environment = os.environ.get("VIRTUAL_ENV") or sys.prefix
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = [
        Path(asked) if asked else None,
        Path(sysconfig.get_path("purelib")) / "torch",
        Path(environment) / "lib" / version / "site-packages" / "torch",
    ]
    places += [Path(entry) / "torch" for entry in sys.path if entry]
    for place in places:
        if place and (place / "include/torch/csrc/stable/library.h").exists():
            return place
    return None


def sources(torch: Path) -> str:
    """A checksum of all that the library is made of: our files, torch and the compilers."""
    digest = hashlib.sha256()
    for file in sorted([HERE / "CMakeLists.txt", *(HERE / "csrc").rglob("*.*")]):
        digest.update(f"{file.relative_to(HERE)}\n".encode() + file.read_bytes())
    compilers = [os.environ.get(name, "") for name in ("CXX", "CXXFLAGS", "CUDACXX", "CUDAFLAGS")]
    version = (torch / "version.py").read_text() if (torch / "version.py").exists() else ""
    digest.update(repr([str(torch), version, *compilers, shutil.which("nvcc")]).encode())
    return digest.hexdigest()


def build_library(target: Path, work: Path) -> str | None:
    """Builds the library into `target`; returns why that could not be done, or None."""
    torch = torch_folder()
    if torch is None:
        return "there was no torch 2.10 or later to compile against when videxplain was installed"
    cmake = shutil.which("cmake")
    if cmake is None:
        return "there was no CMake when videxplain was installed"
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")):
        return "there was no C++ compiler when videxplain was installed"
    stamp, made_of = work / "made_of.txt", sources(torch)
    if (target / LIBRARY).exists() and stamp.exists() and stamp.read_text() == made_of:
        return None  # built before of the very same
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = [cmake, "-S", str(HERE), "-B", str(work), f"-DTORCH_ROOT={torch}", *generator]
    attempts = [
        configure,
        [*configure, "-DVIDEXPLAIN_WITH_CUDA=OFF"],
    ]  # a broken nvcc must not cost the CPU kernels
    for attempt in attempts:
        shutil.rmtree(work, ignore_errors=True)
        for command in (attempt, [cmake, "--build", str(work), "--parallel", "--config", "Release"]):
            done = subprocess.run(command, capture_output=True, text=True)
            print(done.stdout, done.stderr, sep="\n")
            if done.returncode:
                break
        else:
            target.mkdir(parents=True, exist_ok=True)
            built = next(work.rglob(LIBRARY))  # some generators have a folder for each configuration
            shutil.copy2(built, target / LIBRARY)
            os.utime(target / LIBRARY)
            stamp.write_text(made_of)
            return None
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"the compiler failed when videxplain was installed: {next((x for x in last if 'rror' in x), last[-1])}"


class BuildPy(build_py):
    def run(self) -> None:
        super().run()
        source, package = HERE / "videxplain" / "ops", Path(self.build_lib) / "videxplain" / "ops"
        # in the clone too: Python run there takes the package from it, not the installed one
        reason = build_library(source, HERE / "build" / "native")
        note = source / REASON
        if reason is None:
            note.unlink(missing_ok=True)
        else:
            print(f"videxplain: installing without native code, for {reason}", file=sys.stderr)
            (source / LIBRARY).unlink(missing_ok=True)
            note.write_text(reason + "\n")
        if self.editable_mode:
            return
        for name in (LIBRARY, REASON):
            (package / name).unlink(missing_ok=True)
            if (source / name).exists():
                package.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source / name, package / name)


class BdistWheel(bdist_wheel):
    """One shared library that holds no Python symbol: any Python 3 of this platform."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildPy, "bdist_wheel": BdistWheel})
