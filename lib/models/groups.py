"""Any network as a short list of depth groups, shallow to deep, the head last.

    [group.name for group in depth_groups(resnet18)]
    # ["stem", "layer1", "layer2", "layer3", "layer4", "fc"]

The rule knows no architecture by name:
1. Flatten containers, and modules that hold a stack of blocks, into one list of blocks in the order of
   registration, which is the order of the forward pass. Residual blocks and branches stay whole; a
   normalisation, activation or pooling joins the layer before it.
2. Cut before each block that lowers the resolution (a strided convolution or pooling, patch merging).
3. Make five groups of it: the longest stretches are divided into equal numbers of blocks, or, if there
   are too many, the lightest neighbours are joined. A network of fewer blocks has fewer groups.
4. The last group is the classifier alone, with auxiliary heads where there are any.
"""

from dataclasses import dataclass, field
from itertools import pairwise

from torch import nn
from torchvision.models.swin_transformer import PatchMerging, PatchMergingV2

from lib.models.head import aux_paths, head_paths

BACKBONE_GROUPS = 5

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Group:
    """A stretch of the network: every parameter is in exactly one group.

    `modules` are the paths of the modules that lie wholly in the group, with all that is below them.
    """

    name: str
    parameters: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass
class _Block:
    """A step of the forward pass that is not divided any further."""

    paths: list[str] = field(default_factory=list)  # modules
    own: list[str] = field(default_factory=list)  # parameters of a module whose children are elsewhere
    weight: int = 0  # number of parameters
    lowers_resolution: bool = False


def depth_groups(model: nn.Module) -> list[Group]:
    """Groups of `model` from shallow to deep: up to five of the backbone, then the head."""
    head = [*aux_paths(model), *head_paths(model)]
    parameters = dict(model.named_parameters())
    blocks = _blocks(model, head)
    segments = _segments(blocks)
    groups = [
        Group(_name(model, segment, is_first=i == 0), *_content(parameters, segment))
        for i, segment in enumerate(segments)
    ]
    return [*groups, Group(head[-1], *_content(parameters, [_Block(paths=head)]))]


def _blocks(model: nn.Module, head: list[str]) -> list[_Block]:
    """Blocks of the backbone in depth order, each with at least one parameter."""
    blocks: list[_Block] = []
    waiting = _Block()  # what comes before the next layer with weights and belongs to it
    for path, module in _flatten(model, "", head):
        if module is None:  # a parameter of its own
            waiting.own.append(path)
            waiting.weight += model.get_parameter(path).numel()
            continue
        lowers = _lowers_resolution(module)
        if blocks and not lowers and not _weighted_layers(module) and not waiting.paths and not waiting.own:
            blocks[-1].paths.append(path)
            blocks[-1].weight += _weight(module)
            continue
        waiting.paths.append(path)
        waiting.weight += _weight(module)
        waiting.lowers_resolution |= lowers
        if waiting.weight and _weighted_layers(module):
            blocks.append(waiting)
            waiting = _Block()
    if waiting.paths or waiting.own:  # what comes behind the last layer with weights
        if not blocks:
            return [waiting] if waiting.weight else []
        blocks[-1].paths += waiting.paths
        blocks[-1].own += waiting.own
        blocks[-1].weight += waiting.weight
    return blocks


def _flatten(module: nn.Module, path: str, head: list[str]) -> list[tuple[str, nn.Module | None]]:
    """(path, module) of the undivided modules, and (path, None) of parameters that stand between them."""
    items: list[tuple[str, nn.Module | None]] = [
        (f"{path}.{name}" if path else name, None) for name, _ in module.named_parameters(recurse=False)
    ]
    for name, child in module.named_children():
        child_path = f"{path}.{name}" if path else name
        if child_path in head:
            continue
        holds_head = any(part.startswith(f"{child_path}.") for part in head)
        if holds_head or type(child) in CONTAINERS or _holds_stack(child):
            items += _flatten(child, child_path, head)
        else:
            items.append((child_path, child))
    return items


def _holds_stack(module: nn.Module) -> bool:
    """Whether some container in `module` is a stack: two or more children with several layers each."""
    return any(
        isinstance(part, CONTAINERS) and sum(_weighted_layers(child) > 1 for child in part.children()) > 1
        for part in module.modules()
    )


def _weighted_layers(module: nn.Module) -> int:
    layers = sum(isinstance(part, WEIGHTED) for part in module.modules())
    attention = sum(isinstance(part, nn.MultiheadAttention) for part in module.modules())
    return layers + attention


def _weight(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _lowers_resolution(module: nn.Module) -> bool:
    for part in module.modules():
        if isinstance(part, PatchMerging | PatchMergingV2):
            return True
        if isinstance(part, STRIDED):
            stride = part.stride if isinstance(part.stride, tuple) else (part.stride,)
            if max(stride) > 1:
                return True
    return False


def _segments(blocks: list[_Block]) -> list[list[_Block]]:
    """Blocks in up to five consecutive segments: cut at falls of resolution, then divide or join."""
    segments: list[list[_Block]] = []
    for block in blocks:
        if block.lowers_resolution or not segments:
            segments.append([])
        segments[-1].append(block)

    while len(segments) > BACKBONE_GROUPS:
        weights = [sum(block.weight for block in segment) for segment in segments]
        lightest = min(range(len(segments) - 1), key=lambda i: weights[i] + weights[i + 1])
        segments[lightest : lightest + 2] = [segments[lightest] + segments[lightest + 1]]

    pieces = [1] * len(segments)
    while sum(pieces) < min(BACKBONE_GROUPS, len(blocks)):
        longest = max(range(len(segments)), key=lambda i: len(segments[i]) / pieces[i])
        pieces[longest] += 1
    return [part for segment, count in zip(segments, pieces, strict=True) for part in _divide(segment, count)]


def _divide(segment: list[_Block], pieces: int) -> list[list[_Block]]:
    ends = [round(i * len(segment) / pieces) for i in range(pieces + 1)]
    return [segment[start:end] for start, end in pairwise(ends)]


def _content(
    parameters: dict[str, nn.Parameter], segment: list[_Block]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names of the parameters, paths of the modules) of a segment."""
    paths = [path for block in segment for path in block.paths]
    own = {name for block in segment for name in block.own}
    prefixes = tuple(f"{path}." for path in paths)
    names = tuple(name for name in parameters if name in own or name.startswith(prefixes))
    return names, tuple(paths)


def _name(model: nn.Module, segment: list[_Block], *, is_first: bool) -> str:
    """The one module that holds all weights of the segment, else stem or FIRST..LAST."""
    total = sum(block.weight for block in segment)
    paths = [path for block in segment for path in block.paths if _weight(model.get_submodule(path))]
    parts = paths[0].split(".")
    holders = [".".join(parts[:end]) for end in range(len(parts), 0, -1)]
    for holder in holders:
        inside = all(f"{path}.".startswith(f"{holder}.") for path in paths)
        if inside and _weight(model.get_submodule(holder)) == total:
            return holder
    return "stem" if is_first and len(segment) == 1 else f"{paths[0]}..{paths[-1]}"
