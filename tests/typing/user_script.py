"""Every public call, as a user would write it; type checkers must find nothing, and see no Any."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from typing_extensions import assert_type

import videxplain as vx
from videxplain.annotate import Summary, annotate


def explain_everything(
    net: torch.nn.Module, frames: npt.NDArray[np.uint8], x: torch.Tensor, path: str
) -> None:
    model = vx.Classifier(net, clip_length=16, size=(112, 112), class_names=["yes", "no"])
    assert_type(model, vx.Classifier)
    assert_type(vx.load_model("c3d-motion", device="cpu"), vx.Classifier)
    assert_type(model.class_names, list[str])
    assert_type(model.predict(x), torch.Tensor)

    explanation = vx.explain(model, frames, "lime", "yes", samples=500, fill="grey", n_segments=100)
    assert_type(explanation, vx.Explanation)
    assert_type(vx.explain(model, frames, vx.Lime(samples=500, fill="grey"), 0), vx.Explanation)
    assert_type(vx.explain(model, frames, "guided", score="logit", keep_maps=True), vx.Explanation)
    question = vx.Question(target="#2", score="log-odds")
    cut = vx.Segmentation(name="slic", n_segments=50, compactness=5.0, scale=1, source="image")
    assert_type(vx.explain(model, frames, vx.KernelShap(), question, segmentation=cut), vx.Explanation)

    batch = vx.explain_batch(model, [frames, frames], "grad-cam", ["yes", 1], reduction="mean", signed=True)
    assert_type(batch, list[vx.Explanation])
    several = vx.compare(model, frames, ["guided", vx.Rise(samples=8)], ["yes", None], seed=3)
    assert_type(several, vx.Comparison)
    for (method, class_name), one in several.items():
        assert_type((method, class_name), tuple[str, str])
        assert_type(one.top(5)[0].share, float)
    for running in vx.explain_anytime(model, frames, passes=64, mask_sampling="secants"):
        assert_type(running.precision, float)
        running.explanation.save("out")

    assert_type(explanation.target_name, str)
    assert_type(explanation.predictions, list[tuple[str, float]])
    assert_type(vx.Explanation.load("out"), vx.Explanation)
    assert_type(explanation.settings["score"], object)
    labels = vx.segment(frames, n_segments=200, compactness=10.0, exact=False)
    assert_type(labels, npt.NDArray[np.int32])
    scores = vx.pixel_scores(model, x, "smoothgrad", 3, samples=4, noise=0.1)
    assert_type(scores.dense, torch.Tensor | None)
    query = vx.Query(model, x, torch.zeros(1, 16, 112, 112).int(), 1, question)
    assert_type(vx.Occlusion(fill="blur").score(query), torch.Tensor)

    with vx.open_video(path) as video:
        for clip in video.clips(length=16, stride=2):
            assert_type(clip, vx.Clip)
    assert_type(vx.Clip.from_image(path), vx.Clip)
    summary = annotate(
        model, path, "out.mp4", "guided", n_segments=100, stride=2, style="outline", save="data"
    )
    assert_type(summary, Summary)
    for window in vx.open_explanations("data"):
        assert_type(window.probability, float)
