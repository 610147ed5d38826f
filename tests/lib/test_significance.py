import numpy as np
import pytest
from scipy.stats import binom

from lib.metrics import Outcomes
from lib.significance import compare, compare_right, holm, mcnemar


def outcomes(ids: list[int], right: list[bool]) -> Outcomes:
    probabilities = np.array([[0.9, 0.1] if each else [0.2, 0.8] for each in right])
    return Outcomes.from_probabilities(np.array(ids), np.zeros(len(ids), np.int64), probabilities)


@pytest.mark.parametrize(("better", "worse"), [(10, 2), (2, 10), (1, 0), (40, 33)])
def test_the_test_is_exact_and_has_two_sides(better: int, worse: int) -> None:
    smaller, both = min(better, worse), better + worse
    assert mcnemar(better, worse) == pytest.approx(min(1.0, 2 * binom.cdf(smaller, both, 0.5)))
    assert mcnemar(better, worse) == mcnemar(worse, better)


def test_no_difference_is_no_evidence() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0


def test_it_is_wrong_as_seldom_as_it_says() -> None:
    rng = np.random.default_rng(0)
    false = [
        compare_right(rng.random(400) < 0.9, rng.random(400) < 0.9).is_certain  # equally good
        for _ in range(2000)
    ]
    assert np.mean(false) < 0.05


def test_models_are_compared_on_the_images_that_both_answered() -> None:
    one = outcomes([0, 1, 2, 5], [True, True, False, True])
    other = outcomes([1, 2, 3, 5], [False, True, True, True])
    found = compare(one, other)
    assert (found.num_samples, found.better, found.worse) == (3, 1, 1)
    assert found.difference == 0
    assert found.low < 0 < found.high
    assert not found.is_certain


def test_a_model_that_is_clearly_better_is_certain() -> None:
    right = np.ones(100, dtype=bool)
    other = right.copy()
    other[:12] = False
    assert compare_right(right, other).is_certain
    assert compare_right(other, right).difference == -0.12


def test_several_questions_raise_the_bar() -> None:
    # By hand: 3 x 0.01, then 2 x 0.03, then 1 x 0.04, which may not be below what comes before it.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
