import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from lib.metrics import Outcomes, expected_calibration_error, reliability
from lib.report.figures import (
    HEIGHT,
    WIDTH,
    confidence_histogram,
    coverage_curve,
    line_chart,
    reliability_diagram,
)


def outcomes_of(probabilities, labels):
    labels = np.asarray(labels)
    return Outcomes.from_probabilities(np.arange(len(labels)), labels, np.asarray(probabilities))


def random_outcomes(num_classes, n):
    rng = np.random.default_rng(0)
    return outcomes_of(rng.dirichlet(np.full(num_classes, 0.3), n), rng.integers(0, num_classes, n))


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter("text")]


def points_of(svg, style):
    path = next(n for n in ET.fromstring(svg).iter("path") if style in n.attrib["class"].split())
    return [tuple(map(float, pair)) for pair in re.findall(r"([\d.]+) ([\d.]+)", path.attrib["d"])]


def test_lines_run_through_their_points_inside_the_picture():
    svg = line_chart("Loss", {"train": [(1, 2.0), (2, 1.0), (5, 0.0)], "val": [(5, 1.0)]}, from_zero=True)
    (x1, y1), (x2, y2), (x3, y3) = points_of(svg, "stroke-0")
    assert (x2 - x1) * 3 == pytest.approx(x3 - x2, abs=0.5)
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.2)
    assert all(0 < x < WIDTH and 0 < y < HEIGHT for x, y in [(x1, y1), (x2, y2), (x3, y3)])
    assert {"train", "val", "epoch", "1", "5", "0", "2"} <= set(texts(svg))
    assert "train from 2 to 0; val from 1 to 1" in ET.fromstring(svg).attrib["aria-label"]


def test_values_that_are_not_finite_and_empty_series_are_left_out():
    svg = line_chart("Loss", {"train": [(1, 2.0), (2, float("nan")), (3, float("inf"))], "val": []})
    assert len(points_of(svg, "stroke-0")) == 1
    assert "nan" not in svg
    assert "val" not in texts(svg)


def test_one_epoch_is_a_dot_over_its_number():
    svg = line_chart("Loss", {"train": [(1, 2.0)]})
    assert "1" in texts(svg)
    assert "0.5" not in texts(svg)
    assert len(list(ET.fromstring(svg).iter("circle"))) == 1


def test_long_histories_have_no_dots():
    svg = line_chart("Loss", {"train": [(i, 1 / (i + 1)) for i in range(300)]})
    assert not list(ET.fromstring(svg).iter("circle"))
    assert len(points_of(svg, "stroke-0")) == 300


def test_reliability_draws_filled_bins_only_and_says_the_error():
    outcomes = random_outcomes(3, 200)
    bins = reliability(outcomes)
    svg = reliability_diagram(bins, expected_calibration_error(bins))
    filled = sum(b["count"] > 0 for b in bins)
    told = [n.text for n in ET.fromstring(svg).iter("title") if n.text.startswith("confidence")]
    assert len(told) == 2 * filled  # the bar and its gap
    assert f"error {expected_calibration_error(bins):.3f}" in ET.fromstring(svg).attrib["aria-label"]


def test_histogram_counts_every_sample_once():
    outcomes = random_outcomes(3, 200)
    svg = confidence_histogram(outcomes.confidence, outcomes.correct)
    # A bin with both kinds has two bars and says the same on each, so count each sentence once.
    told = {n.text for n in ET.fromstring(svg).iter("title") if " correct, " in n.text}
    assert sum(int(n) for line in told for n in re.findall(r"(\d+) (?:correct|wrong)", line)) == 200


def test_coverage_ends_at_the_accuracy_of_everything():
    outcomes = outcomes_of([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]], [0, 0, 0, 1])
    svg = coverage_curve(outcomes)
    assert "accuracy from 100% to 75%" in ET.fromstring(svg).attrib["aria-label"]
    assert len(list(ET.fromstring(svg).iter("circle"))) == 4  # one for each number of samples kept


def test_histogram_of_nothing_but_mistakes():
    svg = confidence_histogram(np.array([0.5, 1.0]), np.array([False, False]))
    assert "0 correct and 2 wrong" in svg
