"""Compare serving in Manta with its peers: the same pictures, network and engine, one after the other.

python benchmarks/serve.py
python benchmarks/serve.py rounds=1 seconds=5 'servers=[manta, fastapi]' 'parts=[servers]'
python benchmarks/serve.py 'parts=[ensemble]' ensemble.path=runs/ensembles/pets ensemble.data=runs/pets

Each server gets a photograph as JPEG and answers with the five likeliest classes: as many requests as 16
connections bring, then 60 % of what it answered then, at random moments. Peers come with the `bench` extra;
one that is not installed is named as missing. The network has random weights, so that accuracy in int8 says
nothing here: jobs/quantize.py is the gate. Then an ensemble with a cascade is compared with a plain one
(cascade.py).
"""

import base64
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Annotated, Literal

import numpy as np
import torch
from cascade import EnsembleSection, measure_cascade
from child import Child, ChildError, environment_without
from corpus import write_corpus
from pydantic import Field
from report import finish, print_table, read_settings

from lib.bundle import BundleContent, Golden, write_bundle
from lib.config.packing import PackConfig, SplitSection
from lib.config.quantizing import QuantizeConfig
from lib.config.section import Count, Section
from lib.console import run_job, say
from lib.data.pack import pack, plan_pack
from lib.images.preprocess import normalise, prepare
from lib.images.spec import PreprocessSpec
from lib.models.build import build_model
from lib.predict.quantize import plan_quantize, quantize
from lib.runtime import ENVIRONMENT
from serving.proxy import free_ports

Server = Literal["manta", "manta_int8", "fastapi", "litserve", "ray_naive"]
# Each ratio is the requests per second of one server over those of another.
RATIOS = {
    "fp32_vs_fastapi": ("manta", "fastapi"),
    "fp32_vs_litserve": ("manta", "litserve"),
    "fp32_vs_ray_naive": ("manta", "ray_naive"),
    "int8_vs_litserve": ("manta_int8", "litserve"),
}
# The packages that a server needs beside Manta's own.
_NEEDS = {"manta_int8": "nncf", "fastapi": "uvicorn", "litserve": "litserve", "ray_naive": "ray"}
_COLUMNS = ("requests/s", "p50 ms", "p90 ms", "p99 ms", "p50 ms at 60%", "p90 ms", "p99 ms", "memory MB")
_LOAD_FRACTION = 0.6
# Enough connections for requests that come at random moments never to wait for one.
_OPEN_CONNECTIONS = 64
_START_S = 180.0
_CALIBRATION = 48
_HERE = Path(__file__).parent
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
    seconds: Annotated[float, Field(gt=0.5)] = 10.0
    """Length of each of the two measurements."""
    arrivals: Literal["random", "even"] = "random"
    """When requests come at 60 % load: independently of each other, as users do, or at equal distances. One
    server that needs the same time for each cannot have p99 below 4 times p50 with the former."""
    rounds: Count = 2
    """Times that everything is run; medians are shown."""
    servers: tuple[Server, ...] = ("manta", "manta_int8", "fastapi", "litserve", "ray_naive")
    """Which to measure; manta_int8 is Manta with a bundle of jobs/quantize.py."""
    parts: tuple[Literal["servers", "ensemble"], ...] = ("servers", "ensemble")
    """What to measure: servers of one network, an ensemble with a cascade."""
    ensemble: EnsembleSection = EnsembleSection()
    """An ensemble with a cascade, and what is sent to it."""


@dataclass(frozen=True)
class Work:
    """What all servers are given."""

    folder: Path
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
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    failed: dict[str, str] = {}
    work = prepare_work(folder, settings, int8="manta_int8" in names)
    for number in range(settings.rounds):
        for server in names:
            if server in failed:
                continue
            say(f"round {number + 1} of {settings.rounds}: {server}")
            try:
                found[server].append(measure(server, work, settings, folder / f"{server}-{number}"))
            except ChildError as error:
                failed[server] = str(error)
    return show(settings, found, missing, failed)


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


