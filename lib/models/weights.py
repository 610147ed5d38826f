"""Weights from a file or from a library into a network with any number of classes.

    state = read_state("resnet18.pth")                 # .safetensors, .pth, .pt or a bundle folder
    note = fit_state(model, state, "resnet18")         # "fc is new: 10 classes instead of 1000"

The backbone must match tensor for tensor. What may differ: the classifier (number of classes), the first
convolution (grey instead of RGB, or the reverse), the grid of a ViT's position embedding (image size),
auxiliary heads, BatchNorm's step counters, and the names that old torchvision files use.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from lib.errors import UserError
from lib.models.bundled import WEIGHTS, bundle_facts, check_intact
from lib.models.head import aux_paths, classifier_paths, head_outputs, head_path
from lib.models.stem import first_conv

State = dict[str, Tensor]

SUFFIXES = (".safetensors", ".pth", ".pt")
WRAPPERS = ("state_dict", "model")  # the keys under which other trainers keep the state dict
PREFIXES = ("module.", "_orig_mod.")  # DistributedDataParallel, torch.compile
# Names in files that torchvision still serves, and what the modules are called today.
OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
# Position embeddings of torchvision's and timm's vision transformers.
POSITIONS = ("encoder.pos_embedding", "pos_embed")
SHOWN = 3  # names per kind in an error message


def check_weights_path(path: str | Path) -> Path:
    """The file that `path` names (in a bundle: its model.safetensors); UserError if there is none."""
    file = Path(path)
    if file.is_dir():
        file = file / WEIGHTS
    if file.suffix not in SUFFIXES or not file.is_file():
        inner = Path(path) / "bundle"
        raise UserError(
            f"model.weights={path}: no such file of weights",
            f"its bundle: model.weights={inner}"
            if (inner / WEIGHTS).is_file()
            else "give none, default, a .safetensors, .pth or .pt file, or a bundle",
        )
    return file


def read_state(path: str | Path) -> State:
    """Read a state dict, without its wrapper and prefixes, onto the CPU; no code in the file is run.

    Raises UserError if there is none, it is damaged, or it is of a bundle and has changed since.
    """
    file = check_weights_path(path)
    facts = bundle_facts(file)
    if facts is not None:
        check_intact(file, facts)
    try:
        if file.suffix == ".safetensors":
            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle fails in any way: IndexError, KeyError, EOFError ...
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(
            f"{file} is damaged or holds more than tensors ({reason})",
            "write it with torch.save(model.state_dict(), FILE) or safetensors.torch.save_file",
        ) from error
    return unwrap_state(content, str(file))


def unwrap_state(content: Any, origin: str) -> State:
    """The state dict inside what a file holds: {"state_dict": ...}, "module." prefixes, old names."""
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(v, Tensor) for v in content.values())
    ):
        raise UserError(f"{origin} holds no state dict", "write it with torch.save(model.state_dict(), FILE)")
    state = dict(content)
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {_todays_name(key): value for key, value in state.items()}


def load_exact(model: nn.Module, state: State, name: str) -> None:
    """Load a complete state of exactly this network, head included; UserError where one tensor differs."""
    own = model.state_dict()
    _check_fit(own, {key: state[key] for key in state if key in own}, state, set(), name)
    own.update(state)
    # Not `state` itself: some networks (mnasnet) look up the version that only a state_dict() carries.
    model.load_state_dict(own)


def fit_state(model: nn.Module, state: State, name: str) -> str:
    """Load `state` into `model` and return a sentence on what could not be taken over.

    Raises UserError, and changes nothing, if more than the classifier differs.
    """
    own = model.state_dict()
    parts = classifier_paths(model)
    dropped = {key.split(".")[0] for key in state if key.lower().startswith("aux")} - {*aux_paths(model)}
    state = {key: value for key, value in state.items() if key.split(".")[0] not in dropped}
    optional = {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    optional |= {key for key in own if key.endswith(".num_batches_tracked")}
    missing_aux = [aux for aux in aux_paths(model) if not any(key.startswith(f"{aux}.") for key in state)]
    optional |= {key for key in own if key.split(".")[0] in missing_aux}

    taken: State = {}
    for key, target in own.items():
        if key in state:
            source = _adapt(key, state[key], target, model)
            if source.shape == target.shape:
                taken[key] = source
    _check_fit(own, taken, state, optional, name)
    # A weight without its bias, or the reverse, would be half a classifier.
    new = [
        part
        for part in parts
        if any(f"{part}.{kind}" in own.keys() - taken.keys() for kind in ("weight", "bias"))
    ]
    for part in new:
        taken.pop(f"{part}.weight", None)
        taken.pop(f"{part}.bias", None)
    own.update(taken)
    model.load_state_dict(own)
    left_out = f"; left out: {', '.join(sorted(dropped))}, which this network has not" if dropped else ""
    return _sentence(model, state, new) + left_out


def _sentence(model: nn.Module, state: State, new: list[str]) -> str:
    if not new:
        return f"every tensor was taken over, the head for {head_outputs(model)} classes too"
    weight = state.get(f"{head_path(model)}.weight")
    before = f" instead of {weight.shape[0]}" if weight is not None else ""
    verb = "is" if len(new) == 1 else "are"
    return f"{', '.join(new)} {verb} new (random): {head_outputs(model)} classes{before}"


def _todays_name(key: str) -> str:
    for pattern, replacement in OLD_NAMES:
        key = pattern.sub(replacement, key)
    return key


def _adapt(key: str, source: Tensor, target: Tensor, model: nn.Module) -> Tensor:
    """`source` in the shape of `target` where that leaves the network's answers the same."""
    if source.shape == target.shape or source.ndim != target.ndim:
        return source
    conv = first_conv(model)
    if conv is not None and key == f"{conv[0]}.weight" and source.shape[0] == target.shape[0]:
        if (source.shape[1], target.shape[1]) == (3, 1):
            return source.sum(dim=1, keepdim=True)
        if (source.shape[1], target.shape[1]) == (1, 3):
            return source.expand(-1, 3, -1, -1) / 3
    if key in POSITIONS and source.shape[2:] == target.shape[2:]:
        tokens = int(getattr(model, "num_prefix_tokens", 1))
        return _resample_positions(source, target.shape[1], tokens)
    return source


