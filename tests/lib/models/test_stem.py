import pytest
import torch
from torch import nn

from lib.errors import UserError
from lib.models.build import build_model, check_stem
from lib.models.registry import build_random
from lib.models.sizes import build_skeleton, check_image_size, choose_stem
from lib.models.stem import first_conv, make_small

# The first convolution (kernel, stride) of a small stem, and the max-pool that is left out.
STEMS = {
    "resnet18": (3, 1, "maxpool"),
    "resnext50_32x4d": (3, 1, "maxpool"),
    "densenet121": (3, 1, "features.pool0"),
    "googlenet": (3, 1, "maxpool1"),
    "shufflenet_v2_x0_5": (3, 1, "maxpool"),
    "squeezenet1_0": (3, 1, "features.2"),
    "alexnet": (3, 1, "features.2"),
    "inception_v3": (3, 1, "maxpool1"),
    "mobilenet_v1": (3, 1, None),
    "mobilenet_v2": (3, 1, None),
    "mobilenet_v3_small": (3, 1, None),
    "efficientnet_b0": (3, 1, None),
    "mnasnet0_5": (3, 1, None),
    "regnet_y_400mf": (3, 1, None),
    "convnext_tiny": (2, 2, None),
    "swin_t": (2, 2, None),
    "timm:resnet18": (3, 1, "maxpool"),
    "timm:resnet18d": (3, 1, "maxpool"),  # its stem has three convolutions
}
WITHOUT = ("lenet5", "resnet8", "vgg11", "vit_b_16", "vit_b_32")


def max_pools(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, nn.MaxPool2d)}


@pytest.mark.parametrize("name", STEMS)
def test_small_images_keep_their_resolution(name: str) -> None:
    assert choose_stem(name, channels=3, image_size=32) == "small"
    standard = build_skeleton(name, 7, channels=1, image_size=32)
    small = build_skeleton(name, 7, channels=1, image_size=32, stem="small")
    kernel, stride, pool = STEMS[name]
    found = first_conv(small)
    assert found is not None
    assert found[1].kernel_size == (kernel, kernel)
    assert found[1].stride == (stride, stride)
    assert found[1].in_channels == 1
    assert max_pools(standard) - max_pools(small) == ({pool} if pool else set())
    check_image_size(small, name, num_classes=7, channels=1, image_size=32, stem="small")


def test_the_stages_behind_a_small_stem_see_the_whole_image() -> None:
    seen: list[torch.Size] = []
    model = build_model("resnet18", 5, image_size=32, stem="small").eval()
    model.get_submodule("layer1").register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    logits = model(torch.rand(2, 3, 32, 32))
    assert seen == [(2, 64, 32, 32)]
    assert logits.shape == (2, 5)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", WITHOUT)
def test_networks_without_a_small_stem(name: str) -> None:
    assert choose_stem(name, channels=3, image_size=32) == "standard"
    with pytest.raises(UserError, match="does not begin with a strided") as caught:
        build_skeleton(name, 7, image_size=32, stem="small")
    assert caught.value.hint == "model.stem=standard"


def test_the_small_stem_is_chosen_up_to_64_px_where_it_works() -> None:
    assert choose_stem("resnet18", channels=3, image_size=64) == "small"
    assert choose_stem("resnet18", channels=3, image_size=65) == "standard"
    with pytest.raises(UserError, match=r"maxvit_t cannot work at image_size=224, channels=3, stem=small"):
        build_model("maxvit_t", 2, stem="small")


def test_own_code_has_its_own_stem() -> None:
    assert choose_stem("own:network", channels=3, image_size=32) == "standard"
    with pytest.raises(UserError, match="own:network decides its first layers itself"):
        build_random("own:network", num_classes=2, channels=3, image_size=32, stem="small")


def test_weights_fit_where_only_the_stride_changes() -> None:
    check_stem("mobilenet_v2", "default", "small")
    check_stem("resnet18", "none", "small")
    with pytest.raises(UserError, match="no published weights fit") as caught:
        check_stem("resnet18", "default", "small")
    assert caught.value.hint.startswith("model.stem=standard")


def test_a_stem_is_drawn_as_the_paper_says() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 512, 7, 2, 3), nn.MaxPool2d(3, 2), nn.Flatten(), nn.Linear(512, 2))
    make_small(model, "own")
    weight, bias = model[0].weight, model[0].bias
    assert weight.shape == (512, 3, 3, 3)
    assert weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.05)  # He et al. 2015, fan out
    assert bias is not None
    assert not bias.any()
    assert isinstance(model[1], nn.Identity)
