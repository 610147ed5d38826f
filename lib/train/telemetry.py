"""What a run tells while it trains: the metrics of lib/track/training_metrics.py, from worker 0.

    with open_telemetry(plan, world, say) as telemetry:
        telemetry.watch(optimizer, writer, quarantine)
        telemetry.begin(state.sums)                 # an epoch, with what was summed before a restart
        telemetry.step(images, wait_s)              # a queue grows by one
        telemetry.live(…)                           # with a line of progress, which reads from the device too
        telemetry.epoch_done(record)

A thread adds up what the steps have left, and sets all gauges again: Ray exports a gauge once for each time
that it is set, and forgets one that is not exported anew: those of a killed worker are gone within seconds.
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

# No longer than the shortest interval that Ray exports at.
_REFRESH_S = 1.0
# How often the workers have begun, in the folder of the state.
_STARTS = "starts"
# How often a run without Ray leaves its figures for Prometheus.
_PUBLISH_S = 10.0


class Telemetry:
    """The metrics of a run; without a recording it does nothing."""

    def __init__(
        self,
        recording: Recording | None,
        plan: RunPlan,
        world: World,
        publish: Callable[[], None] = lambda: None,
    ) -> None:
        self._recording, self._plan, self._world, self._publish = recording, plan, world, publish
        self._run = plan.counted_as or plan.folder.name
        self._gauges: dict[tuple[str, str], float] = {}
        # Seconds, seconds of waiting, and images of each step that is not counted yet.
        self._steps: deque[tuple[float, float, int]] = deque()
        self._last = 0.0
        self._sums: Sequence[float] = (0.0, 0.0, 0.0)
        self._watched: tuple[Optimizer, StateWriter, Quarantine] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)

    def __enter__(self) -> Self:
        if self._recording is not None:
            self._set("train_running", 1)
            self._set("train_measuring", 0)
            self._set("train_workers", self._world.size)
            self._set("train_epochs", self._plan.config.train.epochs)
            self._set("train_restarts", _count_start(self._plan.state_folder / _STARTS) - 1)
            for what in ("step", "state"):
                self._set(f"train_last_{what}_timestamp_seconds", time.time())
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell how the run ended: what is told last is exported when the worker is ended."""
        if self._recording is None:
            return
        self._ended.set()
        self._thread.join()
        outcome = outcome_of(error)
        if outcome == "diverged":
            self._set("train_loss", float("nan"), "train")
        self._set("train_running", 0)
        self._recording.count("train_ends", run=self._run, outcome=outcome)
        self._tell()
        self._publish()

    def watch(self, optimizer: Optimizer, writer: StateWriter, quarantine: Quarantine) -> None:
        """Take what moves with the run, to look at now and then."""
        self._watched = (optimizer, writer, quarantine)

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
        loss, correct, seen = (now - then for now, then in zip(sums.tolist(), self._sums, strict=True))
        self._sums = sums.tolist()
        self._set("train_loss", loss / seen, "train")
        self._set("train_accuracy", correct / seen, "train")
        optimizer = self._watched[0]
        found = gradient_norm(optimizer) if norm is None else float(norm)
        if found is not None:
            self._set("train_gradient_norm", found)
        group = optimizer.param_groups[-1]
        self._set("train_learning_rate", group["lr"] / group["lr_scale"])
        self._set("train_epoch", epoch)
        self._set("train_time_left_seconds", left_s)

    def epoch_done(self, record: Mapping[str, Any]) -> None:
        """Tell what an epoch gave, as `metrics.jsonl` has it."""
        for split in ("train", "val"):
            if split in record:
                self._set("train_loss", record[split]["loss"], split)
                self._set("train_accuracy", record[split]["accuracy"], split)
        self._set("train_epoch", record["epoch"])
        self._set("train_learning_rate", record["lr"])
        self._set("train_peak_memory_bytes", record["memory_mb"] * 1e6)

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Tell meanwhile that a split is measured."""
        self._set("train_measuring", 1)
        try:
            yield
        finally:
            self._set("train_last_step_timestamp_seconds", time.time())
            self._set("train_measuring", 0)

    def _set(self, name: str, value: float, split: str = "") -> None:
        self._gauges[name, split] = value

    def _work(self) -> None:
        published = time.monotonic()
        while not self._ended.wait(_REFRESH_S):
            self._tell()
            if time.monotonic() - published >= _PUBLISH_S:
                published = time.monotonic()
                self._publish()

    def _tell(self) -> None:
        """Hand on what has come together; never by two threads at a time."""
        assert self._recording is not None
        steps = [self._steps.popleft() for _ in range(len(self._steps))]
        if steps:
            for seconds, _, _ in steps:
                self._recording.observe("train_step_seconds", seconds, run=self._run)
            counts = {
                "train_steps": len(steps),
                "train_seconds": sum(seconds for seconds, _, _ in steps),
                "train_data_wait_seconds": sum(wait_s for _, wait_s, _ in steps),
                "train_images": sum(images for _, _, images in steps),
            }
            for name, value in counts.items():
                if value > 0:  # Ray takes nothing else
                    self._recording.count(name, value, run=self._run)
            self._set("train_last_step_timestamp_seconds", time.time())
        if self._watched is not None:
            _, writer, quarantine = self._watched
            self._set("train_bad_samples", len(quarantine))
            if writer.written_at is not None:
                self._set("train_last_state_timestamp_seconds", writer.written_at)
        for (name, split), value in list(self._gauges.items()):
            labels = {"run": self._run, "split": split} if split else {"run": self._run}
            self._recording.set(name, value, **labels)


def open_telemetry(plan: RunPlan, world: World, say: Callable[[str], None]) -> Telemetry:
    """Make what worker 0 tells through; a silent one for other workers, and where nobody would hear."""
    track = plan.config.track
    if world.rank > 0 or not track.metrics:
        return Telemetry(None, plan, world)
    if is_connected():
        from lib.recorder import Recorder

        return Telemetry(Recorder(TRAINING), plan, world)
    if track.prometheus is None:
        return Telemetry(None, plan, world)
    registry = Registry(TRAINING)
    return Telemetry(registry, plan, world, Publisher(registry, track.prometheus, "train", say))


def _count_start(path: Path) -> int:
    """Return the number of this start of the workers, from 1, and keep it for the next."""
    number = 1 + (int(path.read_text()) if path.exists() else 0)
    make_folder(path.parent)
    write_text(path, f"{number}\n")
    return number
