"""One study of tiny trials in a process of its own, for benchmarks/tune.py. The last line is JSON.

python benchmarks/studies.py '{"pipeline": "manta", "data": "digits", "out": "x", "trials": 4, "images": 99}'
"""

import json
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from lib.console import run_job

_BATCH, _LR = 20, 1e-3


@dataclass(frozen=True)
class Study:
    """What is to be done."""

    pipeline: str
    data: str
    out: str
    trials: int
    images: int


def main() -> None:
    study = Study(**json.loads(sys.argv[1]))
    measure = _manta if study.pipeline == "manta" else _ray
    print(json.dumps({"seconds": measure(study)}), flush=True)


def _manta(study: Study) -> float:
    """Return the seconds of a study of seeds, report included."""
    from lib.cluster import connect
    from lib.config.load import load
    from lib.config.tune import TuneConfig
    from lib.tune.plan import plan_study
    from lib.tune.study import run_study

    words = [
        *[f"data.root={study.data}", f"data.train_images={study.images}", "data.threads=1"],
        *["model.name=lenet5", "train.epochs=1", f"train.batch_size={_BATCH}", f"optim.lr={_LR}"],
        *["optim.schedule=constant", "augment.policy=none", f"run.storage={study.out}", "run.name=study"],
        f"search.run.seed.grid={list(range(study.trials))}",
    ]
    connect()
    import_module("ray.tune")  # before the clock starts, as for the peers

    started = time.perf_counter()
    result = run_study(plan_study(load(TuneConfig, words).config))
    seconds = time.perf_counter() - started
    assert result["trials"] == {"finished": study.trials}, result["trials"]
    return seconds


def _ray(study: Study) -> float:
    """Return the seconds of a Tuner's fit."""
    from lib.cluster import connect

    connect()
    from ray import tune

    is_reused = study.pipeline == "ray_reuse"
    tuner = tune.Tuner(
        tune.with_parameters(_trial, images=study.images),
        param_space={"seed": tune.grid_search(list(range(study.trials)))},
        tune_config=tune.TuneConfig(reuse_actors=True) if is_reused else None,
        run_config=tune.RunConfig(storage_path=study.out, verbose=0),
    )
    started = time.perf_counter()
    results = tuner.fit()
    seconds = time.perf_counter() - started
    assert len(results) == study.trials
    assert not results.errors, results.errors[0]
    return seconds


def _trial(config: dict[str, Any], images: int) -> None:
    """Fit LeNet-5 to the first digits, and measure it on the last, as a first example would."""
    import torch
    from ray import tune
    from sklearn.datasets import load_digits
    from torch import nn

    torch.manual_seed(config["seed"])
    digits = load_digits()
    pixels = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
    pixels, labels = nn.functional.interpolate(pixels, 28), torch.tensor(digits.target)
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), _LR)
    for batch in torch.randperm(images).split(_BATCH):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(pixels[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(pixels[-179:]).argmax(1) == labels[-179:]).float().mean()
    tune.report({"accuracy": float(accuracy)})


if __name__ == "__main__":
    run_job(main)
