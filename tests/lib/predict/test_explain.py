"""Grad-CAM of every kind of network."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from lib.data.dataset import open_dataset
from lib.errors import UserError
from lib.images.spec import PreprocessSpec
from lib.models.lenet import lenet5
from lib.models.registry import import_timm
from lib.predict.explain import Explainer, grad_cam
from lib.predict.predictor import Predictor


def spec_of(size: int, channels: int = 3) -> PreprocessSpec:
    return PreprocessSpec(
        image_size=size, resize_size=size, channels=channels, mean=(0.5,) * channels, std=(0.25,) * channels
    )


def noise(size: int, channels: int = 3) -> Tensor:
    return torch.randint(0, 256, (channels, size, size), dtype=torch.uint8)


def small_vit() -> nn.Module:
    shape = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
    model = VisionTransformer(image_size=32, patch_size=8, num_classes=3, **shape)
    nn.init.normal_(model.heads.head.weight)  # it begins with zeros, and nothing speaks for a class
    return model


def small_swin() -> nn.Module:
    shape = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": [4, 4]}
    return SwinTransformer(patch_size=[2, 2], num_classes=3, **shape)


def small_timm_vit() -> nn.Module:
    shape = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return import_timm().models.VisionTransformer(num_classes=3, **shape)


BUILD: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "lenet5": (lambda: lenet5(3, 1, 28), 28, 1),
    "tiny lenet5": (lambda: lenet5(3, 3, 16), 16, 3),
    "resnet18": (lambda: models.resnet18(num_classes=3), 64, 3),
    "mobilenet": (lambda: models.mobilenet_v3_small(num_classes=3), 64, 3),
    "squeezenet": (lambda: models.squeezenet1_1(num_classes=3), 64, 3),
    "vit": (small_vit, 32, 3),
    "timm's vit": (small_timm_vit, 32, 3),
    "swin": (small_swin, 32, 3),
}


@pytest.mark.parametrize("name", BUILD)
def test_networks_of_every_kind(name: str) -> None:
    torch.manual_seed(1)
    build, size, channels = BUILD[name]
    model = build().eval().requires_grad_(False)
    pixels = noise(size, channels)
    heats = [grad_cam(model, pixels, spec_of(size, channels), index) for index in range(3)]
    for heat in heats:
        assert heat.dtype == np.float32
        assert heat.shape == (size, size)
        assert heat.min() >= 0
        assert heat.max() <= 1
    assert any(heat.max() > 0.5 and heat.std() > 0 for heat in heats)
    assert not all(np.array_equal(heats[0], heat) for heat in heats[1:])
    assert not any(module._forward_hooks for module in model.modules())


class Corners(nn.Module):
    """One class for light in the upper left quarter, one for light in the lower right one."""

    def __init__(self, tokens: bool) -> None:
        super().__init__()
        self.tokens = tokens
        self.seen = nn.Conv2d(1, 2, 8, 8)
        self.norm = nn.LayerNorm(2, elementwise_affine=False) if tokens else nn.Identity()
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.seen.weight.fill_(1.0)
            self.seen.bias.zero_()
            self.head.weight.copy_(torch.eye(2))
        mask = torch.zeros(1, 2, 4, 4)
        mask[:, 0, :2, :2] = mask[:, 1, 2:, 2:] = 1
        self.register_buffer("mask", mask)
        self.shown = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        features = self.shown(self.seen(images) * self.mask)
        if not self.tokens:
            return self.head(features.mean((2, 3)))
        patches = features.flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([torch.zeros_like(patches[:, :1]), patches], 1))
        return self.head(tokens[:, 1:].mean(1))


@pytest.mark.parametrize("tokens", [False, True])
def test_the_heat_lies_where_the_class_is(tokens: bool) -> None:
    light = torch.full((1, 32, 32), 255, dtype=torch.uint8)
    model = Corners(tokens).eval()
    first, second = (grad_cam(model, light, spec_of(32, 1), index) for index in range(2))
    for heat, here, there in (
        (first, first[:12, :12], first[20:, 20:]),
        (second, second[20:, 20:], second[:12, :12]),
    ):
        assert heat.max() == 1
        assert here.mean() > 0.9
        assert there.mean() < 0.1


def test_a_network_without_a_map_is_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    with pytest.raises(UserError, match="no map of features"):
        grad_cam(model, noise(8, 1), spec_of(8, 1), 0)


def test_a_bundle_explains_itself_and_answers_as_before(digits_bundle: Path, digits: Path) -> None:
    predictor = Predictor(digits_bundle)
    data = open_dataset(str(digits)).samples("test").read(0)
    before = predictor.predict([data])
    with torch.inference_mode():  # the thread of a model may be in it
        heat = Explainer(predictor.bundle).heat(predictor.prepare(data), int(before.argmax()))
    assert heat.max() > 0.5
    np.testing.assert_array_equal(predictor.predict([data]), before)
