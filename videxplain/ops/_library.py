"""`torch.ops.videxplain`: the schemas, and for each the implementation that serves here.

The native library implements them for CPU (C++) and, where it was built with nvcc, CUDA; without it Numba serves.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

LIBRARY_NAMES = {"darwin": "libvidexplain.dylib", "win32": "videxplain.dll"}
"""By platform, as CMake calls them there; "libvidexplain.so" elsewhere."""
LIBRARY_FILE = Path(__file__).with_name(LIBRARY_NAMES.get(sys.platform, "libvidexplain.so"))
_REASON_FILE = Path(__file__).with_name("native.txt")

SCHEMAS = {
    "rgb_to_lab": "(Tensor rgb) -> Tensor",
    "slic": "(Tensor lab, int[] grid, float[] weight, float[] reach, int iterations, Tensor? centres)"
    " -> (Tensor, Tensor)",
    "supervoxels": "(Tensor frames, int[] grid, float[] weight, float[] reach, int iterations, int min_size,"
    " Tensor? centres) -> (Tensor, Tensor)",
    "connect_segments": "(Tensor labels, Tensor lab, int min_size) -> Tensor",
    "slic_exact": "(Tensor lab, Tensor seeds, float weight, float[] spacing, float[] reach, int iterations)"
    " -> Tensor",
    "connect_exact": "(Tensor labels, int min_size, int max_size) -> Tensor",
    "segment_reduce": "(Tensor labels, Tensor? dense, Tensor? cam, int num_segments, int reduction, bool signed)"
    " -> Tensor",
}
"""What every machine has."""
CHORD_SCHEMAS = {
    "clamp_chords": "(Tensor x, Tensor gradient, Tensor(a!) out, int ring, int step, float low, float high) -> ()",
    "max_pool_chords": "(Tensor x, Tensor y, Tensor places, Tensor gradient, Tensor(a!) out, int ring, int step)"
    " -> ()",
}
"""Native only and on a CPU: `videxplain.passes.secants` has torch do the same elsewhere."""
SUM, MEAN, MAX = range(3)

_library = torch.library.Library("videxplain", "DEF")
for _name, _schema in (SCHEMAS | CHORD_SCHEMAS).items():
    _library.define(_name + _schema)


def _is_older_than_its_source() -> bool:
    """In a clone whose files have changed since it was built; an installed package has no sources beside it."""
    source = Path(__file__).parents[2] / "csrc"
    built = LIBRARY_FILE.stat().st_mtime
    return any(file.stat().st_mtime > built for file in source.rglob("*.*"))


def _load() -> tuple[ctypes.CDLL | None, str]:
    """The native library, or why there is none."""
    if not LIBRARY_FILE.exists():
        if _REASON_FILE.exists():
            return None, _REASON_FILE.read_text().strip()
        return (
            None,
            f"{LIBRARY_FILE.name} was not built; `pip install .` builds it where there is a C++ compiler",
        )
    if _is_older_than_its_source():
        return None, f"{LIBRARY_FILE.name} is older than the files in csrc; `pip install .` builds it anew"
    try:
        torch.ops.load_library(str(LIBRARY_FILE))
        return ctypes.CDLL(str(LIBRARY_FILE)), ""
    except OSError as error:
        return None, f"{LIBRARY_FILE.name} does not load beside torch {torch.__version__}: {error}"


NATIVE, WHY_NOT = _load()


def _text(function: str) -> str:
    if NATIVE is None:
        return ""
    call = getattr(NATIVE, function)
    call.restype = ctypes.c_char_p
    return call().decode()


INSTRUCTION_SET = _text("videxplain_instruction_set")
CUDA_ARCHITECTURES = _text("videxplain_cuda_architectures")
CUDA_OPS = tuple(name for name in SCHEMAS if not name.endswith("_exact")) if CUDA_ARCHITECTURES else ()


# Numba, where there is no native library


def _arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    return [np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors]


def _rgb_to_lab(rgb: torch.Tensor) -> torch.Tensor:
    from videxplain.ops import _checks, _numba

    _checks.clips("rgb", rgb, (torch.uint8, torch.float32))
    (clips,) = _arrays(rgb)
    out = np.empty(clips.shape, np.float32)
    for b, clip in enumerate(clips):
        out[b] = _numba.rgb_to_lab(clip)
    return torch.from_numpy(out)


def _slic(
    lab: torch.Tensor,
    grid: list[int],
    weight: list[float],
    reach: list[float],
    iterations: int,
    centres: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    from videxplain.ops import _checks, _numba

    shape = _checks.clips("lab", lab, (torch.float32,))
    _checks.slic(shape, len(lab), grid, weight, reach, iterations, centres)
    (clips,) = _arrays(lab)
    labels = np.empty((len(clips), *clips.shape[2:]), np.int32)
    ends = np.empty((len(clips), int(np.prod(grid)), 6), np.float32)
    starts = [None] * len(clips) if centres is None else _arrays(centres)[0]
    for b, clip in enumerate(clips):
        labels[b], ends[b] = _numba.slic(clip, tuple(grid), weight, reach, iterations, starts[b])
    return torch.from_numpy(labels), torch.from_numpy(ends)


def _connect_segments(labels: torch.Tensor, lab: torch.Tensor, min_size: int) -> torch.Tensor:
    from videxplain.ops import _checks, _numba

    _checks.colours(lab, len(labels), _checks.labels(labels))
    ids, clips = _arrays(labels, lab)
    out = np.empty(ids.shape, np.int32)
    for b in range(len(ids)):
        out[b] = _numba.connect_segments(ids[b], clips[b], min_size)
    return torch.from_numpy(out)


def _supervoxels(
    frames: torch.Tensor,
    grid: list[int],
    weight: list[float],
    reach: list[float],
    iterations: int,
    min_size: int,
    centres: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    from videxplain.ops import _checks

    _checks.require(frames.ndim == 5 and frames.dtype == torch.uint8, "frames must be uint8 (B, T, H, W, 3)")
    lab = _rgb_to_lab(frames.permute(0, 4, 1, 2, 3))
    labels, ends = _slic(lab, grid, weight, reach, iterations, centres)
    return _connect_segments(labels, lab, min_size), ends


def _slic_exact(
    lab: torch.Tensor,
    seeds: torch.Tensor,
    weight: float,
    spacing: list[float],
    reach: list[float],
    iterations: int,
) -> torch.Tensor:
    from videxplain.ops import _checks, _numba_exact

    _checks.slic_exact(lab, seeds, weight, spacing, reach, iterations)
    clips, starts = _arrays(lab, seeds)
    labels = np.empty((len(clips), *clips.shape[2:]), np.int32)
    for b, clip in enumerate(clips):
        labels[b] = _numba_exact.slic(clip, starts, weight, tuple(spacing), tuple(reach), iterations)
    return torch.from_numpy(labels)


def _connect_exact(labels: torch.Tensor, min_size: int, max_size: int) -> torch.Tensor:
    from videxplain.ops import _checks, _numba_exact

    _checks.labels(labels)
    _checks.require(min_size <= max_size, "max_size must not be below min_size")
    (ids,) = _arrays(labels)
    _checks.require(
        not ids.size or bool(0 <= ids.min() <= ids.max() < 2**31 - 1), "labels must lie in 0..2^31-2"
    )
    out = np.empty(ids.shape, np.int32)
    for b in range(len(ids)):
        out[b] = _numba_exact.connect_segments(ids[b], min_size, min(max_size, ids[b].size))
    return torch.from_numpy(out)


def _segment_reduce(
    labels: torch.Tensor,
    dense: torch.Tensor | None,
    cam: torch.Tensor | None,
    num_segments: int,
    reduction: int,
    signed: bool,
) -> torch.Tensor:
    from videxplain.ops import _checks, _numba

    _checks.segment_reduce(labels, dense, cam, num_segments, reduction)
    (ids,) = _arrays(labels)
    if ids.size and not 0 <= ids.min() <= ids.max() < num_segments:
        raise RuntimeError("labels must lie in 0..num_segments-1")
    whole = None if dense is None else _arrays(dense)[0]
    small = None if cam is None else _arrays(cam)[0]
    scores = np.zeros((len(ids), num_segments), np.float32)
    for b in range(len(ids)):
        own, coarse = (None if maps is None else maps[b] for maps in (whole, small))
        scores[b] = _numba.segment_reduce(ids[b], own, coarse, num_segments, reduction, signed)
    return torch.from_numpy(scores)


_NUMBA: dict[str, Callable[..., Any]] = {
    "rgb_to_lab": _rgb_to_lab,
    "slic": _slic,
    "supervoxels": _supervoxels,
    "connect_segments": _connect_segments,
    "slic_exact": _slic_exact,
    "connect_exact": _connect_exact,
    "segment_reduce": _segment_reduce,
}

if NATIVE is None:
    for _name, _function in _NUMBA.items():
        _library.impl(_name, _function, "CPU")
    warnings.warn(f"videxplain runs on Numba: {WHY_NOT}.", stacklevel=2)


def _through_cpu(name: str) -> Callable[..., Any]:
    """An operation without a CUDA kernel: on the CPU and back."""

    def run(*args: Any) -> Any:
        device = next(arg.device for arg in args if isinstance(arg, torch.Tensor))
        on_cpu = [arg.cpu() if isinstance(arg, torch.Tensor) else arg for arg in args]
        result = getattr(torch.ops.videxplain, name)(*on_cpu)
        return tuple(r.to(device) for r in result) if isinstance(result, tuple) else result.to(device)

    return run


def _supervoxels_on_gpu(
    frames: torch.Tensor,
    grid: list[int],
    weight: list[float],
    reach: list[float],
    iterations: int,
    min_size: int,
    centres: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The three operations in turn, nothing leaves the device."""
    lab = torch.ops.videxplain.rgb_to_lab(frames.permute(0, 4, 1, 2, 3))
    labels, ends = torch.ops.videxplain.slic(lab, grid, weight, reach, iterations, centres)
    return torch.ops.videxplain.connect_segments(labels, lab, min_size), ends


