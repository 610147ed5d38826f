"""Build any network by its name, with random or pretrained weights, for any number of classes.

    model = build_model("lenet5", 10, channels=1, image_size=28)
    model = build_model("resnet18", 37, weights="default")          # torchvision's weights, new head
    built = build_pretrained("resnet18", 37, weights="resnet18.pth")
    say(built.note)                                                 # "fc is new (random): 37 classes ..."

The three numbers `num_classes`, `channels` and `image_size` with the name rebuild the same network
anywhere (`arch` and `arch_kwargs` of a bundle). Networks with auxiliary heads (googlenet, inception_v3)
return a tuple in train mode: see `lib.models.head.split_outputs`.
"""

from dataclasses import dataclass

import torch
import torchvision
from torch import nn

from lib.config.names import TORCHVISION_MODELS
from lib.errors import UserError
from lib.models.head import classifier_paths
from lib.models.registry import TIMM_PREFIX, build_timm, find_builder, import_timm
from lib.models.sizes import check_image_size
from lib.models.weights import State, check_weights_path, fit_state, read_state, unwrap_state


@dataclass(frozen=True)
class Built:
    """A network, and a sentence on where its weights come from and what is new."""

    model: nn.Module
    note: str


def build_model(
    name: str, num_classes: int, *, channels: int = 3, image_size: int = 224, weights: str = "none"
) -> nn.Module:
    """The network `name` in train mode: [b, channels, image_size, image_size] to [b, num_classes].

    `weights` is none (random), default (the library's pretrained ones) or a file. Raises UserError for an
    unknown name, an image size at which the network cannot work, or weights that are not its own.
    """
    return build_pretrained(
        name, num_classes, channels=channels, image_size=image_size, weights=weights
    ).model


def build_pretrained(
    name: str, num_classes: int, *, channels: int = 3, image_size: int = 224, weights: str = "none"
) -> Built:
    """Like `build_model`, with a note for the user on the weights."""
    if num_classes < 1:
        raise UserError(f"a model for {num_classes} classes", "give at least one class")
    builder = find_builder(name)
    check_weights(name, weights)
    model = builder(num_classes=num_classes, channels=channels, image_size=image_size)
    check_image_size(model, name, num_classes=num_classes, channels=channels, image_size=image_size)
    if weights == "none":
        return Built(model, "random weights")
    if weights != "default":
        state = read_state(weights)
    elif name.startswith(TIMM_PREFIX):
        state = _timm_state(name, num_classes, channels, image_size)
    else:
        state = _torchvision_state(name)
    return Built(model, f"weights={weights}: {fit_state(model, state, name)}")


def check_weights(name: str, weights: str) -> None:
    """UserError if `weights` is no file and no word that works for the model `name`; loads nothing."""
    if weights == "none":
        return
    if weights == "default":
        if not _has_library_weights(name):
            raise UserError(
                f"model.weights=default: there are no published weights for {name}",
                "give none or a .safetensors, .pth or .pt file",
            )
        return
    check_weights_path(weights)


def _has_library_weights(name: str) -> bool:
    if name.startswith(TIMM_PREFIX):
        return bool(import_timm().get_pretrained_cfg(name.removeprefix(TIMM_PREFIX)).has_weights)
    return name in TORCHVISION_MODELS


def _torchvision_state(name: str) -> State:
    """torchvision's DEFAULT weights, downloaded once; the head is of ImageNet's 1000 classes."""
    enum = torchvision.models.get_model_weights(name).DEFAULT
    try:
        return unwrap_state(enum.get_state_dict(progress=True, check_hash=True), name)
    except OSError as error:
        raise _no_download(name, error, f"fetch {enum.url} elsewhere and give model.weights=FILE") from error


def _timm_state(name: str, num_classes: int, channels: int, image_size: int) -> State:
    """timm's pretrained weights as timm fits them to channels and size, without a head of other classes."""
    config = import_timm().get_pretrained_cfg(name.removeprefix(TIMM_PREFIX))
    try:
        model = build_timm(name.removeprefix(TIMM_PREFIX), True, num_classes, channels, image_size)
    except OSError as error:
        raise _no_download(name, error, "fetch them elsewhere and give model.weights=FILE") from error
    parts = () if config.num_classes == num_classes else classifier_paths(model)
    heads = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    return {key: value for key, value in model.state_dict().items() if key not in heads}


def _no_download(name: str, error: OSError, hint: str) -> UserError:
    return UserError(f"cannot download the weights of {name}: {error}", f"without network: {hint}")


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())


def size_mb(model: nn.Module) -> float:
    """Megabytes (10^6 bytes) of all parameters and buffers as stored."""
    tensors: tuple[torch.Tensor, ...] = (*model.parameters(), *model.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 1e6
