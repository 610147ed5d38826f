"""What one worker takes in one epoch: every sample once, or as often as the weight of its class says.

    weights = sampling_weights(samples, dataset.classes, config.data)       # None: every sample once
    plan = EpochPlan(samples.counts, seed=0, epoch=3, batch_size=64, window_shards=16, weights=weights)
    ids, seeds = plan.batch(step=7, rank=1, world_size=2)

A weighted epoch has as many draws as the dataset has samples. They are dealt by systematic resampling, evenly
spaced points on a row of weights (Kitagawa 1996; Carpenter, Clifford and Fearnhead 1999), first to the
classes, then within each class, in whole numbers and therefore exactly:

- a class that asks for r draws gets floor(r) or ceil(r), the same in every epoch;
- so does each of its samples, and over any number of consecutive epochs, too: the points of an epoch go on
  where those of the last one ended, so no sample comes again before all others of its class have come.

(One row for all samples, as in the papers, would give a class anything from none to twice its share when
classes take turns.) Draws are numbered in the order of the samples, so they are shuffled as samples are, and
what holds for an epoch without weights holds here: a pure function of (dataset, seed, epoch), the same at any
number of workers, resumable at any step. It takes 8 bytes per sample, for its class and its place in there.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray

from lib.config.reading import DataSection
from lib.data.dataset import Samples
from lib.data.order import EpochOrder, Ids, batch_bounds, num_steps, sample_seeds, share
from lib.data.subset import counts_within

Labels = NDArray[np.int32]

# Sets the offsets of the classes apart from the seeds of samples.
_OFFSETS = 2


class EpochPlan:
    """The batches of one epoch; `counts` are the samples of each shard."""

    def __init__(
        self,
        counts: Sequence[int],
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        window_shards: int,
        weights: "Weights | None" = None,
        subset: Ids | None = None,
    ) -> None:
        """`subset` are ids, ascending, of the only samples that are used; `weights` then have no place."""
        assert weights is None or subset is None, "a part of the samples, or weights"
        self._subset = subset
        if subset is not None:
            counts = counts_within(subset, counts)
        self._draws = None if weights is None else _Draws(weights, seed, epoch, kept_shards=2 * window_shards)
        drawn = counts if self._draws is None else self._draws.counts
        self._order = EpochOrder(drawn, seed, epoch, window_shards)
        self._seed, self._epoch, self._batch_size = seed, epoch, batch_size
        self.num_samples = self._order.num_samples
        self.num_steps = num_steps(self.num_samples, batch_size)

    def global_size(self, step: int) -> int:
        """Samples of a step, over all workers."""
        start, stop = batch_bounds(step, self.num_samples, self._batch_size)
        return stop - start

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> tuple[Ids, list[int]]:
        """Return the sample ids of a worker's share of a step, and the seed of each draw."""
        bounds = batch_bounds(step, self.num_samples, self._batch_size)
        draws = self._order.take(*share(*bounds, rank, world_size))
        if self._subset is not None:
            draws = self._subset[draws]
        # By draw, so that a sample that comes again is augmented in another way.
        seeds = sample_seeds(draws, self._seed, self._epoch)
        return (draws if self._draws is None else self._draws.ids(draws)), seeds


class Weights:
    """How many draws of an epoch each class gets, and which of its samples each sample is."""

    def __init__(self, labels: Labels, counts: Sequence[int], by_class: Sequence[Fraction]) -> None:
        """Labels [n] are those of all samples, `counts` the samples of each shard; weights are above 0."""
        self.labels = labels
        self.starts = np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])
        assert len(labels) == self.starts[-1], (len(labels), self.starts[-1])
        self.sizes = np.bincount(labels, minlength=len(by_class))
        """Samples of each class."""
        self.draws = _dealt(len(labels), by_class, self.sizes.tolist())
        """Draws of each class; they add up to n."""
        self.rank = np.empty(len(labels), dtype=np.int32)
        """Samples of the same class before each sample."""
        seen = np.zeros_like(self.sizes)
        for start, stop in pairwise(self.starts.tolist()):
            part = labels[start:stop]
            sizes = np.bincount(part, minlength=len(seen))
            order = np.argsort(part, kind="stable")
            before = seen - (np.cumsum(sizes) - sizes)
            self.rank[start:stop][order] = np.arange(len(part)) + before[part[order]]
            seen += sizes


