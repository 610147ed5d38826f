"""A cascade with views behind Manta against the same ensemble in plain Ray Serve, for benchmarks/serve.py.

measure_cascade(folder, EnsembleSection(), rounds=2, connections=16)     # ratios, absolute figures

Both are sent the same pictures, which nothing was fitted to, each once. Plain Ray Serve has a deployment for
each member and makes a forward pass for each view; it always asks everybody.
"""

import http.client
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
from child import Child, ChildError, environment_without
from numpy.typing import NDArray
from pydantic import model_validator
from report import print_table

from lib.config.ensembles import EnsembleConfig
from lib.config.packing import PackConfig
from lib.config.paths import data_location, input_path
from lib.config.schema import FinetuneConfig
from lib.config.section import Count, Section
from lib.console import say
from lib.data.dataset import open_dataset
from lib.data.pack import pack, plan_pack
from lib.errors import UserError
from lib.metrics import paired_difference, wilson_interval
from lib.ports import free_ports
from lib.predict.assemble import build_ensemble
from lib.predict.folder import Folder, read_folder
from lib.predict.planning import plan_ensemble
from lib.runtime import ENVIRONMENT
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World

Right = NDArray[np.bool_]

_COLUMNS = ("requests/s", "p50 ms", "p90 ms", "p99 ms", "accuracy", "from", "to", "members asked")
_TIMES = ("rps", "p50_ms", "p90_ms", "p99_ms")
# Networks of different cost for the digits, by the side of the square that they see.
_SMALL = {"lenet5": 28, "resnet8": 16, "resnet14": 16}
_WARM_UP = 100
_START_S = 180.0
_HERE = Path(__file__).parent


