"""C3D as published, and its weights in the layouts that are in circulation."""

from __future__ import annotations

import itertools
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from videxplain.errors import VidexplainError
from videxplain.models import C3D, load_model
from videxplain.models.c3d_weights import c3d_from_weights, map_c3d
from videxplain.models.convert import convert, read_pickle

CONVOLUTIONS = ("1", "2", "3a", "3b", "4a", "4b", "5a", "5b")


def small(classes: int = 5, **settings: object) -> C3D:
    torch.manual_seed(3)
    return C3D(classes, width=4, fc_width=16, **settings)  # type: ignore[arg-type]


def bare(net: C3D) -> dict[str, torch.Tensor]:
    """State with the layers' published names: conv1.weight ... fc8.bias."""
    return {name.split(".", 1)[1]: tensor for name, tensor in net.state_dict().items()}


def test_shapes_and_parameter_count_of_the_publication() -> None:
    with torch.device("meta"):
        net = C3D(101)
        x = torch.zeros(1, 3, 16, 112, 112)
        shapes = {}
        for name, layer in net.features.named_children():
            x = layer(x)
            shapes[name] = tuple(x.shape[1:])
        assert net(torch.zeros(2, 3, 16, 112, 112)).shape == (2, 101)
    assert shapes["pool1"] == (64, 16, 56, 56)
    assert shapes["pool2"] == (128, 8, 28, 28)
    assert shapes["pool3"] == (256, 4, 14, 14)
    assert shapes["conv5b"] == (512, 2, 7, 7)
    assert shapes["pool5"] == (512, 1, 4, 4)
    # 3x3x3 kernels and biases, then fc6 on 8192 values, fc7 and the classifier, counted by hand.
    channels = [3, 64, 128, 256, 256, 512, 512, 512, 512]
    expected = sum(27 * a * b + b for a, b in itertools.pairwise(channels))
    expected += 8192 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 101 + 101
    assert sum(p.numel() for p in net.parameters()) == expected == 78_409_573


def test_width_scales_every_convolution() -> None:
    net = small()
    assert [net.features.get_submodule(f"conv{c}").out_channels for c in CONVOLUTIONS] == [4, 8] + [
        16
    ] * 2 + [32] * 4


def by_position(net: C3D) -> dict[str, torch.Tensor]:
    positions = dict(zip(CONVOLUTIONS, (0, 3, 6, 8, 11, 13, 16, 18), strict=True))
    heads = {"fc6": 0, "fc7": 3, "fc8": 6}
    renamed = {}
    for name, tensor in bare(net).items():
        layer, kind = name.split(".")
        if layer.startswith("conv"):
            renamed[f"features.{positions[layer[4:]]}.{kind}"] = tensor
        else:
            renamed[f"classifier.{heads[layer]}.{kind}"] = tensor
    return renamed


def mmaction(net: C3D) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in bare(net).items():
        layer, kind = name.split(".")
        if layer == "fc8":
            renamed[f"cls_head.fc_cls.{kind}"] = tensor
        elif layer.startswith("fc"):
            renamed[f"backbone.{layer}.{kind}"] = tensor
        else:
            part, key = ("bn", layer[2:]) if layer.startswith("bn") else ("conv", layer[4:])
            key = key + "a" if key in "12" else key
            renamed[f"backbone.conv{key}.{part}.{kind}"] = tensor
    return renamed


