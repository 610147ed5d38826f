"""What a study says while it runs, and keeps: a line per trial, the best so far, the leaderboard.

callbacks=[Live(plan)]
"""

import time
from typing import Any

from ray.tune import Callback

from lib.console import duration, say
from lib.tune.plan import StudyPlan
from lib.tune.standing import (
    LEADERBOARD,
    NOTES,
    Planned,
    Standing,
    ranked,
    read_standing,
    write_leaderboard,
)
from lib.tune.trial import EPOCH, note

INTERVAL_S = 10.0
Trials = list[Any]


class Live(Callback):
    """Follows the trials; Ray Tune calls it in the driver, with more than is needed (hence the noqa)."""

    def __init__(self, plan: StudyPlan) -> None:
        self._plan = plan
        self._planned = {each.name: each for each in plan.planned}
        self._ended: dict[str, Standing] = {}
        self._finished = sum(each.status != "waiting" for each in self._standings())
        self._before = self._finished
        self._started = self._said = time.monotonic()
        self._epochs: dict[str, int] = {}

    def on_trial_start(self, iteration: int, trials: Trials, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Note a trial that a searcher has drawn."""
        self._planned.setdefault(str(trial), Planned(str(trial), trial.config["trial"]["values"]))

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: Trials,
        trial: Any,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Say now and then how far the trials are."""
        self._epochs[str(trial)] = result.get(EPOCH, 0)
        if time.monotonic() - self._said >= INTERVAL_S:
            self._said = time.monotonic()
            running = [str(each) for each in trials if each.status == "RUNNING"]
            told = [f"{name} {self._epochs.get(name, 0)}/{self._asked(name)}" for name in running[:4]]
            say(f"{self._count()}  running {', '.join(told)}{', …' * (len(running) > 4)}")

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002
        trials: Trials,  # noqa: ARG002
        trial: Any,
        **info: Any,  # noqa: ARG002
    ) -> None:
        """Say how a trial ended, and write the leaderboard."""
        standing = self._standing(str(trial))
        if standing.status == "waiting":
            told = {"stopped": self._plan.config.study.scheduler, "epochs": len(standing.history)}
            note(self._plan.folder / NOTES, standing.name, told)
            standing = self._standing(standing.name)
        self._end(standing)

    def on_trial_error(self, iteration: int, trials: Trials, trial: Any, **info: Any) -> None:  # noqa: ARG002
        """Note why a trial crashed for good."""
        name, error = str(trial), trial.get_pickled_error()
        lines = str(error or "its process was lost").strip().splitlines()
        problem = {"problem": lines[-1], "hint": "the traceback is in Ray's logs"}
        note(self._plan.folder / NOTES, name, problem)
        self._end(self._standing(name))

    def _end(self, standing: Standing) -> None:
        self._finished += 1
        metric, epochs = self._plan.config.study.metric, self._asked(standing.name)
        score = "" if standing.score is None else f"  val {metric} {standing.score:.4f}"
        told = {
            "finished": score,
            "stopped": f"{score}  stopped after epoch {len(standing.history)} of {epochs}",
            "failed": f"  failed: {standing.note.get('problem')}",
        }
        say(f"{standing.name}{told.get(standing.status, '')}", trial=standing.name)
        standings = self._standings()
        write_leaderboard(self._plan.folder / LEADERBOARD, standings)
        best = next((each for each in standings if each.status == "finished"), None)
        done = self._finished - self._before
        left_s = (time.monotonic() - self._started) / done * (self._plan.num_trials - self._finished)
        leader = f"  best {best.name} {best.score:.4f}" if best is not None and best.score is not None else ""
        say(f"{self._count()}{leader}  {duration(max(0.0, left_s))} left")

    def _asked(self, name: str) -> int:
        """Return the epochs that a trial is to take."""
        return int(self._planned[name].values.get("train.epochs", self._plan.config.train.epochs))

    def _count(self) -> str:
        return f"{self._finished}/{self._plan.num_trials} trials"

    def _standing(self, name: str) -> Standing:
        """Read where a trial stands; one that has a result will not change."""
        if name not in self._ended:
            found = read_standing(self._plan.folder, self._planned[name], self._plan.config.study.metric)
            if found.result is None:
                return found
            self._ended[name] = found
        return self._ended[name]

    def _standings(self) -> list[Standing]:
        return ranked([self._standing(name) for name in self._planned])
