"""From a model's name to the module with random weights, one builder per kind of name.

    model = build_random("resnet18", num_classes=10, channels=3, image_size=224)

Kinds: Manta's own networks, every torchvision classification model, `timm:NAME`, and
`package.module:function` called with the same three keywords.
"""

import difflib
import importlib
import importlib.util
import inspect
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol, cast

import torchvision
from torch import nn

from lib.config.names import MANTA_MODELS, TORCHVISION_MODELS
from lib.errors import UserError
from lib.models.lenet import lenet5
from lib.models.mobilenet_v1 import mobilenet_v1
from lib.models.resnet_small import resnet_small
from lib.models.stem import make_grey, make_small

TIMM_PREFIX = "timm:"

# Smallest image in pixels of which the auxiliary head has anything left; smaller ones are trained without it.
AUX_SMALLEST = {"googlenet": 1, "inception_v3": 299}


class Builder(Protocol):
    """Builds a network with random weights: [b, channels, image_size, image_size] to [b, num_classes]."""

    def __call__(self, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Build the network; UserError where it cannot work at this size."""


MANTA_BUILDERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "lenet5": lenet5,
    "mobilenet_v1": lambda classes, channels, _: mobilenet_v1(classes, channels),
    "resnet8": lambda classes, channels, _: resnet_small(8, classes, channels),
    "resnet14": lambda classes, channels, _: resnet_small(14, classes, channels),
    "resnet20": lambda classes, channels, _: resnet_small(20, classes, channels),
}


def check_model_name(name: str) -> None:
    """UserError with what was probably meant if there is no model of this name."""
    find_builder(name)


def build_random(
    name: str, *, num_classes: int, channels: int, image_size: int, stem: str = "standard"
) -> nn.Module:
    """The network with random weights; `stem` is standard or small (see lib/models/stem.py).

    Raises UserError for an unknown name, and where the network cannot be built for this size or stem.
    """
    if stem == "small" and is_custom(name):
        raise UserError(f"model.stem=small: {name} decides its first layers itself", "model.stem=standard")
    model = find_builder(name)(num_classes=num_classes, channels=channels, image_size=image_size)
    if stem == "small":
        make_small(model, name)
    return model


def find_builder(name: str) -> Builder:
    """The builder behind a name; own code (`package.module:function`) is imported here."""
    if name in MANTA_BUILDERS:
        return partial(_build_manta, name)
    if name in TORCHVISION_MODELS:
        return partial(_build_torchvision, name)
    if name.startswith(TIMM_PREFIX):
        _check_timm_name(name.removeprefix(TIMM_PREFIX))
        return partial(build_timm, name.removeprefix(TIMM_PREFIX), False)
    if ":" in name:
        return partial(_build_custom, name, _import_function(name))
    raise UserError(
        f"model.name={name}: there is no such model",
        _did_you_mean(name, (*MANTA_MODELS, *TORCHVISION_MODELS))
        + "allowed: lenet5, mobilenet_v1, resnet8, resnet14, resnet20, a torchvision classification model, "
        "timm:NAME, package.module:function",
    )


def is_custom(name: str) -> bool:
    """Whether the name stands for code of the user's own."""
    return ":" in name and not name.startswith(TIMM_PREFIX)


def import_timm() -> Any:
    """The timm package; UserError with the command that installs it if it is missing."""
    if importlib.util.find_spec("timm") is None:
        raise UserError(
            "timm:NAME needs the timm package, which is not installed", "pip install 'manta[timm]'"
        )
    return importlib.import_module("timm")


def _build_manta(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    return MANTA_BUILDERS[name](num_classes, channels, image_size)


def _build_torchvision(name: str, *, num_classes: int, channels: int, image_size: int) -> nn.Module:
    if channels not in (1, 3):
        raise UserError(f"{name} cannot read {channels} channels", "give 1 (grey) or 3 (RGB)")
    options: dict[str, Any] = {"num_classes": num_classes}
    if name in AUX_SMALLEST:
        # torchvision rescales the input inside the network, but only with pretrained weights. Here it
        # never does, so that a bundle is rebuilt the same; lib/models/defaults.py normalises instead.
        options |= {"transform_input": False, "init_weights": False}
        options["aux_logits"] = image_size >= AUX_SMALLEST[name]
    elif name.startswith("vit_"):
        _check_patch_size(name, image_size)
        options["image_size"] = image_size
    elif name == "maxvit_t":
        _check_maxvit_size(image_size)
        options["input_size"] = (image_size, image_size)
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    if channels == 1:
        make_grey(model)
    return model


def _check_patch_size(name: str, image_size: int) -> None:
    patch = int(name.rsplit("_", 1)[1])
    if image_size < patch or image_size % patch:
        near = max(1, round(image_size / patch)) * patch
        raise UserError(
            f"{name} cuts the image into patches of {patch} px, which do not fill image_size={image_size}",
            f"give a multiple of {patch}, such as model.image_size={near}",
        )


def _check_maxvit_size(image_size: int) -> None:
    sides = [math.ceil(image_size / stride) for stride in (4, 8, 16, 32)]
    if any(side % 7 for side in sides):
        near = max(1, round(image_size / 224)) * 224
        raise UserError(
            f"maxvit_t attends in windows of 7x7, which do not fill image_size={image_size}",
            f"give a multiple of 224, such as model.image_size={near}",
        )


def _check_timm_name(name: str) -> None:
    timm = import_timm()
    if timm.is_model(name):
        return
    names = timm.list_models()
    raise UserError(
        f"model.name=timm:{name}: timm {timm.__version__} has no such model", _did_you_mean(name, names)
    )


def build_timm(name: str, pretrained: bool, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """A network of timm by timm's own name; `image_size` goes to those that are built for one size."""
    timm = import_timm()
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": channels}
    if timm.get_pretrained_cfg(name).fixed_input_size:
        options["img_size"] = image_size
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **options)
    except OSError:  # no download, which huggingface_hub reports as a ValueError too
        raise
    except (AssertionError, ValueError) as error:
        raise UserError(
            f"timm:{name} cannot be built for image_size={image_size}, channels={channels}: {error}",
            f"its own size: model.image_size={timm.get_pretrained_cfg(name).input_size[-1]}",
        ) from error
    return model


def _build_custom(
    name: str, function: Callable[..., Any], *, num_classes: int, channels: int, image_size: int
) -> nn.Module:
    model = function(num_classes=num_classes, channels=channels, image_size=image_size)
    if not isinstance(model, nn.Module):
        raise UserError(f"{name} returned {type(model).__name__}", "return a torch.nn.Module")
    return model


def _import_function(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"model.name={name}: cannot import {module_name}: {error}",
            "give package.module:function, importable from the folder where you start",
        ) from error
    function: Any = getattr(module, attribute, None)
    if not callable(function):
        functions = [n for n, value in vars(module).items() if callable(value)]
        raise UserError(
            f"model.name={name}: {module_name} has no function {attribute}",
            _did_you_mean(attribute, functions),
        )
    try:
        inspect.signature(function).bind(num_classes=2, channels=3, image_size=224)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"model.name={name}: {error}", f"define it as {attribute}(num_classes, channels, image_size)"
        ) from error
    return cast(Callable[..., Any], function)


def _did_you_mean(word: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.lower(), list(names), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(close)}? " if close else ""
