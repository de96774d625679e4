"""Small networks for studies: clips keep their true class, and the networks can be loaded by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import videxplain as vx
from videxplain.models import train_small


def motion_of(mask: np.ndarray) -> str:
    """The motion of an object's mask (T, H, W), by its first and its last frame."""
    first, last = mask[0], mask[-1]
    ratio = last.sum() / first.sum()
    (y0, x0), (y1, x1) = (np.array(np.nonzero(part)).mean(axis=1) for part in (first, last))
    if max(abs(y1 - y0), abs(x1 - x0)) < 4:
        return "grow" if ratio > 1 else "shrink"
    if abs(x1 - x0) > abs(y1 - y0):
        return "right" if x1 > x0 else "left"
    return "down" if y1 > y0 else "up"


def test_clips_keep_their_true_class_in_all_four_ways() -> None:
    masks = torch.stack([torch.from_numpy(train_small.clip_of(seed).mask) for seed in range(12)])
    x, labels = train_small.four_ways(masks[:, None], torch.arange(12) % len(train_small.MOTIONS))
    assert len(x) == 48
    assert [motion_of(mask[0].numpy()) for mask in x] == [train_small.MOTIONS[label] for label in labels]


@pytest.mark.parametrize("name", list(train_small.NETWORKS))
def test_a_network_is_loaded_by_name_and_learns_from_its_first_batches(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = train_small.NETWORKS[name]()
    before = {key: value.clone() for key, value in made.net.state_dict().items()}
    train_small.train(made, steps=2, batch=4)
    assert any(not torch.equal(before[key], value) for key, value in made.net.state_dict().items())
    save_file({k: v.contiguous() for k, v in made.net.state_dict().items()}, tmp_path / "weights.safetensors")
    loaded = vx.load_model(f"videxplain.models.train_small:{name}", weights=tmp_path / "weights.safetensors")
    x = loaded.prepare(train_small.clip_of(0).frames)
    assert torch.equal(loaded.predict(x), made.predict(x))
    assert loaded.class_names == list(train_small.MOTIONS)
