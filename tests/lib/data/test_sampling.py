import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.reading import DataSection
from lib.data.dataset import Dataset
from lib.data.order import EpochOrder, batch_bounds, num_steps, sample_seeds, share
from lib.data.sampling import (
    EpochPlan,
    Labels,
    Weights,
    _Draws,
    class_balanced,
    class_weighted,
    sampling_weights,
)

WEIGHT = st.one_of(
    st.integers(1, 50).map(float), st.floats(1e-3, 1e3), st.sampled_from([1e-12, 0.1, 0.3, 1e9])
)


def _draw(plan: EpochPlan) -> list[int]:
    return [i for step in range(plan.num_steps) for i in plan.batch(step)[0].tolist()]


def _plan(counts: list[int], weights: Weights | None, seed: int = 0, epoch: int = 0) -> EpochPlan:
    return EpochPlan(counts, seed=seed, epoch=epoch, batch_size=7, window_shards=2, weights=weights)


def test_without_weights_a_plan_is_what_runs_have_always_taken() -> None:
    # Runs that began before there were plans go on with them.
    counts = [40, 0, 33, 51, 7]
    plan = EpochPlan(counts, seed=5, epoch=3, batch_size=16, window_shards=2)
    order = EpochOrder(counts, 5, 3, 2)
    assert plan.num_samples == 131
    assert plan.num_steps == num_steps(131, 16) == 9
    for step in range(plan.num_steps):
        bounds = batch_bounds(step, 131, 16)
        assert plan.global_size(step) == bounds[1] - bounds[0]
        for rank in range(3):
            ids, seeds = plan.batch(step, rank, 3)
            assert ids.tolist() == order.take(*share(*bounds, rank, 3)).tolist()
            assert seeds == sample_seeds(ids, 5, 3)


def test_weighted_draws_are_pinned() -> None:
    # A run that resumes under another version of this code must meet the same batches: never edit these.
    labels = np.array([0, 0, 1, 2, 2, 2, 1, 0], np.int32)
    plan = _plan([3, 0, 5], class_weighted(labels, [3, 0, 5], by_class=[1, 2.5, 0.1]), seed=1, epoch=2)
    assert _draw(plan) == [6, 7, 6, 6, 1, 2, 0, 2]
    assert plan.batch(1)[1] == [
        4132531116643958870,
        5268520025712247495,
        5066899821181219348,
        826025614656803608,
    ]


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.one_of(st.just(0), st.integers(0, 30)), min_size=1, max_size=8),
    by_class=st.lists(WEIGHT, min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 100),
    epochs=st.integers(1, 4),
    data=st.data(),
)
def test_samples_and_classes_are_drawn_as_often_as_their_rate_rounded_down_or_up(
    counts: list[int], by_class: list[float], seed: int, epoch: int, epochs: int, data: st.DataObject
) -> None:
    total = sum(counts)
    found = data.draw(st.lists(st.integers(0, len(by_class) - 1), min_size=total, max_size=total))
    labels = np.array(found, np.int32)
    weights = class_weighted(labels, counts, by_class=by_class)
    sizes = np.bincount(labels, minlength=len(by_class)).tolist()
    whole = sum(Fraction(str(weight)) * size for weight, size in zip(by_class, sizes, strict=True))
    plans = [_plan(counts, weights, seed, epoch + later) for later in range(epochs)]
    totals = np.zeros(total, np.int64)
    for done, plan in enumerate(plans, 1):
        drawn = np.array(_draw(plan), np.int64)
        assert len(drawn) == total
        times = np.bincount(drawn, minlength=total)
        totals += times
        for label, weight in enumerate(by_class):
            rate = total * Fraction(str(weight)) / whole if total else Fraction(0)
            mine = labels == label
            assert math.floor(rate * sizes[label]) <= times[mine].sum() <= math.ceil(rate * sizes[label])
            assert set(times[mine].tolist()) <= {math.floor(rate), math.ceil(rate)}
            # Over several epochs as in one.
            assert totals[mine].max(initial=0) - totals[mine].min(initial=done * total) <= 1


@pytest.mark.parametrize(
    ("by_class", "expected"),
    [
        ([2.0, 2.0], [{1}, {1}]),
        ([3.0, 1.0], [{1, 2}, {0, 1}]),  # rates 1.5 and 0.5
        ([0.1, 0.3], [{0, 1}, {1, 2}]),  # the same from decimals
        ([1e-9, 1e9], [{0}, {2}]),
    ],
)
def test_rates_that_are_easy_to_see(by_class: list[float], expected: list[set[int]]) -> None:
    labels = np.arange(100, dtype=np.int32) % 2
    times = np.bincount(_draw(_plan([30, 70], class_weighted(labels, [30, 70], by_class=by_class))))
    times = np.pad(times, (0, 100 - len(times)))
    assert [set(times[labels == label]) for label in (0, 1)] == expected