class EnsembleSection(Section):
    """An ensemble with a cascade, and what is sent to it."""

    path: str | None = None
    """Folder written by jobs/ensemble.py; by default three small networks are trained on digits."""
    data: str | None = None
    """Packed dataset with pictures that the ensemble has not seen."""
    split: str = "test"
    """Split of it that is sent."""
    images: Count = 2000
    """Pictures that are sent to each server, at most."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.path is None) != (self.data is None):
            raise ValueError("give ensemble.path and ensemble.data, or neither")
        return self


@dataclass(frozen=True)
class Work:
    """What both servers are given."""

    folder: Folder
    pictures: Path
    """A folder of them, the order of the names that of `labels`."""
    labels: list[str]


def measure_cascade(
    folder: Path, section: EnsembleSection, *, rounds: int, connections: int
) -> tuple[dict[str, float], dict[str, object]]:
    """Send the pictures to both, in turns; raises `ChildError` if one fails."""
    work = _prepare(folder / "cascade", section)
    found: dict[str, list[dict[str, Any]]] = {"manta_cascade": [], "ray_naive_ensemble": []}
    for number in range(rounds):
        for server, results in found.items():
            say(f"round {number + 1} of {rounds}: {server}")
            results.append(_measure(server, work, connections, folder / f"{server}-{number}"))
    truth = np.array(work.labels)
    right = {name: np.array(results[-1]["labels"]) == truth for name, results in found.items()}
    cascade, everybody = found.values()
    drop, low, high = paired_difference(right["ray_naive_ensemble"], right["manta_cascade"])
    rows = {name: _row(results, right[name], len(work.folder.bundles)) for name, results in found.items()}
    print_table(
        f"{work.folder.arch} with views {work.folder.manifest.views}: {len(truth):,} pictures, each once, "
        f"{connections} connections; accuracy with its interval of 95%",
        ["server", *_COLUMNS],
        [[name, *row.values()] for name, row in rows.items()],
    )
    print(f"  the cascade loses {100 * drop:.2f} points of accuracy, {100 * low:.2f} to {100 * high:.2f}")
    held = _held_out(work.folder)
    print_table(
        "the same ensemble on its held-out half, by jobs/ensemble.py", ["figure", "value"], list(held.items())
    )
    ratio = median(one["rps"] / other["rps"] for one, other in zip(cascade, everybody, strict=True))
    ratios = {"cascade_vs_naive": round(ratio, 3), "cascade_accuracy_drop": round(drop, 5)}
    rounded = {name: {key: round(value, 4) for key, value in row.items()} for name, row in rows.items()}
    return ratios, {**rounded, "ensemble_held_out": {key: round(value, 5) for key, value in held.items()}}


def _prepare(folder: Path, section: EnsembleSection) -> Work:
    """Open the ensemble, or make one, and write the pictures that are sent."""
    if section.path is None or section.data is None:
        path, data = _train_small(folder)
    else:
        path, data = input_path(section.path), section.data
    ensemble = read_folder(path)
    if ensemble.manifest.cascade is None:
        raise UserError(
            f"{path} has no cascade", "make it with jobs/ensemble.py, cascade.max_accuracy_drop=0.002"
        )
    dataset = open_dataset(data_location(data))
    samples = dataset.samples(section.split)
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    chosen = np.random.default_rng(0).permutation(len(samples))[: section.images].tolist()
    for place, number in enumerate(chosen):
        (pictures / f"{place:07d}").write_bytes(samples.read(number))
    labels = [dataset.classes[label] for label in samples.labels()[chosen]]
    samples.close()
    return Work(ensemble, pictures, labels)


def _train_small(folder: Path) -> tuple[Path, str]:
    """Return an ensemble of networks of different cost for the digits, and the digits."""
    data = str(folder / "digits")
    pack_config = PackConfig(source="digits", out=data)
    pack(pack_config, plan_pack(pack_config), map)
    members = []
    for name, size in _SMALL.items():
        say(f"training {name}")
        values = {
            "data": {"root": data},
            "model": {"name": name, "image_size": size},
            "train": {"epochs": 3, "batch_size": 32},
            "optim": {"lr": 3e-3},
            "augment": {"policy": "none"},
            "run": {"name": name, "storage": str(folder / "runs"), "num_workers": 0},
        }
        result = train(plan_run(FinetuneConfig.model_validate(values)), World(), lambda _: None)
        members.append(result["bundle"])
    values = {
        "members": members,
        "data": {"root": data},
        "combine": "weighted",
        "views": "rotations",
        # The 90 pictures that it is fitted to show no less.
        "cascade": {"max_accuracy_drop": 0.06},
        "out": str(folder / "ensemble"),
    }
    build_ensemble(plan_ensemble(EnsembleConfig.model_validate(values)))
    return folder / "ensemble", data


def _measure(server: str, work: Work, connections: int, out: Path) -> dict[str, Any]:
    """Start a server, send it the pictures, and end it."""
    (port,) = free_ports(1)
    command = [sys.executable, str(_HERE / "naive_ensemble.py"), str(work.folder.path), str(port)]
    if server == "manta_cascade":
        words = [f"bundle={work.folder.path}", f"http.port={port}", "serve.precision=fp32"]
        command = [sys.executable, "-m", "serving", *words]
    environment = environment_without(ENVIRONMENT) | {"PYTHONPATH": str(_HERE.parent)}
    environment.pop("RAY_ADDRESS", None)
    first = (work.pictures / f"{0:07d}").read_bytes()
    with Child(command, out, environment) as child:
        child.wait_until(lambda: _answers(port, first), _START_S)
        _send(port, work, connections, min(_WARM_UP, len(work.labels)))
        return _send(port, work, connections, len(work.labels))


def _answers(port: int, picture: bytes) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_S)
    try:
        connection.request("POST", "/predict", picture, {"Content-Type": "image/png"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _send(port: int, work: Work, connections: int, images: int) -> dict[str, Any]:
    """Send the first pictures from a process of its own; ChildError if one was not answered."""
    url, words = f"http://127.0.0.1:{port}/predict", [f"connections={connections}", f"images={images}"]
    command = [sys.executable, str(_HERE / "crowd.py"), url, str(work.pictures), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ChildError(done.stderr.strip().splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _row(results: list[dict[str, Any]], right: Right, members: int) -> dict[str, float]:
    """Return medians of the rounds, accuracy with its interval, and the members asked for a picture."""
    accuracy = float(right.mean())
    low, high = wilson_interval(accuracy, len(right))
    asked = float(np.mean([members if each is None else each for each in results[-1]["members"]]))
    times = {key: float(median(result[key] for result in results)) for key in _TIMES}
    return {**times, "accuracy": accuracy, "from": low, "to": high, "members_asked": asked}


def _held_out(folder: Folder) -> dict[str, float]:
    """Return what jobs/ensemble.py measured on pictures that nothing was fitted to."""
    measured = folder.manifest.measured
    together, cascade = measured["ensemble"], measured["cascade"]
    return {
        "accuracy_of_all": together["accuracy"],
        "gain_over_best_member": together["gain"],
        "gain_from": together["gain_interval"][0],
        "gain_to": together["gain_interval"][1],
        "cascade_drop": cascade["drop"],
        "cascade_drop_from": cascade["drop_interval"][0],
        "cascade_drop_to": cascade["drop_interval"][1],
        "cascade_cost_fraction": cascade["cost_fraction"],
    }
