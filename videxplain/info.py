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


def report() -> str:
    """Versions, backends with their reasons, devices, the ffmpeg in use and the bundled weights, as text."""
    import torch

    from videxplain import ops
    from videxplain.models.zoo import BUNDLED_WEIGHTS
    from videxplain.video import ffmpeg_executable

    lines = [
        f"videxplain {videxplain.__version__}, Python {platform.python_version()}, {platform.platform()}",
        "",
        "packages",
    ]
    lines += [f"  {name:16s} {_version(name)}" for name in _PACKAGES]
    lines += ["", "operations"]
    lines += [f"  {op:18s} {backend:8s} {reason}" for op, (backend, reason) in ops.backends().items()]
    lines += [
        "",
        "devices",
        f"  cpu      {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}",
    ]
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            lines.append(f"  cuda:{i}   {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    else:
        built = "no GPU is visible" if torch.version.cuda else "this torch is built without CUDA"
        lines.append(f"  cuda     none: {built}")
    lines += ["", "ffmpeg", f"  {ffmpeg_executable()}", "", "bundled weights"]
    lines += [
        f"  {path.name:26s} {path.stat().st_size / 2**20:.1f} MiB"
        for path in sorted(BUNDLED_WEIGHTS.parent.glob("*.safetensors"))
    ]
    return "\n".join(lines)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