LAYOUTS = {
    "layer names": bare,
    "positions": by_position,
    "mmaction": mmaction,
    "own": lambda net: net.state_dict(),
    "data parallel": lambda net: {f"module.{k}": v for k, v in bare(net).items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_layouts_round_trip(layout: str, suffix: str, tmp_path: Path) -> None:
    net = small()
    state = LAYOUTS[layout](net)
    path = tmp_path / f"c3d{suffix}"
    if suffix == ".pt":
        torch.save({"meta": {"epoch": 3}, "state_dict": state}, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    model = load_model("c3d", weights=path)
    assert model.num_classes == 5
    for name, tensor in net.state_dict().items():
        assert torch.equal(model.net.state_dict()[name], tensor), name


@pytest.mark.parametrize("layout", [bare, mmaction])
def test_batch_normalisation_and_its_superfluous_bias(layout: object) -> None:
    net = small(batch_norm=True).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    state = dict(layout(net))  # type: ignore[operator]
    x = torch.randn(1, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(x)
        assert torch.equal(c3d_from_weights(state, "file").eval()(x), expected)
        # The same network written with a convolution bias, which normalisation subtracts again.
        bias_name = "conv4a.bias" if layout is bare else "backbone.conv4a.conv.bias"
        mean_name = "bn4a.running_mean" if layout is bare else "backbone.conv4a.bn.running_mean"
        bias = torch.randn(32, generator=torch.Generator().manual_seed(1))
        state |= {bias_name: bias, mean_name: state[mean_name] + bias}
        torch.testing.assert_close(c3d_from_weights(state, "file").eval()(x), expected)


def test_caffe2_pickle_through_the_converter(tmp_path: Path) -> None:
    net = small()
    blobs = {}
    for name, tensor in bare(net).items():
        layer, kind = name.split(".")
        layer = layer + "a" if layer in ("conv1", "conv2") else layer
        blobs[f"{layer}_{kind[0]}"] = tensor.numpy()
        blobs[f"{layer}_{kind[0]}_momentum"] = np.zeros(1, np.float32)
    source, target = tmp_path / "c3d.pkl", tmp_path / "c3d.safetensors"
    source.write_bytes(pickle.dumps(OrderedDict(blobs=blobs, lr=0.1), protocol=2))
    assert convert(source, target) == "22 tensors used"
    model = load_model("c3d", weights=target)
    for name, tensor in net.state_dict().items():
        assert torch.equal(model.net.state_dict()[name], tensor), name
    convert(source, target, bgr=True)
    flipped = load_file(target)["features.conv1.weight"]
    assert torch.equal(flipped.flip(1), net.state_dict()["features.conv1.weight"])


def test_report_tells_what_did_not_fit() -> None:
    state = bare(small())
    del state["conv3b.weight"]
    mapped = map_c3d(state | {"optimizer.step": torch.zeros(1)})
    assert mapped.missing == ["features.conv3b"]
    assert mapped.unknown == ["optimizer.step"]
    report = mapped.report()
    assert "21 tensors used" in report
    assert "features.conv3b" in report and "optimizer.step" in report
    with pytest.raises(VidexplainError, match=r"whole C3D.*conv3b"):
        c3d_from_weights(state, "some.pt")


def test_wrong_shapes_and_class_counts_are_said() -> None:
    net = small()
    with pytest.raises(VidexplainError, match="for 5 classes, not 7"):
        c3d_from_weights(bare(net), "some.pt", 7)
    headless = {name: t for name, t in bare(net).items() if not name.startswith("fc8")}
    with pytest.raises(VidexplainError, match="num_classes"):
        c3d_from_weights(headless, "some.pt")
    assert c3d_from_weights(headless, "some.pt", 7).classifier.fc8.out_features == 7
    broken = bare(net) | {"conv2.weight": torch.zeros(9, 4, 3, 3, 3)}
    with pytest.raises(VidexplainError, match=r"conv2.weight is \(9, 4, 3, 3, 3\) there"):
        c3d_from_weights(broken, "some.pt")


class Hostile:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return Path.write_text, (self.path, "owned")  # type: ignore[return-value]


def test_hostile_pickles_are_refused_and_do_nothing(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    checkpoint, caffe = tmp_path / "evil.pt", tmp_path / "evil.pkl"
    torch.save({"conv1.weight": Hostile(trace)}, checkpoint)
    caffe.write_bytes(pickle.dumps({"conv1a_w": Hostile(trace)}))
    with pytest.raises(VidexplainError, match="refused"):
        load_model("c3d", weights=checkpoint)
    with pytest.raises(VidexplainError, match="refused"):
        read_pickle(caffe)
    assert not trace.exists()
    # The same file does run its code where it is unpickled without care, so the test above can fail.
    pickle.loads(caffe.read_bytes())
    assert trace.read_text() == "owned"


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps([1, 2]), pickle.dumps({"a": 1})])
@pytest.mark.parametrize("suffix", [".pt", ".pkl", ".safetensors"])
def test_damaged_files_get_one_sentence(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(VidexplainError, match="weights"):
        load_model("c3d", weights=path)
    with pytest.raises(VidexplainError, match="weights"):
        read_pickle(path)
    with pytest.raises(VidexplainError, match="no weights file"):
        load_model("c3d", weights=tmp_path / "none.pt")


def test_bundled_model_tells_motions_apart() -> None:
    from videxplain.synthetic.moving_objects import CLASSES, generate

    model = load_model()
    assert model.name == "c3d-motion" and tuple(model.class_names) == CLASSES
    clips = [generate(seed) for seed in range(20)]
    found = model.predict(model.prepare([clip.frames for clip in clips])).argmax(1).tolist()
    right = sum(a == clip.label for a, clip in zip(found, clips, strict=True))
    assert right >= 0.95 * len(clips)


def test_a_lone_clip_through_the_narrow_network_is_as_in_a_batch() -> None:
    """It goes into the convolutions twice, or into oneDNN's own; scores and gradients must not tell."""
    net = C3D(5, width=4, fc_width=16).eval()
    clips = torch.rand(3, 3, 16, 112, 112, generator=torch.Generator().manual_seed(0)).requires_grad_()
    whole = net(clips)
    (expected,) = torch.autograd.grad(whole[:, 1].sum(), clips)
    for b in range(3):
        lone = clips[b : b + 1].detach().requires_grad_()
        logits = net(lone)
        torch.testing.assert_close(logits[0], whole[b], rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            torch.testing.assert_close(net(lone)[0], whole[b], rtol=1e-4, atol=1e-5)
        (gradient,) = torch.autograd.grad(logits[0, 1], lone)
        # where two places of a pooling window are nearly equal, rounding decides which one has the gradient
        off = (gradient[0] - expected[b]).abs() > 1e-3 * expected[b].abs().max()
        assert off.float().mean() < 1e-3
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(net(clips[:1]), net(clips)[:1], rtol=5e-2, atol=1e-2)
    with torch.no_grad():
        torch.testing.assert_close(
            net.double()(clips[:1].double())[0].float(), whole[0], rtol=1e-4, atol=1e-5
        )
