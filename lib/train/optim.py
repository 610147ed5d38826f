"""The optimizer, with a learning rate per depth of the network.

optimizer = build_optimizer(model, config.optim)
set_learning_rate(optimizer, 3e-4)
"""

from collections.abc import Callable
from typing import Any, cast

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lib.config.optimisation import OptimSection
from lib.models.groups import depth_groups
from lib.train.muon import MuonAdamW, hidden_matrices
from lib.train.rates import group_factors


def _muon(groups: Any, optim: OptimSection, model: nn.Module) -> Optimizer:
    # It has all that is used of an optimizer.
    muon: Any = MuonAdamW(groups, hidden_matrices(model), lr=optim.lr, momentum=optim.momentum)
    return cast(Optimizer, muon)


OPTIMIZERS: dict[str, Callable[[Any, OptimSection, nn.Module], Optimizer]] = {
    "sgd": lambda groups, optim, _: SGD(
        groups, lr=optim.lr, momentum=optim.momentum, nesterov=optim.momentum > 0
    ),
    "adam": lambda groups, optim, _: Adam(groups, lr=optim.lr),
    "adamw": lambda groups, optim, _: AdamW(groups, lr=optim.lr),
    "muon": _muon,
}


def build_optimizer(model: nn.Module, optim: OptimSection) -> Optimizer:
    """Return an optimizer over all parameters, frozen ones included (they have no gradient).

    Each depth group has its factor of the rate (lib/train/rates.py). Vectors (biases, normalisation) are not
    decayed.
    """
    groups = []
    depths = depth_groups(model)
    for group, scale in zip(depths, group_factors(optim, len(depths)), strict=True):
        parameters = [model.get_parameter(name) for name in group.parameters]
        for decay, chosen in (
            (optim.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if chosen:
                groups.append({"params": chosen, "weight_decay": decay, "lr_scale": scale})
    return OPTIMIZERS[optim.name](groups, optim, model)


def set_learning_rate(optimizer: Optimizer, lr: float) -> None:
    """Set the rate of every group, scaled by its depth."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
