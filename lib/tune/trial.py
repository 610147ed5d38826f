"""What Ray Tune runs: an actor that makes one fine-tuning run after the other.

    trainable = tune.with_parameters(Trial, task=task)

Tune asks it for an epoch at a time. Starting a process and loading torch takes seconds, so one actor serves
many trials (`reuse_actors`). The run folder is what counts: Tune's own records are thrown away at the end.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ray import tune

from lib.cluster import Placement
from lib.config.tune import TuneConfig
from lib.errors import MantaError
from lib.files import make_folder, write_text
from lib.runtime import prepare_process, uncollected

SCORE, EPOCH = "score", "epoch"
_STATES = "*.pt"


@dataclass(frozen=True)
class Task:
    """What is the same for all trials of a study."""

    config: TuneConfig
    runs: Path
    """Folder of their runs."""
    notes: Path
    """Folder of what became of those that did not finish, NAME.json each."""
    placement: Placement
    """Workers of a trial: 0 trains in the actor itself."""


class Trial(tune.Trainable):
    """The runs of one actor, one at a time."""

    _task: Task
    _values: dict[str, Any]
    _work: Any = None
    """The `Work` on the run, once it has begun; its module loads torch."""

    def setup(self, config: dict[str, Any], task: Task | None = None) -> None:
        """Begin the first trial."""
        prepare_process()  # before torch is loaded
        # Here, so that what it brings stays out of every later search for cycles: `forget_peak` makes one for
        # each trial, and would look at a million objects of torch, for half a second.
        with uncollected():
            import_module("lib.tune.worker")
        assert task is not None
        self._task = task
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial."""
        self._end()
        self._begin(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch; with the last one the run is finished."""
        from lib.tune.worker import Work, read_history

        try:
            if self._work is None:
                self._work = Work(self._run_config(), self._task.placement)
            record = self._work.next()
        except MantaError as error:
            # It would only repeat: others go on, and this one is tried again when the study is resumed.
            note(self._task.notes, self.trial_name, {"problem": error.problem, "hint": error.hint})
            return {"done": True}
        if record is not None:
            return self._told(record)
        history = read_history(self._folder)
        return self._told(history[-1]) | {"done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the state of the run, for it or another trial to go on from."""
        for path in (self._folder / "state").glob(_STATES):
            shutil.copy(path, checkpoint_dir)

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Put a state in the place of the run's own."""
        self._end()
        state = self._folder / "state"
        make_folder(state)
        for path in state.glob(_STATES):
            path.unlink()
        for path in Path(checkpoint).glob(_STATES):
            shutil.copy(path, state)

    def cleanup(self) -> None:
        """End what is left of the last trial."""
        self._end()

    @property
    def _folder(self) -> Path:
        return self._task.runs / str(self.trial_name)

    def _begin(self, config: Mapping[str, Any]) -> None:
        # The name is Tune's: population based training hands the rest of a configuration to another trial.
        self._values = config["trial"]["values"]
        self._work = None
        (self._task.notes / f"{self.trial_name}.json").unlink(missing_ok=True)

    def _end(self) -> None:
        if self._work is not None:
            self._work.abandon()
            self._work = None

    def _run_config(self) -> Any:
        from lib.tune.space import run_config

        config = run_config(self._task.config, self._values, self.trial_name, self._task.runs)
        resume = self.trial_name if self._folder.exists() else None
        return config.model_copy(update={"run": config.run.model_copy(update={"resume": resume})})

    def _told(self, record: Mapping[str, Any]) -> dict[str, Any]:
        return {EPOCH: record["epoch"], SCORE: record["val"][self._task.config.study.metric]}


def note(folder: Path, name: str, told: Mapping[str, Any]) -> None:
    """Note what became of a trial that did not finish."""
    make_folder(folder)
    write_text(folder / f"{name}.json", json.dumps(told) + "\n")
