import pytest
import torch
from torch import nn

from lib.config.names import TORCHVISION_MODELS
from lib.errors import UserError
from lib.models.build import build_model
from lib.models.head import classifier_paths, head_outputs, head_path, model_head, split_outputs
from lib.models.sizes import build_skeleton


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("resnet18", "fc"),
        ("vgg11", "classifier.6"),
        ("squeezenet1_1", "classifier.1"),
        ("vit_b_32", "heads.head"),
        ("swin_t", "head"),
        ("googlenet", "fc"),
        ("lenet5", "classifier.5"),
        ("mobilenet_v1", "classifier"),
    ],
)
def test_head_path(name: str, path: str) -> None:
    model = build_skeleton(name, 7)
    assert head_path(model) == path
    assert head_outputs(model) == 7


def test_squeezenets_head_is_a_convolution() -> None:
    assert isinstance(model_head(build_skeleton("squeezenet1_0", 7)), nn.Conv2d)


def test_classifiers_of_networks_with_auxiliary_heads() -> None:
    assert "googlenet" in TORCHVISION_MODELS
    assert classifier_paths(build_skeleton("googlenet", 7)) == ("fc", "aux1.fc2", "aux2.fc2")
    assert classifier_paths(build_skeleton("inception_v3", 7, image_size=299)) == ("fc", "AuxLogits.fc")


def test_a_network_without_layers_has_no_head() -> None:
    with pytest.raises(UserError, match="no classifier"):
        head_path(nn.Sequential(nn.ReLU()))


def test_split_outputs() -> None:
    model = build_model("googlenet", 5, image_size=64)
    images = torch.rand(2, 3, 64, 64)
    logits, auxiliary = split_outputs(model(images))
    assert logits.shape == (2, 5)
    assert [aux.shape for aux in auxiliary] == [(2, 5), (2, 5)]
    logits, auxiliary = split_outputs(model.eval()(images))
    assert logits.shape == (2, 5)
    assert auxiliary == ()
