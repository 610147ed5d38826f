"""Which part of a network is its classifier, whatever its architecture.

    path = head_path(model)                      # "fc", "classifier.6", "heads.head" ...
    logits, auxiliary = split_outputs(model(images))

Two conventions, which own networks (`package.module:function`) follow too:
the head is the last registered `Linear` or `Conv2d` outside auxiliary heads, and an auxiliary head is
a child of the network whose name starts with "aux". In train mode such a network returns a tuple
(logits, auxiliary logits ...), in eval mode the logits alone. A few networks of timm average several
heads (DeiT's distilled ones): timm names them, and all of them are the head.
"""

from typing import Any

from torch import Tensor, nn

from lib.errors import UserError

# The share of each auxiliary loss: Szegedy et al. 2014, "Going deeper with convolutions", section 5.
AUX_LOSS_WEIGHT = 0.3


def aux_paths(model: nn.Module) -> tuple[str, ...]:
    """Names of the auxiliary heads (googlenet: aux1, aux2; inception_v3: AuxLogits)."""
    return tuple(name for name, _ in model.named_children() if name.lower().startswith("aux"))


def head_paths(model: nn.Module) -> tuple[str, ...]:
    """Dotted names of all layers that map to the classes, auxiliary heads aside; most networks have one."""
    declared = getattr(model, "pretrained_cfg", None)
    names = declared.get("classifier") if isinstance(declared, dict) else None
    return tuple(names) if isinstance(names, tuple | list) else (head_path(model),)


def head_path(model: nn.Module) -> str:
    """Dotted name of the last layer that maps to the classes; UserError where there is none."""
    auxiliary = aux_paths(model)
    layers: list[str] = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and name.split(".")[0] not in auxiliary
    ]
    if not layers:
        raise UserError(
            f"{type(model).__name__} has no classifier: no Linear and no Conv2d among its modules",
            "end the network with a torch.nn.Linear whose outputs are the classes",
        )
    return layers[-1]


def model_head(model: nn.Module) -> nn.Linear | nn.Conv2d:
    """The layer that maps to the classes (a 1x1 convolution in squeezenet)."""
    head = model.get_submodule(head_path(model))
    assert isinstance(head, nn.Linear | nn.Conv2d)
    return head


def head_outputs(model: nn.Module) -> int:
    """Number of classes that the head of `model` tells apart."""
    head = model_head(model)
    return head.out_features if isinstance(head, nn.Linear) else head.out_channels


def classifier_paths(model: nn.Module) -> tuple[str, ...]:
    """The head and the last linear layer of each auxiliary head: all that depends on the classes."""
    paths = [*head_paths(model)]
    for aux in aux_paths(model):
        linear = [
            n for n, m in model.get_submodule(aux).named_modules() if isinstance(m, nn.Linear | nn.Conv2d)
        ]
        paths += [f"{aux}.{linear[-1]}" if linear[-1] else aux] if linear else []
    return tuple(paths)


def split_outputs(output: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(logits [b, classes], auxiliary logits, each [b, classes]) from what a forward pass returned."""
    if isinstance(output, Tensor):
        return output, ()
    logits, *auxiliary = output
    return logits, tuple(aux for aux in auxiliary if aux is not None)
