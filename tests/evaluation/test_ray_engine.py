"""The Ray engine on this machine: two actors, one of which is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = """
import os
from dataclasses import dataclass
from pathlib import Path
import torch
from conftest import LENGTH, SIZE, Blobs, Quadrants
from videxplain.evaluation.item import Settings
from videxplain.evaluation.runner import evaluate
from videxplain.evaluation.summary import to_csv
from videxplain.models import Classifier

@dataclass(frozen=True)
class Deadly(Blobs):
    marker: str = ""

    def load(self, index, **options):
        if index == 4 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os._exit(1)  # the process is gone, as if its machine were
        return super().load(index, **options)

torch.set_num_threads(1)
folder = Path({folder!r})
model = Classifier(Quadrants(), clip_length=LENGTH, size=SIZE, name="quadrants")
settings = Settings(rows=("random", "lime-50"), segments=(30,), segmentation="grid", reference=100)
for engine in ("local", "ray"):
    data = Blobs(12, damaged=(7,)) if engine == "local" else Deadly(12, (7,), str(folder / "died"))
    results = evaluate("agreement", model, data, folder / engine, settings, engine=engine, workers=2)
    assert results.items == 11 and len(results.skipped) == 1
    (folder / (engine + ".csv")).write_text(to_csv(results))
"""


@pytest.mark.slow
def test_two_workers_one_of_them_lost_give_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra videxplain[ray] is not installed")
    here = str(Path(__file__).parent)
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, here, os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    subprocess.run(
        [sys.executable, "-c", RUN.format(folder=str(tmp_path))], check=True, timeout=280, env=environment
    )
    assert (tmp_path / "died").exists()
    assert (tmp_path / "ray.csv").read_bytes() == (tmp_path / "local.csv").read_bytes()
