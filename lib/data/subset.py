"""A part of the training images, as if there were no more: so many of each class, drawn by a seed.

    ids = draw_subset(samples.labels(), num_images=500, seed=0)      # sorted sample ids
    counts_within(ids, samples.counts)                               # how many of them each shard has

Classes take turns, so the part is balanced as far as the dataset allows. A smaller part of the same seed lies
within a larger one.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lib.data.order import Ids, mix, permutation

# Sets the draw apart from what else a seed decides.
_SUBSET = 3


def draw_subset(labels: NDArray[np.int32], num_images: int, seed: int) -> Ids:
    """Return the ids of `num_images` samples, ascending; labels [n] are those of all samples."""
    assert num_images <= len(labels), (num_images, len(labels))
    turns = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels).tolist():
        members = np.flatnonzero(labels == label)
        turns[members[permutation(len(members), mix(seed, _SUBSET, label))]] = np.arange(len(members))
    # Within a turn the classes come in an order of its own, or the first ones would always have one more.
    order = np.lexsort((permutation(len(labels), mix(seed, _SUBSET)), turns))
    chosen: Ids = np.sort(order[:num_images])
    return chosen


def counts_within(ids: Ids, counts: Sequence[int]) -> list[int]:
    """Return how many of the ids each shard has; `counts` are the samples of the shards."""
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    before = np.searchsorted(ids, ends)
    return [int(count) for count in np.diff(before, prepend=0)]
