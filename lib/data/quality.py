"""How well an order is shuffled, in numbers, held against a shuffle of all samples at once.

    quality = shuffle_quality(counts, labels, seed=0, window_shards=16, batch_size=64)
    quality.class_deviation     # 1.0: batches are as mixed as after a perfect shuffle
    quality.rank_correlation    # 0.0: where a sample is stored says nothing about when it comes

The worst case for a windowed shuffle are shards that hold one class each, as tools write them that walk
through a folder per class. (Our own packing deals the classes to all shards.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lib.data.order import EpochOrder, Ids, mix, num_steps, permutation


@dataclass(frozen=True)
class Quality:
    """What `shuffle_quality` measures."""

    class_deviation: float
    """Mean distance of a batch's class counts from the dataset's shares, in units of a perfect shuffle's."""
    rank_correlation: float
    """Spearman's correlation of stored position and position in the epoch, from -1 to 1."""


def shuffle_quality(
    counts: Sequence[int], labels: NDArray[np.int32], *, seed: int, window_shards: int, batch_size: int
) -> Quality:
    """Measure the first epoch; `labels` [n] are in stored order, in shards of `counts` samples."""
    order = EpochOrder(counts, seed, 0, window_shards)
    ids = order.take(0, order.num_samples)
    perfect = permutation(len(ids), mix(seed, 1))
    deviations = [class_deviation(labels[each], batch_size) for each in (ids, perfect)]
    return Quality(deviations[0] / deviations[1], rank_correlation(ids))


def class_deviation(labels: NDArray[np.int32], batch_size: int) -> float:
    """Return the mean absolute distance of class counts in a batch from their shares of all; labels [n]."""
    steps = num_steps(len(labels), batch_size)
    classes = int(labels.max()) + 1
    batches = (np.arange(1, len(labels) + 1) * steps - 1) // len(labels)  # as order.batch_bounds cuts them
    found = np.bincount(batches * classes + labels, minlength=steps * classes).reshape(steps, classes)
    sizes = found.sum(1, keepdims=True)
    expected = sizes * (np.bincount(labels, minlength=classes) / len(labels))
    return float(np.abs(found - expected).mean())


def rank_correlation(ids: Ids) -> float:
    """Return Spearman's correlation of the ids, each of 0 … n - 1 once, with their positions."""
    # Both are ranks without ties, so Pearson's correlation of them is Spearman's.
    return float(np.corrcoef(ids, np.arange(len(ids)))[0, 1])
