"""Run a study: trials that have not finished on Ray Tune, then the answer from all of them.

result = run_study(plan)              # the content of its result.json
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from lib.cluster import connect
from lib.config.yaml_write import to_yaml
from lib.console import identify, say
from lib.errors import RunError
from lib.files import make_folder, write_text
from lib.train.resume import CONFIG, claim
from lib.tune.conclude import conclude
from lib.tune.plan import StudyPlan, begun
from lib.tune.standing import NOTES, Standing, read_standings

# Ray Tune's own records (it writes several files for each result) are of no use beside the run folders.
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1e9",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
_TUNE = "state/tune"


def run_study(plan: StudyPlan) -> dict[str, Any]:
    """Run what has not finished, write leaderboard, report and the best bundle; return the result.

    Raises `RunError` if a trial failed, after all that, or if none has finished.
    """
    identify(run=plan.folder.name)
    with claim(plan.folder):
        run = plan.config.run.model_copy(update={"resume": None})
        write_text(plan.folder / CONFIG, to_yaml(plan.config.model_copy(update={"run": run})))
        make_folder(plan.runs)
        standings = _standings(plan)
        waiting = [each for each in standings if each.status in ("waiting", "failed")]
        if waiting or len(standings) < plan.num_trials:
            plan = _train(plan, standings)
        return conclude(plan, _standings(plan))


def _standings(plan: StudyPlan) -> list[Standing]:
    return read_standings(plan.folder, plan.planned, plan.config.study.metric)


def _train(plan: StudyPlan, standings: list[Standing]) -> StudyPlan:
    """Run the trials that are left; return the plan with those that a searcher has drawn."""
    connect()
    from ray import tune

    from lib.tune.live import Live
    from lib.tune.schedulers import build_scheduler
    from lib.tune.search import Named, build_optuna
    from lib.tune.shares import share_cluster
    from lib.tune.trial import SCORE, Task, Trial

    config = plan.config
    done = {each.name: each for each in standings if each.status in ("finished", "stopped")}
    left = [each for each in plan.planned if each.name not in done]
    new = plan.num_trials - len(plan.planned)
    if done:
        say(f"going on: {len(done)} trial{'s' * (len(done) > 1)} will not be repeated")
    count = len(left) + new
    shares = share_cluster(config, count)
    say(f"starting {count} trial{'s' * (count > 1)}: {shares.line()}")
    # Population based training takes no searcher: what is planned comes as a grid of its own.
    space: dict[str, Any] = {"trial": tune.grid_search([vars(each) for each in left])}
    searcher = None
    if plan.is_searched:
        inner = build_optuna(config, list(done.values()), left)
        space, searcher = {}, Named(config.spaces, left, inner, first=len(plan.planned), limit=new)
    # What earlier drivers left of Ray Tune's own.
    shutil.rmtree(plan.folder / _TUNE, ignore_errors=True)
    task = Task(config, plan.runs, plan.folder / NOTES, shares.placement)
    with _settings({"TUNE_MAX_PENDING_TRIALS_PG": str(shares.at_a_time)}):
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(Trial, task=task), shares.resources()),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric=SCORE,
                mode="min" if config.study.metric == "loss" else "max",
                search_alg=searcher,
                scheduler=build_scheduler(config),
                num_samples=count if plan.is_searched else 1,
                max_concurrent_trials=shares.at_a_time if shares.is_limited or shares.workers > 1 else None,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["trial"]["name"],
                trial_dirname_creator=lambda trial: trial.config["trial"]["name"],
            ),
            run_config=tune.RunConfig(
                name=_TUNE.rpartition("/")[2],
                storage_path=str(plan.folder / _TUNE.rpartition("/")[0]),
                callbacks=[Live(plan)],
                failure_config=tune.FailureConfig(max_failures=config.run.max_failures),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except KeyboardInterrupt:
            error = RunError("the study was stopped", f"go on with run.resume={plan.folder.name}")
            error.exit_code = 130
            raise error from None
    shutil.rmtree(plan.folder / _TUNE, ignore_errors=True)
    return replace(plan, planned=begun(config, plan.folder)) if plan.is_searched else plan


@contextmanager
def _settings(more: dict[str, str]) -> Iterator[None]:
    """Set Ray Tune's variables, unless the user has, for as long as the block runs."""
    new = {name: value for name, value in {**_SETTINGS, **more}.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]
