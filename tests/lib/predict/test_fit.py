"""Fitting on made-up members: what each knows is known here."""

from typing import Any

import numpy as np
import pytest

from lib.calibration import softmax
from lib.config.ensembles import EnsembleConfig
from lib.predict.cascade import accuracy_drop, stops
from lib.predict.fit import Fit, fit_ensemble, take
from lib.predict.judge import judge
from lib.predict.measure import Table
from lib.report.ensemble import measured_rows

CLASSES, COUNT = 5, 2000
COSTS = (1.0, 4.0, 10.0)


def table(sharpness: tuple[float, ...] = (2.0, 3.0, 4.0)) -> Table:
    """Members that see the truth through noise of their own; a mirrored view has noise of its own again."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, COUNT)
    truth = np.eye(CLASSES)[labels] * 2

    def seen(sharp: float) -> np.ndarray:
        return ((sharp * truth + rng.normal(0, 3, truth.shape)) / 3).astype(np.float32)

    logits = [{"as_it_is": seen(sharp), "mirrored": seen(sharp)} for sharp in sharpness]
    return Table(np.arange(COUNT), labels, logits)


def config(**values: Any) -> EnsembleConfig:
    return EnsembleConfig.model_validate({"members": ["a", "b", "c"], "data": {"root": "x"}, **values})


def accuracy(fit: Fit, found: Table, stages: list[tuple[int, str]]) -> float:
    return float((fit.probabilities(found, stages).argmax(axis=1) == found.labels).mean())


def test_together_and_with_views_they_are_better() -> None:
    found = table()
    fit = fit_ensemble(found, COSTS, config(views="hflip"))
    alone = [accuracy(fit, found, [(member, "none")]) for member in range(3)]
    assert max(alone) < accuracy(fit, found, fit.everybody("none")) < accuracy(fit, found, fit.everybody())
    assert fit.cost(fit.everybody()) == 2 * sum(COSTS)
    assert fit.cost(((0, "none"), (0, "hflip"))) == 2


def test_temperatures_are_fitted_to_each_member_and_to_all() -> None:
    found = table()
    hot = Table(found.ids, found.labels, [{k: v * 3 for k, v in each.items()} for each in found.logits])
    one, three = (fit_ensemble(each, COSTS, config()) for each in (found, hot))
    assert np.array(three.temperatures) == pytest.approx(3 * np.array(one.temperatures), rel=1e-3)
    assert three.temperature == pytest.approx(one.temperature, rel=1e-3)


def test_weights_follow_what_members_know_and_greedy_leaves_out_who_knows_nothing() -> None:
    found = table((0.0, 3.0, 3.5))
    weighted = fit_ensemble(found, COSTS, config(combine="weighted"))
    assert weighted.weights[0] < 0.05 < weighted.weights[1]
    greedy = fit_ensemble(found, COSTS, config(select="greedy"))
    assert greedy.members == (1, 2)
    assert greedy.weights.tolist() == [0, 0.5, 0.5]
    assert greedy.cascade is not None
    assert {member for member, _ in greedy.cascade.stages} == {1, 2}


@pytest.mark.parametrize(
    ("combine", "stages"),
    [("mean", "members"), ("vote", "members"), ("weighted", "views"), ("vote", "auto")],
)
def test_a_cascade_costs_less_within_its_margin(combine: str, stages: str) -> None:
    words = config(combine=combine, views="hflip", cascade={"stages": stages, "max_accuracy_drop": 0.01})
    found = table()
    fit = fit_ensemble(found, COSTS, words)
    assert fit.cascade is not None
    assert fit.cascade.stages[0][0] == 0
    steps = fit.walk(found, fit.cascade)
    exits = stops(steps, fit.cascade.thresholds)
    assert steps.cost[exits].mean() < 0.9 * fit.cost(fit.everybody())
    assert steps.correct[-1].mean() == accuracy(fit, found, list(fit.everybody()))
    answered = fit.answers(found)
    assert np.array_equal(answered.argmax(axis=1) == found.labels, steps.correct[exits, np.arange(COUNT)])
    assert answered.sum(axis=1) == pytest.approx(np.ones(COUNT))
    assert (steps.expected[-1] - steps.expected[exits, np.arange(COUNT)]).mean() <= 0.01 + 1e-9
    assert accuracy_drop(steps, exits) <= 0.01


def test_auto_takes_the_cheaper_order() -> None:
    found = table()

    def cost(stages: str) -> float:
        words = config(views="hflip", cascade={"stages": stages, "max_accuracy_drop": 0.01})
        fit = fit_ensemble(found, COSTS, words)
        assert fit.cascade is not None
        steps = fit.walk(found, fit.cascade)
        return float(steps.cost[stops(steps, fit.cascade.thresholds)].mean())

    assert cost("auto") == min(cost("members"), cost("views"))


def test_without_a_margin_there_is_no_cascade() -> None:
    fit = fit_ensemble(table(), COSTS, config(cascade={"max_accuracy_drop": None}))
    assert fit.cascade is None
    assert np.array_equal(fit.answers(table()), fit.probabilities(table(), fit.everybody()))


def test_what_is_reported_was_not_fitted() -> None:
    whole, words = table(), config(views="hflip", cascade={"max_accuracy_drop": 0.02})
    learn, held = take(whole, np.arange(0, COUNT, 2)), take(whole, np.arange(1, COUNT, 2))
    fit = fit_ensemble(learn, COSTS, words)
    measured = judge(fit, learn, held, words, ["small", "middle", "large"])
    assert (measured["num_samples"], measured["num_fitted"]) == (COUNT // 2, COUNT // 2)
    assert measured["best_member"] == "large"
    assert measured["ensemble"]["accuracy"] == accuracy(fit, held, list(fit.everybody()))
    low, high = measured["ensemble"]["gain_interval"]
    assert 0 < low < measured["ensemble"]["gain"] < high
    cascade = measured["cascade"]
    assert cascade["drop"] == pytest.approx(measured["ensemble"]["accuracy"] - cascade["accuracy"])
    assert cascade["cost_fraction"] == pytest.approx(cascade["cost"] / measured["ensemble"]["cost"])
    assert sum(stage["stopped"] for stage in cascade["stages"]) == pytest.approx(1)
    assert 1 < cascade["mean_members"] < 3


def test_calibrated_confidence_is_what_it_says() -> None:
    found = table()
    fit = fit_ensemble(found, COSTS, config(cascade={"max_accuracy_drop": None}))
    probabilities = fit.probabilities(found, fit.everybody())
    right = (probabilities.argmax(axis=1) == found.labels).mean()
    assert probabilities.max(axis=1).mean() == pytest.approx(right, abs=0.02)
    plain = softmax(found.logits[0]["as_it_is"], 0.2).max(axis=1).mean()
    assert abs(plain - right) > 0.02


def test_a_cascade_that_never_stops_early_is_told_of() -> None:
    whole = table()
    few, held = take(whole, np.arange(0, 40)), take(whole, np.arange(40, COUNT))
    words = config(cascade={"max_accuracy_drop": 0.002})
    rows = measured_rows(judge(fit_ensemble(few, COSTS, words), few, held, words, ["a", "b", "c"]))
    assert rows["cascade"].endswith("3.00 members on average, 100% of the cost; no image stops early")
    wide = config(cascade={"max_accuracy_drop": 0.05})
    measured = judge(fit_ensemble(held, COSTS, wide), held, few, wide, ["a", "b", "c"])
    assert "no image" not in measured_rows(measured)["cascade"]
