"""What a run tells while it trains: the metrics of lib/track/training_metrics.py, from worker 0.

    with open_telemetry(plan, world, say) as telemetry:
        telemetry.watch(optimizer, writer, quarantine)
        telemetry.begin(state.sums)                 # an epoch, with what was summed before a restart
        telemetry.step(images, wait_s)              # a queue grows by one
        telemetry.live(…)                           # with a line of progress, which reads from the device too
        telemetry.epoch_done(record)

The thread of lib/recorder.py adds up what the steps have left, and sets all gauges anew, once a second.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from torch import Tensor
from torch.optim import Optimizer

from lib.cluster import is_connected
from lib.data.quarantine import Quarantine
from lib.files import make_folder, write_text
from lib.track.metric import Recording
from lib.track.publish import Publisher
from lib.track.registry import Registry
from lib.track.training_metrics import TRAINING
from lib.train.failures import outcome_of
from lib.train.plan import RunPlan
from lib.train.step import gradient_norm
from lib.train.world import World
from lib.train.writer import StateWriter

# How often the workers have begun, in the folder of the state.
_STARTS = "starts"


def open_telemetry(plan: RunPlan, world: World, say: Callable[[str], None]) -> "Telemetry":
    """Make what worker 0 tells through; a silent one for other workers, and where nobody would hear."""
    telemetry, track = Telemetry(plan, world), plan.config.track
    if world.rank > 0 or not track.metrics:
        return telemetry
    if is_connected():
        from lib.recorder import Recorder

        recorder = Recorder(TRAINING, telemetry.collect)
        telemetry.write_to(recorder, recorder.close)
    elif track.prometheus is not None:
        registry = Registry(TRAINING)
        telemetry.write_to(registry, Publisher(registry, track.prometheus, "train", say))
    return telemetry


class Telemetry:
    """The metrics of a run; until it is told where to write them, it does nothing."""

    def __init__(self, plan: RunPlan, world: World) -> None:
        self._plan, self._world = plan, world
        self._run = plan.counted_as or plan.folder.name
        self._recording: Recording | None = None
        self._close: Callable[[], None] = lambda: None
        # Seconds, seconds of waiting, and images of each step that is not counted yet.
        self._steps: deque[tuple[float, float, int]] = deque()
        self._collecting = threading.Lock()
        self._last = 0.0
        self._sums: Sequence[float] = (0.0, 0.0, 0.0)
        self._watched: tuple[Optimizer, StateWriter, Quarantine] | None = None

    def write_to(self, recording: Recording, close: Callable[[], None]) -> None:
        """Write to a recording from now on, and close it at the end."""
        self._recording, self._close = recording, close

    def watch(self, optimizer: Optimizer, writer: StateWriter, quarantine: Quarantine) -> None:
        """Take what moves with the run, to look at now and then."""
        self._watched = (optimizer, writer, quarantine)

    def __enter__(self) -> Self:
        if self._recording is not None:
            self._set("running", 1)
            self._set("measuring", 0)
            self._set("workers", self._world.size)
            self._set("epochs", self._plan.config.train.epochs)
            self._set("restarts", _count_start(self._plan.state_folder / _STARTS) - 1)
            for what in ("step", "state"):
                self._set(f"last_{what}_timestamp_seconds", time.time())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell how the run ended; Ray exports what it was told last when it ends the worker."""
        if self._recording is None:
            return
        outcome = outcome_of(error)
        if outcome == "diverged":
            self._set("loss", float("nan"), split="train")
        self._set("running", 0)
        self._recording.count("train_ends", run=self._run, outcome=outcome)
        self.collect()
        self._close()

    def begin(self, sums: Sequence[float]) -> None:
        """Begin the steps of an epoch; `sums` are loss, correct and seen before a restart, or nothing."""
        self._sums = sums or (0.0, 0.0, 0.0)
        self._last = time.monotonic()

    def step(self, images: int, wait_s: float) -> None:
        """Count a step: images over all workers, and seconds that it waited for data."""
        if self._recording is not None:
            now = time.monotonic()
            self._steps.append((now - self._last, wait_s, images))
            self._last = now

    def live(self, epoch: float, sums: Tensor, norm: Tensor | None, left_s: float) -> None:
        """Tell where the run is: epochs done, `sums` of loss, correct and seen in this one, time left.

        Reads from the device. `norm` is that of the gradients if they were clipped, else it is computed.
        """
        if self._recording is None or self._watched is None:
            return
        before, self._sums = self._sums, sums.tolist()
        loss, correct, seen = (now - then for now, then in zip(self._sums, before, strict=True))
        self._set("loss", loss / seen, split="train")
        self._set("accuracy", correct / seen, split="train")
        optimizer = self._watched[0]
        found = gradient_norm(optimizer) if norm is None else float(norm)
        if found is not None:
            self._set("gradient_norm", found)
        group = optimizer.param_groups[-1]
        self._set("learning_rate", group["lr"] / group["lr_scale"])
        self._set("epoch", epoch)
        self._set("time_left_seconds", left_s)

    def epoch_done(self, record: Mapping[str, Any]) -> None:
        """Tell what an epoch gave, as `metrics.jsonl` has it."""
        for split in ("train", "val"):
            if split in record:
                self._set("loss", record[split]["loss"], split=split)
                self._set("accuracy", record[split]["accuracy"], split=split)
        self._set("epoch", record["epoch"])
        self._set("learning_rate", record["lr"])
        self._set("peak_memory_bytes", record["memory_mb"] * 1e6)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Tell meanwhile that a split is measured."""
        self._set("measuring", 1)
        try:
            yield
        finally:
            self._set("last_step_timestamp_seconds", time.time())
            self._set("measuring", 0)

    def collect(self) -> None:
        """Count the steps so far, and look at what moves with the run; any thread may."""
        if self._recording is None:
            return
        with self._collecting:
            steps = [self._steps.popleft() for _ in range(len(self._steps))]
        if steps:
            for seconds, _, _ in steps:
                self._recording.observe("train_step_seconds", seconds, run=self._run)
            counts = {
                "steps": len(steps),
                "seconds": sum(seconds for seconds, _, _ in steps),
                "data_wait_seconds": sum(wait_s for _, wait_s, _ in steps),
                "images": sum(images for _, _, images in steps),
            }
            for name, value in counts.items():
                self._recording.count(f"train_{name}", value, run=self._run)
            self._set("last_step_timestamp_seconds", time.time())
        if self._watched is not None:
            _, writer, quarantine = self._watched
            self._set("bad_samples", len(quarantine))
            if writer.written_at is not None:
                self._set("last_state_timestamp_seconds", writer.written_at)

    def _set(self, name: str, value: float, **labels: str) -> None:
        if self._recording is not None:
            self._recording.set(f"train_{name}", value, run=self._run, **labels)


def _count_start(path: Path) -> int:
    """Return the number of this start of the workers, from 1, and keep it for the next."""
    number = 1 + (int(path.read_text()) if path.exists() else 0)
    make_folder(path.parent)
    write_text(path, f"{number}\n")
    return number
