"""One line every few seconds on how a run goes, with the time left.

progress = Progress(say, plan.stages, epoch=0, step=0)
progress.step(images=64, wait_s=0.002)
if progress.is_due():
    progress.line(epoch=0, step=12, loss=0.41)
"""

import time
from collections.abc import Callable

from lib.console import duration
from lib.train.stages import Stage, stage_at, work_before

INTERVAL_S = 5.0


class Progress:
    """Counts what happened since the last line, and since the start at a step of an epoch, both from 0."""

    def __init__(
        self,
        say: Callable[[str], None],
        stages: tuple[Stage, ...],
        *,
        epoch: int,
        step: int,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._say = say
        self._stages = stages
        self._first_work = work_before(stages, epoch, step)
        self._interval_s = interval_s
        self._started = self._last = time.monotonic()
        self._images = 0
        self._wait_s = 0.0

    def is_due(self) -> bool:
        """Tell whether the next line should be said; ask before reading the loss from a device."""
        return time.monotonic() - self._last >= self._interval_s

    def step(self, images: int, wait_s: float) -> None:
        """Count a finished step: images over all workers, and seconds that it waited for data."""
        self._images += images
        self._wait_s += wait_s

    def left_s(self, epoch: int, step: int) -> float:
        """Return the seconds until the run ends, by its pace so far; as in `line`."""
        # A step of small pictures takes less time than one of large ones: count pixels, not steps.
        done = work_before(self._stages, epoch, step + 1)
        return (time.monotonic() - self._started) / (done - self._first_work) * (1 - done)

    def line(self, epoch: int, step: int, loss: float) -> None:
        """Say where the run is; `epoch` and `step` count from 0, `step` just finished."""
        now = time.monotonic()
        passed = max(now - self._last, 1e-9)
        self._say(
            f"epoch {epoch + 1}/{self._stages[-1].until_epoch}  "
            f"step {step + 1}/{stage_at(self._stages, epoch).steps}  loss {loss:.4f}  "
            f"{self._images / passed:,.0f} images/s  data wait {self._wait_s / passed:.0%}  "
            f"{duration(self.left_s(epoch, step))} left"
        )
        self._last, self._images, self._wait_s = now, 0, 0.0