for _name in SCHEMAS:
    if _name not in CUDA_OPS:
        _library.impl(_name, _through_cpu(_name), "CUDA")
    elif _name == "supervoxels":
        _library.impl(_name, _supervoxels_on_gpu, "CUDA")


# Shapes and types, for torch.compile


@torch.library.register_fake("videxplain::rgb_to_lab", lib=_library)
def _(rgb: torch.Tensor) -> torch.Tensor:
    return rgb.new_empty(rgb.shape, dtype=torch.float32)


@torch.library.register_fake("videxplain::slic", lib=_library)
def _(lab, grid, weight, reach, iterations, centres):  # type: ignore[no-untyped-def]
    batch, _, frames, height, width = lab.shape
    clusters = grid[0] * grid[1] * grid[2]
    labels = lab.new_empty((batch, frames, height, width), dtype=torch.int32)
    return labels, lab.new_empty((batch, clusters, 6), dtype=torch.float32)


@torch.library.register_fake("videxplain::supervoxels", lib=_library)
def _(frames, grid, weight, reach, iterations, min_size, centres):  # type: ignore[no-untyped-def]
    clusters = grid[0] * grid[1] * grid[2]
    labels = frames.new_empty(frames.shape[:4], dtype=torch.int32)
    return labels, frames.new_empty((frames.shape[0], clusters, 6), dtype=torch.float32)


