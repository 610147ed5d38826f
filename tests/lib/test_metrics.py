import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from lib.metrics import (
    Outcomes,
    brier_score,
    confusion,
    expected_calibration_error,
    hardest,
    most_confused,
    paired_difference,
    per_class,
    reliability,
    summarise,
    wilson_interval,
)


def outcomes_of(probabilities, labels, ids=None):
    labels = np.asarray(labels)
    ids = np.arange(len(labels)) if ids is None else ids
    return Outcomes.from_probabilities(ids, labels, np.asarray(probabilities))


def random_case(num_classes=12, n=500, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, n)
    logits = rng.normal(size=(n, num_classes))
    logits[np.arange(n), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities, labels


@pytest.fixture
def four():
    """Three classes; the second sample is a confident mistake, and nothing is ever taken for class 2."""
    probabilities = [[0.7, 0.2, 0.1], [0.9, 0.05, 0.05], [0.3, 0.4, 0.3], [0.5, 0.3, 0.2]]
    return outcomes_of(probabilities, [0, 1, 1, 2])


def test_summary_by_hand(four):
    summary = summarise(four, 3)
    assert list(summary) == ["num_samples", "accuracy", "top5_accuracy", "loss", "ece", "balanced_accuracy"]
    assert summary["num_samples"] == 4
    assert summary["accuracy"] == 0.5
    assert summary["top5_accuracy"] == 1.0
    assert summary["loss"] == pytest.approx(-np.log([0.7, 0.05, 0.4, 0.2]).mean())
    assert summary["balanced_accuracy"] == pytest.approx((1 + 0.5 + 0) / 3)
    # Every sample is alone in its bin, so the gaps are |0.7-1|, |0.9-0|, |0.4-1|, |0.5-0|.
    assert summary["ece"] == pytest.approx((0.3 + 0.9 + 0.6 + 0.5) / 4)


def test_summary_agrees_with_scikit_learn():
    probabilities, labels = random_case()
    summary = summarise(outcomes_of(probabilities, labels), 12)
    predicted = probabilities.argmax(1)
    assert summary["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted))
    assert summary["top5_accuracy"] == pytest.approx(
        sklearn_metrics.top_k_accuracy_score(labels, probabilities, k=5)
    )
    assert summary["balanced_accuracy"] == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, predicted)
    )
    assert summary["loss"] == pytest.approx(sklearn_metrics.log_loss(labels, probabilities), rel=1e-6)


def test_the_brier_score_agrees_with_scikit_learn():
    probabilities, labels = random_case()
    outcomes = outcomes_of(probabilities, labels)
    expected = sklearn_metrics.brier_score_loss(labels, probabilities, labels=range(12), scale_by_half=False)
    assert brier_score(outcomes) == pytest.approx(expected, rel=1e-6)
    assert len(outcomes.brier) == len(labels)


def test_confusion_and_per_class_agree_with_scikit_learn():
    probabilities, labels = random_case()
    outcomes = outcomes_of(probabilities, labels)
    predicted = probabilities.argmax(1)
    assert np.array_equal(confusion(outcomes, 12), sklearn_metrics.confusion_matrix(labels, predicted))
    rows = per_class(outcomes, [f"c{i}" for i in range(12)])
    report = sklearn_metrics.classification_report(
        labels, predicted, target_names=[f"c{i}" for i in range(12)], output_dict=True
    )
    for row in rows:
        assert row == {
            "label": row["label"],
            "support": report[row["label"]]["support"],
            "precision": report[row["label"]]["precision"],
            "recall": report[row["label"]]["recall"],
            "f1": report[row["label"]]["f1-score"],
        }


def test_per_class_by_hand(four):
    a, b, _ = per_class(four, ["a", "b", "c"])  # predicted: a, a, b, a; true: a, b, b, c
    assert a == {"label": "a", "support": 1, "precision": pytest.approx(1 / 3), "recall": 1.0, "f1": 0.5}
    assert b == {"label": "b", "support": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}


