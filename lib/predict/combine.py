"""Several networks' probabilities as one answer: means, weights, votes, and whom to ask.

    weights = fit_weights(probabilities, labels)          # of validation, [m, n, classes] and [n]
    answer = combine(probabilities, weights, "mean")      # [n, classes]

Legend: m members, n samples, k classes.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lib.calibration import Floats
from lib.metrics import SMALLEST

Labels = NDArray[np.integer[Any]]
Rule = Literal["mean", "votes"]

_ROUNDS = 2000
# A gain in the mean log-likelihood below this is none.
_ENOUGH = 1e-9
# What the mean adds to votes: too little to outvote anybody, enough to decide between equals.
_TIE_BREAK = 1e-3


def combine(probabilities: Floats, weights: Floats, rule: Rule) -> NDArray[np.float64]:
    """Combine probabilities [m, n, k] with weights [m] to [n, k]; the weights need not sum to 1.

    `votes` counts each member for its most probable class; the mean of the probabilities decides ties.
    """
    shares = weights / weights.sum()
    mean: NDArray[np.float64] = np.tensordot(shares, probabilities, axes=1)
    if rule == "mean":
        return mean
    votes = np.zeros_like(mean)
    rows = np.arange(mean.shape[0])
    for share, of_member in zip(shares, probabilities, strict=True):
        votes[rows, of_member.argmax(axis=1)] += share
    tied: NDArray[np.float64] = (votes + _TIE_BREAK * mean) / (1 + _TIE_BREAK)
    return tied


def log_loss(probabilities: Floats, labels: Labels) -> float:
    """Return the mean cross-entropy of probabilities [n, k] for labels [n]."""
    of_truth = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(of_truth, SMALLEST)).mean())


def fit_weights(probabilities: Floats, labels: Labels) -> NDArray[np.float64]:
    """Return the weights [m], none negative and 1 in sum, whose mean has the least cross-entropy.

    Expectation maximisation for the shares of a mixture (Dempster, Laird and Rubin 1977), which never leaves
    the simplex; the problem is concave, so where it ends does not depend on where it began.
    """
    of_truth = np.maximum(probabilities[:, np.arange(len(labels)), labels], SMALLEST)
    weights = np.full(len(probabilities), 1 / len(probabilities))
    before = -np.inf
    for _ in range(_ROUNDS):
        mixed = weights @ of_truth
        reached = float(np.log(mixed).mean())
        if reached - before < _ENOUGH:
            break
        before = reached
        weights = weights * (of_truth / mixed).mean(axis=1)
    fitted: NDArray[np.float64] = weights / weights.sum()
    return fitted


def select_greedily(probabilities: Floats, labels: Labels) -> list[int]:
    """Return the members to keep, in the order of their choice: the best one, then who helps the mean most.

    Ends when nobody lowers the cross-entropy of the mean. Caruana et al. 2004, "Ensemble selection from
    libraries of models", forward selection without replacement.
    """
    chosen: list[int] = []
    best = np.inf
    while len(chosen) < len(probabilities):
        left = [each for each in range(len(probabilities)) if each not in chosen]
        losses = [log_loss(probabilities[[*chosen, each]].mean(axis=0), labels) for each in left]
        if min(losses) > best - _ENOUGH:
            break
        best = min(losses)
        chosen.append(left[int(np.argmin(losses))])
    return chosen
