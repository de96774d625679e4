"""Evidence: against a full search, and sets verified by code that knows nothing of it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_networks import grid, random_clip, small

import videxplain as vx
from videxplain.errors import VidexplainError


def hidden_by(fill: str, x: torch.Tensor, labels: np.ndarray) -> torch.Tensor:
    """What each fill shows in place of x (C, T, H, W), written anew."""
    if fill == "grey":
        return torch.full_like(x, 0.5)
    if fill == "still":
        return x.mean(dim=1, keepdim=True).expand_as(x)
    if fill == "mean":
        filled = x.clone()
        for k in range(labels.max() + 1):
            filled[:, labels == k] = x[:, labels == k].mean(dim=1, keepdim=True)
        return filled
    sigma = min(x.shape[-2:]) / 8
    steps = torch.arange(-int(3 * sigma), int(3 * sigma) + 1)
    weights = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (weights[:, None] * weights) / weights.sum() ** 2
    frames = x.flatten(0, 1)[:, None]
    padded = F.pad(frames, [int(3 * sigma)] * 4, mode="reflect")
    return F.conv2d(padded, kernel[None, None].to(x))[:, 0].view_as(x)


def first_class(
    model: vx.Classifier, frames: np.ndarray, labels: np.ndarray, shown: list[int], fill: str
) -> int:
    """What the network says where only some supervoxels are shown: no code of the package but the network."""
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (model.mean, model.std))
    rgb = torch.from_numpy(frames).permute(3, 0, 1, 2) / 255
    visible = torch.from_numpy(np.isin(labels, shown))
    # grey is grey before normalisation, and the others are linear in it
    x = (torch.where(visible, rgb, hidden_by(fill, rgb, labels)) - mean) / std
    with torch.no_grad():
        return int(model.net(x[None])[0].argmax())


def verified(model: vx.Classifier, frames: np.ndarray, labels: np.ndarray, found: vx.Evidence) -> None:
    """Raises unless every verdict is what the network says."""
    everything = list(range(labels.max() + 1))
    target = found.explanation.target
    for part, shows in ((found.keeps, True), (found.destroys, False)):
        if part is None:
            continue
        shown = list(part.ids) if shows else [k for k in everything if k not in part.ids]
        for verdict in part.verdicts:
            first = first_class(model, frames, labels, shown, verdict.fill)
            assert model.class_names[first] == verdict.first
            assert verdict.agrees == ((first == target) == shows)


def optimum(
    model: vx.Classifier, frames: np.ndarray, labels: np.ndarray, keeps: bool, fills: list[str]
) -> int:
    """Size of the smallest set that does it under all fills, by full search."""
    count = int(labels.max()) + 1
    x = model.prepare(frames)[0]
    target = int(model.predict(x[None])[0].argmax())
    rgb = model.to_rgb(x)
    masks = torch.tensor(list(itertools.product([0, 1], repeat=count)))
    visible = masks if keeps else 1 - masks
    holds = torch.ones(len(masks), dtype=torch.bool)
    for fill in fills:
        other = model.from_rgb(hidden_by(fill, rgb, labels))
        for rows in torch.arange(len(masks)).split(512):
            z = visible[rows][:, torch.from_numpy(labels).long()][:, None].float()
            with torch.no_grad():
                stays = model.net(z * x + (1 - z) * other).argmax(dim=1) == target
            holds[rows] &= stays if keeps else ~stays
    sizes = masks.sum(dim=1)[holds]
    return int(sizes.min()) if len(sizes) else -1


def contested(seed: int, frames: np.ndarray, labels: np.ndarray, fills: tuple[str, ...]) -> vx.Classifier:
    """A network whose class goes when all is hidden, under each fill: its bias lies between both answers."""
    model = small(seed)
    x = model.prepare(frames)
    rgb = model.to_rgb(x)[0]
    hidden = [model.from_rgb(hidden_by(fill, rgb, labels))[None] for fill in fills]
    with torch.no_grad():
        answers = torch.cat([model.net(clip) for clip in (x, *hidden)])
        leads = torch.stack(
            [answers[:, k] - answers[:, [j for j in range(3) if j != k]].amax(dim=1) for k in range(3)]
        )
        gains = leads[:, 0] - leads[:, 1:].amax(dim=1)
        target = int(gains.argmax())
        assert gains[target] > 0.01
        model.net.fc.bias[target] -= (leads[target, 0] - 0.4 * gains[target]) / 40
    return model


def searched(seeds: range, cells: int) -> list[tuple[int, int]]:
    """Size found and best size, of each side of each clip."""
    pairs, labels = [], grid(cells)
    fills = ("mean", "grey", "blur")
    for seed in seeds:
        frames = random_clip(seed)
        model = contested(seed, frames, labels, fills)
        found = vx.evidence(model, frames, fills, labels=labels)  # type: ignore[arg-type]
        verified(model, frames, labels, found)
        for part, keeps in ((found.keeps, True), (found.destroys, False)):
            assert part is not None and part.verified and len(part)
            pairs.append((len(part), optimum(model, frames, labels, keeps, list(fills))))
    return pairs


def test_sets_are_as_small_as_those_of_a_full_search() -> None:
    pairs = searched(range(35, 39), 3)
    assert max(best for _, best in pairs) >= 2
    assert all(0 <= size - best <= 1 for size, best in pairs)
    assert np.mean([size == best for size, best in pairs]) >= 0.9


def test_a_set_that_not_all_fills_agree_on_is_not_verified() -> None:
    """Under a fill that hides nothing of a clip that stands still, no set destroys anything."""
    frames = np.repeat(random_clip(2)[:1], 8, axis=0)
    found = vx.evidence(small(2), frames, ["grey", "still"], labels=grid(3))
    assert found.keeps is not None and found.keeps.verified
    if found.destroys is not None:
        assert not found.destroys.verified
        assert [verdict.agrees for verdict in found.destroys.verdicts] == [True, False]


def test_questions_of_other_kinds() -> None:
    frames, labels = random_clip(1), grid(3)
    top = int(vx.explain(small(1), frames, labels=labels).target)
    other = (top + 1) % 3
    one = vx.evidence(small(1), frames, ["grey"], top, labels=labels, against=other)
    assert one.keeps is not None and one.keeps.verified
    value = vx.evidence(
        small(outputs=1, task="regression", class_names=["ef"]), frames, ["grey"], labels=labels
    )
    assert value.keeps is not None and value.destroys is not None and value.keeps.verified
    labels_net = small(1, task="multi-label")
    likely = vx.evidence(labels_net, frames, ["grey"], labels=labels)
    assert likely.keeps is not None


def test_what_cannot_be_is_refused() -> None:
    model, frames = small(1), random_clip(1)
    top = int(vx.explain(model, frames, n_segments=4).target)
    for options, sentence in (
        ({"target": (top + 1) % 3}, "does not decide for"),
        ({"fills": []}, "a list of one or more"),
        ({"fills": ["gray"]}, "did you mean 'grey'"),
        ({"fill": "grey"}, "takes several"),
        ({"labels": np.zeros((8, 24, 24), int)}, "only one"),
    ):
        with pytest.raises(VidexplainError, match=sentence):
            vx.evidence(model, frames, **options)  # type: ignore[arg-type]


def test_clips_can_be_played(tmp_path: Path) -> None:
    found = vx.evidence(small(1), random_clip(1), ["grey"], labels=grid(3))
    kept, _ = found.clips()
    members = np.isin(grid(3), found.keeps.ids if found.keeps else ())
    assert (kept[members] == random_clip(1)[members]).all() and (kept[~members] == 127).all()
    paths = found.save_clips(tmp_path / "why")
    assert [path.name for path in paths] == ["why-keeps.mp4", "why-destroys.mp4"]
    with vx.open_video(paths[0]) as video:
        shown = [frame.image for frame in video.frames()]
    assert len(shown) == 8 and np.abs(shown[3].astype(int) - kept[3]).mean() < 12
    assert found.picture().ndim == 3 and found._repr_png_()[:4] == b"\x89PNG" and len(repr(found)) < 120
    told = json.loads(found.to_json())
    assert told["keeps"]["verified"] in (True, False) and told["passes"] > 0


def test_of_an_image_stillness_hides_nothing_and_is_left_out() -> None:
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    model = vx.Classifier(net, layout="BCHW", size=(24, 24))
    image = random_clip(0)[0]
    found = vx.evidence(model, image, labels=grid(3)[:1])
    assert found.fills == ("mean", "grey", "blur")
    with pytest.raises(VidexplainError, match="hide nothing of a single frame"):
        vx.evidence(model, image, ["still"], labels=grid(3)[:1])
    with pytest.raises(VidexplainError, match="a picture and no video"):
        found.save_clips("never")
