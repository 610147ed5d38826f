"""What one searched key does by itself: each of its options, in the mean over all that was combined with it.

    effects = main_effects(numbers, "train.freeze")      # the best by validation first
    effects[1].option, effects[1].accuracy.interval, effects[1].behind.is_noise

The runs of a seed are averaged image by image, so an option is compared as a variant is: over the same
images, and over seeds. Seeds that not every variant has finished are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from lib.config.wording import join
from lib.report.study import Table
from lib.tune.compare import Difference, Estimate, accuracy_of, difference
from lib.tune.variant import Numbers, Variant, told, told_difference


@dataclass(frozen=True)
class Effect:
    """An option of a key."""

    option: str
    accuracy: Estimate
    behind: Difference | None
    """How far it is behind the best option; None for that one."""
    train_s: float
    """Seconds of training, in the mean."""
    curve: list[tuple[float, float]]
    """Points (epoch, validation accuracy), in the mean."""


def main_effects(numbers: Numbers, key: str) -> list[Effect]:
    """Compare the options of a key; [] if there are fewer than two, or no seed that all variants have."""
    groups: dict[str, list[Variant]] = {}
    for each in numbers.variants:
        groups.setdefault(str(each.values[key]), []).append(each)
    seeds = set.intersection(*({run.seed for run in each.runs} for each in numbers.variants))
    if len(groups) < 2 or not seeds:
        return []
    ordered = sorted(groups, key=lambda option: -mean(each.rank_by for each in groups[option]))
    shares = {option: _share_right(groups[option], sorted(seeds, key=str)) for option in ordered}
    best = shares[ordered[0]]
    return [
        Effect(
            option=option,
            accuracy=accuracy_of(share),
            behind=None if share is best else difference(best, share, len(ordered) - 1),
            train_s=mean(each.train_s.mean for each in groups[option]),
            curve=mean_curve([each.curve("val", "accuracy") for each in groups[option]]),
        )
        for option, share in shares.items()
    ]


def mean_curve(curves: Sequence[Sequence[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the mean of curves that have the same x, as far as each goes."""
    found: dict[float, list[float]] = {}
    for curve in curves:
        for x, y in curve:
            found.setdefault(x, []).append(y)
    return [(x, mean(values)) for x, values in found.items()]


def effect_sentence(key: str, effects: Sequence[Effect]) -> str:
    """Say which option is the best in the mean, which are as good, and how far the worst is behind."""
    first = effects[0]
    behind = {each.option: each.behind for each in effects if each.behind is not None}
    equal = [option for option, found in behind.items() if found.is_noise]
    worse = {option: found for option, found in behind.items() if not found.is_noise}
    parts = [
        f"In the mean over all else, {key}={first.option} is best by validation ({told(first.accuracy)})"
    ]
    if equal:
        parts.append(f"within noise of it: {join(equal, 'and')}")
    if worse:
        worst = max(worse, key=lambda option: worse[option].mean)
        parts.append(f"worst is {worst}, by {told_difference(worse[worst])} points")
    return "; ".join(parts) + "."


def effect_table(numbers: Numbers, key: str, effects: Sequence[Effect]) -> Table:
    """Every option with its accuracy, its interval, and how far it is behind the best."""
    rows = [
        [
            each.option,
            told(each.accuracy),
            "best" if each.behind is None else told_difference(each.behind),
            f"{each.train_s:,.1f}",
        ]
        for each in effects
    ]
    columns = [key, f"{numbers.split} accuracy (95%)", "behind the best, points", "training s"]
    return Table(f"{key}, in the mean over all else", columns, rows)


def _share_right(variants: Sequence[Variant], seeds: Sequence[int | None]) -> NDArray[np.float64]:
    """Return the share of the variants that were right, float [seeds, images]."""
    runs = [{run.seed: run.correct for run in each.runs} for each in variants]
    return np.stack([np.mean([each[seed] for each in runs], axis=0) for seed in seeds])
