"""Studies on a real Ray: schedulers and searchers, several workers, trials that fail, one session for all."""

import csv
import json
from collections.abc import Callable
from typing import Any

import pytest

from lib.config.load import load
from lib.config.tune import TuneConfig
from lib.errors import RunError
from lib.train.resume import resume_words
from lib.tune.plan import StudyPlan, plan_study
from lib.tune.study import run_study

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]
Plan = Callable[..., StudyPlan]
FEW = ["data.train_images=60", "train.batch_size=30"]
DRAWN = ["search.optim.lr={loguniform: [1e-4, 1e-2]}"]


def leaderboard(plan: StudyPlan) -> list[dict[str, str]]:
    with (plan.folder / "leaderboard.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_asha_stops_trials_that_optuna_has_drawn_and_a_resumed_study_draws_more(
    make_study: Plan, study_words: list[str]
) -> None:
    words = [*FEW, "search.optim.lr.choice=[0.005, 1e-9]", "search.optim.name.choice=[sgd, adamw]"]
    words += ["search.optim.momentum={uniform: [0.5, 0.95], when: {optim.name: sgd}}", "train.epochs=3"]
    words += ["study.searcher=optuna", "study.scheduler=asha", "study.metric=loss", "optim.schedule=constant"]
    plan = make_study(*words, "study.trials=6", "study.reduction_factor=2")
    run_study(plan)
    rows = leaderboard(plan)
    assert len(rows) == 6
    assert all((row["optim.momentum"] != "") == (row["optim.name"] == "sgd") for row in rows)
    for row in rows:
        is_whole = (plan.runs / row["trial"] / "result.json").exists()
        assert row["status"] == ("finished" if is_whole else "stopped")
        assert is_whole == (row["epochs"] == "3")
    assert {row["status"] for row in rows} == {"finished", "stopped"}

    again = resume_words([f"run.storage={plan.folder.parent}", "run.resume=study", "study.trials=7"])
    more = plan_study(load(TuneConfig, again).config)
    result = run_study(more)
    assert {row["trial"] for row in leaderboard(more)} > {row["trial"] for row in rows}
    assert sum(result["trials"].values()) == 7


def test_hyperband_pauses_trials_and_goes_on_with_the_good_ones(make_study: Plan) -> None:
    plan = make_study(*FEW, *DRAWN, "study.scheduler=hyperband", "study.trials=4", "train.epochs=3")
    run_study(plan)
    rows = leaderboard(plan)
    assert len(rows) == 4
    assert "finished" in {row["status"] for row in rows}
    for row in rows:
        lines = (plan.runs / row["trial"] / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == list(range(1, int(row["epochs"]) + 1))


def test_population_based_training_hands_states_and_values_on(make_study: Plan) -> None:
    words = ["search.optim.lr={choice: [0.01, 0.003, 1e-6]}", "study.scheduler=pbt", "study.perturb_epochs=1"]
    plan = make_study(*FEW, *words, "study.trials=6", "train.epochs=6", "study.concurrency=2")
    run_study(plan)
    rows = leaderboard(plan)
    assert {row["status"] for row in rows} == {"finished"}
    histories = [(plan.runs / row["trial"] / "metrics.jsonl").read_text().splitlines() for row in rows]
    assert all(len(history) == 6 for history in histories)
    # Whoever has taken over another trial's state has its first epochs too.
    first = [history[0] for history in histories]
    assert len(set(first)) < len(first)
    for row in rows:
        config = (plan.runs / row["trial"] / "config.yaml").read_text()
        assert f"storage: {plan.runs}" in config


def test_trials_may_have_several_workers(make_study: Plan) -> None:
    plan = make_study(*FEW, "search.optim.lr.grid=[0.01, 0.001]", "run.num_workers=2", "run.trace=true")
    result = run_study(plan)
    assert result["trials"] == {"finished": 2}
    best = json.loads((plan.runs / result["best_trial"] / "result.json").read_text())
    assert result["metrics"] == best["metrics"]
    assert not (plan.folder / "state/tune").exists()
    for each in plan.planned:
        ranks = {path.stem.partition("-")[2] for path in (plan.runs / each.name / "trace").glob("*.jsonl")}
        assert ranks == {"rank0", "rank1"}


def test_a_trial_that_fails_does_not_hinder_the_others(make_study: Plan, capsys: Any) -> None:
    # A rate that makes the loss infinite: found in the middle of a run.
    plan = make_study(*FEW, "search.optim.lr.grid=[0.01, 1e38]", "optim.name=sgd", "optim.schedule=constant")
    with pytest.raises(RunError, match="1 of 2 trials failed; 001-lr-1e-38: the loss became") as failed:
        run_study(plan)
    assert "run.resume=study" in failed.value.hint
    assert [row["status"] for row in leaderboard(plan)] == ["finished", "failed"]
    assert (plan.folder / "report/index.html").exists()
    assert (plan.folder / "bundle/bundle.json").exists()
    assert "best 000-lr-0.01" in capsys.readouterr().out
