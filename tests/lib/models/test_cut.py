"""A network cut in two, held against the whole one."""

import copy

import pytest
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.models.build import build_model
from lib.models.cut import agrees, cut_network, folded
from lib.models.groups import depth_groups
from lib.models.head import split_outputs

# One of each way to be written: plain, branching, concatenating, tokens, windows, timm's.
NETWORKS = [
    ("lenet5", 28),
    ("resnet8", 32),
    ("resnet18", 64),
    ("mobilenet_v2", 64),
    ("densenet121", 64),
    ("efficientnet_b0", 64),
    ("convnext_tiny", 64),
    ("vit_b_16", 32),
    ("swin_t", 64),
    ("googlenet", 96),
    ("vgg11", 64),
]


def _model(name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    return build_model(name, num_classes=5, image_size=size).eval()


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_both_parts_after_each_other_are_the_network(name: str, size: int) -> None:
    model = _model(name, size)
    images = torch.randn(2, 3, size, size)
    groups = depth_groups(model)
    with torch.inference_mode():
        expected = split_outputs(model(images))[0]
        for frozen in {1, round(0.6 * (len(groups) - 1)), len(groups) - 2, len(groups) - 1}:
            parts = cut_network(model, frozen)
            torch.testing.assert_close(parts.rest(parts.prefix(images)), expected, rtol=0, atol=0)


def test_the_rest_learns_with_the_parameters_of_the_network() -> None:
    model = _model("resnet8", 32)
    parts = cut_network(model, len(depth_groups(model)) - 1)
    images = torch.randn(2, 3, 32, 32)
    parts.rest(parts.prefix(images).detach()).sum().backward()
    learnt = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert learnt == set(depth_groups(model)[-1].parameters)


def test_a_folded_prefix_has_no_batch_normalisation_and_says_the_same() -> None:
    model = _model("mobilenet_v2", 64)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):  # as if it had been trained
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    prefix = cut_network(model, len(depth_groups(model)) - 1).prefix
    images = torch.randn(2, 3, 64, 64)
    faster = folded(prefix, images, tolerance=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in faster.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in prefix.modules())
    with torch.inference_mode():
        torch.testing.assert_close(faster(images), prefix(images), rtol=1e-3, atol=1e-4)


def test_a_copy_that_says_something_else_is_not_folded() -> None:
    prefix = cut_network(_model("resnet8", 32), 2).prefix
    kept = folded(prefix, torch.randn(2, 3, 32, 32), tolerance=-1)
    assert any(isinstance(module, nn.BatchNorm2d) for module in kept.modules())


class Skipping(nn.Module):
    """The head sees two things."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        early = self.first(images)
        late = self.second(early)
        return self.fc(torch.cat([early.mean((2, 3)), late.mean((2, 3))], 1))


class Branching(Skipping):
    """What it does depends on what it sees."""

    def forward(self, images: Tensor) -> Tensor:
        images = self.second(self.first(images))
        if images.mean() > 100:
            images = -images
        return self.fc(torch.cat([images, images], 1).mean((2, 3)))


def test_two_values_that_lead_out_of_the_frozen_part_are_refused() -> None:
    with pytest.raises(UserError, match="2 values lead out of the frozen part"):
        cut_network(Skipping(), 1)


def test_a_network_that_cannot_be_traced_is_cut_before_its_head_and_nowhere_else() -> None:
    model = Branching().eval()
    parts = cut_network(model, 2)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(parts.rest(parts.prefix(images)), model(images), rtol=0, atol=0)
    with pytest.raises(UserError, match="the network cannot be traced"):
        cut_network(model, 1)


def test_a_frozen_part_that_differs_in_training_is_found_out() -> None:
    model = _model("resnet8", 32)
    parts = cut_network(model, 2)
    images = torch.randn(2, 3, 32, 32)
    assert agrees(model, parts.prefix, parts.rest, images, tolerance=1e-5)
    whole = copy.deepcopy(model).train()  # a frozen part would be in eval mode
    assert not agrees(whole, cut_network(whole, 2).prefix, parts.rest, images, tolerance=1e-5)
    assert whole.training
