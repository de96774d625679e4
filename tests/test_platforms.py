"""Other platforms, as far as this one can stand for them: the usual work needs no call that only Linux has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ELSEWHERE = """
import builtins, os, sys
import numpy, torch, torchvision, av, scipy.ndimage, skimage.segmentation, numba, tqdm, safetensors.torch, PIL.Image

usual = builtins.__import__
def without(name, *rest, **options):
    if name in ("fcntl", "resource", "pwd", "grp", "termios"):
        raise ImportError(name)
    return usual(name, *rest, **options)
builtins.__import__ = without
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
for name in ("geteuid", "getuid", "fork", "sched_getaffinity", "O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY"):
    if hasattr(os, name):
        delattr(os, name)

import videxplain.ops._library as library
"""
WORK = """
import videxplain as vx
from videxplain.synthetic.moving_objects import generate
from videxplain.demo import write_moving_objects
from videxplain.annotate import annotate

assert library.NATIVE is None, "the native library was loaded"
model = vx.load_model("c3d-motion")
explanation = vx.explain(model, generate(0).frames, "guided", n_segments=30)
assert vx.Explanation.load(explanation.save("saved")).target_name == explanation.target_name
write_moving_objects("film.mp4", motions=1, size=64)
annotate(model, "film.mp4", "out.mp4", n_segments=20, stride=2, save="data", progress=False)
vx.export_page("data", "page.html")
print("works")
"""


@pytest.mark.parametrize(
    ("platform", "name"),
    [("linux", "libvidexplain.so"), ("darwin", "libvidexplain.dylib"), ("win32", "videxplain.dll")],
)
def test_the_librarys_name(platform, name):
    """In the package and where it is built alike."""
    from videxplain.ops._library import LIBRARY_NAMES

    assert LIBRARY_NAMES.get(platform, "libvidexplain.so") == name
    setup = ROOT / "setup.py"
    if setup.exists():
        assert name in setup.read_text("utf-8")


@pytest.mark.slow
def test_without_what_only_linux_has(tmp_path):
    """A clip, a video and a page, by Numba, with what Windows lacks taken away."""
    hidden = (
        "import pathlib\nreal = pathlib.Path.exists\n"
        "pathlib.Path.exists = lambda self, **o: False if self.name == 'libvidexplain.so' else real(self, **o)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", hidden + ELSEWHERE + WORK],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.stdout.endswith("works\n"), done.stderr[-2000:]
