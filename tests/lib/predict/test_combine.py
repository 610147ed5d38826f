import numpy as np
import pytest

from lib.predict.combine import combine, fit_weights, log_loss, select_greedily


def members(*rows: list[list[float]]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def test_the_mean_is_weighted_and_needs_no_weights_that_sum_to_one() -> None:
    probabilities = members([[0.8, 0.2]], [[0.4, 0.6]])
    assert combine(probabilities, np.array([1.0, 1.0]), "mean") == pytest.approx(np.array([[0.6, 0.4]]))
    assert combine(probabilities, np.array([3.0, 1.0]), "mean") == pytest.approx(np.array([[0.7, 0.3]]))


def test_votes_count_heads_and_the_mean_decides_ties() -> None:
    sure, unsure, third = [[0.0, 1.0, 0.0]], [[0.6, 0.4, 0.0]], [[0.5, 0.1, 0.4]]
    outvoted = combine(members(sure, unsure, third), np.ones(3), "votes")
    assert outvoted[0].argmax() == 0
    assert outvoted[0, 0] == pytest.approx(2 / 3, abs=1e-3)
    assert outvoted.sum() == pytest.approx(1)
    assert combine(members(sure, unsure), np.ones(2), "votes")[0].argmax() == 1


def noisy(quality: list[float], count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Members that are right with these probabilities, independently, and know how often they are."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, count)
    rows = []
    for accuracy in quality:
        wrong = (labels + rng.integers(1, 4, count)) % 4
        said = np.where(rng.random(count) < accuracy, labels, wrong)
        rows.append(np.where(np.arange(4) == said[:, None], accuracy, (1 - accuracy) / 3))
    return np.stack(rows), labels


def test_weights_go_to_those_who_know_and_none_beats_them() -> None:
    probabilities, labels = noisy([0.9, 0.6, 0.26])
    weights = fit_weights(probabilities, labels)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[0] > weights[1] > weights[2]
    reached = log_loss(combine(probabilities, weights, "mean"), labels)
    rng = np.random.default_rng(1)
    for _ in range(50):
        near = np.abs(weights + rng.normal(0, 0.02, 3))
        assert log_loss(combine(probabilities, near, "mean"), labels) >= reached - 1e-7


def test_greedy_selection_starts_with_the_best_and_leaves_out_who_knows_nothing() -> None:
    probabilities, labels = noisy([0.7, 0.8, 0.7])
    uniform = np.full((1, *probabilities.shape[1:]), 0.25)
    chosen = select_greedily(np.concatenate([probabilities, uniform]), labels)
    assert chosen[0] == 1
    assert sorted(chosen) == [0, 1, 2]
