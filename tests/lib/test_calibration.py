import numpy as np
import pytest

from lib.calibration import (
    HIGHEST,
    LOWEST,
    abstention_threshold,
    as_logits,
    best_temperature,
    fit_temperature,
    softmax,
    tempered,
)


def drawn(temperature: float, count: int = 20_000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels that follow them at a temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (count, classes))
    shares = softmax(logits, temperature).cumsum(axis=1)
    return logits, np.minimum((rng.random((count, 1)) > shares).sum(axis=1), classes - 1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_behind_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.04)


def test_no_other_temperature_has_less_loss() -> None:
    logits, labels = drawn(1.7, count=500)
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        return float(-np.log(softmax(logits, temperature)[rows, labels]).mean())

    best = fit_temperature(logits, labels)
    assert loss(best) < min(loss(best * 1.01), loss(best * 0.99))


def test_what_is_always_or_never_right_ends_at_a_bound() -> None:
    logits = np.eye(3)[[0, 1, 2, 0]] * 4
    assert fit_temperature(logits, np.array([0, 1, 2, 0])) == pytest.approx(LOWEST, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 2, 0, 1])) == pytest.approx(HIGHEST, rel=1e-3)


def test_probabilities_are_tempered_as_their_logits_would_be() -> None:
    logits = drawn(1.0, count=50)[0]
    assert tempered(softmax(logits), 2.0) == pytest.approx(softmax(logits, 2.0))
    assert np.array_equal(tempered(softmax(logits), 1.0), softmax(logits))
    assert np.isfinite(as_logits(np.array([0.0, 1.0]))).all()
    assert tempered(np.array([[0.0, 1.0]]), 3.0).sum() == pytest.approx(1)


def test_the_threshold_keeps_as_many_as_it_may() -> None:
    confidence = np.array([0.99, 0.9, 0.8, 0.7, 0.6, 0.5])
    correct = np.array([True, True, False, True, True, False])
    assert abstention_threshold(confidence, correct, 1.0) == 0.9
    # Of the first five four are right.
    assert abstention_threshold(confidence, correct, 0.8) == 0.6
    assert abstention_threshold(confidence, correct, 0.5) == 0.5
    assert abstention_threshold(confidence, ~correct, 0.9) is None


def test_equal_confidence_is_kept_or_refused_together() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.5])
    correct = np.array([True, True, False, True])
    assert abstention_threshold(confidence, correct, 0.99) is None
    assert abstention_threshold(confidence, correct, 0.6) == 0.5


@pytest.mark.parametrize("true", [0.6, 1.0, 2.5])
def test_sums_of_losses_are_enough_to_find_the_temperature(true: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 5)) * 2
    labels = (softmax(logits).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    grid = np.exp(np.linspace(np.log(0.25), np.log(8), 41))
    rows = np.arange(len(labels))
    # The network says true times as much as it should.
    losses = np.array([-np.log(softmax(logits * true, each)[rows, labels]).sum() for each in grid])
    assert best_temperature(grid, losses) == pytest.approx(true, rel=0.03)
    assert best_temperature(grid, losses) == pytest.approx(fit_temperature(logits * true, labels), rel=0.005)


def test_a_few_right_answers_do_not_ask_for_certainty() -> None:
    logits = np.tile([3.0, 0.0, 0.0], (50, 1))
    grid = np.exp(np.linspace(np.log(0.25), np.log(8), 41))
    losses = np.array([-np.log(softmax(logits, each)[:, 0]).sum() for each in grid])
    assert fit_temperature(logits, np.zeros(50, np.int64)) == pytest.approx(LOWEST, rel=0.01)
    assert 0.4 < best_temperature(grid, losses) < 0.9
