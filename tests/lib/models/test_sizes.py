from pathlib import Path

import pytest
import torch
from torch import nn

from lib.config.names import MANTA_MODELS
from lib.errors import UserError
from lib.models.build import build_model
from lib.models.defaults import default_preprocess
from lib.models.sizes import build_skeleton, check_image_size, check_once


@pytest.mark.parametrize(
    "name", [*MANTA_MODELS, "alexnet", "convnext_tiny", "densenet121", "inception_v3", "maxvit_t", "vit_b_16"]
)
def test_skeletons_hold_no_memory_and_read_grey(name: str) -> None:
    model = build_skeleton(name, 7, channels=1)
    tensors = [*model.parameters(), *model.buffers()]
    assert all(tensor.is_meta for tensor in tensors)
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert first.in_channels == 1


@pytest.mark.parametrize(
    "name", ["lenet5", "mobilenet_v3_small", "googlenet", "regnet_y_400mf", "shufflenet_v2_x0_5"]
)
def test_a_skeleton_has_the_shapes_of_the_network(name: str) -> None:
    model = build_model(name, 7, channels=1, image_size=64)
    skeleton = build_skeleton(name, 7, channels=1, image_size=64)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (model, skeleton)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    "name", ["alexnet", "densenet121", "inception_v3", "maxvit_t", "swin_t", "vgg11", "vit_h_14", "resnet20"]
)
def test_networks_work_at_their_own_size(name: str) -> None:
    size = default_preprocess(name)["image_size"]
    for channels in (1, 3):
        model = build_skeleton(name, 7, channels=channels, image_size=size)
        check_image_size(model, name, num_classes=7, channels=channels, image_size=size)


@pytest.mark.parametrize(
    ("name", "image_size", "hint"),
    [
        ("alexnet", 32, "model.image_size=64"),
        ("vgg11", 16, "model.image_size=32"),
        ("squeezenet1_1", 8, "model.image_size=28"),
        ("vit_b_16", 200, "model.image_size=192"),
        ("maxvit_t", 200, "model.image_size=224"),
        ("lenet5", 8, "give 16 or more"),
        ("inception_v3", 64, "model.image_size=96"),
        ("timm:nest_tiny", 100, "model.image_size=224"),
    ],
)
def test_impossible_sizes_are_refused_with_one_that_works(name: str, image_size: int, hint: str) -> None:
    with pytest.raises(UserError, match=f"image_size={image_size}") as caught:
        build_model(name, 7, image_size=image_size)
    assert hint in caught.value.hint


def test_the_check_leaves_weights_and_modes_alone() -> None:
    model = build_model("googlenet", 5, image_size=64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.get_submodule("inception3a").eval()
    modes = [module.training for module in model.modules()]
    check_image_size(model, "googlenet", num_classes=5, channels=3, image_size=64)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_works_is_checked_once_and_what_does_not_every_time() -> None:
    kwargs = {"num_classes": 7, "channels": 1}
    skeleton = build_skeleton("lenet5", **kwargs, image_size=24)
    check_once(skeleton, "lenet5", **kwargs, image_size=24)
    runs = []
    handle = skeleton.register_forward_hook(lambda *_: runs.append(1))
    check_once(skeleton, "lenet5", **kwargs, image_size=24)
    assert runs == []
    for _ in range(2):
        with pytest.raises(UserError, match="image_size=50"):
            check_once(skeleton, "lenet5", **kwargs, image_size=50)
    handle.remove()


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, channels, outputs, hidden_last=False):
        super().__init__()
        self.offset = torch.ones(1)  # neither a parameter nor a buffer
        self.fc = nn.Linear(channels, outputs)
        self.hidden = nn.Linear(channels, channels) if hidden_last else nn.Identity()

    def forward(self, x):
        return self.fc(self.hidden(x.mean((2, 3)) + self.offset))

def good(num_classes, channels, image_size):
    return Net(channels, num_classes)

def classes_forgotten(num_classes, channels, image_size):
    return Net(channels, 1000)

def head_first(num_classes, channels, image_size):
    return Net(channels, num_classes, hidden_last=True)

def pixels(num_classes, channels, image_size):
    return nn.Conv2d(channels, num_classes, 1)

def dictionary(num_classes, **kwargs):
    class Dictionary(Net):
        def forward(self, x):
            return {"logits": super().forward(x)}
    return Dictionary(3, num_classes)

def broken(num_classes, channels, image_size):
    return nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks_for_sizes.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_networks_for_sizes"


def test_own_code_runs_for_real(own_module: str) -> None:
    model = build_model(f"{own_module}:good", 4)
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
    assert next(build_skeleton(f"{own_module}:good", 4).parameters()).is_meta


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("classes_forgotten", r"returns \[1, 1000\], not \[images, 4\]"),
        ("head_first", "last Linear or Conv2d has 3 outputs"),
        ("pixels", r"returns \[1, 4, 224, 224\]"),
        ("dictionary", "returns dict, not logits"),
        ("broken", "shapes cannot be multiplied"),
    ],
)
def test_own_code_is_told_what_is_wrong(own_module: str, function: str, problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        build_model(f"{own_module}:{function}", 4)


def test_a_skeleton_of_own_code_stands_for_the_network(own_module: str) -> None:
    kwargs = {"num_classes": 4, "channels": 3, "image_size": 224}
    good, pixels = f"{own_module}:good", f"{own_module}:pixels"
    check_image_size(build_skeleton(good, **kwargs), good, **kwargs)
    with pytest.raises(UserError, match=r"returns \[1, 4, 224, 224\]"):
        check_image_size(build_skeleton(pixels, **kwargs), pixels, **kwargs)
