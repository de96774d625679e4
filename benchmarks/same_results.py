"""Whether two checkouts give the same results, bit for bit: explanations, annotated videos, tables of experiments.

    python benchmarks/same_results.py OLD NEW --clips A.mp4 ... --photographs A.jpg ...

Each checkout runs in a process of its own, with its native library built. Exit status 1 if anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FEW = {"samples": 24, "steps": 3, "passes": 6}
STYLES = ("heat", "outline", "spotlight", "side-by-side")
EXPERIMENTS = ("removal", "agreement", "localization", "curves", "sanity")
OLD_ROWS = [
    "random",
    "lime-20",
    "lime-logit-20",
    "lime-package-20",
    "kernel-shap-20",
    "region-gradient-4",
    "guided",
]
NEW_NAMES = {"lime-logit-20": "lime-20:score=log-odds", "lime-package-20": "lime-20:batched=no"}
"""Rows of version 0.1 and what they are called since 0.2."""


def digest(*parts: Any) -> str:
    import numpy as np

    found = hashlib.sha256()
    for part in parts:
        found.update(np.ascontiguousarray(part).tobytes() if hasattr(part, "dtype") else repr(part).encode())
    return found.hexdigest()[:16]


def methods(is_old: bool) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Title, name and options of every method, with options that are not the defaults as well."""
    if is_old:
        from videxplain.settings import METHOD_SETTINGS as known

        names = {name: list(known[name].__dataclass_fields__) for name in known}
    else:
        from videxplain.attribution.methods import METHODS

        names = {name: METHODS[name].options() for name in METHODS}
    for name, fields in names.items():
        few = {key: FEW[key] for key in FEW if key in fields}
        if name in ("lime", "lime-batched"):
            continue
        yield name, name, {**few, "fill": "mean"} if "fill" in fields else few
        if "fill" in fields:
            yield f"{name} grey", name, {**few, "fill": "grey", "seed": 3}
        if "reduction" in fields:
            yield f"{name} signed mean", name, {**few, "reduction": "mean", "signed": True}
    package = {"samples": 24} if is_old else {"samples": 24, "batched": False}
    yield "lime package", "lime", package
    yield "lime", "lime-batched" if is_old else "lime", {"samples": 24, "fill": "mean"}
    odds = {"link": "logit"} if is_old else {"score": "log-odds"}
    yield "lime log-odds", "lime-batched" if is_old else "lime", {"samples": 24, "fill": "blur", **odds}
    yield "kernel-shap log-odds", "kernel-shap", {"samples": 24, **odds}
    logit, log_odds = ({"output" if is_old else "score": word} for word in ("logit", "log-odds"))
    yield "vanilla logit", "vanilla", logit
    yield "integrated-gradients logit", "integrated-gradients", {"steps": 3, **logit}
    tangents = (
        {"levels": "arcsine", "leaders": 0} if is_old else {"mask_sampling": "arcsine", "refine_top": 0}
    )
    yield "region-gradient tangents", "region-gradient", {"passes": 5, **tangents, **log_odds}


def results(clips: list[str], photographs: list[str], folder: Path) -> Iterator[tuple[str, str]]:
    """What is compared: a name and a hash each."""
    import videxplain as vx
    from videxplain.annotate import annotate
    from videxplain.cli import main

    is_old = vx.__version__.startswith("0.1")
    fine = ({"segment_scale": 2}, {"segments_from": "both"}) if is_old else ({"scale": 2}, {"source": "both"})
    model, image_model = vx.load_model("c3d-motion"), vx.load_model("efficientnet-lite0")
    inputs: list[tuple[Any, Any, str]] = []
    for path in clips:
        with vx.open_video(path) as video:
            inputs.append((model, next(iter(video.clips(length=16, stride=2))), Path(path).name))
    inputs += [(image_model, vx.Clip.from_image(path), Path(path).name) for path in photographs]
    for network, clip, name in inputs:
        for title, method, options in methods(is_old):
            explanation = vx.explain(network, clip, method, n_segments=40, segmentation="slic", **options)
            yield (
                f"{name} {title}",
                digest(
                    explanation.scores,
                    explanation.labels,
                    explanation.target,
                    explanation.probability,
                    explanation.predictions,
                ),
            )
        for options in fine:
            explanation = vx.explain(network, clip, "guided", "#2", segmentation="slic", **options)
            title = "finer" if "scale" in str(options) else "from gradient"
            yield f"{name} {title}", digest(explanation.scores, explanation.labels, explanation.frames)
        explanation = vx.explain(network, clip, "guided-grad-cam", keep_maps=True)
        yield f"{name} maps", digest(explanation.dense, explanation.cam, explanation.sheet(top_k=5))
        *_, last = vx.explain_anytime(network, clip, passes=6, segmentation="slic", n_segments=40)
        yield f"{name} anytime", digest(last.explanation.scores, last.standard_error)
    for path in clips[:3]:
        for style in STYLES:
            out, saved = folder / f"{Path(path).stem}-{style}.mp4", folder / f"{Path(path).stem}-{style}"
            annotate(model, path, out, style=style, hop=40, n_segments=60, save=saved)
            yield f"{out.name} frames", digest(*decoded(out))
            data = vx.open_explanations(saved)
            yield f"{out.name} data", digest(*(data.table(t).to_pydict() for t in ("windows", "supervoxels")))
    rows = ",".join(OLD_ROWS if is_old else [NEW_NAMES.get(row, row) for row in OLD_ROWS])
    for experiment in EXPERIMENTS:
        out = folder / experiment
        command = (
            f"evaluate {experiment} --model c3d-motion --count 4 --reference 60 --quiet --methods {rows}"
        )
        assert main([*command.split(), "--out", str(out)]) == 0
        table = (out / "table.csv").read_text()
        for old, new in NEW_NAMES.items():
            table = table.replace(new, old)
        yield f"evaluate {experiment}", digest(table)


def decoded(path: Path) -> Iterator[Any]:
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield from (frame.pts, frame.to_ndarray(format="rgb24"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkouts", nargs=2, type=Path, metavar=("OLD", "NEW"))
    parser.add_argument("--clips", nargs="+", default=[])
    parser.add_argument("--photographs", nargs="+", default=[])
    args = parser.parse_args()
    running = []
    for checkout in args.checkouts:
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}
        job = json.dumps([args.clips, args.photographs])
        command = [sys.executable, __file__, "--worker", job]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    old, new = (
        dict(line.rsplit("\t", 1) for line in process.communicate()[0].splitlines() if "\t" in line)
        for process in running
    )
    different = [name for name in old | new if old.get(name) != new.get(name)]
    print(
        f"{len(old)} results of {args.checkouts[0]}, {len(new)} of {args.checkouts[1]}; {len(different)} differ"
    )
    print(*different, sep="\n")
    return int(bool(different) or not old or any(process.returncode for process in running))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        with tempfile.TemporaryDirectory() as scratch:
            for name, value in results(*json.loads(sys.argv[2]), Path(scratch)):
                print(name, value, sep="\t", flush=True)
    else:
        sys.exit(main())
