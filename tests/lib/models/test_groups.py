import pytest
import torch
from torch import nn

from lib.config.names import MANTA_MODELS
from lib.models.defaults import default_preprocess
from lib.models.groups import depth_groups
from lib.models.sizes import build_skeleton

# One of each family runs a forward pass; the deep ones of a family have the same structure.
FAMILIES = (
    *MANTA_MODELS,
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t "
    "mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 "
    "shufflenet_v2_x0_5 squeezenet1_0 swin_t swin_v2_t vgg11 vgg11_bn vit_b_32",
)
FAMILY_NAMES = [name for line in FAMILIES for name in line.split()]


def names_of(model: nn.Module) -> list[str]:
    return [group.name for group in depth_groups(model)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_groups_of_resnets(name: str) -> None:
    groups = depth_groups(build_skeleton(name, 7))
    assert [group.name for group in groups] == ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]
    assert groups[0].parameters == ("conv1.weight", "bn1.weight", "bn1.bias")
    assert groups[-1].parameters == ("fc.weight", "fc.bias")


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_groups_follow_the_forward_pass(name: str) -> None:
    size = 64 if name in MANTA_MODELS else default_preprocess(name)["image_size"]
    model = build_skeleton(name, 7, image_size=size).eval()
    group_of = {p: i for i, group in enumerate(depth_groups(model)) for p in group.parameters}
    seen: list[int] = []

    def note(path: str) -> None:
        own = [f"{path}.{p}" for p, _ in model.get_submodule(path).named_parameters(recurse=False)]
        seen.extend(group_of[p] for p in own)

    for path, module in model.named_modules():
        if path:
            module.register_forward_pre_hook(lambda _, __, path=path: note(path))
    with torch.inference_mode():
        model(torch.zeros(1, 3, size, size, device="meta"))
    if name.startswith("vit"):  # the encoder's own position embedding is read at the start of the encoder
        assert seen[0] == 0
    assert seen == sorted(seen)
    assert set(seen) == set(group_of.values())


def test_names_of_other_families() -> None:
    assert names_of(build_skeleton("lenet5", 7))[-1] == "classifier.5"
    assert names_of(build_skeleton("googlenet", 7)) == [
        "conv1",
        "conv2..conv3",
        "inception3a..inception3b",
        "inception4a..inception4e",
        "inception5a..inception5b",
        "fc",
    ]
    assert names_of(build_skeleton("regnet_y_400mf", 7))[1:5] == [
        f"trunk_output.block{i}" for i in range(1, 5)
    ]


def test_class_token_and_positions_are_shallow() -> None:
    first = depth_groups(build_skeleton("vit_b_32", 7))[0]
    assert {"class_token", "conv_proj.weight", "encoder.pos_embedding"} <= set(first.parameters)


class Wrapped(nn.Module):
    """A network of the user's own around a backbone, with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.backbone = build_skeleton("resnet18", 9)
        self.norm = nn.LayerNorm(9)
        self.head = nn.Linear(9, 3)


def test_a_backbone_inside_an_own_module_is_opened() -> None:
    groups = depth_groups(Wrapped())
    assert len(groups) == 6
    assert groups[0].parameters[0] == "scale"
    assert groups[1].name == "backbone.layer1"
    assert {"backbone.fc.weight", "norm.weight"} <= set(groups[4].parameters)
    assert groups[5].parameters == ("head.weight", "head.bias")


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("timm:deit_tiny_distilled_patch16_224", ("head", "head_dist")),
        ("timm:levit_128s", ("head.linear", "head_dist.linear")),
        ("timm:resnet18", ("fc",)),
    ],
)
def test_all_heads_of_a_network_that_averages_several_are_one_group(name: str, heads: tuple[str]) -> None:
    model = build_skeleton(name, 7)
    groups = depth_groups(model)
    assert groups[-1].modules == heads
    assert sorted(p for group in groups for p in group.parameters) == sorted(dict(model.named_parameters()))


def test_a_head_alone_is_one_group() -> None:
    assert names_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) == ["1"]


def test_deep_strided_stacks_are_joined_to_five() -> None:
    layers = [nn.Conv2d(8, 8, 3, stride=2) for _ in range(9)]
    groups = depth_groups(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8, 2)))
    assert len(groups) == 6
    assert groups[-1].name == "10"
