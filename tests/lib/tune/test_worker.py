import json
from collections.abc import Callable

import pytest

from lib.errors import RunError
from lib.tune.plan import StudyPlan
from lib.tune.space import run_config
from lib.tune.worker import Work
from tests.lib.tune.conftest import HERE

Plan = Callable[..., StudyPlan]
WORDS = ["search.run.seed.grid=[0]", "data.train_images=60", "train.batch_size=30", "train.epochs=3"]


def begin(plan: StudyPlan, *, resume: bool = False, **values: object) -> Work:
    config = run_config(plan.config, {"run.seed": 0, **values}, "x", plan.runs)
    run = config.run.model_copy(update={"resume": "x" if resume else None})
    return Work(config.model_copy(update={"run": run}), HERE)


def epochs(plan: StudyPlan) -> list[int]:
    lines = (plan.runs / "x/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["epoch"] for line in lines]


def test_an_epoch_is_trained_when_it_is_asked_for_and_the_last_one_ends_the_run(make_study: Plan) -> None:
    plan = make_study(*WORDS)
    work = begin(plan)
    for epoch in (1, 2):
        record = work.next()
        assert record is not None
        assert record["epoch"] == epoch
        assert epochs(plan) == list(range(1, epoch + 1))
        assert (plan.runs / "x/state/last.pt").exists()
    assert work.next() is None
    assert epochs(plan) == [1, 2, 3]
    assert (plan.runs / "x/result.json").exists()


def test_a_run_that_is_abandoned_keeps_its_state_and_goes_on(make_study: Plan) -> None:
    plan = make_study(*WORDS)
    work = begin(plan)
    assert work.next() is not None
    work.abandon()
    assert epochs(plan) == [1]
    assert not (plan.runs / "x/result.json").exists()
    again = begin(plan, resume=True)
    record = again.next()
    assert record is not None
    assert record["epoch"] == 2
    assert again.next() is None
    assert epochs(plan) == [1, 2, 3]


def test_what_a_run_raises_is_raised_here(make_study: Plan) -> None:
    plan = make_study(*WORDS, "optim.name=sgd", "optim.schedule=constant")
    work = begin(plan, **{"optim.lr": 1e38})
    with pytest.raises(RunError, match="the loss became"):
        list(iter(work.next, None))
