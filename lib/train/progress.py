"""One line every few seconds on how a run goes, with the time left.

progress = Progress(say, epochs=10, steps=845, done_steps=0)
progress.step(images=64, wait_s=0.002)
if progress.is_due():
    progress.line(epoch=0, step=12, loss=0.41)
"""

import time
from collections.abc import Callable

INTERVAL_S = 5.0


class Progress:
    """Counts what happened since the last line, and since the start."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        epochs: int,
        steps: int,
        done_steps: int,
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._say = say
        self._epochs = epochs
        self._steps = steps
        self._first_step = done_steps
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

    def line(self, epoch: int, step: int, loss: float) -> None:
        """Say where the run is; `epoch` and `step` count from 0, `step` just finished."""
        now = time.monotonic()
        passed = max(now - self._last, 1e-9)
        done = epoch * self._steps + step + 1
        left = self._epochs * self._steps - done
        eta_s = (now - self._started) / max(1, done - self._first_step) * left
        self._say(
            f"epoch {epoch + 1}/{self._epochs}  step {step + 1}/{self._steps}  loss {loss:.4f}  "
            f"{self._images / passed:,.0f} images/s  data wait {self._wait_s / passed:.0%}  "
            f"{duration(eta_s)} left"
        )
        self._last, self._images, self._wait_s = now, 0, 0.0


def duration(seconds: float) -> str:
    """Write a time as people say it: 8s, 2m10s, 3h05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
