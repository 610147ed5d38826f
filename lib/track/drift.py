"""Whether pictures of today look to a model like those that it was validated with.

    drift = Drift(baseline)
    drift.add(now_s, confidence, {3: 2, 7: 1})     # bins of CONFIDENCE, and images by predicted class
    drift.index(now_s)                             # {"confidence": 0.02, "classes": 0.0}

The population stability index of two histograms with shares p and q is the sum of (p - q) ln(p / q). By habit
0.1 is little and 0.25 is a change that matters (Siddiqi, Credit Risk Scorecards, 2006). Chance alone makes it
about (bins - 1)(1/n + 1/m), for n images of today and m of validation (Yurdakul and Naranjo, Statistical
properties of the population stability index, 2020), so that much is taken off.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from math import log

from pydantic import BaseModel, ConfigDict

# Upper bounds of bins of confidence, closer where classifiers have most of their answers.
CONFIDENCE = (
    *(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9),
    *(0.925, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 1.0),
)
# The last images, none older than a day.
WINDOW, OLDEST_S = 1000, 86_400.0
# Of 1/n + 1/m: with more, of 200 images here and in the baseline say, chance alone would come near 0.25.
_MOST_CHANCE = 0.01
# Ten bins, as usual: neighbours are joined until each has this share of the baseline, classes are grouped.
_LEAST_SHARE, _GROUPS = 0.1, 10
# Added to each bin, for a share of 0 has no logarithm.
_PRIOR = 0.5


class Baseline(BaseModel):
    """What a model answered on the split that it was validated with."""

    model_config = ConfigDict(frozen=True)

    split: str
    num_samples: int
    bounds: list[float]
    """Upper bounds of the bins of `confidence`."""
    confidence: list[int]
    """Images by the probability of their first prediction."""
    classes: list[int]
    """Images by their first prediction, in the order of the classes."""


class Drift:
    """The last images that a version answered, against its baseline."""

    def __init__(self, baseline: Baseline) -> None:
        self._chunks: deque[tuple[float, list[float], dict[int, float]]] = deque()
        self._images = 0.0
        self._confidence = [0.0] * len(CONFIDENCE)
        self._classes = [0.0] * len(baseline.classes)
        # A bundle may come from a Manta with other bins; the classes are still the same.
        self._bins = joined(baseline.confidence) if baseline.bounds == list(CONFIDENCE) else []
        self._groups = grouped(baseline.classes)
        self._baseline = baseline

    def add(self, now_s: float, confidence: Sequence[float], classes: Mapping[int, float]) -> None:
        """Add images: how many are in each bin of CONFIDENCE, and in each class, by its index."""
        self._chunks.append((now_s, list(confidence), dict(classes)))
        self._put(self._chunks[-1], 1)
        while self._images - sum(self._chunks[0][1]) >= WINDOW:
            self._put(self._chunks.popleft(), -1)

    def index(self, now_s: float) -> dict[str, float]:
        """Return the index by what it is of, confidence or classes; none while there are too few images."""
        while self._chunks and now_s - self._chunks[0][0] > OLDEST_S:
            self._put(self._chunks.popleft(), -1)
        if min(self._images, self._baseline.num_samples) < 1:
            return {}
        if 1 / self._images + 1 / self._baseline.num_samples > _MOST_CHANCE:
            return {}
        both = {
            "confidence": (self._bins, self._baseline.confidence, self._confidence),
            "classes": (self._groups, self._baseline.classes, self._classes),
        }
        return {
            of: excess(summed(groups, expected), summed(groups, seen))
            for of, (groups, expected, seen) in both.items()
            if len(set(groups)) > 1
        }

    def _put(self, chunk: tuple[float, list[float], dict[int, float]], sign: int) -> None:
        _, confidence, classes = chunk
        self._images += sign * sum(confidence)
        for place, count in enumerate(confidence):
            self._confidence[place] += sign * count
        for index, count in classes.items():
            self._classes[index] += sign * count


def stability_index(expected: Sequence[float], seen: Sequence[float]) -> float:
    """Return the population stability index of two histograms of counts."""
    assert len(expected) == len(seen), "the same bins"
    bins = len(seen)
    of_expected, of_seen = sum(expected) + _PRIOR * bins, sum(seen) + _PRIOR * bins
    index = 0.0
    for a, b in zip(expected, seen, strict=True):
        p, q = (a + _PRIOR) / of_expected, (b + _PRIOR) / of_seen
        index += (p - q) * log(p / q)
    return index


def excess(expected: Sequence[float], seen: Sequence[float]) -> float:
    """Return the index without what chance adds to it; never below 0."""
    by_chance = (len(seen) - 1) * (1 / sum(seen) + 1 / sum(expected))
    return max(0.0, stability_index(expected, seen) - by_chance)


def joined(counts: Sequence[float]) -> list[int]:
    """Return a group for each bin: neighbours together, until a group has its share of the counts."""
    least = _LEAST_SHARE * sum(counts)
    groups, group, held = [], 0, 0.0
    for place, count in enumerate(counts):
        groups.append(group)
        held += count
        if held >= max(least, 1) and sum(counts[place + 1 :]) >= least:
            group, held = group + 1, 0.0
    return groups


def grouped(counts: Sequence[float]) -> list[int]:
    """Return a group for each class: one of its own if they are few, else groups of about the same size."""
    if len(counts) <= _GROUPS:
        return list(range(len(counts)))
    sizes = [(0.0, group) for group in range(_GROUPS)]
    groups = [0] * len(counts)
    # The largest goes first, to the smallest group.
    for index in sorted(range(len(counts)), key=lambda index: -counts[index]):
        size, groups[index] = smallest = min(sizes)
        sizes[sizes.index(smallest)] = (size + counts[index] + _PRIOR, groups[index])
    return groups


def summed(groups: Sequence[int], counts: Sequence[float]) -> list[float]:
    """Return the counts of each group."""
    sums = [0.0] * (max(groups) + 1)
    for group, count in zip(groups, counts, strict=True):
        sums[group] += count
    return sums
