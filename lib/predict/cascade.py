"""A cascade: members are asked cheapest first, and an image stops once the answer is confident enough.

    steps = walk(outputs, labels, stages, costs)           # what would be answered after each stage
    thresholds = fit_within(steps, max_drop=0.002)
    exits = stops(steps, thresholds)                       # [n]: after which stage each image stops

Thresholds are fitted so that accuracy stays within a margin of the full ensemble's, at the least cost. The
accuracy that they are fitted to is the expected one, by the calibrated probabilities of the last stage:
counts of right answers differ by a handful of images, and the cheapest of many thresholds would be one that
had luck with these. Even so thresholds lose more elsewhere than where they were fitted, so they are fitted to
as much of the margin as cross-validation allows. They learn from one part of the images and are judged by
counts on another. Legend: s stages, n images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile

import numpy as np
from numpy.typing import NDArray

# Shares of the images that may stop after a stage, tried one after the other.
_SHARES = np.concatenate([np.linspace(0.02, 0.98, 33), [0.99, 1.0]])
_SWEEPS = 6
_ROUNDING = 1e-12
_FOLDS = 5
# What thresholds may be fitted to.
_SHARES_OF_MARGIN = (0.0, *(2.0**step for step in range(-5, 0)), 0.7, 1.0)
# Standard errors from the mean to a bound that holds with 95 %.
_BOUND_Z = 1.645


@dataclass(frozen=True)
class Steps:
    """What a cascade would say after each of its stages, if it stopped there."""

    confidence: NDArray[np.float64]
    """[s, n]: the probability of the answer, calibrated."""
    correct: NDArray[np.bool_]
    """[s, n]"""
    expected: NDArray[np.float64]
    """[s, n]: the probability that the last stage, which knows most, gives to the answer."""
    cost: NDArray[np.float64]
    """[s]: milliseconds per image up to and with this stage."""
    members: NDArray[np.int64]
    """[s]: members asked up to and with this stage."""

    def take(self, rows: NDArray[np.int64]) -> "Steps":
        """Return the same for some of the images."""
        return Steps(
            self.confidence[:, rows],
            self.correct[:, rows],
            self.expected[:, rows],
            self.cost,
            self.members,
        )


def stops(steps: Steps, thresholds: Sequence[float | None]) -> NDArray[np.int64]:
    """Return the stage after which each image stops, int64 [n]; there is one threshold less than stages."""
    limits = np.array([np.inf if each is None else each for each in thresholds])
    confident = steps.confidence[:-1] >= limits[:, None]
    last = np.ones((1, confident.shape[1]), dtype=np.bool_)
    first: NDArray[np.int64] = np.concatenate([confident, last]).argmax(axis=0)
    return first


def accuracy_drop(steps: Steps, exits: NDArray[np.int64]) -> float:
    """Return by how much the cascade is less accurate than its last stage, as a fraction."""
    stopped = steps.correct[exits, np.arange(len(exits))]
    return (int(steps.correct[-1].sum()) - int(stopped.sum())) / len(exits)


def fit_within(steps: Steps, max_drop: float) -> list[float | None]:
    """Return thresholds of little cost that lose at most `max_drop` of accuracy on other images, too.

    With a confidence of 95 %, as far as the probabilities of the last stage are right: they are fitted to
    more and more of the margin, until the upper bound of what is lost in cross-validation is past it (fixed
    sequence testing: Angelopoulos et al. 2021, "Learn then Test"). Nobody stops where none are that safe.
    """
    limits: list[float | None] = [None] * (len(steps.cost) - 1)
    safe = takewhile(lambda share: _bound(steps, share * max_drop) <= max_drop, _SHARES_OF_MARGIN)
    share = max(safe, default=None)
    return limits if share is None else fit_thresholds(steps, share * max_drop)


def least_margin(count: int) -> float:
    """Return the least loss that so many images can show not to be passed, when none of them is lost."""
    return _upper_bound(np.zeros(count))


def _bound(steps: Steps, fitted_to: float) -> float:
    """Return the upper bound of what thresholds lose on images that they were not fitted to."""
    count = steps.confidence.shape[1]
    fold, lost = np.arange(count) % _FOLDS, np.zeros(count)
    for number in range(_FOLDS):
        limits = fit_thresholds(steps.take(np.flatnonzero(fold != number)), fitted_to)
        left_out = steps.take(np.flatnonzero(fold == number))
        exits = stops(left_out, limits)
        lost[fold == number] = left_out.expected[-1] - left_out.expected[exits, np.arange(len(exits))]
    return _upper_bound(lost)


def _upper_bound(lost: NDArray[np.float64]) -> float:
    """Return the upper bound (95 %) of the mean of losses from 0 to 1, [n].

    More images are lost than were seen, by half the square of the standard errors (Agresti and Coull 1998):
    that none of a few was lost proves little.
    """
    count, more = len(lost), _BOUND_Z**2 / 2
    mean, mean_square = (lost.sum() + more) / count, ((lost**2).sum() + more) / count
    return float(mean + _BOUND_Z * np.sqrt(max(0.0, mean_square - mean**2) / count))


def fit_thresholds(steps: Steps, max_drop: float) -> list[float | None]:
    """Return thresholds with the least mean cost among those expected to lose at most `max_drop` here.

    Two stages at a time are searched whole, until no pair gets better: for up to three stages that is an
    exhaustive search over the shares of images that stop. None stands for a stage where nobody stops.
    """
    count = len(steps.cost) - 1
    levels = [np.unique(np.quantile(each, 1 - _SHARES)) for each in steps.confidence[:-1]]
    limits: list[float | None] = [None] * count
    best = float(steps.cost[-1])
    pairs = list(combinations(range(count), 2)) or [(0, 0)] * count
    for _ in range(_SWEEPS):
        before = best
        for first, second in pairs:
            for one in [None, *levels[first].tolist()] if first != second else [None]:
                tried = [*limits[:first], one, *limits[first + 1 :]]
                cost, other = _fit_one(steps, tried, second, levels[second], max_drop)
                if cost < best:
                    best, limits = cost, [*tried[:second], other, *tried[second + 1 :]]
        if best == before:
            break
    return limits


def _fit_one(
    steps: Steps,
    limits: Sequence[float | None],
    place: int,
    levels: NDArray[np.float64],
    max_drop: float,
) -> tuple[float, float | None]:
    """Return the least mean cost, and the threshold of one stage that brings it, with the others as they are.

    All its thresholds are tried at once: stopping an image here changes cost and accuracy by what it would
    have cost, and whether it would have been right, where it stops otherwise.
    """
    exits = stops(steps, [*limits[:place], None, *limits[place + 1 :]])
    images = np.arange(len(exits))
    right = steps.expected[exits, images]
    costs = steps.cost[exits]
    here = np.flatnonzero(exits > place)
    here = here[np.argsort(-steps.confidence[place, here], kind="stable")]
    saved = np.concatenate([[0.0], np.cumsum(costs[here] - steps.cost[place])])
    lost = np.concatenate([[0], np.cumsum(right[here] - steps.expected[place, here])])
    # How many of them reach each of the levels, the highest first.
    descending = levels[::-1]
    reached = np.searchsorted(-steps.confidence[place, here], -descending, side="right")
    cost = costs.mean() - saved[reached] / len(images)
    before = (steps.expected[-1].sum() - right.sum()) / len(images)
    cost = np.where(before + lost[reached] / len(images) <= max_drop + _ROUNDING, cost, np.inf)
    lowest = int(np.argmin(cost))
    without = costs.mean() if before <= max_drop + _ROUNDING else np.inf
    if cost[lowest] < without:
        return float(cost[lowest]), float(descending[lowest])
    return float(without), None
