"""Whether one model is better than another on the same images, or whether that may be chance.

found = compare(outcomes, reference)          # outcomes of the same split, of two models
found.difference, (found.low, found.high), found.p_value
holm([0.01, 0.04])                            # p-values of several such questions, asked together

The test is McNemar's in its exact form: of the images that only one of the two gets right, each is as likely
to speak for either if they are equally good. Images that both get right, or both wrong, say nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.metrics import Outcomes, paired_difference

# A difference with a smaller p-value is called one.
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """How much more accurate one model is than another; fractions of `num_samples`, an interval of 95 %."""

    num_samples: int
    difference: float
    low: float
    high: float
    better: int
    """Images that it gets right and the other does not."""
    worse: int
    """Images that the other gets right and it does not."""
    p_value: float

    @property
    def is_certain(self) -> bool:
        """Whether so large a difference would be rare between equals."""
        return self.p_value < LEVEL


def compare(outcomes: Outcomes, reference: Outcomes) -> Difference:
    """Compare two models on the images that both have answered.

    Raises: AssertionError if there is none.
    """
    _, ours, theirs = np.intersect1d(outcomes.ids, reference.ids, assume_unique=True, return_indices=True)
    return compare_right(outcomes.correct[ours], reference.correct[theirs])


def compare_right(right: NDArray[np.bool_], reference: NDArray[np.bool_]) -> Difference:
    """Compare two models by which of the same images [n] they get right."""
    difference, low, high = paired_difference(right, reference)
    better, worse = int((right & ~reference).sum()), int((reference & ~right).sum())
    return Difference(len(right), difference, low, high, better, worse, mcnemar(better, worse))


def mcnemar(better: int, worse: int) -> float:
    """The two-sided p-value of McNemar's exact test, from the images that only one of two gets right."""
    from scipy.stats import binomtest  # only comparisons need it

    if better + worse == 0:
        return 1.0
    return float(binomtest(better, better + worse, 0.5).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values of questions that are asked together, by Holm's method; in the order given."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
