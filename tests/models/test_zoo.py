"""Networks by name: what the registry holds, weights that fit or do not, and factories of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from videxplain.errors import VidexplainError, VidexplainWarning
from videxplain.models import DEFAULT_MODEL, MODELS, load_model

FACTORY = """
import torch
from videxplain.models import Classifier

class Net(torch.nn.Module):
    def __init__(self, num_classes=3):
        super().__init__()
        self.conv = torch.nn.Conv3d(3, 4, 3)
        self.head = torch.nn.Linear(4, num_classes)

    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3, 4)))

def small(num_classes=3):
    return Classifier(Net(num_classes), clip_length=4, size=(12, 16))

def text():
    return "no network"
"""


def test_all_classifiers_of_torchvision_are_registered() -> None:
    names = set(torchvision.models.list_models(module=torchvision.models))
    names |= set(torchvision.models.list_models(module=torchvision.models.video))
    assert names <= set(MODELS)
    assert {"c3d", DEFAULT_MODEL, "efficientnet-lite0"} <= set(MODELS)
    assert {MODELS[name].kind for name in names} == {"image", "video"}


@pytest.mark.parametrize(
    ("name", "length", "size", "classes", "first"),
    [
        ("resnet18", 1, (224, 224), 1000, "tench"),
        ("inception_v3", 1, (299, 299), 1000, "tench"),
        ("r3d_18", 16, (112, 112), 400, "abseiling"),
        ("s3d", 16, (224, 224), 400, "abseiling"),
        ("mvit_v1_b", 16, (224, 224), 400, "abseiling"),
        ("swin3d_t", 32, (224, 224), 400, "abseiling"),
    ],
)
def test_length_size_and_class_names_follow_the_model(
    name: str, length: int, size: tuple[int, int], classes: int, first: str
) -> None:
    model = load_model(name, weights="random")
    assert (model.name, model.clip_length, model.size) == (name, length, size)
    assert len(model.class_names) == classes and model.class_names[0] == first
    assert model.is_image_model == (length == 1)


def test_random_weights_are_the_same_every_time_and_leave_the_callers_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again = (load_model("resnet18", weights="random").net.state_dict() for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    # a last layer that starts at zero would make every explanation zero
    assert load_model("squeezenet1_1", weights="random", num_classes=3).num_classes == 3
    assert load_model("mvit_v1_b", weights="random").net.head[1].weight.any()


def test_weights_files_fit_or_say_why_not(tmp_path: Path) -> None:
    net = torchvision.models.resnet18(num_classes=4)
    path, other = tmp_path / "net.safetensors", tmp_path / "other.pt"
    save_file(net.state_dict(), path)
    model = load_model("resnet18", weights=path, num_classes=4, class_names=["a", "b", "c", "d"])
    assert torch.equal(model.net.fc.weight, net.fc.weight) and model.class_names == ["a", "b", "c", "d"]
    with pytest.raises(VidexplainError, match=r"fc.*pass num_classes=4"):
        load_model("resnet18", weights=path)
    with pytest.raises(VidexplainError, match=r"do not fit vgg11.*it lacks.*besides"):
        load_model("vgg11", weights=path)
    state = net.state_dict()
    state.pop("layer1.0.conv1.weight")
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, other)
    with pytest.raises(VidexplainError, match=r"it lacks layer1\.0\.conv1\.weight"):
        load_model("resnet18", weights=other, num_classes=4)


def test_models_without_weights_say_where_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VidexplainError, match=r"published ones.*'c3d-motion'"):
        load_model("c3d")

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setenv("TORCH_HOME", "/nonexistent/torch")
    with pytest.raises(VidexplainError, match=r"could not be downloaded.*resnet18-\w+\.pth"):
        load_model("resnet18")
    with pytest.raises(VidexplainError, match="for 1000 classes, not 4"):
        load_model("resnet18", num_classes=4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "did you mean 'resnet1"),
        ("c3d-motions", "did you mean 'c3d-motion'"),
        ("no_such_module:net", "cannot be imported"),
        ("my_models:smal", "did you mean 'small'"),
        ("my_models:text", "returns a str"),
    ],
)
def test_unknown_names_and_bad_factories(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_models.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VidexplainError, match=message):
        load_model(name)


def test_factories_beside_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_models.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    model = load_model("other_models:small", num_classes=5)
    assert (model.num_classes, model.clip_length, model.size) == (5, 4, (12, 16))
    assert load_model("other_models:Net", class_names=["x", "y", "z"]).class_names == ["x", "y", "z"]
    path = tmp_path / "weights.safetensors"
    save_file({k: torch.ones_like(v) for k, v in model.net.state_dict().items()}, path)
    assert load_model("other_models:small", num_classes=5, weights=path).net.head.bias.eq(1).all()


def test_class_names_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("a\nb\n\nc\n")
    assert load_model("resnet18", weights="random", num_classes=3, class_names=path).class_names == [
        "a",
        "b",
        "c",
    ]
    with pytest.raises(VidexplainError, match="cannot be read"):
        load_model("resnet18", weights="random", class_names=tmp_path / "none.txt")
    with pytest.raises(VidexplainError, match="3 outputs but 2"):
        load_model("resnet18", weights="random", num_classes=3, class_names=["a", "b"]).predict(
            torch.zeros(1, 3, 1, 224, 224)
        )


def test_networks_that_packages_add(installed: Callable[..., None]) -> None:
    """By a factory, as beside the caller; the command finds them too."""
    installed("videxplain.models", {"small": "small", "broken": "nothing"}, FACTORY)
    with pytest.warns(VidexplainWarning, match="the model 'broken' of outside could not be loaded"):
        model = load_model("small", num_classes=5)
    assert (model.name, model.num_classes, model.size) == ("small", 5, (12, 16))
    assert MODELS["small"].kind == "any" and "small" in list(MODELS)
    with pytest.raises(VidexplainError, match="the model 'broken' could not be loaded"):
        load_model("broken")
