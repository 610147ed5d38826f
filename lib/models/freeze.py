"""Which depth groups learn in which epoch, and what that means for a model.

    freeze = apply_freeze(model, "early", epoch=0, epochs=10)   # sets requires_grad
    set_train_mode(model, freeze)                               # frozen BatchNorm stays in eval mode

Strategies, for ResNet's groups stem, layer1, layer2, layer3, layer4 and fc:
none trains all · early freezes stem, layer1, layer2 (60 % of the backbone groups of any network) · most
freezes all but layer4 and fc · head freezes all but fc · gradual starts as head and unfreezes one group
after the other, the deepest first, until all learn in the last quarter of the epochs.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lib.config.names import FREEZE_STRATEGIES
from lib.errors import UserError
from lib.models.groups import depth_groups


@dataclass(frozen=True)
class Freeze:
    """State of the groups in one epoch: indices into `depth_groups(model)`, and paths of frozen modules."""

    trainable: frozenset[int]
    frozen_modules: tuple[str, ...]
    trainable_parameters: int
    frozen_parameters: int


@dataclass(frozen=True)
class FreezeRow:
    """A line of the plan: a group, its size, and the first epoch (from 0) in which it learns."""

    name: str
    parameters: int
    first_epoch: int | None

    @property
    def trainable(self) -> bool:
        """Whether the group learns in any epoch."""
        return self.first_epoch is not None


def _frozen_early(backbone: int, epoch: int, epochs: int) -> int:
    del epoch, epochs
    return round(0.6 * backbone)


def _frozen_gradual(backbone: int, epoch: int, epochs: int) -> int:
    all_from = epochs * 3 // 4
    unfrozen = backbone * epoch // all_from if epoch < all_from else backbone
    return backbone - unfrozen


# How many groups of the backbone are frozen, counted from the shallow end: (groups, epoch, epochs).
FROZEN_GROUPS: dict[str, Callable[[int, int, int], int]] = {
    "none": lambda *_: 0,
    "early": _frozen_early,
    "most": lambda backbone, *_: backbone - 1,
    "head": lambda backbone, *_: backbone,
    "gradual": _frozen_gradual,
}


def trainable_groups(strategy: str, num_groups: int, epoch: int, epochs: int) -> set[int]:
    """Indices of the groups that learn in `epoch` (from 0) of `epochs`; `num_groups` counts the head."""
    if strategy not in FROZEN_GROUPS:
        raise UserError(
            f"train.freeze={strategy}: there is no such strategy", f"allowed: {', '.join(FREEZE_STRATEGIES)}"
        )
    assert num_groups >= 1
    assert 0 <= epoch < epochs, (epoch, epochs)
    frozen = FROZEN_GROUPS[strategy](num_groups - 1, epoch, epochs)
    return set(range(max(0, frozen), num_groups))


def apply_freeze(model: nn.Module, strategy: str, epoch: int, epochs: int) -> Freeze:
    """Set `requires_grad` of every parameter for this epoch and tell which modules are frozen.

    `model` is the bare network, not its DDP wrapper; DDP must be built anew when `trainable` changes.
    """
    groups = depth_groups(model)
    trainable = trainable_groups(strategy, len(groups), epoch, epochs)
    counts = {True: 0, False: 0}
    for index, group in enumerate(groups):
        for name in group.parameters:
            parameter = model.get_parameter(name)
            parameter.requires_grad_(index in trainable)
            counts[index in trainable] += parameter.numel()
    frozen = [path for index, group in enumerate(groups) if index not in trainable for path in group.modules]
    return Freeze(frozenset(trainable), tuple(frozen), counts[True], counts[False])


def set_train_mode(model: nn.Module, freeze: Freeze) -> None:
    """Train mode for what learns; eval mode (BatchNorm statistics, dropout) for what is frozen."""
    model.train()
    for path in freeze.frozen_modules:
        model.get_submodule(path).eval()


def freeze_table(model: nn.Module, strategy: str, epochs: int = 100) -> list[FreezeRow]:
    """A row per depth group for a run of `epochs`, shallow to deep."""
    groups = depth_groups(model)
    per_epoch = [trainable_groups(strategy, len(groups), epoch, epochs) for epoch in range(epochs)]
    return [
        FreezeRow(
            name=group.name,
            parameters=sum(model.get_parameter(name).numel() for name in group.parameters),
            first_epoch=next((epoch for epoch, indices in enumerate(per_epoch) if index in indices), None),
        )
        for index, group in enumerate(groups)
    ]


def suggest_freeze(num_images: int) -> str:
    """The strategy that fits a number of training images: little data, little to learn."""
    if num_images < 1_000:
        return "head"
    return "most" if num_images <= 10_000 else "none"
