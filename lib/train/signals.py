"""SIGTERM and Ctrl-C, taken as a wish that the run stops in order.

with heeded_signals() as signals:
    …                                   # signals.first is None, or the signal that came
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from lib.console import line_of
from lib.errors import RunError
from lib.train.world import News


class StoppedError(RunError):
    """A run that somebody stopped; its state is written."""

    def __init__(self, run: str, epoch: int, step: int) -> None:
        where = f"in epoch {epoch + 1} after step {step}" if step else f"after epoch {epoch}"
        super().__init__(f"the run {run} was stopped {where}", f"go on with run.resume={run}")


@dataclass
class Signals:
    """The first signal that came."""

    first: signal.Signals | None = None

    def news(self) -> News:
        """Return what a run in this process hears."""
        return News.NOTHING if self.first is None else News.STOP


@contextmanager
def heeded_signals() -> Iterator[Signals]:
    """Keep the first signal for the run to see; a second one ends the process at once.

    An error that leaves the block after a signal gets the exit code of a process that the signal ended. Does
    nothing in another thread than the main one, which gets no signals.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def heed(number: int, _: FrameType | None) -> None:
        if signals.first is not None:
            sys.exit(128 + number)
        signals.first = signal.Signals(number)
        # Not through sys.stderr, in the middle of whose writing the signal may have come.
        told = f"{signals.first.name}: the run stops after its next step; once more: at once"
        os.write(2, f"{line_of(told, 'warning')}\n".encode())

    before = {number: signal.signal(number, heed) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    except RunError as error:
        if signals.first is not None:
            error.exit_code = 128 + signals.first
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
