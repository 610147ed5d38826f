"""Compare serving in Manta with its peers: the same pictures, network and engine, in turns.

python benchmarks/serve.py
python benchmarks/serve.py rounds=1 seconds=5 'servers=[manta, fastapi]' 'parts=[servers]'
python benchmarks/serve.py 'parts=[ensemble]' ensemble.path=runs/ensembles/pets ensemble.data=runs/pets

Each server gets a photograph as JPEG and answers with the five likeliest classes: as many requests as 16
connections bring, then 60 % of what it answered then, at random moments. All are started, and then asked in
turns of some seconds while the others are stopped: the speed of a machine changes by more within minutes than
servers differ. Peers come with the `bench` extra; one that is not installed is named as missing. The network
has random weights, so that accuracy in int8 says nothing here: jobs/quantize.py is the gate. Then an ensemble
with a cascade is compared with a plain one (cascade.py).
"""

import base64
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Annotated, Literal, Self

import numpy as np
import torch
from cascade import EnsembleSection, measure_cascade
from child import ChildError
from corpus import write_corpus
from pydantic import Field, model_validator
from report import finish, print_table, read_settings
from served import Served, Turn, load_command, server_environment, started

from lib.bundle import BundleContent, Golden, write_bundle
from lib.config.packing import PackConfig, SplitSection
from lib.config.quantizing import QuantizeConfig
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.ports import free_ports
from lib.predict.quantize import plan_quantize, quantize

Server = Literal["manta", "manta_tried", "manta_int8", "fastapi", "litserve", "ray_naive"]
# Each ratio is the requests per second of one server over those of another.
RATIOS = {
    "tried_vs_fp32": ("manta_tried", "manta"),
    "fp32_vs_fastapi": ("manta", "fastapi"),
    "fp32_vs_litserve": ("manta", "litserve"),
    "fp32_vs_ray_naive": ("manta", "ray_naive"),
    "int8_vs_litserve": ("manta_int8", "litserve"),
}
# The packages that a server needs beside Manta's own.
_NEEDS = {"manta_int8": "nncf", "fastapi": "uvicorn", "litserve": "litserve", "ray_naive": "ray"}
_COLUMNS = ("requests/s", "p50 ms", "p90 ms", "p99 ms", "p50 ms at 60%", "p90 ms", "p99 ms", "memory MB")
_PERCENTILES = (50, 90, 99)
_CALIBRATION = 48
# Ratios and absolute figures.
Found = tuple[dict[str, float], dict[str, object]]


class Settings(Section):
    """Compare serving in Manta with its peers."""

    model: str = "resnet18"
    """Network, with random weights and ten classes."""
    image_size: Annotated[int, Field(gt=31)] = 224
    """Side of the square that it sees."""
    engine: Literal["openvino", "torch"] = "openvino"
    """What runs it in fp32, in every server."""
    connections: Count = 16
    """Requests that are under way at the same time when a server is saturated."""
    seconds: Annotated[float, Field(gt=0.5)] = 5.0
    """Length of each of the two measurements of a turn."""
    arrivals: Literal["random", "even"] = "random"
    """When requests come at 60 % load: independently of each other, as users do, or at equal distances. One
    server that needs the same time for each cannot have p99 below 4 times p50 with the former."""
    rounds: Count = 6
    """Turns of each server; medians are shown."""
    servers: tuple[Server, ...] = ("manta", "manta_int8", "fastapi", "litserve", "ray_naive")
    """Which to measure; manta_int8 is Manta with a bundle of jobs/quantize.py, manta_tried has `tried`."""
    tried: dict[str, str] = Field(default={}, examples=[{"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5"}])
    """Variables of the environment for manta_tried, which is manta with these."""
    parts: tuple[Literal["servers", "ensemble"], ...] = ("servers", "ensemble")
    """What to measure: servers of one network, an ensemble with a cascade."""
    ensemble: EnsembleSection = EnsembleSection()
    """An ensemble with a cascade, and what is sent to it."""

    @model_validator(mode="after")
    def _tried_is_measured(self) -> Self:
        if bool(self.tried) != ("manta_tried" in self.servers):
            raise ValueError("give tried, and manta_tried among the servers, or neither")
        return self


