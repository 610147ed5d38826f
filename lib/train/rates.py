"""Learning rates by depth: the factor of each depth group, and a line about each for the plan.

group_factors(config.optim, 6)       # [0.0041, 0.012, 0.037, 0.11, 0.33, 2.0], the head last
for line in group_lines(config, skeleton): say(line)
"""

from torch import nn

from lib.config.optimisation import OptimSection
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.models.freeze import freeze_table
from lib.models.groups import depth_groups


def group_factors(optim: OptimSection, num_groups: int) -> list[float]:
    """What `optim.lr` is multiplied by in each depth group, shallow to deep, the head last.

    A group that lies g below the head learns at `layer_decay ** g` (Clark et al. 2020, ELECTRA; He et al.
    2021, MAE), the head at `head_lr`; or all of them at `layer_factors` (Howard and Ruder 2018, ULMFiT).
    """
    if optim.layer_factors:
        assert len(optim.layer_factors) == num_groups, (optim.layer_factors, num_groups)
        return list(optim.layer_factors)
    head = 1.0 if optim.head_lr is None else optim.head_lr / optim.lr
    return [*(optim.layer_decay ** (num_groups - 1 - depth) for depth in range(num_groups - 1)), head]


def check_factors(config: FinetuneConfig, skeleton: nn.Module) -> None:
    """UserError unless there are as many `optim.layer_factors` as the network has depth groups."""
    factors, names = config.optim.layer_factors, [group.name for group in depth_groups(skeleton)]
    if factors and len(factors) != len(names):
        raise UserError(
            f"optim.layer_factors: {len(factors)} factors; {config.model.name} has {len(names)} depth groups",
            f"give one for each of: {', '.join(names)}",
        )


def group_lines(config: FinetuneConfig, skeleton: nn.Module) -> list[str]:
    """A line per depth group: name, parameters, when it learns, and its peak learning rate."""
    rows = freeze_table(skeleton, config.train.freeze, config.train.epochs)
    rates = [config.optim.lr * factor for factor in group_factors(config.optim, len(rows))]
    width = max(len(row.name) for row in rows)
    return [
        f"{row.name:<{width}} {row.parameters:>12,}  {_learns(row.first_epoch, rate)}"
        for row, rate in zip(rows, rates, strict=True)
    ]


def _learns(first_epoch: int | None, rate: float) -> str:
    if first_epoch is None:
        return "frozen"
    since = f" from epoch {first_epoch + 1}" if first_epoch else ""
    return f"trained{since}, lr {rate:.3g}"