def sampling_weights(samples: Samples, classes: Sequence[str], section: DataSection) -> Weights | None:
    """Return the weights that `data.sampling` asks for, or None if every sample is taken once.

    Raises `RunError` if the index is damaged.
    """
    if section.sampling == "uniform":
        return None
    labels, counts = samples.labels(), samples.counts
    if section.sampling == "class_balanced":
        return class_balanced(labels, counts, num_classes=len(classes))
    by_class = [section.class_weights.get(name, 1.0) for name in classes]
    return class_weighted(labels, counts, by_class=by_class)


def class_weighted(labels: Labels, counts: Sequence[int], *, by_class: Sequence[float]) -> Weights:
    """Draw a sample as often as the weight of its class says, relative to the others; each is above 0."""
    # The decimal that was typed: 0.1 and 0.3 are then exactly 1 to 3.
    return Weights(labels, counts, [Fraction(str(weight)) for weight in by_class])


def class_balanced(labels: Labels, counts: Sequence[int], *, num_classes: int) -> Weights:
    """Draw equally many samples of each class that has any."""
    sizes = np.bincount(labels, minlength=num_classes).tolist()
    return Weights(labels, counts, [Fraction(1, max(1, size)) for size in sizes])


def _dealt(num: int, by_class: Sequence[Fraction], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Deal `num` draws to the classes: cumulative shares, rounded."""
    ends = list(accumulate((w * n for w, n in zip(by_class, sizes, strict=True)), initial=Fraction(0)))
    rounded = [int(num * end / ends[-1] + Fraction(1, 2)) if num else 0 for end in ends]
    return np.array([stop - start for start, stop in pairwise(rounded)], dtype=np.int64)


class _Draws:
    """The draws of one epoch, numbered in the order of the samples they draw."""

    def __init__(self, weights: Weights, seed: int, epoch: int, *, kept_shards: int) -> None:
        self._weights = weights
        sizes = np.maximum(weights.sizes, 1)
        random = np.array(sample_seeds(np.arange(len(sizes)), seed, _OFFSETS), dtype=np.int64)
        # Each epoch moves a class on by its draws, modulo its samples: then epochs add up, see `times`.
        self._offsets = (random % sizes + epoch * weights.draws) % sizes
        self._sizes = sizes
        self.counts = [int(self.times(shard).sum()) for shard in range(len(weights.starts) - 1)]
        """Draws of each shard."""
        self._ends = np.cumsum(np.array(self.counts, dtype=np.int64))
        self._ends_within = lru_cache(maxsize=kept_shards)(lambda shard: np.cumsum(self.times(shard)))

    def times(self, shard: int) -> Ids:
        """Return how often each sample of a shard is drawn.

        Of m draws of a class of n samples, floor((k m + o) / n) fall before sample k. With o growing by m in
        each epoch, sample k of the next epoch stands where sample k + 1 stands now, so sums over epochs are
        as even as sums over samples.
        """
        weights = self._weights
        here = slice(weights.starts[shard], weights.starts[shard + 1])
        labels = weights.labels[here]
        draws, sizes = weights.draws[labels], self._sizes[labels]
        before = weights.rank[here] * draws + self._offsets[labels]
        times: Ids = (before + draws) // sizes - before // sizes
        return times

    def ids(self, draws: Ids) -> Ids:
        """Return the sample that each draw draws."""
        shards = np.searchsorted(self._ends, draws, side="right")
        ids = np.empty_like(draws)
        for shard in np.unique(shards).tolist():
            here = shards == shard
            inside = draws[here] - (self._ends[shard] - self.counts[shard])
            first = self._weights.starts[shard]
            ids[here] = first + np.searchsorted(self._ends_within(shard), inside, side="right")
        return ids
