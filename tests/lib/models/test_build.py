import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from lib.errors import UserError
from lib.models.build import build_model, build_pretrained, check_weights, count_parameters, size_mb
from lib.models.head import head_path, model_head
from lib.models.registry import check_model_name
from lib.models.sizes import build_skeleton
from lib.models.weights import fit_state


@pytest.mark.parametrize(
    ("name", "channels", "image_size"),
    [
        ("lenet5", 1, 28),
        ("mobilenet_v1", 3, 32),
        ("resnet8", 1, 28),
        ("resnet18", 3, 64),
        ("mobilenet_v2", 1, 32),
        ("squeezenet1_1", 3, 64),
        ("googlenet", 1, 64),
        ("shufflenet_v2_x0_5", 3, 32),
    ],
)
def test_built_networks_map_images_to_classes(name: str, channels: int, image_size: int) -> None:
    model = build_model(name, 5, channels=channels, image_size=image_size)
    assert model.training
    logits = model.eval()(torch.rand(2, channels, image_size, image_size))
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


def test_random_weights_follow_the_seed() -> None:
    torch.manual_seed(3)
    first = build_model("resnet8", 5, image_size=32)
    torch.manual_seed(3)
    second = build_model("resnet8", 5, image_size=32)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet19", "did you mean resnet18"),
        ("ResNet50", "did you mean resnet50"),
        ("lenet", "did you mean lenet5"),
        ("nothing_like_it", "package.module:function"),
        ("json:dumpz", "did you mean dump"),
        ("json:dump", r"dump\(num_classes, channels, image_size\)"),
        ("no_such_package.x:y", "cannot import no_such_package"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_model_name(name)


def test_known_names() -> None:
    for name in ("lenet5", "resnet18"):
        check_model_name(name)


def test_timm_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    with pytest.raises(UserError, match=r"pip install 'manta\[timm\]'"):
        build_model("timm:resnet18", 5)


def test_timm_networks() -> None:
    model = build_model("timm:resnet18", 5, channels=1, image_size=64)
    assert model.eval()(torch.zeros(1, 1, 64, 64)).shape == (1, 5)
    with pytest.raises(UserError, match="did you mean resnet18"):
        check_model_name("timm:resnet18x")


def test_weights_that_nobody_publishes() -> None:
    with pytest.raises(UserError, match="no published weights for lenet5"):
        check_weights("lenet5", "default")
    with pytest.raises(UserError, match="no such file"):
        check_weights("resnet18", "imagenet")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """A ResNet-18 of 1000 classes that lies where torchvision keeps its downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.ResNet18_Weights.DEFAULT.url
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), checkpoints / url.rsplit("/", 1)[1])
    return model.eval()


def test_default_weights_get_a_new_head(published: nn.Module) -> None:
    built = build_pretrained("resnet18", 5, image_size=64, weights="default")
    assert built.note == "weights=default: fc is new (random): 5 classes instead of 1000"
    assert torch.equal(built.model.get_parameter("conv1.weight"), published.get_parameter("conv1.weight"))
    assert model_head(built.model).weight.shape == (5, 512)


def test_a_grey_image_gets_the_answer_of_its_rgb_version(published: nn.Module) -> None:
    model = build_model("resnet18", 1000, channels=1, image_size=64, weights="default").eval()
    grey = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(grey), published(grey.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-4)


def test_without_network_the_error_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(UserError, match="cannot download the weights of resnet18") as caught:
        build_model("resnet18", 5, image_size=64, weights="default")
    assert "https://download.pytorch.org/models/resnet18" in caught.value.hint


def test_without_network_timms_error_names_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="cannot download the weights of timm:convnext_atto") as caught:
        build_model("timm:convnext_atto", 5, image_size=64, weights="default")
    assert "model.weights=FILE" in caught.value.hint


def test_input_is_never_rescaled_inside_the_network() -> None:
    """mean = std = 0.5 outside equals torchvision's transform_input after ImageNet's mean and std."""
    assert build_skeleton("inception_v3", 5, image_size=299).transform_input is False
    theirs = torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True).eval()
    ours = build_model("googlenet", 1000, image_size=64).eval()
    fit_state(ours, dict(theirs.state_dict()), "googlenet")
    pixels = torch.rand(1, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.inference_mode():
        torch.testing.assert_close(ours((pixels - 0.5) / 0.5), theirs((pixels - mean) / std))


def test_counts() -> None:
    model = build_model("lenet5", 10, channels=1, image_size=28)
    assert count_parameters(model) == 44_426
    assert size_mb(model) == pytest.approx(4 * 44_426 / 1e6)
    assert head_path(model) == "classifier.5"


def test_no_classes() -> None:
    with pytest.raises(UserError, match="at least one class"):
        build_model("lenet5", 0)
