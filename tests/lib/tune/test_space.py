from pathlib import Path
from typing import Any

import pytest

from lib.config.load import load
from lib.config.tune import TuneConfig
from lib.errors import UserError
from lib.tune.space import label, run_config, trial_name, variants


def config(*words: str) -> TuneConfig:
    return load(TuneConfig, ["data.root=x", *words]).config


def test_grids_are_combined_and_conditions_hold() -> None:
    search = config(
        "search.optim.schedule.grid=[step, cosine]",
        "search.optim.step_epochs={grid: [1, 2], when: {optim.schedule: step}}",
        "search.run.seed.grid=[0, 1]",
    ).spaces
    found = variants(search, draws=5, seed=0)
    assert len(found) == 6
    assert {"optim.schedule": "cosine", "run.seed": 1} in found
    assert {"optim.schedule": "step", "optim.step_epochs": 2, "run.seed": 0} in found


def test_draws_depend_on_seed_number_and_key_alone() -> None:
    few = config("search.optim.lr={loguniform: [1e-4, 1e-1]}")
    more = config(
        "search.optim.weight_decay={uniform: [0, 0.1]}", "search.optim.lr={loguniform: [1e-4, 1e-1]}"
    )
    rates = [each["optim.lr"] for each in variants(few.spaces, draws=20, seed=3)]
    assert rates[:8] == [each["optim.lr"] for each in variants(few.spaces, draws=8, seed=3)]
    assert rates == [each["optim.lr"] for each in variants(more.spaces, draws=20, seed=3)]
    assert rates != [each["optim.lr"] for each in variants(few.spaces, draws=20, seed=4)]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert sum(rate < 3e-3 for rate in rates) > 5  # the lower half of the logarithms


def test_each_draw_meets_every_grid_and_repeated_draws_are_one_trial() -> None:
    search = config("search.optim.name.choice=[sgd, adam]", "search.run.seed.grid=[0, 1]").spaces
    found = variants(search, draws=10, seed=0)
    assert len(found) == 4


def test_a_trial_is_a_run_with_these_values() -> None:
    study = config("search.optim.lr.grid=[0.1]", "search.data.train_images.grid=[null]", "train.epochs=7")
    run = run_config(study, {"optim.lr": 0.1, "data.train_images": None}, "000-x", Path("/runs"))
    assert (run.optim.lr, run.train.epochs, run.run.name, run.run.storage) == (0.1, 7, "000-x", "/runs")


def test_values_that_no_run_can_have_are_refused_with_the_reason() -> None:
    study = config("search.optim.lr.grid=[-1]")
    with pytest.raises(UserError, match=r"no run can have optim.lr=-1") as refused:
        run_config(study, {"optim.lr": -1}, "x", Path("/runs"))
    assert "optim.lr=-1: must be a number greater than 0" in refused.value.hint


@pytest.mark.parametrize(
    ("values", "told", "name"),
    [
        (
            {"optim.schedule": "step", "optim.step_epochs": 2, "run.seed": 1},
            "step, seed 1",
            "003-step-seed-1",
        ),
        ({"optim.lr": 0.0012345}, "lr 0.00123", "003-lr-0.00123"),
        ({"data.train_images": None}, "train images all", "003-train-images-all"),
        ({"model.weights": "/a/runs/x/bundle"}, "x", "003-x"),
        ({"model.weights": "none"}, "weights none", "003-weights-none"),
    ],
)
def test_trials_have_names_for_people(values: dict[str, Any], told: str, name: str) -> None:
    search = config(
        "search.optim.schedule.grid=[step, cosine]",
        "search.optim.step_epochs={grid: [2], when: {optim.schedule: step}}",
        "search.optim.lr={loguniform: [1e-4, 1e-1]}",
        "search.data.train_images.grid=[100, null]",
        "search.model.weights.grid=[none, default]",
        "search.run.seed.grid=[0, 1]",
    ).spaces
    assert label(search, values) == told
    assert trial_name(search, 3, values) == name
