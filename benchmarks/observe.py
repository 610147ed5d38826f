"""Measure what metrics cost: the same work with and without them, in turns.

python benchmarks/observe.py
python benchmarks/observe.py 'parts=[train]' rounds=24
python benchmarks/observe.py 'parts=[serve]' rounds=8 seconds=4

Training runs in this process, beside a Ray of its own that exports them. Small steps are the worst case,
hence small networks on small pictures.
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import ray
from observe_serving import against, measure_serving, show
from pydantic import Field
from report import finish, read_settings

from lib.cluster import connect
from lib.config.packing import PackConfig
from lib.config.schema import FinetuneConfig
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack
from lib.train.loop import Trainer
from lib.train.plan import plan_run
from lib.train.telemetry import open_telemetry
from lib.train.world import World

Part = Literal["train", "serve"]

_STEPS = 10_000
# A network, the size of its pictures, and epochs: the first does not count, the others take seconds.
_WORKS = {"lenet5@28": ("lenet5", 28, 4), "resnet8@32": ("resnet8", 32, 3)}


class Settings(Section):
    """Measure what metrics cost."""

    parts: tuple[Part, ...] = ("train", "serve")
    """What is measured."""
    rounds: Count = 6
    """Times that each is run with metrics and without, by each start of endpoints."""
    seconds: Annotated[float, Field(gt=0.5)] = 5.0
    """Length of a measurement of an endpoint."""


def main() -> None:
    settings = read_settings(Settings, "observe", "Measure what metrics cost.")
    ratios: dict[str, object] = {}
    absolute: dict[str, float] = {}
    if "train" in settings.parts:
        _train(settings.rounds, ratios, absolute)
    if "serve" in settings.parts:
        _serve(settings, ratios, absolute)
    finish("observe", ratios=ratios, absolute=absolute)


def _train(rounds: int, ratios: dict[str, object], absolute: dict[str, float]) -> None:
    """Compare steps with and without metrics: the first and the second of a pair change places."""
    with tempfile.TemporaryDirectory(prefix="manta-observe-") as name:
        folder = Path(name)
        config = PackConfig(source="digits", out=str(folder / "digits"))
        pack(config, plan_pack(config), map)
        connect()
        for work in _WORKS:
            _step_ms(folder, work, f"{work}-warm", has_metrics=True)
            found: dict[bool, list[float]] = {True: [], False: []}
            for number in range(rounds):
                say(f"{work}: round {number + 1} of {rounds}")
                for has_metrics in (number % 2 == 0, number % 2 == 1):
                    found[has_metrics].append(
                        _step_ms(folder, work, f"{work}-{number}-{has_metrics}", has_metrics=has_metrics)
                    )
            show({"ms a step": found}, title="training", of=work)
            ratios[f"step_with_metrics_vs_without_{work}"] = against(found)
            absolute[f"step_ms_{work}"] = round(median(found[False]), 3)
        absolute |= _own_cost(_config(folder, work, "own", has_metrics=True))
        ray.shutdown()


def _serve(settings: Settings, ratios: dict[str, object], absolute: dict[str, float]) -> None:
    """Compare answers with and without metrics."""
    with tempfile.TemporaryDirectory(prefix="manta-observe-") as name:
        folder = Path(name)
        config = PackConfig(source="digits", out=str(folder / "digits"))
        pack(config, plan_pack(config), map)
        found = measure_serving(folder, folder / "digits", settings.rounds, settings.seconds)
        ratios |= found[0]
        absolute |= found[1]


def _step_ms(folder: Path, work: str, name: str, *, has_metrics: bool) -> float:
    """Train, and return the milliseconds of a step; measuring and writing are left out."""
    plan, world = plan_run(_config(folder, work, name, has_metrics=has_metrics)), World()
    with open_telemetry(plan, world, say) as telemetry:
        trainer = Trainer(plan, world, lambda _: None, telemetry)
        trainer.run()
        trainer.writer.wait()
        trainer.inputs.close()
    rates = [epoch["images_per_s"] for epoch in trainer.state.history[1:]]
    return 1000 * plan.num_images / plan.stage(0).steps / median(rates)


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


def _config(folder: Path, work: str, name: str, *, has_metrics: bool) -> FinetuneConfig:
    network, image_size, epochs = _WORKS[work]
    return FinetuneConfig.model_validate(
        {
            "data": {"root": str(folder / "digits"), "threads": 1},
            "model": {"name": network, "image_size": image_size},
            "train": {"epochs": epochs, "batch_size": 32},
            "augment": {"policy": "light"},
            "run": {"name": name.replace("@", "-"), "storage": str(folder / "runs"), "num_workers": 0},
            "track": {"metrics": has_metrics},
        }
    )


if __name__ == "__main__":
    run_job(main)
