"""LeNet-5, MobileNet v1 and the small ResNets."""

import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.models.build import count_parameters
from lib.models.lenet import SMALLEST_IMAGE, lenet5
from lib.models.mobilenet_v1 import mobilenet_v1
from lib.models.resnet_small import Block, resnet_small
from lib.models.table import count_flops


def test_lenet5_has_the_chapters_parameters() -> None:
    assert count_parameters(lenet5(10, channels=1, image_size=28)) == 44_426


@pytest.mark.parametrize(("channels", "image_size"), [(1, 28), (3, 32), (1, SMALLEST_IMAGE), (3, 65)])
def test_lenet5_fits_any_image(channels: int, image_size: int) -> None:
    model = lenet5(7, channels, image_size)
    assert model(torch.zeros(2, channels, image_size, image_size)).shape == (2, 7)


def test_lenet5_refuses_images_of_which_nothing_is_left() -> None:
    with pytest.raises(UserError, match="image_size=15"):
        lenet5(10, channels=1, image_size=SMALLEST_IMAGE - 1)


def test_mobilenet_v1_has_the_papers_size() -> None:
    model = mobilenet_v1(1000)
    assert count_parameters(model) == pytest.approx(4.2e6, rel=0.01)  # table 8 of the paper
    with torch.device("meta"):
        assert count_flops(mobilenet_v1(1000), 3, 224) / 2 == pytest.approx(569e6, rel=0.01)


def test_mobilenet_v1_saves_eight_to_nine_times_the_operations() -> None:
    with torch.device("meta"):
        separable = count_flops(mobilenet_v1(1000), 3, 224)
        plain = count_flops(mobilenet_v1(1000, separable=False), 3, 224)
    assert 8 < plain / separable < 9


def test_depthwise_convolutions_do_not_mix_channels() -> None:
    model = mobilenet_v1(10)
    depthwise = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 13
    assert all(m.groups == m.in_channels == m.out_channels for m in depthwise)


@pytest.mark.parametrize(("depth", "parameters"), [(8, 75_290), (14, 172_506), (20, 269_722)])
def test_small_resnets_have_the_papers_depth_and_size(depth: int, parameters: int) -> None:
    model = resnet_small(depth, 10, channels=3)
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(weighted) == depth
    assert count_parameters(model) == parameters


def test_small_resnet_takes_any_channels_and_size() -> None:
    for channels, size in [(1, 28), (3, 32), (3, 17)]:
        assert resnet_small(8, 5, channels)(torch.zeros(2, channels, size, size)).shape == (2, 5)


def test_shortcut_passes_the_input_through() -> None:
    block = Block(4, 8, stride=2).eval()
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    x = torch.rand(1, 4, 6, 6)
    out = block(x)
    torch.testing.assert_close(out[:, :4], x[:, :, ::2, ::2])
    assert out[:, 4:].abs().max() == 0