def _resample_positions(positions_1LD: Tensor, length: int, tokens: int) -> Tensor:
    """A ViT's position embedding on another grid; the first `tokens` (of the class) stay as they are."""
    old, new = round((positions_1LD.shape[1] - tokens) ** 0.5), round((length - tokens) ** 0.5)
    if old * old + tokens != positions_1LD.shape[1] or new * new + tokens != length:
        return positions_1LD
    first, grid = positions_1LD[:, :tokens], positions_1LD[:, tokens:]
    grid = grid.transpose(1, 2).reshape(1, -1, old, old)
    grid = functional.interpolate(grid, size=(new, new), mode="bicubic", align_corners=True)
    return torch.cat([first, grid.flatten(2).transpose(1, 2)], dim=1)


def _check_fit(own: Mapping[str, Tensor], taken: State, state: State, optional: set[str], name: str) -> None:
    missing = [key for key in own if key not in state and key not in optional]
    unexpected = [key for key in state if key not in own]
    different = [
        f"{key} {list(state[key].shape)} instead of {list(own[key].shape)}"
        for key in own
        if key in state and key not in optional and (key not in taken or taken[key].shape != own[key].shape)
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "another shape": different}
    if not any(kinds.values()):
        return
    fits = sum(key in taken and taken[key].shape == own[key].shape for key in own)
    lists = [
        f"{kind}: {', '.join(names[:SHOWN])}"
        + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        for kind, names in kinds.items()
        if names
    ]
    raise UserError(
        f"these weights are not of {name}: {fits} of its {len(own)} tensors fit; " + "; ".join(lists),
        f"give a state dict of {name}, with any number of classes (.safetensors, .pth, .pt), "
        "or the name of their network, which for a file of timm's is timm:NAME",
    )