@torch.library.register_fake("videxplain::connect_segments", lib=_library)
def _(labels: torch.Tensor, lab: torch.Tensor, min_size: int) -> torch.Tensor:
    return torch.empty_like(labels, memory_format=torch.contiguous_format)


@torch.library.register_fake("videxplain::slic_exact", lib=_library)
def _(lab, seeds, weight, spacing, reach, iterations):  # type: ignore[no-untyped-def]
    return lab.new_empty((lab.shape[0], *lab.shape[2:]), dtype=torch.int32)


@torch.library.register_fake("videxplain::connect_exact", lib=_library)
def _(labels: torch.Tensor, min_size: int, max_size: int) -> torch.Tensor:
    return torch.empty_like(labels, memory_format=torch.contiguous_format)


@torch.library.register_fake("videxplain::segment_reduce", lib=_library)
def _(labels, dense, cam, num_segments, reduction, signed):  # type: ignore[no-untyped-def]
    return labels.new_empty((labels.shape[0], num_segments), dtype=torch.float32)


# Gradients of segment_reduce by the voxel scores


def _remember(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
    labels, dense, cam, ctx.num_segments, ctx.reduction, ctx.signed = inputs
    ctx.save_for_backward(labels, dense, cam, output)


def _backward(ctx: Any, grad: torch.Tensor) -> tuple[Any, ...]:
    labels, dense, cam, scores = ctx.saved_tensors
    flat = labels.flatten(1).long()
    weight = grad.gather(1, flat)
    with torch.enable_grad():
        wanted = [m.detach().requires_grad_() for m in (dense, cam) if m is not None]
        maps = iter(wanted)
        own_dense = next(maps) if dense is not None else None
        own_cam = next(maps) if cam is not None else None
        values = voxel_values(labels, own_dense, own_cam, ctx.signed).flatten(1)
        if ctx.reduction == MEAN:
            ones = torch.ones_like(weight)
            weight = weight / torch.zeros_like(grad).scatter_add_(1, flat, ones).gather(1, flat)
        elif ctx.reduction == MAX:
            # the voxels that attain the maximum share its gradient
            attains = (values.detach() >= scores.gather(1, flat) * (1 - 1e-6)).to(weight.dtype)
            weight = weight * attains / torch.zeros_like(grad).scatter_add_(1, flat, attains).gather(1, flat)
        gradients = iter(torch.autograd.grad((values * weight).sum(), wanted) if wanted else ())
    by_dense = next(gradients) if dense is not None else None
    by_cam = next(gradients) if cam is not None else None
    return None, by_dense, by_cam, None, None, None


def voxel_values(
    labels: torch.Tensor, dense: torch.Tensor | None, cam: torch.Tensor | None, signed: bool
) -> torch.Tensor:
    """What segment_reduce adds up, by torch's own operations: (B, T, H, W)."""
    values = torch.ones(labels.shape, device=labels.device)
    if dense is not None:
        values = dense.sum(dim=1) if signed else dense.abs().sum(dim=1)
    if cam is not None:
        values = values * F.interpolate(cam[:, None], labels.shape[1:], mode="trilinear")[:, 0]
    return values if signed else values.abs()


torch.library.register_autograd(
    "videxplain::segment_reduce", _backward, setup_context=_remember, lib=_library
)


def segment_reduce(
    labels: torch.Tensor,
    dense: torch.Tensor | None,
    cam: torch.Tensor | None,
    num_segments: int,
    reduction: int,
    signed: bool,
) -> torch.Tensor:
    """The operation; where no gradient is wanted past its autograd kernel, which is Python and slow to start."""
    call = torch.ops.videxplain.segment_reduce.default
    wanted = torch.is_grad_enabled() and any(m is not None and m.requires_grad for m in (dense, cam))
    if wanted or torch.compiler.is_compiling():
        return call(labels, dense, cam, num_segments, reduction, signed)
    with torch._C._AutoDispatchBelowAutograd():
        return call(labels, dense, cam, num_segments, reduction, signed)
