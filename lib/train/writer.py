"""Write state while training goes on: a snapshot is taken, a thread brings it to the disk.

    writer = StateWriter(plan.state_folder)
    writer.save_best(epoch, model.state_dict())     # goes with the next state
    writer.save(state)                              # waits for the state before it
    writer.wait()                                   # all is on the disk, or this raises

What counts is what is on the disk: weights that a state names are written before it, and those that it no
longer names are removed after it.
"""

import threading
import time
from pathlib import Path
from typing import Any

import torch

from lib.errors import RunError
from lib.train.state import RunState, forget_worse, save_best, save_state


class StateWriter:
    """A thread at a time that writes; what fails in it is raised by the next call."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread: threading.Thread | None = None
        self._error: RunError | None = None
        self._best: tuple[int, dict[str, Any]] | None = None
        self.written_at: float | None = None
        """When the last state was on the disk, in seconds since 1970; None before the first."""

    def save_best(self, epoch: int, model: dict[str, Any]) -> None:
        """Keep the weights of the best epoch for the next state."""
        self._best = (epoch, snapshot(model))

    def save(self, state: RunState) -> None:
        """Begin to write a state as it is now; raises `RunError` if the one before could not be written."""
        self.wait()
        best, self._best = self._best, None
        # Not a daemon: a process that ends in order finishes what it has begun.
        self._thread = threading.Thread(
            target=self._write, args=(RunState(**snapshot(vars(state))), best), name="state"
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait for what is being written; raises `RunError` if it could not be."""
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def join(self) -> None:
        """Wait for what is being written, and raise nothing."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _write(self, state: RunState, best: tuple[int, dict[str, Any]] | None) -> None:
        try:
            if best is not None:
                save_best(self._folder, *best)
            save_state(self._folder, state)
            self.written_at = time.time()
            forget_worse(self._folder, state.best_epoch)
        except RunError as error:
            self._error = error


def snapshot(value: Any) -> Any:
    """Copy nested dicts, lists and tuples, with their tensors in main memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: snapshot(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(snapshot(item) for item in value)
    return value
