"""How far apart variants are, and whether that is more than chance: from the same images, over seeds.

    accuracy_of(one)                         # Estimate(mean=0.981, low=0.974, high=0.988, seeds=3)
    difference(one, other, comparisons=5)    # Difference(mean=0.006, low=-0.001, high=0.013).is_noise

`one` and `other` are bool [seeds, images]: whether each image was classified rightly by the run of each
seed; or float: the share of several runs of that seed. Two things vary: which images there are, and how a
seed makes a run end. Their variances are added. That of the images is of the mean over the seeds, image by
image, which pairs variants that saw the same images; that of the seeds is of the accuracies. What is
between them (an image that some seeds get right) is counted twice, which errs on the wide side. Few seeds
say little about seeds: the interval is Student's, with the degrees of freedom of Welch and Satterthwaite. A
single seed says nothing about them, and `seeds` tells so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import mean, variance
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lib.metrics import paired_difference, wilson_interval

LEVEL = 0.95
Correct = NDArray[np.bool_] | NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval of 95 %, over `seeds` runs; without an interval low and high are None."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both bounds, if there are any."""
        return None if self.low is None or self.high is None else (self.low, self.high)


@dataclass(frozen=True)
class Difference:
    """How much larger one is than the other, with the interval at the level of all comparisons together."""

    mean: float
    low: float
    high: float
    seeds: int
    """Of the one that has fewer."""

    @property
    def is_noise(self) -> bool:
        """Whether no difference at all would be as likely."""
        return self.low <= 0 <= self.high


def accuracy_of(correct: Correct) -> Estimate:
    """Estimate an accuracy from bool or float [seeds, images]."""
    seeds, images = correct.shape
    found = float(correct.mean())
    if seeds == 1:
        return Estimate(found, *wilson_interval(found, images), seeds=1)
    low, high = _interval(found, _Variance.of_images(correct.mean(axis=0)), [_Variance.of_seeds(correct)])
    return Estimate(found, max(0.0, low), min(1.0, high), seeds)


def difference(one: Correct, other: Correct, comparisons: int = 1) -> Difference:
    """Compare two variants; with several comparisons each is held to a stricter level (Bonferroni)."""
    level = 1 - (1 - LEVEL) / comparisons
    seeds = min(len(one), len(other))
    if len(one) == len(other) == 1 and one.dtype == other.dtype == np.bool_:
        z = float(stats.norm.ppf((1 + level) / 2))
        return Difference(*paired_difference(one[0].astype(bool), other[0].astype(bool), z), seeds=1)
    found = float(one.mean() - other.mean())
    images = _Variance.of_images(one.mean(axis=0) - other.mean(axis=0))
    runs = [_Variance.of_seeds(each) for each in (one, other) if len(each) > 1]
    return Difference(found, *_interval(found, images, runs, level), seeds=seeds)


def over_seeds(values: Sequence[float]) -> Estimate:
    """Estimate the mean of a figure that each run has one of."""
    found = mean(values)
    if len(values) == 1:
        return Estimate(found, None, None, 1)
    low, high = _interval(
        found, _Variance(0.0, inf), [_Variance(variance(values) / len(values), len(values) - 1)]
    )
    return Estimate(found, low, high, len(values))


@dataclass(frozen=True)
class _Variance:
    """The variance of a mean, and the degrees of freedom that it is known with."""

    value: float
    freedom: float

    @classmethod
    def of_images(cls, values: NDArray[Any]) -> "_Variance":
        return cls(float(np.var(values, ddof=1)) / len(values) if len(values) > 1 else 0.0, inf)

    @classmethod
    def of_seeds(cls, correct: Correct) -> "_Variance":
        seeds = len(correct)
        return cls(float(np.var(correct.mean(axis=1), ddof=1)) / seeds, seeds - 1)


def _interval(
    found: float, images: _Variance, runs: Sequence[_Variance], level: float = LEVEL
) -> tuple[float, float]:
    parts = [images, *runs]
    total = sum(part.value for part in parts)
    spread = sum(part.value**2 / part.freedom for part in parts)
    freedom = total**2 / spread if spread > 0 else inf
    quantile = stats.t.ppf((1 + level) / 2, freedom) if freedom < inf else stats.norm.ppf((1 + level) / 2)
    half = float(quantile) * sqrt(total)
    return found - half, found + half
