"""Measure what metrics cost: the same work with and without them, in turns.

python benchmarks/observe.py
python benchmarks/observe.py 'parts=[train]' rounds=10
python benchmarks/observe.py 'parts=[serve]' 'served=[resnet18@224]' rounds=8 seconds=4

Training runs in this process, beside a Ray of its own that exports them; every other step is counted, for the
speed of a machine changes by more, from one run to the next, than metrics could cost. Small steps are the
worst case, hence small networks on small pictures.
"""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import ray
from observe_serving import against, measure_replica, measure_serving, show
from pydantic import Field
from report import finish, read_settings

from lib.cluster import connect
from lib.config.packing import PackConfig
from lib.config.schema import FinetuneConfig
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack
from lib.recorder import Recorder
from lib.track.training_metrics import TRAINING
from lib.train.loop import Trainer
from lib.train.plan import RunPlan, plan_run
from lib.train.telemetry import Telemetry, open_telemetry
from lib.train.world import World

Part = Literal["train", "serve", "replica"]

_STEPS = 10_000
# Epochs of a round, of 40 steps each.
_EPOCHS = 6
# A network, and the size of its pictures.
_WORKS = {"lenet5@28": ("lenet5", 28), "resnet8@32": ("resnet8", 32)}


class Settings(Section):
    """Measure what metrics cost."""

    parts: tuple[Part, ...] = ("train", "serve", "replica")
    """What is measured: steps of training, endpoints, the code of a replica by itself."""
    served: tuple[Literal["lenet5@28", "resnet18@224"], ...] = ("lenet5@28", "resnet18@224")
    """Networks behind the endpoints, and the size of the square that they see."""
    rounds: Count = 6
    """How often: 6 epochs each; measurements of an endpoint by each of its starts; 25 turns of a replica."""
    seconds: Annotated[float, Field(gt=0.5)] = 5.0
    """Length of a measurement of an endpoint."""


def main() -> None:
    settings = read_settings(Settings, "observe", "Measure what metrics cost.")
    ratios: dict[str, object] = {}
    absolute: dict[str, float] = {}
    if "train" in settings.parts:
        _train(settings.rounds, ratios, absolute)
    if {"serve", "replica"} & {*settings.parts}:
        _serve(settings, ratios, absolute)
    finish("observe", ratios=ratios, absolute=absolute)


def _train(rounds: int, ratios: dict[str, object], absolute: dict[str, float]) -> None:
    """Compare steps with and without metrics, which take turns; add what metrics take in their own thread."""
    with tempfile.TemporaryDirectory(prefix="manta-observe-") as name:
        folder = Path(name)
        config = PackConfig(source="digits", out=str(folder / "digits"))
        pack(config, plan_pack(config), map)
        connect()
        for work in _WORKS:
            say(f"{work}: {rounds * _EPOCHS} epochs")
            found = _steps_in_turns(_config(folder, work, work, epochs=rounds * _EPOCHS))
            show({"ms a step": found}, title="training", of=work)
            ratios[f"step_with_metrics_vs_without_{work}"] = against(found)
            absolute[f"step_ms_{work}"] = round(median(found[False]), 3)
        absolute |= _own_cost(_config(folder, work, "own", epochs=1))
        ray.shutdown()


def _serve(settings: Settings, ratios: dict[str, object], absolute: dict[str, float]) -> None:
    """Compare answers with and without metrics."""
    with tempfile.TemporaryDirectory(prefix="manta-observe-") as name:
        folder = Path(name)
        config = PackConfig(source="digits", out=str(folder / "digits"))
        pack(config, plan_pack(config), map)
        measures = []
        if "serve" in settings.parts:
            times = {"rounds": settings.rounds, "seconds": settings.seconds}
            measures += [partial(measure_serving, network=network, **times) for network in settings.served]
        if "replica" in settings.parts:
            measures.append(partial(measure_replica, rounds=settings.rounds))
        for number, measure in enumerate(measures):
            found = measure(folder / str(number), folder / "digits")
            ratios |= found[0]
            absolute |= found[1]


class _Turns(Telemetry):
    """Counts every other step, and times them all."""

    def __init__(self, plan: RunPlan, world: World) -> None:
        super().__init__(plan, world)
        self.epochs: list[dict[bool, list[float]]] = []
        """Milliseconds of the steps of each epoch, with metrics and without."""
        self._before_s: float | None = None

    def begin(self, sums: Sequence[float]) -> None:
        super().begin(sums)
        self.epochs.append({True: [], False: []})
        self._before_s, self._is_counted = None, len(self.epochs) % 2 == 0

    def step(self, images: int, wait_s: float) -> None:
        if self._is_counted:
            super().step(images, wait_s)
        now_s = time.perf_counter()
        if self._before_s is not None:  # the first one waits for the loader
            self.epochs[-1][self._is_counted].append(1000 * (now_s - self._before_s))
        self._before_s, self._is_counted = now_s, not self._is_counted


def _steps_in_turns(config: FinetuneConfig) -> dict[bool, list[float]]:
    """Train, and return the milliseconds of a median step of each epoch but the first."""
    plan, world = plan_run(config), World()
    telemetry = _Turns(plan, world)
    recorder = Recorder(TRAINING, telemetry.collect)
    telemetry.write_to(recorder, recorder.close)
    with telemetry:
        trainer = Trainer(plan, world, lambda _: None, telemetry)
        trainer.run()
        trainer.writer.wait()
        trainer.inputs.close()
    return {counted: [median(epoch[counted]) for epoch in telemetry.epochs[1:]] for counted in (True, False)}


def _own_cost(config: FinetuneConfig) -> dict[str, float]:
    """Return the processor time that metrics take by themselves: at a step, and to hand a step over."""
    with open_telemetry(plan_run(config), World(), say) as telemetry:
        telemetry.begin([])
        began = time.process_time()
        for _ in range(_STEPS):
            telemetry.step(images=32, wait_s=0.001)
        stepped = time.process_time()
        telemetry.collect()
        collected = time.process_time()
    return {
        "cpu_us_of_a_step": round(1e6 * (stepped - began) / _STEPS, 2),
        "cpu_us_of_handing_over_a_step": round(1e6 * (collected - stepped) / _STEPS, 2),
    }


def _config(folder: Path, work: str, name: str, *, epochs: int) -> FinetuneConfig:
    network, image_size = _WORKS[work]
    return FinetuneConfig.model_validate(
        {
            "data": {"root": str(folder / "digits"), "threads": 1},
            "model": {"name": network, "image_size": image_size},
            "train": {"epochs": epochs, "batch_size": 32},
            "augment": {"policy": "light"},
            "run": {"name": name.replace("@", "-"), "storage": str(folder / "runs"), "num_workers": 0},
        }
    )


if __name__ == "__main__":
    run_job(main)