def measure(server: str, work: Work, settings: Settings, out: Path) -> dict[str, float]:
    """Start a server, saturate it, load it in part, and end it; ChildError if it fails."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/predict"
    kind, body = "image/jpeg", work.folder / "photo.jpg"
    if server == "litserve":
        kind, body = "application/json", work.folder / "photo.json"
    words = [f"type={kind}", f"arrivals={settings.arrivals}"]
    load = [sys.executable, str(_HERE / "load.py"), url, str(body), *words]
    environment = environment_without(ENVIRONMENT) | {"PYTHONPATH": str(_HERE.parent)}
    environment.pop("RAY_ADDRESS", None)
    with Child(command(server, work, port), out, environment) as child:
        child.wait_until(lambda: answers(load), _START_S)
        full = send(load, settings.connections, settings.seconds)
        memory = child.memory_mb()
        part = send(load, _OPEN_CONNECTIONS, settings.seconds, rate=_LOAD_FRACTION * full["rps"])
    found = {key: full[key] for key in ("rps", "p50_ms", "p90_ms", "p99_ms")}
    found |= {f"{key}_at_60": part[key] for key in ("p50_ms", "p90_ms", "p99_ms")}
    return found | {"memory_mb": memory}


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
    script = str(_HERE / "peer_servers.py")
    return [sys.executable, script, server, str(work.bundles["fp32"]), str(port), work.engine]


def answers(load: list[str]) -> bool:
    """Tell whether a server takes the picture."""
    try:
        return send(load, 1, 0.6)["rps"] > 0
    except ChildError:
        return False


def send(load: list[str], connections: int, seconds: float, rate: float = 0.0) -> dict[str, float]:
    """Send requests from a process of its own; ChildError if one was not answered."""
    words = [f"connections={connections}", f"seconds={seconds}", f"rate={rate}"]
    done = subprocess.run([*load, *words], capture_output=True, text=True)
    if done.returncode:
        raise ChildError(done.stderr.strip().splitlines()[-1])
    found: dict[str, float] = json.loads(done.stdout)
    if found["errors"]:
        raise ChildError(f"{found['errors']} requests failed")
    return found


def show(
    settings: Settings,
    found: dict[str, list[dict[str, float]]],
    missing: dict[str, str],
    failed: dict[str, str],
) -> Found:
    """Print the tables; a server that failed in one round is in no ratio."""
    rows = {name: results for name, results in found.items() if results and name not in failed}
    medians = {
        name: {key: median(r[key] for r in results) for key in results[0]} for name, results in rows.items()
    }
    if medians:
        title = (
            f"{settings.model} at {settings.image_size}, {settings.engine}, one JPEG of 500 x 375 a request, "
            f"{settings.connections} connections; then 60% of those requests, {settings.arrivals} arrivals"
        )
        print_table(
            title, ["server", *_COLUMNS], [[name, *values.values()] for name, values in medians.items()]
        )
    for name, package in missing.items():
        print(f"  missing: {name} (pip install {package})")
    for name, reason in failed.items():
        print(f"  failed: {name}: {reason}")
    ratios = {
        ratio: median(a["rps"] / b["rps"] for a, b in zip(rows[over], rows[under], strict=True))
        for ratio, (over, under) in RATIOS.items()
        if over in rows and under in rows
    }
    if "manta" in rows:
        ratios["p99_over_p50"] = median(each["p99_ms_at_60"] / each["p50_ms_at_60"] for each in rows["manta"])
    if ratios:
        print_table("ratios", ["ratio", "value"], [[name, value] for name, value in ratios.items()])
    return _rounded(ratios), {name: _rounded(values) for name, values in medians.items()}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 3) for key, value in values.items()}


PARTS: dict[str, Callable[[Path, Settings], Found]] = {
    "servers": measure_servers,
    "ensemble": measure_ensemble,
}


if __name__ == "__main__":
    run_job(main)
