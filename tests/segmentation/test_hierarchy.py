"""The tree of merges: cuts are nested, have exactly as many regions as asked for, and each region hangs together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.cluster.hierarchy import ward
from scipy.ndimage import label
from skimage.color import rgb2lab

import videxplain as vx
from videxplain import ops
from videxplain.ops import reference
from videxplain.segmentation import hierarchy
from videxplain.segmentation.hierarchy import Hierarchy, adjacent, merge_tree
from videxplain.synthetic.moving_objects import generate

FRAMES = generate(0, motion="left").frames[:6, 20:76, 30:86]
LABELS = vx.segment(FRAMES, n_segments=50)
TREE = merge_tree(LABELS, FRAMES)
N = int(LABELS.max()) + 1


def test_cuts_have_as_many_regions_as_asked_for_and_are_nested() -> None:
    finer = TREE.labels(N)
    np.testing.assert_array_equal(finer, np.arange(N))
    for k in range(N - 1, 0, -1):
        labels = TREE.labels(k)
        assert len(np.unique(labels)) == k == labels.max() + 1
        # each finer region lies in one: pairs of ids are as many as the finer ids
        assert len(np.unique(np.stack([finer, labels]), axis=1).T) == k + 1
        finer = labels


@pytest.mark.parametrize("k", [1, 7, 20, N - 1])
def test_each_region_hangs_together(k: int) -> None:
    cut = TREE.labels(k)[LABELS]
    assert all(label(cut == region)[1] == 1 for region in range(k))


@pytest.mark.parametrize("k", [2, 9, 20])
def test_parts_are_the_regions_of_a_finer_cut_that_lie_in_one(k: int) -> None:
    coarse, fine = TREE.labels(k)[LABELS], TREE.labels(30)[LABELS]
    for region in range(k):
        np.testing.assert_array_equal(TREE.parts(region, k, 30), np.unique(fine[coarse == region]))
        np.testing.assert_array_equal(TREE.parts(region, k), np.unique(LABELS[coarse == region]))


@pytest.mark.parametrize("k", [1, 2, 12, N])
def test_the_tree_above_a_cut_has_the_same_coarser_cuts(k: int) -> None:
    above = TREE.above(k)
    assert above.count == k
    for coarser in range(1, k + 1):
        np.testing.assert_array_equal(above.labels(coarser)[TREE.labels(k)], TREE.labels(coarser))


def test_where_all_are_neighbours_it_is_the_ward_tree_of_scipy() -> None:
    """Of 8 regions of a voxel each, which all touch: their merges join the same sets."""
    features = np.random.default_rng(0).normal(size=(8, 4))
    pairs = np.array([(a, b) for a in range(8) for b in range(a + 1, 8)])
    ours = Hierarchy(hierarchy._merged(np.ones(8), features, pairs))
    members = {i: {i} for i in range(8)}
    for step, (one, other, _, _) in enumerate(ward(features)):
        members[8 + step] = members[int(one)] | members[int(other)]
        cut = ours.labels(7 - step)
        sets = [set(np.flatnonzero(cut == region).tolist()) for region in range(7 - step)]
        assert members[8 + step] in sets


def test_the_first_merge_adds_least_to_the_squared_distances() -> None:
    """By hand, over voxels: no other pair of neighbours would add less."""
    t, y, x = (axis.astype(np.float64) for axis in np.indices(LABELS.shape))
    place = hierarchy.POSITION_WEIGHT * np.stack([t / 6, y / 56, x / 56], axis=-1)
    voxels = np.concatenate([rgb2lab(FRAMES), place], axis=-1)

    def spread(region: np.ndarray) -> float:
        inside = voxels[region]
        return float(((inside - inside.mean(axis=0)) ** 2).sum())

    def added(one: int, other: int) -> float:
        a, b = one == LABELS, other == LABELS
        return spread(a | b) - spread(a) - spread(b)

    costs = {(one, other): added(one, other) for one, other in adjacent(LABELS).tolist()}
    merged = tuple(np.flatnonzero(TREE.parents == N).tolist())
    assert costs[merged] == pytest.approx(min(costs.values()), rel=1e-3)


def test_neighbours_share_a_face_in_space_or_time() -> None:
    labels = np.array([[[0, 0], [1, 2]], [[3, 3], [3, 2]]])
    assert adjacent(labels).tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    assert adjacent(np.array([[[0, 1], [2, 0]]])).tolist() == [[0, 1], [0, 2]]


def test_ties_go_to_the_lower_ids_and_one_region_is_a_tree() -> None:
    grey = np.full((1, 4, 4, 3), 128, np.uint8)
    one = merge_tree(np.zeros((1, 4, 4), np.int32), grey)
    assert one.count == 1 and one.labels(1).tolist() == [0]
    quarters = np.array([[0, 0, 1, 1]] * 2 + [[2, 2, 3, 3]] * 2, np.int32)[None]
    tree = merge_tree(quarters, grey)
    assert np.flatnonzero(tree.parents == 4).tolist() == [0, 1]


def test_the_tree_is_the_same_on_the_slow_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        ops, "rgb_to_lab", lambda x: torch.from_numpy(reference.rgb_to_lab(x[0].numpy()))[None]
    )
    np.testing.assert_array_equal(merge_tree(LABELS, FRAMES).parents, TREE.parents)


@pytest.mark.parametrize("k", [0, N + 1])
def test_cuts_that_there_are_not_are_refused(k: int) -> None:
    with pytest.raises(vx.VidexplainError, match=f"1 to {N} regions, not {k}"):
        TREE.labels(k)


@pytest.mark.parametrize(
    "parents", [[2, 2], [2, 2, 0], [1, 2, -1], [3, 3, 3, -1, -1], [3, 3, 3, 4, -1], [[2, 2, -1]]]
)
def test_what_is_no_tree_is_refused(parents: list[int]) -> None:
    with pytest.raises(ValueError, match="tree"):
        Hierarchy(np.array(parents, np.int32))