def test_balanced_classes_are_drawn_equally_often() -> None:
    sizes = [1, 10, 100, 889]
    labels = np.repeat(np.arange(4, dtype=np.int32), sizes)[np.random.default_rng(0).permutation(1000)]
    counts = [250] * 4
    drawn = _draw(_plan(counts, class_balanced(labels, counts, num_classes=5)))
    assert len(drawn) == 1000
    assert np.bincount(labels[drawn], minlength=4).tolist() == [250] * 4
    times = np.bincount(drawn, minlength=1000)
    assert set(times[labels == 0]) == {250}
    assert set(times[labels == 1]) == {25}
    assert set(times[labels == 2]) == {2, 3}
    assert set(times[labels == 3]) == {0, 1}


def test_draws_of_one_sample_differ_in_their_seed() -> None:
    labels = np.array([0] + [1] * 9, np.int32)
    plan = _plan([10], class_weighted(labels, [10], by_class=[9, 1]))
    batches = [plan.batch(step) for step in range(plan.num_steps)]
    pairs = [(i, s) for ids, seeds in batches for i, s in zip(ids.tolist(), seeds, strict=True)]
    assert sum(i == 0 for i, _ in pairs) == 5
    assert len({seed for _, seed in pairs}) == 10


def test_classes_that_take_turns_get_their_share() -> None:
    # One row of weights for all samples would draw class 0 fifty or a hundred times, by chance.
    labels = np.arange(100, dtype=np.int32) % 2
    weights = class_weighted(labels, [30, 70], by_class=[3, 1])
    for epoch in range(6):
        assert np.bincount(labels[_draw(_plan([30, 70], weights, 0, epoch))]).tolist() == [75, 25]


def test_a_sample_comes_again_when_all_others_of_its_class_have_come() -> None:
    labels = np.array([0] * 90 + [1] * 10, np.int32)
    weights = class_balanced(labels, [100], num_classes=2)
    seen = np.concatenate([_draw(_plan([100], weights, 3, epoch)) for epoch in range(9)])
    times = np.bincount(seen[labels[seen] == 0], minlength=90)
    assert set(times) == {5}
    # Which ones an epoch takes depends on the seed.
    first, other = (set(_draw(_plan([100], weights, seed, 0))) for seed in (3, 4))
    assert first != other


def test_ten_million_draws_are_exact() -> None:
    num, classes = 10_000_000, 1000
    counts = [1_000_000] * 10
    labels = (np.arange(num, dtype=np.int64) * 7919 % classes).astype(np.int32)
    by_class = (np.random.default_rng(0).random(classes) * 100 + 0.1).tolist()
    weights = class_weighted(labels, counts, by_class=by_class)
    drawn = _Draws(weights, 0, 50, kept_shards=1).ids(np.arange(num))
    assert len(drawn) == num
    rates = np.array(by_class) / sum(by_class) * classes
    times = np.bincount(drawn, minlength=num)
    assert np.all((times == np.floor(rates)[labels]) | (times == np.ceil(rates)[labels]))
    assert np.bincount(labels[drawn]) == pytest.approx(rates * num / classes, abs=1)


def test_an_empty_split_has_no_draws() -> None:
    nothing: Labels = np.empty(0, np.int32)
    for counts in ([0], [0, 0]):
        plan = _plan(counts, class_balanced(nothing, counts, num_classes=3))
        assert plan.num_samples == plan.num_steps == 0


def test_the_configuration_chooses_the_weights(dataset: Dataset) -> None:
    samples = dataset.samples("train")

    def weights(**section: object) -> Weights | None:
        return sampling_weights(
            samples, dataset.classes, DataSection.model_validate({"root": "x", **section})
        )

    labels = samples.labels()
    sizes = np.bincount(labels)
    assert weights() is None
    drawn = weights(sampling="weighted", class_weights={"3": 2})
    assert drawn is not None
    twice = sizes * np.where(np.arange(10) == 3, 2, 1)
    assert drawn.draws == pytest.approx(len(labels) * twice / twice.sum(), abs=1)
    balanced = weights(sampling="class_balanced")
    assert balanced is not None
    assert balanced.draws == pytest.approx(np.full(10, len(labels) / 10), abs=1)
    samples.close()
