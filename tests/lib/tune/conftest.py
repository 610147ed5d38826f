"""A study on digits that ran without Ray: its trials one after the other in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lib.cluster import Placement
from lib.config.load import load
from lib.config.tune import TuneConfig
from lib.tune.plan import StudyPlan, plan_study
from lib.tune.space import run_config
from lib.tune.standing import Standing, read_standings
from lib.tune.worker import Work

Make = Callable[..., TuneConfig]
HERE = Placement(workers=0, gpu=False, cpus=1)


@pytest.fixture
def study_words(digits: Path, tmp_path: Path) -> list[str]:
    """What makes a study small."""
    words = [
        f"data.root={digits}",
        "data.threads=1",
        "model.name=lenet5",
        "train.epochs=2",
        "train.batch_size=96",
    ]
    return [*words, "augment.policy=none", f"run.storage={tmp_path / 'runs'}", "run.name=study"]


@pytest.fixture
def make_study(study_words: list[str]) -> Callable[..., StudyPlan]:
    """Plan a small study; more words come last."""

    def make(*words: str) -> StudyPlan:
        return plan_study(load(TuneConfig, [*study_words, *words]).config)

    return make


def run_here(plan: StudyPlan) -> list[Standing]:
    """Run all trials of a study, and read where they stand."""
    for each in plan.planned:
        work = Work(run_config(plan.config, each.values, each.name, plan.runs), HERE)
        while work.next() is not None:
            pass
    return read_standings(plan.folder, plan.planned, plan.config.study.metric)
