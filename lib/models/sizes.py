"""Whether a network works at an image size, found on the meta device: no memory, no arithmetic.

    skeleton = build_skeleton("vgg16", num_classes=10, channels=3, image_size=224)   # shapes only
    check_image_size(model, "vgg16", num_classes=10, channels=3, image_size=16)      # UserError

A skeleton has every module, parameter and buffer of the network on the meta device: good for counting,
grouping and shape checks.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from lib.errors import UserError
from lib.models.head import aux_paths, head_outputs, split_outputs
from lib.models.registry import build_random, find_builder, is_custom
from lib.models.stem import SMALL_IMAGE

# Sizes that are tried for the hint when a network does not work at the one that was asked for.
USUAL_SIZES = (28, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 384, 448, 512)

# What initialisation does to a tensor in place.
FILLS = frozenset({"normal_", "uniform_", "fill_", "zero_", "erfinv_", "mul_", "add_", "clamp_"})

# Networks of libraries that were found to work, by name and shape.
_WORKING: set[tuple[str, int, int, int, str]] = set()


class _EmptyOnMeta(TorchFunctionMode):
    """Parameters start as `torch.empty`: put those, and only those, on the meta device.

    `with torch.device("meta")` would also take the small tensors that builders compute with (RegNet
    derives its widths from `torch.arange`). Random initialisation of what has no memory is left out: it
    is half of the time.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        if getattr(func, "__name__", "") in FILLS and args and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


def build_skeleton(
    name: str, num_classes: int, *, channels: int = 3, image_size: int = 224, stem: str = "standard"
) -> nn.Module:
    """The network without weights, on the meta device, in train mode; own code is built for real first."""
    build = partial(
        build_random, name, num_classes=num_classes, channels=channels, image_size=image_size, stem=stem
    )
    if is_custom(name):
        return build().to("meta")
    try:
        with _EmptyOnMeta():
            model = build()
    except RuntimeError:  # a few networks of timm compute with their values while they are built
        model = build()
    return model.to("meta")


def choose_stem(name: str, *, channels: int, image_size: int) -> str:
    """The stem of a network that starts from random weights: small for small images, where it has one."""
    if image_size > SMALL_IMAGE or is_custom(name):
        return "standard"
    return "small" if _works(name, channels, image_size, "small") else "standard"


def check_image_size(
    model: nn.Module, name: str, *, num_classes: int, channels: int, image_size: int, stem: str = "standard"
) -> None:
    """UserError unless `model` maps [b, channels, image_size, image_size] to [b, num_classes].

    Networks with auxiliary heads are checked in train mode too, since those need larger images. Own code
    may hold tensors that are no buffers, so it runs for real, on one black image.
    """
    if is_custom(name) and any(parameter.is_meta for parameter in model.parameters()):
        # A skeleton of own code cannot be run.
        model = find_builder(name)(num_classes=num_classes, channels=channels, image_size=image_size)
    modes = {module: module.training for module in model.modules()}
    try:
        problem = _problem(model, is_custom(name), num_classes, channels, image_size)
    finally:
        for module, training in modes.items():
            module.training = training
    if problem:
        hint = "" if is_custom(name) else _smallest_hint(name, channels, image_size, stem)
        told = f"image_size={image_size}, channels={channels}" + ", stem=small" * (stem == "small")
        raise UserError(f"{name} cannot work at {told}: {problem}", hint)
    if head_outputs(model) != num_classes:
        raise UserError(
            f"{name}: its last Linear or Conv2d has {head_outputs(model)} outputs for {num_classes} classes",
            "register the classifier last (see lib/models/head.py)",
        )


def check_once(
    model: nn.Module, name: str, *, num_classes: int, channels: int, image_size: int, stem: str = "standard"
) -> None:
    """Check as `check_image_size` does, but what libraries build only once: trials build the same network."""
    shape = (name, num_classes, channels, image_size, stem)
    if shape in _WORKING:
        return
    check_image_size(
        model, name, num_classes=num_classes, channels=channels, image_size=image_size, stem=stem
    )
    if not is_custom(name):
        _WORKING.add(shape)


def _problem(model: nn.Module, for_real: bool, num_classes: int, channels: int, image_size: int) -> str:
    """What is wrong with the forward pass, in a sentence; empty if nothing is."""
    tensors: dict[str, Tensor] = {}
    if not for_real:
        named = (*model.named_parameters(), *model.named_buffers())
        tensors = {key: tensor.detach().to("meta") for key, tensor in named}
    images = torch.zeros(2, channels, image_size, image_size, device=None if for_real else "meta")
    try:
        with torch.inference_mode():
            outputs = [functional_call(model.eval(), tensors, (images[:1],))]
            if aux_paths(model) and not for_real:
                outputs.append(functional_call(model.train(), tensors, (images,)))
    except (RuntimeError, ValueError, AssertionError) as error:
        return str(error).strip().split("\n")[0]
    for output in outputs:
        if not isinstance(output, Tensor | tuple):
            return f"its forward returns {type(output).__name__}, not logits"
        logits, _ = split_outputs(output)
        if logits.ndim != 2 or logits.shape[1] != num_classes:
            return f"its forward returns {list(logits.shape)}, not [images, {num_classes}]"
    return ""


def _smallest_hint(name: str, channels: int, image_size: int, stem: str) -> str:
    if stem == "small" and _works(name, channels, image_size, "standard"):
        return "model.stem=standard"
    for size in USUAL_SIZES:
        if size > image_size and _works(name, channels, size, stem):
            return f"{name} works at {size} px: model.image_size={size}"
    return ""


def _works(name: str, channels: int, image_size: int, stem: str) -> bool:
    try:
        skeleton = build_skeleton(name, 2, channels=channels, image_size=image_size, stem=stem)
    except UserError:
        return False
    return not _problem(skeleton, False, 2, channels, image_size)
