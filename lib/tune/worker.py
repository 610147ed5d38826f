"""One trial in the process of its actor: the ordinary run, in a thread that waits after each epoch.

    work = Work(config, cpus=1, use_gpu=False)
    work.next()                # the record of the next epoch; None when the run has finished
    work.abandon()             # end it where it is; its state is on the disk

With several workers the thread drives a Ray Train group, which does not wait for anybody: its epochs are
read from `metrics.jsonl`, and it is stopped as by a signal.
"""

import json
import queue
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from lib.cluster import Placement
from lib.config.schema import FinetuneConfig
from lib.console import identify, say
from lib.train.group import run_on_ray
from lib.train.launch import begin, train
from lib.train.memory import forget_peak
from lib.train.plan import plan_run
from lib.train.signals import Signals, StoppedError
from lib.train.world import World

_LOOK_S = 0.2
# How long the actors of a killed driver may take to end.
_ORPHAN_S = 60.0
Record = Mapping[str, Any]


class Work:
    """A run, from its last state to its end, epoch by epoch."""

    def __init__(self, config: FinetuneConfig, placement: Placement) -> None:
        """Plan the run; raises `UserError` if it cannot be."""
        # All trials of a study are counted together: a thousand of them would be as many series.
        study = Path(config.run.storage).parent.name
        self._plan, self._placement = replace(plan_run(config), counted_as=study), placement
        self._events: queue.Queue[Record | BaseException | None] = queue.Queue()
        self._may_go_on = threading.Event()
        self._signals = Signals()
        self._told = self._epochs_told()
        self._thread: threading.Thread | None = None

    @property
    def is_group(self) -> bool:
        """Whether Ray Train's workers train."""
        return self._placement.workers > 0

    def next(self) -> Record | None:
        """Train the next epoch; return its record, or None once the run has finished, or raise as it does."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="trial", daemon=True)
            self._thread.start()
        else:
            self._may_go_on.set()
        event = self._events.get() if not self.is_group else self._from_group()
        if isinstance(event, BaseException):
            raise event
        return event

    def abandon(self) -> None:
        """End the run after the epoch, or with a group the step, that it is in; its state is written."""
        self._signals.first = signal.SIGTERM
        self._may_go_on.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        identify(run=self._plan.counted_as, trial=self._plan.folder.name)
        try:
            with begin(self._plan, wait_s=_ORPHAN_S):
                self._train()
        except BaseException as error:
            self._events.put(error)
        else:
            self._events.put(None)

    def _train(self) -> None:
        if self.is_group:
            run_on_ray(self._plan, self._placement, train, self._signals)
            return
        device = torch.device("cuda" if self._placement.gpu else "cpu")
        threads = max(1, int(self._placement.cpus))
        torch.set_num_threads(threads)
        forget_peak(device)
        world = World(device=device, threads=threads, news=self._signals.news, epoch_done=self._wait)
        train(self._plan, world, say)

    def _wait(self, record: Record) -> None:
        """Tell of an epoch, and wait until somebody wants the next."""
        self._may_go_on.clear()
        self._events.put(record)
        self._may_go_on.wait()
        if self._signals.first is not None:
            raise StoppedError(self._plan.folder.name, record["epoch"], 0)

    def _from_group(self) -> Record | BaseException | None:
        while True:
            try:
                return self._events.get(timeout=_LOOK_S)
            except queue.Empty:
                lines = self._lines()
                # The last epoch is told with the end, as without a group.
                if self._told < len(lines) < self._plan.config.train.epochs:
                    self._told += 1
                    return read_record(lines[self._told - 1])

    def _lines(self) -> list[str]:
        path = self._plan.folder / "metrics.jsonl"
        return path.read_text().splitlines() if path.is_file() else []

    def _epochs_told(self) -> int:
        return len(self._lines())


def read_record(line: str) -> Record:
    """Read a line of `metrics.jsonl`."""
    record: Record = json.loads(line)
    return record


def read_history(run: Path) -> list[Record]:
    """Read the epochs of a run so far."""
    path = run / "metrics.jsonl"
    return [read_record(line) for line in path.read_text().splitlines()] if path.is_file() else []
