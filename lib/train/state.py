"""What a run needs to go on: written whole, replaced at once, read without running code.

    save_state(folder, RunState(epoch=3, step=0, model=…, optimizer=…, …))
    state = load_state(folder)           # None before the first one

`RUN/state/last.pt` holds the last state, `best-E.pt` the weights of the best epoch so far. Positions are
two integers, epoch and step, because the order of samples, the learning rate and all randomness are
functions of them.
"""

import math
import os
import pickle
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lib.errors import RunError, UserError

FORMAT = 1
LAST = "last.pt"


@dataclass
class RunState:
    """Everything that changes during a run."""

    epoch: int = 0
    """Epochs finished."""
    step: int = 0
    """Steps taken in the epoch after them."""
    model: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    ema: dict[str, Any] = field(default_factory=dict)
    """Empty for a run without one."""
    sums: list[float] = field(default_factory=list)
    """Loss, correct and seen of the unfinished epoch, over all workers."""
    history: list[dict[str, Any]] = field(default_factory=list)
    rates: list[tuple[float, float]] = field(default_factory=list)
    """Points of the learning-rate curve of the finished epochs: epochs since the start, and the rate."""
    best_epoch: int = 0
    """1 for the first epoch; 0 before any."""
    dataset_digest: str = ""


def save_state(folder: Path, state: RunState) -> None:
    """Write `last.pt`; a crash leaves the old one or the new one, never half of one.

    Raises `RunError` if the disk is full or the folder cannot be written.
    """
    _write(folder / LAST, {"format": FORMAT, **vars(state)})


def save_best(folder: Path, epoch: int, model: dict[str, Any]) -> None:
    """Write the weights of an epoch that is the best so far."""
    _write(_best(folder, epoch), model)


def forget_worse(folder: Path, best_epoch: int) -> None:
    """Remove the weights of epochs that are no longer the best."""
    for path in folder.glob("best-*.pt"):
        if path != _best(folder, best_epoch):
            path.unlink(missing_ok=True)


def load_state(folder: Path) -> RunState | None:
    """Read the last state into main memory, or return None if there is none.

    Raises `UserError` if it is damaged or of an unknown format.
    """
    path = folder / LAST
    if not path.is_file():
        return None
    values = _read(path)
    found = values.pop("format", None)
    if found != FORMAT:
        raise UserError(f"{path} has format {found!r}; this version reads {FORMAT}", "start a new run")
    return RunState(**values)


def load_best(folder: Path, epoch: int) -> dict[str, Any]:
    """Read the weights that `save_best` wrote."""
    return _read(_best(folder, epoch))


def _best(folder: Path, epoch: int) -> Path:
    return folder / f"best-{epoch:04d}.pt"


def _write(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Its writer may be a worker that was taken for dead with its node, and wake up in the middle.
        temporary.unlink(missing_ok=True)
        with temporary.open("wb") as stream:
            torch.save(values, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch's writer hides the first behind the second
        with suppress(OSError):  # it may be what filled the disk
            temporary.unlink(missing_ok=True)
        run = path.parent.parent.name
        hint = f"the last complete state is kept: make room, then go on with run.resume={run}"
        raise RunError(f"cannot write {path}: {_reason(error)}", hint) from None


def _reason(error: BaseException) -> str:
    """Find what the system said."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return (isinstance(cause, OSError) and cause.strerror) or str(error).splitlines()[0]


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        problem = f"the state {path} cannot be read: {str(error).splitlines()[0]}"
        raise UserError(problem, "start a new run with another run.name") from None
    return values


def is_best(history: list[dict[str, Any]]) -> bool:
    """Tell whether the last epoch has the best validation (accuracy, then loss); without one, the last is."""
    scores = [(e["val"]["accuracy"], -e["val"]["loss"]) for e in history if "val" in e]
    return not scores or scores[-1] > max(scores[:-1], default=(-math.inf, -math.inf))
