"""Confidence that means what it says: one temperature that fits logits to labels.

    temperature = fit_temperature(logits, labels)        # logits [n, classes], labels [n]
    probabilities = softmax(logits, temperature)
    threshold = abstention_threshold(confidence, correct, precision=0.99)

Guo et al. 2017, "On calibration of modern neural networks". Dividing logits by a temperature never changes
which class is the most probable, so accuracy stays as it was.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.metrics import SMALLEST

Floats = NDArray[np.floating[Any]]

# Temperatures outside this range mean that nothing was wrong, or that nothing was learnt.
LOWEST, HIGHEST = 0.05, 20.0
_STEPS = 100
# Of the logarithm of a run's temperature, before any image was seen.
PRIOR_DEVIATION = 0.5


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return probabilities [..., classes] of logits of that shape."""
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def tempered(probabilities: Floats, temperature: float) -> NDArray[np.float64]:
    """Return probabilities [..., classes] as if their logits were divided by a temperature."""
    if temperature == 1:
        return probabilities.astype(np.float64)
    return softmax(as_logits(probabilities), temperature)


def as_logits(probabilities: Floats) -> NDArray[np.float64]:
    """Return logits of which `softmax` makes these probabilities; a probability of 0 stays finite."""
    logits: NDArray[np.float64] = np.log(np.maximum(probabilities.astype(np.float64), SMALLEST))
    return logits


def fit_temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the temperature, 0.05 to 20, of the least cross-entropy: logits [n, classes], labels [n].

    The loss is convex in 1 / temperature, so Newton's method between two bounds that close in finds it.
    Raises: AssertionError without samples.
    """
    assert len(labels), "no samples"
    scores = logits.astype(np.float64)
    of_truth = scores[np.arange(len(labels)), labels]
    low, high, inverse = 1 / HIGHEST, 1 / LOWEST, 1.0
    for _ in range(_STEPS):
        shares = softmax(scores, 1 / inverse)
        mean = (shares * scores).sum(axis=1)
        slope = float((mean - of_truth).mean())
        curvature = float(((shares * scores**2).sum(axis=1) - mean**2).mean())
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        step = inverse - slope / curvature if curvature > 0 else high
        following = step if low < step < high else (low + high) / 2
        if abs(following - inverse) < 1e-7 * inverse:
            break
        inverse = following
    return 1 / inverse


def best_temperature(temperatures: NDArray[np.float64], losses: NDArray[np.float64]) -> float:
    """Return the temperature of the least loss, from sums of losses [t] at rising temperatures [t].

    The logarithm of the temperature is taken to be near 0, give or take a half: a few hundred images that are
    all answered rightly would otherwise ask for certainty. With thousands of images that no longer counts.
    """
    logs = np.log(temperatures)
    costs = losses + logs**2 / (2 * PRIOR_DEVIATION**2)
    least = int(costs.argmin())
    if least in (0, len(costs) - 1):
        return float(temperatures[least])
    # The lowest point of the parabola through the three around it.
    a, b, _ = np.polyfit(logs[least - 1 : least + 2], costs[least - 1 : least + 2], 2)
    return float(np.exp(-b / (2 * a)))


def abstention_threshold(
    confidence: NDArray[np.float64], correct: NDArray[np.bool_], precision: float
) -> float | None:
    """Return the lowest confidence from which on answers [n] are right often enough, None if there is none.

    Answers of the same confidence are kept or refused together.
    """
    order = np.argsort(-confidence, kind="stable")
    sure, right = confidence[order], np.cumsum(correct[order])
    enough = right >= precision * np.arange(1, len(order) + 1)
    # A threshold keeps all answers of its confidence: only the last of equals counts.
    is_last = np.append(sure[1:] < sure[:-1], True)[: len(order)]
    kept = np.flatnonzero(enough & is_last)
    return float(sure[kept[-1]]) if len(kept) else None