@dataclass(frozen=True)
class Work:
    """What all servers are given."""

    folder: Path
    """With the photograph."""
    bundles: dict[str, Path]
    """By fp32 and int8."""
    engine: str


def main() -> None:
    settings = read_settings(Settings, "serve", "Compare serving in Manta with its peers.")
    ratios: dict[str, float] = {}
    absolute: dict[str, object] = {}
    with tempfile.TemporaryDirectory(prefix="manta-benchmark-") as name:
        for part in settings.parts:
            found = PARTS[part](Path(name), settings)
            ratios |= found[0]
            absolute |= found[1]
    finish("serve", ratios=ratios, absolute=absolute)


def measure_servers(folder: Path, settings: Settings) -> Found:
    """Measure every server, in turns."""
    missing = {name: _NEEDS[name] for name in settings.servers if find_spec(_NEEDS.get(name, "lib")) is None}
    if settings.engine == "openvino" and find_spec("openvino") is None:
        missing = dict.fromkeys(settings.servers, "openvino")
    names = [name for name in settings.servers if name not in missing]
    found: dict[str, list[Turn]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    work = prepare_work(folder, settings, int8="manta_int8" in names)
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        servers = {}
        for name in names:
            say(f"starting {name}")
            try:
                servers[name] = stack.enter_context(start(name, work, settings.tried))
                memory[name] = servers[name].child.memory_mb()
            except ChildError as error:
                failed[name] = str(error)
        for number in range(settings.rounds):
            say(f"round {number + 1} of {settings.rounds}")
            # There and back, so that a machine that gets slower harms nobody more.
            for name in names if number % 2 == 0 else reversed(names):
                if name in failed:
                    continue
                try:
                    turn = servers[name].measure(
                        settings.connections, settings.seconds, settings.arrivals, seed=number
                    )
                    found[name].append(turn)
                except ChildError as error:
                    failed[name] = str(error)
    return show(settings, found, memory, missing, failed)


def start(server: str, work: Work, tried: Mapping[str, str]) -> AbstractContextManager[Served]:
    """Start a server, and stop it until its turn."""
    (port,) = free_ports(1)
    kind, body = "image/jpeg", work.folder / "photo.jpg"
    if server == "litserve":
        kind, body = "application/json", work.folder / "photo.json"
    environment = server_environment() | (tried if server == "manta_tried" else {})
    load = load_command(port, body, kind)
    return started(command(server, work, port), load, work.folder / server, environment)


def command(server: str, work: Work, port: int) -> list[str]:
    """Return what is typed to start a server."""
    if server.startswith("manta"):
        int8 = server == "manta_int8"
        words = [
            f"bundle={work.bundles['int8' if int8 else 'fp32']}",
            f"http.port={port}",
            f"serve.engine={work.engine if not int8 else 'openvino'}",
            f"serve.precision={'int8' if int8 else 'fp32'}",
        ]
        return [sys.executable, "-m", "serving", *words]
    script = str(Path(__file__).parent / "peer_servers.py")
    return [sys.executable, script, server, str(work.bundles["fp32"]), str(port), work.engine]


def measure_ensemble(folder: Path, settings: Settings) -> Found:
    """Measure a cascade, and a plain ensemble."""
    connections, rounds = settings.connections, settings.rounds
    try:
        return measure_cascade(folder, settings.ensemble, rounds=rounds, connections=connections)
    except ChildError as error:
        print(f"  failed: ensemble: {error}")
        return {}, {}


def prepare_work(folder: Path, settings: Settings, *, int8: bool) -> Work:
    """Write the photograph in the forms that servers take, and the bundles."""
    photos = write_corpus(folder / "photos", images=3 * _CALIBRATION, seed=0)
    photo = sorted(photos.rglob("*.jpg"))[0].read_bytes()
    (folder / "photo.jpg").write_bytes(photo)
    (folder / "photo.json").write_text(json.dumps({"image": base64.b64encode(photo).decode()}))
    config = PackConfig(
        source=f"imagefolder:{photos}", out=str(folder / "packed"), split=SplitSection(val=1 / 3, test=0)
    )
    classes = list(pack(config, plan_pack(config), map).manifest.classes)
    bundles = {"fp32": write_random_bundle(folder / "resnet/bundle", classes, photo, settings)}
    if int8:
        say("making the int8 bundle")
        values = {
            "bundle": str(bundles["fp32"]),
            "data": {"root": str(folder / "packed")},
            "calibration_images": _CALIBRATION,
            # Random weights are right about nothing.
            "max_accuracy_drop": 0.99,
        }
        plan = plan_quantize(QuantizeConfig.model_validate(values))
        bundles["int8"] = Path(quantize(plan, lambda _: None)["bundle"])
    return Work(folder, bundles, settings.engine)


def write_random_bundle(path: Path, classes: list[str], photo: bytes, settings: Settings) -> Path:
    torch.manual_seed(0)
    kwargs = {"num_classes": len(classes), "channels": 3, "image_size": settings.image_size}
    model = build_model(settings.model, **kwargs).eval()
    spec = PreprocessSpec(image_size=settings.image_size, resize_size=settings.image_size * 8 // 7)
    with torch.inference_mode():
        expected = model(normalise(prepare(photo, spec)[None], spec)).softmax(1)[0].numpy()
    content = BundleContent(
        model=model,
        arch=settings.model,
        arch_kwargs=kwargs,
        classes=classes,
        preprocess=spec,
        metrics={},
        dataset={},
        golden=Golden(photo, expected.astype(np.float32)),
        config_yaml="",
        card="",
    )
    return write_bundle(path, content).path


def show(
    settings: Settings,
    found: dict[str, list[Turn]],
    memory: dict[str, float],
    missing: dict[str, str],
    failed: dict[str, str],
) -> Found:
    """Print the tables; a server that failed in one round is in no ratio."""
    turns = {name: each for name, each in found.items() if each and name not in failed}
    rows = {name: _row(each, memory[name]) for name, each in turns.items()}
    if rows:
        title = (
            f"{settings.model} at {settings.image_size}, {settings.engine}, one JPEG of 500 x 375 a request, "
            f"{settings.connections} connections; then 60% of those requests, {settings.arrivals} arrivals"
        )
        print_table(title, ["server", *_COLUMNS], [[name, *row.values()] for name, row in rows.items()])
    for name, package in missing.items():
        print(f"  missing: {name} (pip install {package})")
    for name, reason in failed.items():
        print(f"  failed: {name}: {reason}")
    ratios = {
        ratio: [a.rps / b.rps for a, b in zip(turns[over], turns[under], strict=True)]
        for ratio, (over, under) in RATIOS.items()
        if over in turns and under in turns
    }
    if ratios:
        table = [[name, median(each), min(each), max(each)] for name, each in ratios.items()]
        print_table("requests/s, within a round", ["ratio", "median", "lowest", "highest"], table)
    result = {name: median(each) for name, each in ratios.items()}
    if "manta" in rows:
        result["p99_over_p50"] = rows["manta"]["p99_ms_at_60"] / rows["manta"]["p50_ms_at_60"]
    return _rounded(result), {name: _rounded(row) for name, row in rows.items()}


def _row(turns: Sequence[Turn], memory_mb: float) -> dict[str, float]:
    """Return the median of requests a second, and percentiles of the latency of all turns together."""
    full = np.percentile(np.concatenate([turn.latency_ms for turn in turns]), _PERCENTILES)
    part = np.percentile(np.concatenate([turn.latency_ms_at_60 for turn in turns]), _PERCENTILES)
    return {
        "rps": median(turn.rps for turn in turns),
        **{f"p{at}_ms": float(each) for at, each in zip(_PERCENTILES, full, strict=True)},
        **{f"p{at}_ms_at_60": float(each) for at, each in zip(_PERCENTILES, part, strict=True)},
        "memory_mb": memory_mb,
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items()}


PARTS: dict[str, Callable[[Path, Settings], Found]] = {
    "servers": measure_servers,
    "ensemble": measure_ensemble,
}


if __name__ == "__main__":
    run_job(main)
