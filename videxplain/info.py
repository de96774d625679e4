"""What `videxplain info` prints: what is installed, what serves each operation, and why."""

from __future__ import annotations

import importlib.metadata
import platform

import videxplain

_PACKAGES = (
    "torch",
    "torchvision",
    "av",
    "numpy",
    "numba",
    "scikit-image",
    "safetensors",
    "lime",
    "ffmpeg-python",
)


def details() -> dict[str, dict[str, str]]:
    """Versions, backends with their reasons, devices, ffmpeg and the bundled weights, by section and name."""
    import torch

    from videxplain import ops
    from videxplain.models.zoo import BUNDLED_WEIGHTS
    from videxplain.video import ffmpeg_executable

    devices = {"cpu": f"{torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(i)
        devices[f"cuda:{i}"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if len(devices) == 1:
        built = "no GPU is visible" if torch.version.cuda else "this torch is built without CUDA"
        devices["cuda"] = f"none: {built}"
    return {
        "system": {
            "videxplain": videxplain.__version__,
            "Python": platform.python_version(),
            "platform": platform.platform(),
        },
        "packages": {name: _version(name) for name in _PACKAGES},
        "operations": {op: f"{backend:8s} {reason}" for op, (backend, reason) in ops.backends().items()},
        "devices": devices,
        "ffmpeg": {"program": str(ffmpeg_executable())},
        "bundled weights": {
            path.name: f"{path.stat().st_size / 2**20:.1f} MiB"
            for path in sorted(BUNDLED_WEIGHTS.parent.glob("*.safetensors"))
        },
    }


def report() -> str:
    """The details as text, a line each."""
    lines = []
    for section, values in details().items():
        width = max(map(len, values), default=0) + 2
        lines += [section, *(f"  {name:{width}s}{value}" for name, value in values.items()), ""]
    return "\n".join(lines[:-1])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
