import numpy as np
import pytest

from lib.data.sampling import EpochPlan
from lib.data.subset import counts_within, draw_subset

LABELS = np.repeat(np.arange(3, dtype=np.int32), [50, 30, 4])[np.random.default_rng(0).permutation(84)]


@pytest.mark.parametrize(("num_images", "each"), [(9, [3, 3, 3]), (20, [8, 8, 4]), (84, [50, 30, 4])])
def test_classes_take_turns_while_they_have_images(num_images: int, each: list[int]) -> None:
    ids = draw_subset(LABELS, num_images, seed=1)
    assert len(ids) == num_images
    assert (np.diff(ids) > 0).all()
    assert np.bincount(LABELS[ids], minlength=3).tolist() == each


def test_smaller_parts_lie_within_larger_ones_and_seeds_differ() -> None:
    large, small = (set(draw_subset(LABELS, n, seed=1).tolist()) for n in (40, 11))
    assert small < large
    assert small != set(draw_subset(LABELS, 11, seed=2).tolist())
    extra = [np.bincount(LABELS[draw_subset(LABELS, 1, seed)], minlength=3).argmax() for seed in range(20)]
    assert len(set(extra)) > 1  # not always the first class has one more


def test_an_epoch_takes_each_of_the_part_once_with_the_seeds_that_it_always_has() -> None:
    counts = [30, 30, 24]
    ids = draw_subset(LABELS, 25, seed=1)
    assert counts_within(ids, counts) == [
        int(((ids >= a) & (ids < a + n)).sum()) for a, n in ((0, 30), (30, 30), (60, 24))
    ]
    plans = [
        EpochPlan(counts, seed=5, epoch=2, batch_size=8, window_shards=2, subset=subset)
        for subset in (ids, None)
    ]
    taken = [
        dict(zip(batch.tolist(), seeds, strict=True))
        for plan in plans
        for step in range(plan.num_steps)
        for batch, seeds in [plan.batch(step)]
    ]
    part = {k: v for each in taken[: plans[0].num_steps] for k, v in each.items()}
    whole = {k: v for each in taken[plans[0].num_steps :] for k, v in each.items()}
    assert sorted(part) == ids.tolist()
    assert plans[0].num_samples == 25
    assert sum(len(each) for each in taken[: plans[0].num_steps]) == 25
    assert part.items() <= whole.items()
