import numpy as np
import pytest

from lib.metrics import paired_difference, wilson_interval
from lib.tune.compare import accuracy_of, difference, over_seeds

RNG = np.random.default_rng(0)


def draw(accuracy: float, seeds: int, images: int = 2000) -> np.ndarray:
    return RNG.random((seeds, images)) < accuracy


def test_one_run_has_the_interval_of_its_images_alone() -> None:
    correct = draw(0.9, 1)
    estimate = accuracy_of(correct)
    assert (estimate.low, estimate.high) == wilson_interval(estimate.mean, 2000)
    other = draw(0.8, 1)
    found = difference(correct, other)
    assert (found.mean, found.low, found.high) == pytest.approx(paired_difference(correct[0], other[0]))


def test_several_comparisons_are_held_to_a_stricter_level() -> None:
    one, other = draw(0.9, 3), draw(0.88, 3)
    single, several = difference(one, other), difference(one, other, comparisons=5)
    assert several.low < single.low < single.high < several.high
    assert single.mean == several.mean


def test_pairing_makes_the_interval_of_the_same_mistakes_narrow() -> None:
    one = draw(0.8, 1)
    other = one.copy()
    other[0, :20] = ~other[0, :20]
    unpaired = difference(one, RNG.permutation(other, axis=1))
    assert difference(one, other).high - difference(one, other).low < (unpaired.high - unpaired.low) / 3


def test_seeds_that_end_far_apart_make_a_difference_noise() -> None:
    near = np.concatenate([draw(accuracy, 1) for accuracy in (0.90, 0.90, 0.90)])
    far = np.concatenate([draw(accuracy, 1) for accuracy in (0.60, 0.80, 0.95)])
    better = np.concatenate([draw(accuracy, 1) for accuracy in (0.80, 0.80, 0.80)])
    assert difference(near, far).is_noise
    assert not difference(near, better).is_noise


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # Each trial has its own images, of their own difficulty, and its own seeds, of their own luck.
    hits = 0
    for _ in range(300):
        ease = RNG.normal(0, 0.15, 400)
        runs = [RNG.random(400) < np.clip(0.75 + ease + RNG.normal(0, 0.02), 0, 1) for _ in range(6)]
        hits += not difference(np.stack(runs[:3]), np.stack(runs[3:])).low > 0
        found = difference(np.stack(runs[:3]), np.stack(runs[3:]))
        hits += not found.high < 0
    assert 560 <= hits <= 600  # each side is missed in at most 2.5 %, give or take


def test_a_figure_of_each_run_has_students_interval() -> None:
    estimate = over_seeds([1.0, 2.0, 3.0])
    assert estimate.mean == 2
    assert estimate.high == pytest.approx(2 + 4.303 * 1 / 3**0.5, rel=1e-3)
    assert over_seeds([5.0]).interval is None
