import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.order import EpochOrder, batch_bounds, mix, num_steps, permutation, sample_seeds, share

# Shards can be empty: all of their pictures were unreadable.
COUNTS = st.lists(st.just(0) | st.integers(0, 40), min_size=1, max_size=12)
SEEDS = st.integers(0, 2**32 - 1)


def _epoch(order: EpochOrder, batch_size: int, world_size: int, first_step: int = 0) -> list[list[int]]:
    """Ids of each global batch, put together from what each worker takes."""
    batches = []
    for step in range(first_step, num_steps(order.num_samples, batch_size)):
        bounds = batch_bounds(step, order.num_samples, batch_size)
        parts = [order.take(*share(*bounds, rank, world_size)) for rank in range(world_size)]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        batches.append([int(i) for part in parts for i in part])
    return batches


@settings(max_examples=80, deadline=None)
@given(
    counts=COUNTS,
    seed=SEEDS,
    epoch=st.integers(0, 1000),
    window=st.integers(1, 15),
    batch_size=st.integers(1, 50),
    world_sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    data=st.data(),
)
def test_every_sample_once_whatever_the_workers_and_wherever_it_starts(
    counts: list[int],
    seed: int,
    epoch: int,
    window: int,
    batch_size: int,
    world_sizes: tuple[int, int],
    data: st.DataObject,
) -> None:
    order = EpochOrder(counts, seed, epoch, window)
    batches = _epoch(order, batch_size, world_sizes[0])
    assert sorted(i for batch in batches for i in batch) == list(range(sum(counts)))
    if batches:
        sizes = [len(batch) for batch in batches]
        assert max(sizes) <= batch_size
        assert max(sizes) - min(sizes) <= 1
        assert len(batches) == -(-sum(counts) // batch_size)
    # Another process, with another number of workers, goes on from any step.
    start = data.draw(st.integers(0, len(batches)))
    resumed = _epoch(EpochOrder(counts, seed, epoch, window), batch_size, world_sizes[1], start)
    assert resumed == batches[start:]


@settings(max_examples=50, deadline=None)
@given(counts=COUNTS, seed=SEEDS, window=st.integers(1, 4))
def test_samples_stay_within_their_window_of_shards(counts: list[int], seed: int, window: int) -> None:
    order = EpochOrder(counts, seed, 0, window)
    shard_of = np.repeat(np.arange(len(counts)), counts)
    shards = shard_of[order.take(0, order.num_samples)]
    open_shards = [set(shards[max(0, n) :]) & set(shards[: n + 1]) for n in range(len(shards))]
    assert all(len(found) <= window for found in open_shards)


@pytest.mark.parametrize("window", [1, 2, 3, 4, 9])
def test_empty_shards_wherever_they_fall_in_a_window(window: int) -> None:
    for seed in range(30):
        order = EpochOrder([0, 3, 0, 3, 3, 0], seed, 0, window)
        assert sorted(order.take(0, 9).tolist()) == list(range(9))


def test_the_order_is_pinned() -> None:
    # A run that resumes under another version of this code must meet the same batches: never edit these.
    order = EpochOrder([4, 0, 3, 5], seed=1, epoch=2, window_shards=2)
    assert order.take(0, 12).tolist() == [3, 1, 2, 5, 6, 4, 0, 11, 8, 9, 7, 10]
    seeds = sample_seeds(np.array([0, 1, 7]), 1, 2)
    assert seeds == [5066899821181219348, 4132531116643958870, 2957701921099193876]
    assert mix(0, 1, 2) == 3384391416029321617
    assert permutation(8, 3).tolist() == [0, 6, 4, 7, 2, 1, 5, 3]


def test_a_single_number_is_mixed_as_an_array_of_them() -> None:
    numbers = np.array([0, 1, 2**31, 2**62, 2**63 - 1])
    assert sample_seeds(numbers, 0) == [mix(int(number) ^ mix(0)) for number in numbers]


def test_batches_of_a_rest() -> None:
    assert [batch_bounds(step, 10, 4) for step in range(3)] == [(0, 3), (3, 6), (6, 10)]
    assert num_steps(10, 4) == 3
    assert num_steps(0, 4) == 0
    assert [share(0, 10, rank, 4) for rank in range(4)] == [(0, 2), (2, 5), (5, 7), (7, 10)]
    assert [share(3, 4, rank, 2) for rank in range(2)] == [(3, 3), (3, 4)]


def test_epochs_and_seeds_differ() -> None:
    orders = [EpochOrder([50, 50], seed, epoch, 2) for seed in range(3) for epoch in range(3)]
    assert len({order.take(0, 100).tobytes() for order in orders}) == 9


@pytest.mark.parametrize("length", [2, 3, 5])
def test_permutations_are_even(length: int) -> None:
    first = np.bincount([permutation(length, mix(key))[0] for key in range(2000)], minlength=length)
    assert first.min() > 2000 / length * 0.85


def test_an_empty_dataset_has_an_empty_order() -> None:
    for counts in ([], [0], [0, 0, 0]):
        order = EpochOrder(counts, 0, 0, 16)
        assert order.num_samples == 0
        assert order.take(0, 0).tolist() == []


def test_positions_outside_the_epoch_are_an_error_of_the_programmer() -> None:
    order = EpochOrder([3, 3], 0, 0, 1)
    for start, stop in ((-1, 2), (3, 2), (0, 7)):
        with pytest.raises(AssertionError):
            order.take(start, stop)


def test_a_billion_samples_are_planned_without_storing_them() -> None:
    order = EpochOrder([10_000] * 100_000, seed=0, epoch=0, window_shards=4)
    middle = order.take(499_999_000, 500_001_000)
    assert len(set(middle.tolist())) == 2_000
    # The middle is a border of windows: two windows of four shards.
    assert len({i // 10_000 for i in middle.tolist()}) == 8


def test_sample_seeds_do_not_depend_on_the_batch() -> None:
    ids = np.arange(100)
    seeds = sample_seeds(ids, 5, 6)
    assert sample_seeds(ids[10:20], 5, 6) == seeds[10:20]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert not set(seeds) & set(sample_seeds(ids, 5, 7))