def test_a_class_without_samples_or_predictions_counts_as_zero_and_warns_of_nothing(four):
    rows = per_class(four, ["a", "b", "c"])
    assert rows[2] == {"label": "c", "support": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    absent = outcomes_of([[0.8, 0.1, 0.1]], [0])
    assert [row["support"] for row in per_class(absent, ["a", "b", "c"])] == [1, 0, 0]
    assert summarise(absent, 3)["balanced_accuracy"] == 1.0


def test_metrics_of_gathered_parts_are_those_of_the_whole():
    probabilities, labels = random_case(n=101)
    whole = outcomes_of(probabilities, labels)
    parts = [outcomes_of(probabilities[r::3], labels[r::3], np.arange(101)[r::3]) for r in range(3)]
    joined = Outcomes.concat(parts[::-1])
    assert np.array_equal(joined.ids, np.arange(101))
    assert summarise(joined, 12) == summarise(whole, 12)


def test_a_sample_evaluated_twice_is_refused(four):
    with pytest.raises(AssertionError, match=r"more than once: ids \[0, 1, 2, 3\]"):
        Outcomes.concat([four, four])


def test_outcomes_survive_a_file_without_pickle(four, tmp_path):
    path = tmp_path / "outcomes"
    four.save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["outcomes"]
    back = Outcomes.load(path)
    for name in ("ids", "labels", "top_index", "top_probability", "loss", "brier"):
        assert np.array_equal(getattr(back, name), getattr(four, name))
        assert getattr(back, name).dtype == getattr(four, name).dtype


def test_shapes_that_do_not_belong_together_are_refused(four):
    with pytest.raises(AssertionError, match="one row per sample"):
        Outcomes(four.ids, four.labels[:3], four.top_index, four.top_probability, four.loss, four.brier)


def test_reliability_bins_are_closed_above_and_cover_every_sample():
    # 0.5, 0.25 and 0.75 are exact in float32: each belongs to the bin that ends there.
    outcomes = outcomes_of([[0.5, 0.5], [0.75, 0.25], [1.0, 1e-9]], [0, 1, 0])
    bins = reliability(outcomes, bins=4)
    assert [b["count"] for b in bins] == [0, 1, 1, 1]
    assert bins[2] == {"low": 0.5, "high": 0.75, "count": 1, "confidence": 0.75, "accuracy": 0.0}
    assert expected_calibration_error(bins) == pytest.approx((0.5 + 0.75 + 0) / 3)


def test_a_probability_rounded_past_one_stays_in_the_last_bin(four):
    above = np.nextafter(np.float32(1), np.float32(2))
    rounded = np.full_like(four.top_probability, above)
    outcomes = Outcomes(four.ids, four.labels, four.top_index, rounded, four.loss, four.brier)
    assert reliability(outcomes)[-1]["count"] == 4


def test_a_calibrated_model_has_a_small_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 20_000)
    labels = (rng.uniform(size=20_000) > confidence).astype(int)
    outcomes = outcomes_of(np.column_stack([confidence, 1 - confidence]), labels)
    assert summarise(outcomes, 2)["ece"] < 0.02


def test_hardest_are_wrong_and_ordered_by_loss(four):
    assert hardest(four, 10).tolist() == [1, 3]
    assert hardest(four, 1).tolist() == [1]


def test_most_confused_pairs_by_count_then_share():
    matrix = np.array([[5, 2, 0], [0, 1, 2], [1, 0, 9]])
    assert most_confused(matrix, 2) == [
        {"truth": 1, "predicted": 2, "count": 2, "fraction": 2 / 3},
        {"truth": 0, "predicted": 1, "count": 2, "fraction": 2 / 7},
    ]
    assert most_confused(np.diag([3, 4]), 5) == []


def test_wilson_interval():
    # Values from Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for correct, total, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        assert wilson_interval(correct / total, total) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(1.0, 10)[1] == pytest.approx(1.0)


def test_outcomes_of_probabilities_keep_the_best_five_in_order():
    probabilities = np.array([[0.1, 0.3, 0.05, 0.3, 0.05, 0.2, 0.0]], np.float32)
    outcomes = Outcomes.from_probabilities(np.array([9]), np.array([6]), probabilities)
    assert outcomes.top_index.tolist() == [[1, 3, 5, 0, 2]]
    assert outcomes.top_probability.dtype == np.float32
    assert outcomes.top_probability[0] == pytest.approx([0.3, 0.3, 0.2, 0.1, 0.05])
    assert np.isfinite(outcomes.loss[0])
    assert outcomes.loss[0] > 80


def test_a_paired_difference_counts_who_was_right_alone_and_has_an_interval_that_is_never_empty() -> None:
    one, other = np.zeros(200, dtype=bool), np.zeros(200, dtype=bool)
    one[:150], other[10:154] = True, True
    difference, low, high = paired_difference(one, other)
    assert difference == pytest.approx(6 / 200)
    assert low < difference < high
    assert [-each for each in paired_difference(other, one)] == pytest.approx([difference, high, low])
    same = paired_difference(one, one)
    assert same[0] == 0
    assert same[1] < 0 < same[2]


def test_a_paired_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        right, copies, else_right = rng.random((3, 250)) < [[0.9], [0.7], [0.8]]
        _, low, high = paired_difference(right, np.where(copies, right, else_right))
        held += low <= 0.3 * (0.9 - 0.8) <= high
    assert 0.92 < held / 400 < 0.985
