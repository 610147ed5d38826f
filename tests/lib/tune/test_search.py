from pathlib import Path
from typing import Any, get_args

import pytest
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from lib.config.load import load
from lib.config.tune import Finding, Scheduler, TuneConfig
from lib.tune.findings.registry import FINDINGS
from lib.tune.schedulers import SCHEDULERS, build_scheduler
from lib.tune.search import Named, build_optuna
from lib.tune.standing import Planned, Standing
from lib.tune.trial import EPOCH, SCORE

SEARCH = [
    "search.optim.name.choice=[sgd, adamw]",
    "search.optim.momentum={uniform: [0.5, 0.9], when: {optim.name: sgd}}",
    "search.optim.lr={loguniform: [1e-4, 1e-1]}",
]


def config(*words: str) -> TuneConfig:
    return load(TuneConfig, ["data.root=x", *words]).config


def standing(number: int, values: dict[str, Any], score: float) -> Standing:
    val = {"accuracy": score, "loss": 1.0, "balanced_accuracy": score}
    return Standing(f"{number:03d}", values, Path(), "accuracy", [{"epoch": 1, "val": val}], None, {})


def test_what_may_be_named_is_there() -> None:
    assert set(SCHEDULERS) == set(get_args(Scheduler))
    assert set(FINDINGS) == set(get_args(Finding))


@pytest.mark.parametrize("name", get_args(Scheduler))
def test_every_scheduler_is_built_from_its_options(name: str) -> None:
    words = ["search.optim.lr={loguniform: [1e-4, 1e-1]}", f"study.scheduler={name}"]
    built = build_scheduler(config(*words))
    assert isinstance(built, TrialScheduler)


def test_optuna_sees_conditions_and_goes_where_earlier_trials_were_good() -> None:
    study = config(*SEARCH, "study.searcher=optuna", "study.trials=60")
    good = {"optim.name": "sgd", "optim.momentum": 0.9, "optim.lr": 0.05}
    done = [standing(n, {**good, "optim.lr": 0.05 + n / 1000}, 0.9 + n / 1000) for n in range(6)]
    done += [standing(9 + n, {"optim.name": "adamw", "optim.lr": 2e-4}, 0.1) for n in range(24)]
    searcher = Named(study.spaces, [], build_optuna(study, done, []), first=30, limit=30)
    drawn = []
    while (found := searcher.suggest(str(len(drawn)))) != Searcher.FINISHED:
        drawn.append(found["trial"])
        searcher.on_trial_complete(str(len(drawn) - 1), {SCORE: 0.5, EPOCH: 1, "training_iteration": 1})
    assert [each["name"].partition("-")[0] for each in drawn] == [f"{n:03d}" for n in range(30, 60)]
    values = [each["values"] for each in drawn]
    assert all(("optim.momentum" in each) == (each["optim.name"] == "sgd") for each in values)
    assert sum(each["optim.name"] == "sgd" for each in values) > 15


def test_unfinished_trials_come_first_under_their_names_and_optuna_knows_them() -> None:
    study = config(*SEARCH, "study.searcher=optuna")
    left = [Planned("004-x", {"optim.name": "adamw", "optim.lr": 0.01})]
    inner = build_optuna(study, [], left)
    searcher = Named(study.spaces, left, inner, first=5, limit=1)
    assert searcher.suggest("a") == {"trial": {"name": "004-x", "values": left[0].values}}
    assert inner._ot_trials["a"].params == left[0].values
    assert searcher.suggest("b")["trial"]["name"].startswith("005-")
    assert searcher.suggest("c") == Searcher.FINISHED
