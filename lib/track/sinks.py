"""TensorBoard, MLflow and Weights & Biases as sinks of a tracker.

    asked = {"tensorboard": True, "mlflow": None, "wandb": None}
    check_libraries(asked)              # before anything starts
    sinks = open_sinks(asked, folder=run, settings={"optim.lr": 0.001})

Libraries are imported by the thread that uses them: they take seconds, and only worker 0 needs them.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.track.tracker import Sink

# What the configuration has under `track`: null and false ask for nothing.
Asked = Mapping[str, bool | str | None]
Settings = Mapping[str, Any]

# The experiment of MLflow that runs are listed under, unless its own variable names one.
_EXPERIMENT = "manta"
# MLflow refuses longer values of parameters.
_MAX_PARAM = 500
# Its library waits for a run that is about to begin even when the process ends.
_BEGIN_S = 15.0
# The module of each tracker, and what installs it.
_LIBRARIES = {
    "tensorboard": ("tensorboardX", "tensorboardX"),
    "mlflow": ("mlflow", "mlflow-skinny"),
    "wandb": ("wandb", "wandb"),
}


def check_libraries(asked: Asked) -> None:
    """Raise `UserError` if a tracker is asked for whose library is not installed."""
    for name, (module, package) in _LIBRARIES.items():
        if asked[name] and importlib.util.find_spec(module) is None:
            hint = f"pip install {package}, or all trackers: pip install 'manta[track]'"
            raise UserError(f"track.{name} needs {module}, which is not installed", hint)


def open_sinks(asked: Asked, *, folder: Path, settings: Settings) -> list[Sink]:
    """Make the sinks that are asked for; nothing is written or connected yet."""
    return [make(str(asked[name]), folder, settings) for name, make in _SINKS.items() if asked[name]]


class TensorBoard:
    """Event files in a folder of the run."""

    name = "tensorboard"

    def __init__(self, _: str, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder / "tensorboard", settings
        self._writer: Any = None

    def open(self, run_id: str | None) -> str:
        """Begin an event file; the configuration is its text."""
        from tensorboardX import SummaryWriter

        # The name has seconds only: a quick restart would write over the events before it.
        self._writer = SummaryWriter(str(self._folder), filename_suffix=f".{time.time_ns()}")
        if run_id is None:
            rows = "\n".join(f"    {key}: {value}" for key, value in self._settings.items())
            self._writer.add_text("config", rows)
        return self._folder.name

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a scalar per figure, and put them on disk."""
        for key, value in figures.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self, *, is_finished: bool) -> None:  # noqa: ARG002 -- event files know no such thing
        """Close the event file."""
        self._writer.close()


class MLflow:
    """A run of an experiment, at a tracking server or in a database."""

    name = "mlflow"

    def __init__(self, uri: str, folder: Path, settings: Settings) -> None:
        self._uri, self._run, self._settings = uri, folder.name, settings
        self._client: Any = None
        self._run_id: str | None = None

    def open(self, run_id: str | None) -> str:
        """Create the run with its parameters, or go on with it."""
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(tracking_uri=self._uri)
        if run_id is not None:
            self._client.update_run(run_id, status="RUNNING")
            self._run_id = run_id
            return run_id
        if self._run_id is None:  # else an earlier try came so far
            self._run_id = self._client.create_run(self._experiment(), run_name=self._run).info.run_id
        params = [Param(key, str(value)[:_MAX_PARAM]) for key, value in self._settings.items()]
        self._client.log_batch(self._run_id, params=params)
        return str(self._run_id)

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _EXPERIMENT)
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found is not None else self._client.create_experiment(name))

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures in one request."""
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(key, value, now_ms, step) for key, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def close(self, *, is_finished: bool) -> None:
        """Mark the run as finished or failed."""
        self._client.set_terminated(self._run_id, status="FINISHED" if is_finished else "FAILED")


class WandB:
    """A run of a project of Weights & Biases."""

    name = "wandb"

    def __init__(self, project: str, folder: Path, settings: Settings) -> None:
        self._project, self._folder, self._settings = project, folder, settings
        self._run: Any = None

    def open(self, run_id: str | None) -> str:
        """Begin the run, or go on with it; never asks for a key."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        if os.environ.get("WANDB_MODE", "online") == "online" and not wandb.login(prompt=False, verify=False):
            raise ConnectionError("no API key: set WANDB_API_KEY, or WANDB_MODE=offline")
        entity, _, project = self._project.rpartition("/")
        self._run = wandb.init(
            project=project,
            entity=entity or None,
            name=self._folder.name,
            id=run_id,
            resume="allow",
            dir=str(self._folder),
            config=dict(self._settings),
            settings=wandb.Settings(
                silent=True, console="off", disable_git=True, disable_code=True, init_timeout=_BEGIN_S
            ),
        )
        return str(self._run.id)

    def send(self, step: int, figures: Mapping[str, float]) -> None:
        """Log the figures; the library's own process sends them on."""
        self._run.log(dict(figures), step=step)

    def close(self, *, is_finished: bool) -> None:
        """End the run."""
        self._run.finish(exit_code=0 if is_finished else 1)


_SINKS: dict[str, Callable[[str, Path, Settings], Sink]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
}
