"""What pixel_scores promises besides its values: batches, classes, one code path, an untouched model, clear errors."""

from __future__ import annotations

import copy
import functools
import gc
import weakref

import pytest
import torch
from networks import clips, lively_classes, network, relative_error
from torch import nn

import videxplain as vx
from videxplain.attribution.methods import METHODS, OnePass
from videxplain.attribution.query import VoxelQuery, joined
from videxplain.settings import Question

PIXEL_METHODS = [name for name in METHODS if issubclass(METHODS[name], OnePass)]
QUICK = [("resnet50", "guided"), ("resnet50", "act-grad-cam")]
PAPER_METHODS = {
    "vanilla",
    "guided",
    "input-x-gradient",
    "relu-activation",
    "grad-cam",
    "guided-grad-cam",
    "grad-cam++",
    "act-grad-cam",
    "guided-act-grad-cam",
}


class Tiny(nn.Module):
    """A small 3-D network with every state a model can have: batch norm, dropout, a frozen layer, an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm3d(6)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv3d(6, 8, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8, 5)
        self.conv2.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.conv(x)))
        x = self.relu(self.conv2(x))
        return self.fc(self.drop(x.mean(dim=(2, 3, 4))))


def tiny(net: nn.Module | None = None, **options: object) -> vx.Classifier:
    torch.manual_seed(0)
    options = {
        "clip_length": 4,
        "size": (16, 16),
        "cam_layer": "conv2",
        "class_names": list("abcde"),
        "name": "tiny",
        **options,
    }
    return vx.Classifier(net or Tiny(), **options)


def test_the_nine_methods_of_the_paper_are_there() -> None:
    assert set(PIXEL_METHODS) >= PAPER_METHODS


@functools.cache
def in_double(name: str) -> vx.Classifier:
    model = copy.copy(network(name))
    model.net = copy.deepcopy(model.net).double()
    return model


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *QUICK,
        pytest.param("c3d", "guided-grad-cam", marks=pytest.mark.slow),
        *(
            pytest.param(name, method, marks=pytest.mark.large)
            for name in ("c3d", "resnet50")
            for method in PIXEL_METHODS
            if (name, method) not in [*QUICK, ("c3d", "guided-grad-cam")]
        ),
    ],
)
def test_batch_equals_single_samples(name: str, method: str) -> None:
    """In float64, for in float32 another order of summation may flip which of two near equal values a pool passes."""
    model, x = in_double(name), clips(name, batch=3).double()
    cam = method.removeprefix("guided-") if "cam" in method else "grad-cam"
    targets = lively_classes(name, 3, cam)
    together = vx.pixel_scores(model, x, method, targets)
    for b, target in enumerate(targets):
        alone = vx.pixel_scores(model, x[b : b + 1], method, target)
        for ours, theirs in ((together.dense, alone.dense), (together.cam, alone.cam)):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                assert relative_error(ours[b : b + 1], theirs) < 1e-5
        assert together.target[b] == target


def test_methods_together_equal_methods_alone() -> None:
    model, x = network("c3d"), clips("c3d")
    methods = {name: METHODS[name]() for name in PIXEL_METHODS}
    needs = joined(method.needs for method in methods.values())
    query = VoxelQuery(model, x, Question(target=3), needs)
    together = {name: query.maps_of(method) for name, method in methods.items()}
    for method in PIXEL_METHODS:
        alone = vx.pixel_scores(model, x, method, 3)
        for ours, theirs in ((together[method].dense, alone.dense), (together[method].cam, alone.cam)):
            if theirs is not None:
                assert relative_error(ours, theirs) < 1e-5


def test_image_model_on_a_clip_is_each_frame_on_its_own() -> None:
    """In double precision: in float32 a batch is added up otherwise than a frame."""
    model = copy.deepcopy(network("resnet50"))
    model.net.double()
    frames = torch.randn(1, 3, 3, 64, 64, generator=torch.Generator().manual_seed(2)).double()
    dense, cam = (vx.pixel_scores(model, frames, method, 7) for method in ("guided", "relu-activation"))
    for t in range(3):
        frame = frames[:, :, t]
        alone = vx.pixel_scores(model, frame, "guided", 7).dense
        assert relative_error(dense.dense[:, :, t : t + 1], alone) < 1e-5
        alone = vx.pixel_scores(model, frame, "relu-activation", 7).cam
        assert relative_error(cam.cam[:, t : t + 1], alone) < 1e-5


def test_default_target_is_the_prediction_and_probability_is_the_softmax() -> None:
    model, x = network("c3d"), clips("c3d")
    with torch.no_grad():
        probabilities = model.net.eval()(x).softmax(dim=1)
    scores = vx.pixel_scores(model, x, "vanilla")
    assert torch.equal(scores.target, probabilities.argmax(dim=1))
    torch.testing.assert_close(scores.probability, probabilities.max(dim=1).values)
    second = vx.pixel_scores(model, x, "vanilla", "#2")
    assert torch.equal(second.target, probabilities.topk(2).indices[:, 1])


def state(net: nn.Module) -> tuple:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return (
        {k: v.clone() for k, v in net.state_dict().items()},
        {k: (p.requires_grad, None if p.grad is None else p.grad.clone()) for k, p in net.named_parameters()},
        {k: m.training for k, m in net.named_modules()},
        {k: [len(getattr(m, h)) for h in hooks] for k, m in net.named_modules()},
    )


def assert_same_state(before: tuple, after: tuple) -> None:
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(before[0][k], after[0][k]) for k in before[0])
    for k, (requires, grad) in before[1].items():
        assert after[1][k][0] == requires
        assert (grad is None) == (after[1][k][1] is None)
        assert grad is None or torch.equal(grad, after[1][k][1])
    assert before[2:] == after[2:]


def mixed_modes() -> nn.Module:
    """A network in the middle of training: gradients there, one module evaluating while its parent trains."""
    torch.manual_seed(3)
    net = Tiny().train()
    net(torch.randn(2, 3, 4, 16, 16)).sum().backward()
    net.norm.eval()
    return net


@pytest.mark.parametrize("method", list(METHODS))
def test_model_is_left_as_it_was(method: str) -> None:
    net = mixed_modes()
    model = tiny(net)
    before = state(net)
    frames = torch.randint(0, 255, (4, 16, 16, 3), dtype=torch.uint8).numpy()
    few = {"samples": 4, "steps": 4, "passes": 4}
    options = {name: few[name] for name in few if name in METHODS[method].options()}
    vx.explain(model, frames, method, 1, n_segments=4, **options)
    assert_same_state(before, state(net))


@pytest.mark.parametrize("method", PIXEL_METHODS)
def test_model_is_left_as_it_was_after_an_exception(method: str) -> None:
    class Failing(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            super().forward(x)
            raise ZeroDivisionError("in the middle")

    net = Failing().train()
    before = state(net)
    with pytest.raises(vx.VidexplainError, match="in the middle"):
        vx.pixel_scores(tiny(net), torch.randn(1, 3, 4, 16, 16), method, 0)
    assert_same_state(before, state(net))
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", PIXEL_METHODS)
def test_nothing_of_a_pass_outlives_it(method: str) -> None:
    model = tiny()
    x = torch.randn(1, 3, 4, 16, 16)
    seen: list[weakref.ref] = []
    handle = model.net.conv.register_forward_hook(lambda _m, _a, out: seen.append(weakref.ref(out)))
    vx.pixel_scores(model, x, method, 0)
    handle.remove()
    gc.collect()
    assert seen and all(ref() is None for ref in seen), "the pass's activations are still held by something"


def test_gradient_works_under_no_grad_and_leaves_x_alone() -> None:
    model, x = tiny(), torch.randn(1, 3, 4, 16, 16)
    before = x.clone()
    with torch.no_grad():
        scores = vx.pixel_scores(model, x, "guided-grad-cam", 0)
        assert not torch.is_grad_enabled()
    assert scores.dense.abs().max() > 0
    assert torch.equal(x, before) and not x.requires_grad and x.grad is None


def test_cam_only_methods_do_no_work_before_the_cam_layer() -> None:
    """Their backward pass ends at the CAM layer: nothing before it is recorded."""
    model, recorded = tiny(), []
    model.findings(torch.randn(1, 3, 4, 16, 16))  # tries it out, by passes of its own
    handle = model.net.conv.register_forward_hook(lambda _m, _a, out: recorded.append(out.requires_grad))
    vx.pixel_scores(model, torch.randn(1, 3, 4, 16, 16), "grad-cam", 0)
    vx.pixel_scores(model, torch.randn(1, 3, 4, 16, 16), "vanilla", 0)
    handle.remove()
    assert recorded == [False, True]


def test_a_confident_networks_gradient_keeps_the_part_of_the_targets_logit() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 4 * 4, 5))
    x = torch.randn(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        net[1].bias += 21 * torch.eye(5)[2] - net(x)[0]
        assert net(x).softmax(1)[0, 2] == 1, "float32 does not tell the probability from 1"
    found = vx.pixel_scores(vx.Classifier(net, clip_length=2, size=(4, 4)), x, "vanilla", 2).dense
    exact, point = copy.deepcopy(net).double(), x.double().requires_grad_()
    (expected,) = torch.autograd.grad(exact(point).softmax(1)[0, 2], point)
    assert relative_error(found, expected.float()) < 1e-5


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 4, 16, 16, dtype=torch.uint8), "dtype"),
        (torch.zeros(3, 4, 16, 16), "shape"),
        (torch.zeros(0, 3, 4, 16, 16), "shape"),
        (torch.full((1, 3, 4, 16, 16), float("nan")), "NaN"),
    ],
)
def test_wrong_input_gets_one_sentence(x: torch.Tensor, message: str) -> None:
    with pytest.raises(vx.VidexplainError, match=message):
        vx.pixel_scores(tiny(), x, "vanilla")


def test_wrong_names_suggest_the_right_ones() -> None:
    x = torch.randn(1, 3, 4, 16, 16)
    with pytest.raises(vx.VidexplainError, match=r"'vanila'.*did you mean 'vanilla'"):
        vx.pixel_scores(tiny(), x, "vanila")
    with pytest.raises(vx.VidexplainError, match="javelin"):
        vx.pixel_scores(tiny(class_names=["javelin throw", "b", "c", "d", "e"]), x, "vanilla", "javelin trow")
    with pytest.raises(vx.VidexplainError, match="regions"):
        vx.pixel_scores(tiny(), x, "lime")
    with pytest.raises(vx.VidexplainError, match=r"layer of tiny 'conv9'.*did you mean 'conv'"):
        vx.pixel_scores(tiny(cam_layer="conv9"), x, "grad-cam")


def test_broken_weights_are_named() -> None:
    net = Tiny()
    net.fc.bias.data[0] = float("nan")
    with pytest.raises(vx.VidexplainError, match="NaN"):
        vx.pixel_scores(tiny(net), torch.randn(1, 3, 4, 16, 16), "vanilla", 1)


def test_explanations_do_not_share_state_with_a_copy() -> None:
    model = tiny()
    twin = tiny(copy.deepcopy(model.net))
    x = torch.randn(1, 3, 4, 16, 16)
    assert torch.equal(
        vx.pixel_scores(model, x, "guided", 0).dense, vx.pixel_scores(twin, x, "guided", 0).dense
    )
