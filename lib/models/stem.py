"""The first layers of a network: the channels they read, and how soon they lower the resolution.

    make_grey(model)                  # the first convolution reads 1 channel
    make_small(model, "resnet18")     # 3x3, stride 1, no max-pool: for images of up to 64 px

Networks for ImageNet halve the image twice or more before their first block. Of 32 px nothing would be left
for their later stages, so small images get a stem that keeps the resolution, as He et al. 2015 (ResNet,
section 4.2) and Huang et al. 2016 (DenseNet, section 3) do for CIFAR.
"""

from typing import Any

import torch
from torch import nn

from lib.errors import UserError

# Images of up to this side in pixels get the small stem where nothing else is asked for.
SMALL_IMAGE = 64

# Side of a patch in ConvNeXt's and Swin's first convolution; for small images it is halved.
PATCH = 4


def first_conv(model: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Path and module of the convolution that reads the image, if there is one."""
    found = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d))
    return next(found, None)


def make_grey(model: nn.Module) -> None:
    """Make the first convolution of `model` read 1 channel instead of 3; its scale of weights stays."""
    found = first_conv(model)
    assert found is not None, type(model)
    path, conv = found
    shape: dict[str, Any] = {key: getattr(conv, key) for key in ("kernel_size", "stride", "padding")}
    grey = nn.Conv2d(1, conv.out_channels, **shape, bias=conv.bias is not None)
    with torch.no_grad():
        grey.weight.copy_(conv.weight[:, :1])
        if grey.bias is not None and conv.bias is not None:
            grey.bias.copy_(conv.bias)
    model.set_submodule(path, grey)


def can_be_small(model: nn.Module) -> bool:
    """Whether the first convolution lowers the resolution in a way that `make_small` can undo."""
    found = first_conv(model)
    if found is None:
        return False
    conv = found[1]
    return max(conv.stride) > 1 and (not _cuts_patches(conv) or conv.stride == (PATCH, PATCH))


def make_small(model: nn.Module, name: str) -> None:
    """Let the first layers of `model` keep the resolution.

    A strided first convolution becomes 3x3 with stride 1 (one of 3x3 only loses its stride, and so keeps
    the shape of its weights), and a max-pool before the next strided convolution is left out. Patches of
    4 px become patches of 2 px. Raises UserError if the network does not begin like that.
    """
    found = first_conv(model)
    if found is None or not can_be_small(model):
        raise UserError(
            f"model.stem=small: {name} does not begin with a strided convolution or patches of {PATCH} px",
            "model.stem=standard",
        )
    path, conv = found
    if _cuts_patches(conv):
        _replace(model, path, conv, kernel=PATCH // 2, stride=PATCH // 2, padding=0)
        return
    pool = _pool_behind(model, path)
    if pool is not None:
        model.set_submodule(pool, nn.Identity())
    if max(conv.kernel_size) > 3:
        _replace(model, path, conv, kernel=3, stride=1, padding=1)
    else:
        conv.stride = (1, 1)


def _cuts_patches(conv: nn.Conv2d) -> bool:
    return conv.kernel_size == conv.stride


def _replace(model: nn.Module, path: str, conv: nn.Conv2d, *, kernel: int, stride: int, padding: int) -> None:
    has_bias = conv.bias is not None
    small = nn.Conv2d(conv.in_channels, conv.out_channels, kernel, stride, padding, bias=has_bias)
    nn.init.kaiming_normal_(small.weight, mode="fan_out", nonlinearity="relu")
    if small.bias is not None:
        nn.init.zeros_(small.bias)
    model.set_submodule(path, small)


def _pool_behind(model: nn.Module, path: str) -> str | None:
    """The first max-pool between the convolution `path` and the next strided one, as they are registered."""
    modules: list[tuple[str, nn.Module]] = list(model.named_modules())
    behind = modules[[name for name, _ in modules].index(path) + 1 :]
    for name, module in behind:
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1:
            return None
        if isinstance(module, nn.MaxPool2d):
            return name
    return None
