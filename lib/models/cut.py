"""A network in two parts: a prefix that does not learn, and the rest, which starts where the prefix ends.

    parts = cut_network(model, frozen=5)        # the first five of depth_groups(model)
    features = parts.prefix(images)             # [b, …]
    logits = parts.rest(features)               # what model(images) returns; the parameters are its own

The cut follows the data, not the names: the rest is all that depends on a parameter that learns, so pooling
and flattening between the last frozen layer and the first one that learns belong to the prefix. Blocks are
not opened, only what connects them is traced (torch.fx).
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from lib.errors import UserError
from lib.models.groups import Group, depth_groups
from lib.models.head import head_path, split_outputs

_HINT = "set train.features_gb=0"


@dataclass(frozen=True)
class Parts:
    """Images [b, c, h, w] to features [b, …], features to logits [b, classes]; both share the parameters."""

    prefix: nn.Module
    rest: nn.Module
    name: str
    """The last module of the prefix."""


def cut_network(model: nn.Module, frozen: int) -> Parts:
    """Cut `model` behind the first `frozen` groups of `depth_groups(model)`, of which there is one or more.

    Auxiliary heads are left out: they teach the prefix, which does not learn. Raises `UserError` if more
    than one tensor goes from one part to the other, or the network cannot be traced; between the backbone
    and the head any network can be cut whose head gives the logits.
    """
    groups = depth_groups(model)
    assert 0 < frozen < len(groups), (frozen, len(groups))
    try:
        steps = _traced(model, groups)
    except Exception as error:  # tracing runs the network's own code, which may do anything
        if frozen < len(groups) - 1:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"the network cannot be traced: {first}", _HINT) from None
        return Parts(_BeforeHead(model), model.get_submodule(head_path(model)), groups[-2].modules[-1])
    learning = {name for group in groups[frozen:] for name in (*group.modules, *group.parameters)}
    return _cut(model, steps, learning)


@torch.no_grad()
def folded(prefix: nn.Module, images: Tensor, tolerance: float) -> nn.Module:
    """Return a copy for inference, with BatchNorm folded into the convolution before it.

    Where the blocks cannot be traced, or the copy says something else about `images`, nothing is folded.
    """
    copied = copy.deepcopy(prefix).eval().requires_grad_(False)
    if not any(isinstance(module, nn.BatchNorm2d) for module in copied.modules()):
        return copied
    try:
        faster: nn.Module = fuse(copied)
        is_same = distance(faster(images), copied(images)) <= tolerance
    except Exception:  # tracing runs the network's own code, which may do anything
        return copied
    return faster if is_same else copied


@torch.no_grad()
def agrees(model: nn.Module, prefix: nn.Module, rest: nn.Module, images: Tensor, tolerance: float) -> bool:
    """Tell whether `prefix` and `rest` answer as the network does, and `prefix` the same in training.

    The network is in the mode in which it learns (`lib.models.freeze.set_train_mode`), and is left in it.
    """
    given = prefix(images).float()
    with keeping_modes(model):
        model.eval()
        measured = prefix(images)
        expected = split_outputs(model(images))[0].float()
        found = rest(measured.clone()).float()  # the rest may write into what it is given
    pairs = [(given, measured.float()), (found, expected)]
    return all(a.shape == b.shape and distance(a, b) <= tolerance for a, b in pairs)


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference as a share of the norm of what is expected."""
    return float((found - expected).norm() / expected.norm().clamp_min(1e-12))


class keeping_modes:
    """Restore the train and eval modes of all modules of a network; shape: `with keeping_modes(model):`."""

    def __init__(self, model: nn.Module) -> None:
        self._modes = {module: module.training for module in model.modules()}

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for module, training in self._modes.items():
            module.training = training


class _Blocks(fx.Tracer):
    """Traces what connects the blocks of the depth groups."""

    def __init__(self, groups: list[Group]) -> None:
        super().__init__()
        self._blocks = {path for group in groups for path in group.modules}

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del m
        return module_qualified_name in self._blocks


def _traced(model: nn.Module, groups: list[Group]) -> list[fx.Node]:
    """Return the steps from images to logits, in order, if they are the same in training as in measuring."""
    _, *options = inspect.signature(model.forward).parameters.values()
    defaults = {each.name: each.default for each in options if each.default is not each.empty}
    found = []
    with keeping_modes(model):
        for training in (True, False):
            graph = _Blocks(groups).trace(model.train(training), concrete_args=defaults)
            found.append(_steps(graph, _logits(graph.output_node().args[0])))
    if _written(found[0]) != _written(found[1]):
        raise UserError("it computes something else in training than in measuring, outside of its modules")
    return found[1]


def _logits(output: Any) -> fx.Node:
    """Return the first of what a network returns; auxiliary logits stand behind it."""
    if isinstance(output, fx.Node):
        named = isinstance(output.target, type) and issubclass(output.target, tuple)
        return _logits(output.args) if named else output
    return _logits(output[0])


def _steps(graph: fx.Graph, last: fx.Node) -> list[fx.Node]:
    """Return the nodes that `last` depends on, and `last`, in order."""
    needed = {last}
    for node in reversed(graph.nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in needed]


def _written(steps: list[fx.Node]) -> list[str]:
    numbers = {node: f"%{number}" for number, node in enumerate(steps)}
    return [f"{n.op} {n.target} {fx.node.map_arg((n.args, n.kwargs), numbers.__getitem__)}" for n in steps]


def _cut(model: nn.Module, steps: list[fx.Node], learning: set[str]) -> Parts:
    """Cut where the modules and parameters named in `learning` begin."""
    from_images, rest = set[fx.Node](), set[fx.Node]()
    for node in steps:
        above = set(node.all_input_nodes)
        if (node.op in ("call_module", "get_attr") and node.target in learning) or above & rest:
            rest.add(node)
        elif node.op == "placeholder" or above & from_images:
            from_images.add(node)
    needed = {above for node in rest for above in node.all_input_nodes}
    crossing = [node for node in steps if node in from_images & needed]
    if len(crossing) != 1:
        names = ", ".join(map(str, crossing[:5]))
        raise UserError(f"{len(crossing)} values lead out of the frozen part: {names}", _HINT)
    (border,) = crossing
    prefix, behind = fx.Graph(), fx.Graph()
    _copy(_steps(border.graph, border), prefix, {})
    # What depends on no image, such as a frozen parameter that is used later, is in both.
    features = behind.placeholder("features")
    _copy([node for node in steps if node not in from_images], behind, {border: features})
    last = border
    while last.op != "call_module" and last.all_input_nodes:
        last = last.all_input_nodes[0]
    return Parts(fx.GraphModule(model, prefix), fx.GraphModule(model, behind), str(last.target))


def _copy(steps: list[fx.Node], graph: fx.Graph, copied: dict[fx.Node, fx.Node]) -> None:
    """Append steps to a graph, the last one as its output."""
    for node in steps:
        copied[node] = graph.node_copy(node, copied.__getitem__)
    graph.output(copied[steps[-1]])


class _BeforeHead(nn.Module):
    """The network up to its head, whatever its forward pass does."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.network = model
        self._head = head_path(model)

    def forward(self, images: Tensor) -> Tensor:
        """Return what the head is given: [b, …]."""
        given: list[Tensor] = []
        head = self.network.get_submodule(self._head)
        handle = head.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            self.network(images)
        finally:
            handle.remove()
        if len(given) != 1:
            raise UserError(f"the head is used {len(given)} times", _HINT)
        return given[0]
