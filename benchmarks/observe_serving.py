"""What metrics cost an endpoint: two of them, one with metrics and one without, asked in turns.

ratios, absolute = measure_serving(Path(folder), Path(dataset), "lenet5@28", rounds=8, seconds=4)

A small network on small pictures is the worst case: the less there is to compute, the more counting weighs.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import httpx
import numpy as np
from report import print_table
from served import load_command, send, server_environment, started

from lib.bundle import read_bundle
from lib.config.schema import FinetuneConfig
from lib.config.serving import ServeConfig
from lib.ports import free_ports
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World
from serving.gateway import Gateway
from serving.routes import create_app

_CONNECTIONS = 16
_STARTS = 4
# As they call themselves: what has nothing to do with metrics changes by more than they cost.
_WHO_COUNTS = ("ray::ServeReplica", "ray::Ledger")
# Of the code of a replica by itself: turns of a round, those that do not count, and requests of a turn.
_TURNS, _WARM_TURNS, _REQUESTS = 25, 10, 48


def measure_serving(
    folder: Path, dataset: Path, network: str, *, rounds: int, seconds: float
) -> tuple[dict[str, object], dict[str, float]]:
    """Return ratios with their intervals, and absolute figures: requests/s, ms of CPU a request.

    CPU is that of the replica, and of the ledger of its metrics.
    """
    bundle, picture = _served(folder, dataset, network)
    rps: dict[bool, list[float]] = {True: [], False: []}
    cpu_ms: dict[bool, list[float]] = {True: [], False: []}
    for number in range(_STARTS):
        # Which is started first may matter as long as they live, so they change places.
        order = (number % 2 == 0, number % 2 == 1)
        start = folder / f"start-{number}"
        start.mkdir()
        for metrics, per_s, ms in _measure_start(start, bundle, picture, order, rounds, seconds):
            rps[metrics].append(per_s)
            cpu_ms[metrics].append(ms)
    show({"requests/s": rps, "ms of CPU a request": cpu_ms}, title="serving", of=network)
    ratios: dict[str, object] = {
        f"rps_with_metrics_vs_without_{network}": against(rps),
        f"cpu_with_metrics_vs_without_{network}": against(cpu_ms),
    }
    return ratios, {
        f"serve_rps_{network}": round(median(rps[False]), 1),
        f"serve_cpu_ms_{network}": round(median(cpu_ms[False]), 3),
    }


def measure_replica(folder: Path, dataset: Path, rounds: int) -> tuple[dict[str, object], dict[str, float]]:
    """Return the ratio, with its interval, and ms of CPU a request of a replica's code by itself."""
    bundle, picture = _served(folder, dataset, "lenet5@28")
    found = asyncio.run(_count_in_process(bundle, picture.read_bytes(), _TURNS * rounds))
    show({"ms of CPU a request": found}, title="a replica's code by itself", of="lenet5@28")
    return {"replica_cpu_with_metrics_vs_without": against(found)}, {
        "replica_cpu_ms": round(median(found[False]), 3)
    }


async def _count_in_process(bundle: Path, picture: bytes, turns: int) -> dict[bool, list[float]]:
    """Return ms of CPU a request of a replica's code by itself: turns of a tenth of a second, no network.

    After each turn what was counted is taken, as it is once a second to be handed on.
    """
    found: dict[bool, list[float]] = {True: [], False: []}
    gateways, clients = {}, {}
    for metrics in (True, False):
        config = {"bundle": str(bundle), "serve": {"engine": "torch", "metrics": metrics}}
        gateways[metrics] = gateway = Gateway(ServeConfig.model_validate(config))
        transport = httpx.ASGITransport(create_app(lambda gateway=gateway: gateway))
        clients[metrics] = httpx.AsyncClient(transport=transport, base_url="http://endpoint")
    for number in range(-_WARM_TURNS, turns):
        if number == 0:
            gc.freeze()  # as Serve does in a replica that has started
        for metrics in (number % 2 == 0, number % 2 == 1):
            before_s = time.process_time()
            for _ in range(_REQUESTS // _CONNECTIONS):
                asked = (clients[metrics].post("/predict", content=picture) for _ in range(_CONNECTIONS))
                for response in await asyncio.gather(*asked):
                    response.raise_for_status()
            gateways[metrics].tally.take()
            if number >= 0:
                found[metrics].append(1000 * (time.process_time() - before_s) / _REQUESTS)
    for gateway in gateways.values():
        gateway.close()
    return found


def _served(folder: Path, dataset: Path, network: str) -> tuple[Path, Path]:
    """Train a network for an epoch; return its bundle, and a picture to ask about."""
    name, _, image_size = network.partition("@")
    config = FinetuneConfig.model_validate(
        {
            "data": {"root": str(dataset), "threads": 1},
            "model": {"name": name, "image_size": int(image_size)},
            "train": {"epochs": 1},
            "run": {"name": "served", "storage": str(folder), "num_workers": 0},
        }
    )
    bundle = Path(train(plan_run(config), World(), lambda _: None)["bundle"])
    picture = folder / "picture.png"
    picture.write_bytes(read_bundle(bundle).golden().data)
    return bundle, picture


def show(measured: dict[str, dict[bool, list[float]]], *, title: str, of: str) -> None:
    """Print what was measured with metrics and without, a line each."""
    rows = [
        [name, median(values[False]), median(values[True]), *against(values)]
        for name, values in measured.items()
    ]
    print_table(title, [of, "without", "with metrics", "with / without", "from", "to"], rows)


def against(values: dict[bool, list[float]]) -> tuple[float, float, float]:
    """Return the mean ratio of neighbours in time, with metrics over without, and its interval of 95 %."""
    logs = np.log(np.array(values[True]) / np.array(values[False]))
    margin = 1.96 * logs.std(ddof=1) / np.sqrt(len(logs)) if len(logs) > 1 else np.inf
    low, middle, high = np.exp([logs.mean() - margin, logs.mean(), logs.mean() + margin]).round(4).tolist()
    return middle, low, high


def _measure_start(
    folder: Path, bundle: Path, picture: Path, order: tuple[bool, bool], rounds: int, seconds: float
) -> Iterator[tuple[bool, float, float]]:
    """Start both, and yield of each measurement: whether metrics are on, requests/s, ms of CPU a request."""
    with ExitStack() as stack:
        servers = {}
        for metrics in order:
            (port,) = free_ports(1)
            words = [f"bundle={bundle}", f"http.port={port}", f"serve.metrics={str(metrics).lower()}"]
            command = [sys.executable, "-m", "serving", *words, "serve.engine=openvino"]
            load = load_command(port, picture, "image/png")
            out = folder / f"endpoint-{metrics}"
            servers[metrics] = stack.enter_context(started(command, load, out, server_environment()))
        for number in range(rounds):
            for metrics in order if number % 2 == 0 else reversed(order):
                server = servers[metrics]
                with server.awake():
                    before_s = server.child.cpu_s(_WHO_COUNTS)
                    found = send(server.load, _CONNECTIONS, seconds)
                    spent_s = server.child.cpu_s(_WHO_COUNTS) - before_s
                yield metrics, found["rps"], 1000 * spent_s / (found["rps"] * seconds)
