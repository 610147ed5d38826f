import numpy as np
import pytest

from lib.metrics import Outcomes
from lib.report.slices import NONE, slice_metrics


def outcomes(right: list[bool]) -> Outcomes:
    probabilities = np.array([[0.8, 0.2] if each else [0.3, 0.7] for each in right])
    return Outcomes.from_probabilities(np.arange(len(right)), np.zeros(len(right), np.int64), probabilities)


def test_slices_are_counted_apart_the_worst_first() -> None:
    right = [True] * 60 + [True] * 10 + [False] * 30
    where = ["north"] * 60 + ["south"] * 40
    (column,) = slice_metrics(outcomes(right), {"hospital": where})
    assert column["column"] == "hospital"
    south, north = column["slices"]
    assert (south["value"], south["num_samples"], south["accuracy"]) == ("south", 40, 0.25)
    assert (north["value"], north["num_samples"], north["accuracy"]) == ("north", 60, 1.0)
    assert south["is_worse"]
    assert not north["is_worse"]
    assert south["interval"][0] < 0.25 < south["interval"][1]
    assert south["confidence"] == pytest.approx((10 * 0.8 + 30 * 0.7) / 40)


def test_what_may_be_chance_is_not_called_worse() -> None:
    right = [True] * 45 + [False] * 5 + [True, True, False]
    (column,) = slice_metrics(outcomes(right), {"c": ["a"] * 50 + ["b"] * 3})
    assert [each["is_worse"] for each in column["slices"]] == [False, False]


def test_many_numbers_become_quarters_and_few_stay() -> None:
    right = [True, False] * 50
    many, few = slice_metrics(outcomes(right), {"width": list(range(100)), "year": [2024, 2025] * 50})
    assert sorted(each["num_samples"] for each in many["slices"]) == [25, 25, 25, 25]
    assert sum(each["num_samples"] for each in many["slices"]) == 100
    assert {each["value"] for each in few["slices"]} == {"2024", "2025"}
    assert few["slices"][0]["value"] == "2025"  # all wrong


def test_the_largest_number_and_what_is_missing_have_a_place() -> None:
    values: list[float | None] = [1.0] * 30 + [float(n) for n in range(9)] + [None, float("nan")]
    (column,) = slice_metrics(outcomes([True] * 41), {"age": values})
    assert sum(each["num_samples"] for each in column["slices"]) == 41
    assert next(each for each in column["slices"] if each["value"] == NONE)["num_samples"] == 2
