"""The order of samples: a pure function of (shard sizes, seed, epoch), the same on every worker.

    order = EpochOrder(counts=[400, 400, 397], seed=0, epoch=3, window_shards=16)
    start, stop = batch_bounds(step=7, num_samples=order.num_samples, batch_size=64)
    ids = order.take(*share(start, stop, rank=1, world_size=2))      # int64 sample ids

A sample id is its position in the dataset: samples of shard 0 first, then of shard 1, and so on. The number
of workers only decides who takes which part of a batch, so a run goes on in the middle of an epoch from two
integers, epoch and step, with any number of workers.

Shards are shuffled, then samples within windows of consecutive shuffled shards, so reading stays near
sequential. Nothing is stored per sample but the window in use. Shuffling sorts by a hash written out here
(splitmix64), because the order must not change with the version of a library.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]

_MASK = (1 << 64) - 1


def mix(*numbers: int) -> int:
    """Hash integers to 63 bits, for seeds that do not resemble each other."""
    state = 0
    for number in numbers:
        # As _splitmix64, in Python's integers: a tenth of the time for a single one.
        state = ((state ^ (number & _MASK)) + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def sample_seeds(ids: Ids, *numbers: int) -> list[int]:
    """Return a seed below 2**63 for each sample, from its id and further numbers such as seed and epoch."""
    words = _splitmix64(ids.astype(np.uint64) ^ np.uint64(mix(*numbers)))
    return [int(word) for word in words >> np.uint64(1)]


def _splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words (Steele, Lea and Flood 2014)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def permutation(length: int, key: int) -> Ids:
    """Return the numbers below `length` in an order given by `key`."""
    words = _splitmix64(np.arange(length, dtype=np.uint64) ^ np.uint64(key))
    return np.argsort(words, kind="stable").astype(np.int64)


class EpochOrder:
    """Sample ids of one epoch, by position; `counts` are the samples of each shard."""

    def __init__(self, counts: Sequence[int], seed: int, epoch: int, window_shards: int) -> None:
        sizes = np.asarray(counts, dtype=np.int64)
        self.num_samples = int(sizes.sum())
        self._key = mix(seed, epoch)
        self._shards = permutation(len(sizes), mix(self._key, len(sizes)))
        self._first_id = np.concatenate([[0], np.cumsum(sizes)[:-1]])[self._shards]
        self._sizes = sizes[self._shards]
        self._ends = np.cumsum(self._sizes)
        # Window w covers the positions from _bounds[w] to _bounds[w + 1].
        ends = self._ends[window_shards - 1 :: window_shards]
        self._bounds = np.unique(np.concatenate([[0], ends, [self.num_samples]]))
        self._window_shards = window_shards
        self._window = lru_cache(maxsize=2)(self._shuffled_window)

    def take(self, start: int, stop: int) -> Ids:
        """Return the ids at positions start … stop - 1."""
        assert 0 <= start <= stop <= self.num_samples, (start, stop, self.num_samples)
        parts = [np.empty(0, dtype=np.int64)]
        while start < stop:
            window = int(np.searchsorted(self._bounds, start, side="right")) - 1
            first, end = int(self._bounds[window]), min(stop, int(self._bounds[window + 1]))
            parts.append(self._window(first)[start - first : end - first])
            start = end
        return np.concatenate(parts)

    def _shuffled_window(self, first: int) -> Ids:
        """Return the ids of the window that begins at position `first`, shuffled."""
        begin = int(np.searchsorted(self._ends, first, side="right"))
        # Empty shards at the start of a window also end at `first`.
        begin -= begin % self._window_shards
        shards = slice(begin, begin + self._window_shards)
        sizes, ends = self._sizes[shards], self._ends[shards]
        # Position p of the epoch, before it is shuffled, is sample p - start + first_id of its shard.
        moved = np.repeat(self._first_id[shards] - (ends - sizes), sizes)
        order = permutation(len(moved), mix(self._key, first, 1))
        ids: Ids = first + order + moved[order]
        return ids


def num_steps(num_samples: int, batch_size: int) -> int:
    """Steps of an epoch: every sample is used once, no batch is larger than `batch_size`."""
    return -(-num_samples // batch_size)


def batch_bounds(step: int, num_samples: int, batch_size: int) -> tuple[int, int]:
    """Positions [start, stop) of the global batch of a step.

    Batches differ by at most one sample, so that no tiny last batch upsets batch normalisation.
    """
    steps = num_steps(num_samples, batch_size)
    return step * num_samples // steps, (step + 1) * num_samples // steps


def share(start: int, stop: int, rank: int, world_size: int) -> tuple[int, int]:
    """Part of the positions [start, stop) that a worker takes; parts differ by at most one."""
    length = stop - start
    return start + rank * length // world_size, start + (rank + 1) * length // world_size
