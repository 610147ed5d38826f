"""Going on with a run: its own configuration comes first, and only what may change can be changed.

words = resume_words(["run.resume=x", "train.epochs=20"])
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from lib.config.fields import flat
from lib.config.load import load
from lib.config.paths import output_path
from lib.config.running import RunSection
from lib.config.schema import FinetuneConfig
from lib.errors import UserError
from lib.files import make_folder

CONFIG = "config.yaml"

# What may differ from how the run began: where and how fast it runs, and how long.
MAY_CHANGE = (
    "data.cache_dir",
    "data.cache_gb",
    "data.max_bad_fraction",
    "data.prefetch_mb",
    "data.root",
    "data.source",
    "data.threads",
    "model.weights",
    "run.max_failures",
    "run.name",
    "run.num_workers",
    "run.resume",
    "run.storage",
    "run.trace",
    "run.use_gpu",
    "train.accumulate",
    "train.checkpoint_activations",
    "track.metrics",
    "track.mlflow",
    "track.prometheus",
    "track.tensorboard",
    "track.wandb",
    "train.checkpoint_every_s",
    "train.checkpoint_every_steps",
    "train.compile",
    "train.early_stop_patience",
    "train.epochs",
    "train.features_gb",
    "train.shard",
)


def resume_words(words: list[str]) -> list[str]:
    """Put the stored configuration of the run named by `run.resume=` between the presets and the keys.

    Raises `UserError` if there is no such run.
    """
    name = _last(words, "run.resume")
    if not name:
        return words
    storage = output_path(_last(words, "run.storage") or RunSection().storage)
    path = storage / name / CONFIG
    if not path.is_file():
        runs = sorted(p.parent.name for p in storage.glob(f"*/{CONFIG}"))
        hint = f"runs in {storage}: {', '.join(runs[-10:]) or 'none'}; or set run.storage"
        raise UserError(f"run.resume={name}: there is no such run", hint)
    presets = [word for word in words if "=" not in word and not word.startswith("-")]
    return [*presets, str(path), *(word for word in words if word not in presets)]


def check_unchanged(config: FinetuneConfig, folder: Path) -> None:
    """Hold a resumed configuration against the one that its run began with.

    Raises `UserError` if it differs where a run that has begun must not, or if the run has finished and is
    to be longer.
    """
    began = flat(load(FinetuneConfig, [str(folder / CONFIG)]).config)
    asked = flat(config)
    changed = [k for k, value in asked.items() if value != began[k] and k not in MAY_CHANGE]
    if changed:
        lines = [f"{key}: began with {began[key]}, now {asked[key]}" for key in changed]
        hint = "\n".join([*lines, "leave these as they were, or start a new run with another run.name"])
        raise UserError("a run that has begun keeps its settings", hint)
    if (folder / "result.json").exists() and asked["train.epochs"] != began["train.epochs"]:
        problem = f"the run {folder.name} has finished, with train.epochs={began['train.epochs']}"
        weights = folder / "bundle/model.safetensors"
        raise UserError(problem, f"start a new run from its weights: model.weights={weights}")


@contextmanager
def claim(folder: Path, *, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a run folder for this process, and create it; wait for a process that is ending, if asked to.

    Raises `UserError` if another process works on it, or it cannot be created.
    """
    make_folder(folder)
    with _open_lock(folder) as stream:
        ends = time.monotonic() + wait_s
        while not _locked(stream):
            if time.monotonic() >= ends:
                hint = "wait for it, or choose another run.name"
                raise UserError(f"another process works on the run {folder.name}", hint)
            time.sleep(0.1)
        yield


def _locked(stream: TextIO) -> bool:
    """Take the lock if nobody has it."""
    with suppress(BlockingIOError):
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _open_lock(folder: Path) -> TextIO:
    try:
        return (folder / ".lock").open("w")
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror}", "set run.storage") from None


def _last(words: list[str], key: str) -> str | None:
    values = [word.partition("=")[2] for word in words if word.startswith(f"{key}=")]
    return values[-1] if values else None
