"""The CUDA kernels' own sources, compiled by g++ behind tests/csrc/emulation.h and run on the CPU.

A process of its own runs them, so that sanitizers see everything and what they report becomes an exception here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from videxplain.ops import reference

ROOT = Path(__file__).resolve().parent.parent.parent
CSRC = ROOT / "csrc"
HEADER = ROOT / "tests" / "csrc" / "emulation.h"
MODES = {
    "plain": ("-O1",),
    "address": ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    "thread": ("-O1", "-g", "-fsanitize=thread", "-DEMULATION_THREADS", "-DVX_THREADS=64"),
}
"""How the kernels are compiled; "thread" runs real threads, two blocks at a time."""

COMPILER = shutil.which("g++")
REDUCTIONS = {"sum": 0, "mean": 1, "max": 2}
_RGB_TO_LAB, _SLIC, _CONNECT, _REDUCE = range(4)


class EmulationError(Exception):
    """The kernels crashed, or a sanitizer found something."""


def compile_kernels(folder: Path, mode: str, csrc: Path = CSRC) -> Path:
    """The program that serves requests; objects are kept by the text of what they are made of."""
    common = [HEADER, *sorted(csrc.glob("*.h")), csrc / "cuda" / "launch.h", csrc / "cuda" / "runtime.cuh"]
    flags = [
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-ffp-contract=off",
        "-pthread",
        *MODES[mode],
    ]
    include = ["-x", "c++", "-include", str(HEADER), "-I", str(csrc)]
    objects, building = [], []
    for source in [ROOT / "tests" / "csrc" / "emulated.cpp", *sorted(csrc.glob("cuda/*.cu"))]:
        parts = [source, *filter(Path.exists, [source.with_suffix(".cuh")]), *common]
        text = mode + "".join(part.read_text() for part in parts)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        target = folder / f"{source.stem}-{key}.o"
        objects.append(target)
        if not target.exists():
            command = [str(COMPILER), *flags, *include, "-c", str(source), "-o", str(target)]
            building.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    for process in building:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    program = folder / f"emulated-{hashlib.sha256(str(objects).encode()).hexdigest()[:16]}"
    if not program.exists():
        subprocess.run([str(COMPILER), *flags, *map(str, objects), "-o", str(program)], check=True)
    return program


class Emulation:
    """The four operations of one program. `order` is that of blocks and threads: ascending, descending, shuffled."""

    def __init__(self, program: Path, order: int = 0, shift: int = 0) -> None:
        self.order, self.shift = order, shift
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        options = {
            "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
            "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
        }
        self._process = subprocess.Popen(
            [str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | options,
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def __enter__(self) -> Emulation:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _ask(
        self, op: int, numbers: list[int], arrays: list[np.ndarray], kinds: list[type]
    ) -> list[np.ndarray]:
        message = [struct.pack("<q", len(numbers) + 3)]
        message += [struct.pack("<q", int(n)) for n in (op, self.order, self.shift, *numbers)]
        message.append(struct.pack("<q", len(arrays)))
        for array in arrays:
            message += [struct.pack("<q", array.nbytes), np.ascontiguousarray(array).tobytes()]
        try:
            self._process.stdin.write(b"".join(message))
            self._process.stdin.flush()
            return [np.frombuffer(self._read(self._size()), kind) for kind in kinds]
        except (BrokenPipeError, EOFError):
            code = self._process.wait()
            self._errors.seek(0)
            report = self._errors.read().decode(errors="replace")
            raise EmulationError(f"ended with {code}: {report[:4000]}") from None

    def _size(self) -> int:
        return struct.unpack("<q", self._read(8))[0]

    def _read(self, count: int) -> bytes:
        found = self._process.stdout.read(count)
        if len(found) < count:
            raise EOFError
        return found

    def rgb_to_lab(self, rgb: np.ndarray) -> np.ndarray:
        """(B, 3, T, H, W) uint8 or float32."""
        numbers = [rgb.dtype == np.uint8, len(rgb), rgb[0, 0].size]
        (lab,) = self._ask(_RGB_TO_LAB, numbers, [rgb], [np.float32])
        return lab.reshape(rgb.shape)

    def slic(self, lab, grid, compactness, spacing=(1.0, 1.0, 1.0), iterations=10, centres=None):
        """Of a batch: lab (B, 3, T, H, W), centres (B, K, 6) or None; labels and centres."""
        shape = lab.shape[2:]
        weights, reach = reference.distance_weights(shape, grid, compactness, spacing)
        start = np.zeros((len(lab), int(np.prod(grid)), 6), np.float32) if centres is None else centres
        numbers = [len(lab), *shape, *grid, iterations, centres is not None]
        labels, ends = self._ask(_SLIC, numbers, [lab, weights, reach, start], [np.int32, np.float32])
        return labels.reshape(len(lab), *shape), ends.reshape(start.shape)

    def connect_segments(self, labels: np.ndarray, lab: np.ndarray, min_size: int) -> np.ndarray:
        """Of a batch: labels (B, T, H, W) int32, lab (B, 3, T, H, W)."""
        (connected,) = self._ask(_CONNECT, [*labels.shape, min_size], [labels, lab], [np.int32])
        return connected.reshape(labels.shape)

    def segment_reduce(self, labels, dense, cam, num_segments, reduction="sum", signed=False) -> np.ndarray:
        """Of a batch: labels (B, T, H, W), dense (B, C, T, H, W) or None, cam (B, t, h, w) or None."""
        nothing = np.zeros(0, np.float32)
        channels = 0 if dense is None else dense.shape[1]
        small = (1, 1, 1) if cam is None else cam.shape[1:]
        numbers = [*labels.shape, channels, *small, num_segments, REDUCTIONS[reduction], signed]
        maps = [nothing if m is None else m.astype(np.float32) for m in (dense, cam)]
        (scores,) = self._ask(_REDUCE, numbers, [labels.astype(np.int32), *maps], [np.float32])
        return scores.reshape(len(labels), num_segments)
