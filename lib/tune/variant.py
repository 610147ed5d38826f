"""The variants of a study, each with the runs that repeat it, and how they compare.

numbers = Numbers(plan, standings)
numbers.best.label, numbers.best.accuracy.mean, numbers.behind["step"].is_noise
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.report.svg import percent, points
from lib.tune.compare import Difference, Estimate, accuracy_of, difference, over_seeds
from lib.tune.plan import StudyPlan
from lib.tune.space import Values, without_seed
from lib.tune.standing import Standing, by_variant

# An epoch this close to the best one has converged, as a fraction of validation accuracy.
NEAR = 0.01


@dataclass(frozen=True)
class Variant:
    """Finished runs that differ in nothing but their seed."""

    label: str
    runs: list[Standing]

    @property
    def values(self) -> Values:
        """What distinguishes it."""
        return without_seed(self.runs[0].values)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each run was right about each image, bool [seeds, images]."""
        return np.stack([run.correct for run in self.runs])

    @cached_property
    def accuracy(self) -> Estimate:
        """Accuracy on the split that was measured last."""
        return accuracy_of(self.correct)

    @property
    def rank_by(self) -> float:
        """The study's metric on the validation split: a number that is larger for a better variant."""
        return mean(run.rank_by for run in self.runs)

    @property
    def spread(self) -> float | None:
        """Standard deviation of the accuracy over the seeds; None for a single one."""
        return stdev(run.measured["accuracy"] for run in self.runs) if len(self.runs) > 1 else None

    @property
    def train_s(self) -> Estimate:
        """Seconds of training."""
        return over_seeds([run.train_s for run in self.runs])

    @property
    def converged(self) -> Estimate:
        """The first epoch whose validation accuracy is within a point of the run's best."""
        return over_seeds([float(_converged(self._values_of(run, "val", "accuracy"))) for run in self.runs])

    def curve(self, *path: str) -> list[tuple[float, float]]:
        """Points (epoch, value) of what metrics.jsonl holds there: means over the seeds that came so far."""
        rows = [self._values_of(run, *path) for run in self.runs]
        return [
            (epoch + 1.0, mean(row[epoch] for row in rows if epoch < len(row)))
            for epoch in range(max(map(len, rows)))
        ]

    def gap_curve(self) -> list[tuple[float, float]]:
        """Points (epoch, accuracy in training minus accuracy in validation)."""
        pairs = zip(self.curve("train", "accuracy"), self.curve("val", "accuracy"), strict=True)
        return [(epoch, train - val) for (epoch, train), (_, val) in pairs]

    @staticmethod
    def _values_of(run: Standing, *path: str) -> list[float]:
        found = []
        for record in run.history:
            value: Any = record
            for name in path:
                value = value[name]
            found.append(float(value))
        return found


def _converged(accuracies: Sequence[float]) -> int:
    return next(epoch for epoch, value in enumerate(accuracies, 1) if value >= max(accuracies) - NEAR)


class Numbers:
    """All variants of a study that have a finished run, in the order in which they were planned."""

    def __init__(self, plan: StudyPlan, standings: Sequence[Standing]) -> None:
        self.plan, self.standings = plan, list(standings)
        self.variants = [
            Variant(label, runs) for label, runs in by_variant(plan.config.spaces, standings).items()
        ]
        assert self.variants, "a finished run at least"
        self.best = max(self.variants, key=lambda each: each.rank_by)
        """By validation, so that its measure on other images is not the best of many by chance."""

    @property
    def split(self) -> str:
        """The split that accuracies are of."""
        return self.best.runs[0].split

    @property
    def num_images(self) -> int:
        """Images of that split."""
        return int(self.best.correct.shape[1])

    @property
    def seeds(self) -> int:
        """Runs of the variant that has fewest."""
        return min(len(each.runs) for each in self.variants)

    @cached_property
    def behind(self) -> dict[str, Difference]:
        """How far each other variant is behind the best one, at a level for all of them together."""
        others = [each for each in self.variants if each is not self.best]
        return {each.label: difference(self.best.correct, each.correct, len(others)) for each in others}

    @property
    def equals(self) -> list[Variant]:
        """The best, and those whose distance to it is within noise."""
        return [each for each in self.variants if each is self.best or self.behind[each.label].is_noise]


def told(estimate: Estimate) -> str:
    """Write an accuracy with its interval."""
    bounds = estimate.interval
    return percent(estimate.mean) + (f" ({percent(bounds[0])} to {percent(bounds[1])})" if bounds else "")


def told_difference(found: Difference) -> str:
    """Write a difference of accuracies in points with its interval, and what it means."""
    verdict = ", within noise" if found.is_noise else ""
    return f"{points(found.mean)} ({points(found.low)} to {points(found.high)}{verdict})"


def figure(value: float, digits: int = 3) -> str:
    """Write a number of whatever unit as briefly as it deserves."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
