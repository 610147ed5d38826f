"""Compare tiny trials of a study with Ray Tune as it comes: the same network and images, in turns.

python benchmarks/tune.py
python benchmarks/tune.py trials=12 rounds=1 'pipelines=[manta, ray_default]'

A trial fits LeNet-5 to a few of scikit-learn's digits for an epoch and measures it on others. Manta's is the
whole run: it measures on two splits, and writes state, bundle, model card and report. The peers do nothing of
that: their trial is a function with a loop in plain torch. Each has a Ray of its own, started the same way,
which is up before the clock starts; starting processes and loading torch counts.
"""

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

from child import Child, environment_without
from pydantic import Field
from report import finish, print_table, read_settings

from lib.config.packing import PackConfig
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack
from lib.runtime import ENVIRONMENT

Pipeline = Literal["manta", "ray_default", "ray_reuse"]
_TIMEOUT_S = 1800.0
_HERE = Path(__file__).parent


class Settings(Section):
    """Compare tiny trials of a study with Ray Tune as it comes."""

    trials: Count = 40
    """Trials of each study."""
    images: Annotated[int, Field(ge=10, le=1439)] = 200
    """Pictures that a trial is trained on, once each."""
    rounds: Count = 1
    """Times that everything is run; medians are shown."""
    pipelines: tuple[Pipeline, ...] = ("manta", "ray_default", "ray_reuse")
    """ray_default is Ray Tune's Tuner without options, ray_reuse has reuse_actors=True."""


def main() -> None:
    settings = read_settings(Settings, "tune", "Compare tiny trials of a study with Ray Tune as it comes.")
    found: dict[str, list[float]] = {name: [] for name in settings.pipelines}
    with tempfile.TemporaryDirectory(prefix="manta-tune-") as name:
        folder = Path(name)
        config = PackConfig(source="digits", out=str(folder / "digits"))
        pack(config, plan_pack(config), map)
        for number in range(settings.rounds):
            for pipeline in settings.pipelines:
                say(f"round {number + 1} of {settings.rounds}: {settings.trials} trials, {pipeline}")
                found[pipeline].append(_measure(folder, pipeline, number, settings))
    rates = {pipeline: median(values) for pipeline, values in found.items()}
    print_table(
        "trials of a study", ["tuner", "trials a minute"], [[name, rate] for name, rate in rates.items()]
    )
    ratios = {}
    if {"manta", "ray_default"} <= set(rates):
        ratios["trials_vs_ray_default"] = round(rates["manta"] / rates["ray_default"], 2)
    finish("tune", ratios=ratios, absolute={name: round(rate, 1) for name, rate in rates.items()})


def _measure(folder: Path, pipeline: str, number: int, settings: Settings) -> float:
    """Return trials a minute of one study in a process of its own."""
    words = {
        "pipeline": pipeline,
        "data": str(folder / "digits"),
        "out": str(folder / f"{pipeline}-{number}"),
        "trials": settings.trials,
        "images": settings.images,
    }
    command = [sys.executable, str(_HERE / "studies.py"), json.dumps(words)]
    with Child(command, folder / f"{pipeline}-{number}-log", environment_without(ENVIRONMENT)) as child:
        child.wait(_TIMEOUT_S)
        return 60 * settings.trials / float(json.loads(child.last_line())["seconds"])


if __name__ == "__main__":
    run_job(main)
