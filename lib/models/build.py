"""Build any network by its name, with random or pretrained weights, for any number of classes.

    model = build_model("lenet5", 10, channels=1, image_size=28)
    model = build_model("resnet18", 37, weights="default")          # torchvision's weights, new head
    built = build_pretrained("resnet18", 37, weights="resnet18.pth")
    say(built.note)                                                 # "fc is new (random): 37 classes ..."

The three numbers `num_classes`, `channels` and `image_size` with the name and the stem rebuild the same
network anywhere (`arch` and `arch_kwargs` of a bundle). Networks with auxiliary heads (googlenet,
inception_v3) return a tuple in train mode: see `lib.models.head.split_outputs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import nn

from lib.config.names import TORCHVISION_MODELS
from lib.errors import UserError
from lib.models.bundled import bundle_facts, match_head
from lib.models.defaults import default_preprocess
from lib.models.head import classifier_paths
from lib.models.recognise import recognise
from lib.models.registry import (
    TIMM_PREFIX,
    build_random,
    build_timm,
    check_model_name,
    import_timm,
    is_custom,
)
from lib.models.sizes import build_skeleton, check_once
from lib.models.stem import first_conv
from lib.models.weights import State, check_weights_path, fit_state, read_state, unwrap_state

STEMS = ("standard", "small")


@dataclass(frozen=True)
class Built:
    """A network, and a sentence on where its weights come from and what is new."""

    model: nn.Module
    note: str


def build_model(
    name: str,
    num_classes: int,
    *,
    channels: int = 3,
    image_size: int = 224,
    stem: str = "standard",
    weights: str = "none",
) -> nn.Module:
    """The network `name` in train mode: [b, channels, image_size, image_size] to [b, num_classes].

    `weights` is none (random), default (the library's pretrained ones), a file or a bundle; `stem` is
    standard or small. Raises UserError for an unknown name, an image size at which the network cannot work,
    or weights that are not its own.
    """
    return build_pretrained(
        name, num_classes, channels=channels, image_size=image_size, stem=stem, weights=weights
    ).model


def build_pretrained(
    name: str,
    num_classes: int,
    *,
    channels: int = 3,
    image_size: int = 224,
    stem: str = "standard",
    weights: str = "none",
    classes: Sequence[str] = (),
) -> Built:
    """Like `build_model`, with a note for the user on the weights.

    `classes` are the names of the outputs: with them, the head of a bundle is taken over by name.
    """
    if num_classes < 1:
        raise UserError(f"a model for {num_classes} classes", "give at least one class")
    check_model_name(name)
    check_weights(name, weights)
    shape: dict[str, Any] = {
        "num_classes": num_classes,
        "channels": channels,
        "image_size": image_size,
        "stem": stem,
    }
    model = build_random(name, **shape)
    check_once(model, name, **shape)
    check_stem(name, weights, stem)
    if weights == "none":
        return Built(model, "random weights")
    if weights != "default":
        note = _from_file(model, name, weights, stem, classes)
    elif name.startswith(TIMM_PREFIX):
        note = fit_state(model, _timm_state(name, num_classes, channels, image_size), name)
    else:
        note = fit_state(model, _torchvision_state(name), name)
    return Built(model, f"weights={weights}: {note}")


def check_weights(name: str, weights: str) -> None:
    """UserError if `weights` is no file and no word that works for the model `name`; loads nothing."""
    if weights == "none":
        return
    if weights == "default":
        if not _has_library_weights(name):
            raise UserError(
                f"model.weights=default: there are no published weights for {name}",
                "give none, a .safetensors, .pth or .pt file, or a bundle",
            )
        return
    check_weights_path(weights)
    facts = bundle_facts(weights)
    if facts is not None and facts.arch != name:
        raise UserError(
            f"model.weights={weights} is a bundle of {facts.arch}, not of {name}", f"model.name={facts.arch}"
        )


def check_stem(name: str, weights: str, stem: str) -> None:
    """UserError if the published weights of a network do not fit its small stem; loads nothing."""
    if weights != "default" or stem != "small":
        return
    convs = [first_conv(build_skeleton(name, 2, stem=kind, image_size=_size(name))) for kind in STEMS]
    if len({conv[1].weight.shape for conv in convs if conv is not None}) > 1:
        raise UserError(
            f"model.stem=small: {name}'s first layer has another shape then, which no published weights fit",
            "model.stem=standard, or model.weights=none",
        )


def _size(name: str) -> int:
    return int(default_preprocess(name)["image_size"])


def _from_file(model: nn.Module, name: str, weights: str, stem: str, classes: Sequence[str]) -> str:
    """Load a file or a bundle into `model`; a sentence on what is new."""
    facts = bundle_facts(weights)
    if facts is not None and facts.stem != stem:
        raise UserError(
            f"model.weights={weights} is of a {name} with model.stem={facts.stem}", f"model.stem={facts.stem}"
        )
    state = read_state(weights)
    note = match_head(model, state, facts.classes, classes) if facts is not None and classes else ""
    try:
        fitted = fit_state(model, state, name)
    except UserError as error:
        size = facts.arch_kwargs["image_size"] if facts is not None else 0
        hint = f"model.image_size={size}, as in the bundle" if size else _other_name(state, name, stem)
        raise UserError(error.problem, hint or error.hint) from None
    return note or fitted


def _other_name(state: State, name: str, stem: str) -> str:
    """What to type for weights that are of another network, if that is known."""
    found = recognise(state, "" if is_custom(name) else name)
    if found is None:
        return ""
    if found == (name, stem):
        return f"they are of {name} at another size: model.image_size={_size(name)}"
    words = f"model.name={found[0]}" * (found[0] != name), f"model.stem={found[1]}" * (found[1] != stem)
    return f"they are of {found[0]}: {' '.join(word for word in words if word)}"


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
