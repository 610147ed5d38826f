"""The stability index: what it is, what chance makes of it, and the window that it looks at."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.track.drift import (
    CONFIDENCE,
    OLDEST_S,
    WINDOW,
    Baseline,
    Drift,
    excess,
    grouped,
    joined,
    stability_index,
    summed,
)

counts = st.lists(st.integers(0, 10_000), min_size=2, max_size=30)
pairs = st.integers(2, 30).flatmap(
    lambda size: st.tuples(*[st.lists(st.integers(0, 10_000), min_size=size, max_size=size)] * 2)
)


def test_the_index_by_hand() -> None:
    # Shares of 0.8 and 0.2 against 0.5 and 0.5; the counts are so large that the prior is nothing.
    found = stability_index([8_000_000, 2_000_000], [5_000_000, 5_000_000])
    assert found == pytest.approx(-0.3 * np.log(0.5 / 0.8) + 0.3 * np.log(0.5 / 0.2), abs=1e-6)


@given(pairs)
def test_it_is_symmetric_and_never_below_zero(pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    assert stability_index(one, other) == pytest.approx(stability_index(other, one))
    assert stability_index(one, other) >= 0
    assert stability_index(one, one) == 0


@given(counts)
def test_joined_bins_are_neighbours_with_a_share_each(given: list[int]) -> None:
    groups = joined(given)
    assert groups == sorted(groups)
    assert set(groups) == set(range(groups[-1] + 1))
    if groups[-1] > 0:
        assert min(summed(groups, given)) >= 0.1 * sum(given)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=1500))
def test_many_classes_make_few_groups(given: list[int]) -> None:
    groups = grouped(given)
    assert len(groups) == len(given)
    assert len(set(groups)) == min(len(given), 10)
    assert sum(summed(groups, given)) == sum(given)


def test_a_thousand_even_classes_make_even_groups() -> None:
    assert set(summed(grouped([50] * 1000), [50] * 1000)) == {5000}


@pytest.mark.parametrize(("seen", "baseline"), [(200, 200), (WINDOW, 360), (WINDOW, 5000)])
@pytest.mark.parametrize("bins", [2, 5, 10])
def test_chance_alone_stays_far_from_what_matters(seen: int, baseline: int, bins: int) -> None:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.full(bins, 5.0))
    found = [
        excess(random.multinomial(baseline, shares).tolist(), random.multinomial(seen, shares).tolist())
        for _ in range(2000)
    ]
    assert np.mean(found) < 0.03
    assert np.quantile(found, 0.999) < 0.25


def baseline(confidence: list[int], classes: list[int]) -> Baseline:
    return Baseline(
        split="val",
        num_samples=sum(classes),
        bounds=list(CONFIDENCE),
        confidence=confidence,
        classes=classes,
    )


SURE = [0] * 10 + [10, 10, 20, 20, 40, 60, 60, 60, 60, 160]
UNSURE = [0, 20, 40, 60, 80, 100, 80, 60, 40, 20] + [0] * 10


def test_what_shifts_is_named() -> None:
    drift = Drift(baseline(SURE, [50] * 10))
    drift.add(0, SURE, dict.fromkeys(range(10), 50))
    same = drift.index(0)
    drift.add(1, UNSURE, dict.fromkeys(range(10), 50))
    drift.add(2, UNSURE, dict.fromkeys(range(10), 50))
    unsure = drift.index(2)
    assert same == {"confidence": 0, "classes": 0}
    assert unsure["confidence"] > 1
    assert unsure["classes"] == 0
    few = Drift(baseline(SURE, [50] * 10))
    few.add(0, SURE, {0: 250, 1: 250})
    assert few.index(0)["confidence"] == 0
    assert few.index(0)["classes"] > 1


def test_the_window_forgets() -> None:
    drift = Drift(baseline(SURE, [500]))
    assert drift.index(0) == {}
    drift.add(0, UNSURE, {0: 500})
    for second in range(1, WINDOW + 1):
        drift.add(second, [0] * 19 + [1], {0: 1})
    of_last = drift.index(WINDOW)["confidence"]
    only = Drift(baseline(SURE, [500]))
    only.add(0, [0] * 19 + [WINDOW], {0: WINDOW})
    assert of_last == pytest.approx(only.index(0)["confidence"])
    assert drift.index(WINDOW + OLDEST_S + 1) == {}


def test_few_images_have_no_index() -> None:
    small = Drift(baseline([count // 5 for count in SURE], [10] * 10))
    small.add(0, SURE, {0: 500})
    assert small.index(0) == {}
    drift = Drift(baseline(SURE, [50] * 10))
    drift.add(0, [0] * 19 + [124], {0: 124})
    assert drift.index(0) == {}
    drift.add(0, [0] * 19 + [1], {0: 1})
    assert set(drift.index(0)) == {"confidence", "classes"}


def test_other_bins_leave_the_classes() -> None:
    other = baseline(SURE, [50] * 10).model_copy(update={"bounds": [0.5, 1.0], "confidence": [10, 490]})
    drift = Drift(other)
    drift.add(0, SURE, dict.fromkeys(range(10), 50))
    assert set(drift.index(0)) == {"classes"}
