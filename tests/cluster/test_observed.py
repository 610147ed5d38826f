"""A real Prometheus beside a local Ray with a run and two replicas: every query has an answer."""

import json
import math
import os
import re
import socket
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster.local import head
from cluster.local.members import members
from cluster.observe import stack
from helm.monitoring.files import boards, rules
from helm.monitoring.rule import Alert, Record
from lib.config.clusters import LocalConfig, ObserveConfig
from lib.config.ensembles import EnsembleConfig
from lib.config.packing import PackConfig
from lib.config.schema import FinetuneConfig
from lib.data.pack import pack, plan_pack
from lib.predict.assemble import build_ensemble
from lib.predict.planning import plan_ensemble
from lib.train.launch import train
from lib.train.plan import plan_run
from lib.train.world import World
from tests.conftest import free_port
from tests.prometheus import ask, needs_prometheus, value

pytestmark = [
    pytest.mark.integration,
    needs_prometheus,
    # Ray and Prometheus outlive what starts them here.
    pytest.mark.filterwarnings("ignore:subprocess [0-9]+ is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120
EPOCHS = 20
# What has no series here, and why.
WITHOUT = {
    "ray_node_gpus_utilization": "needs a GPU",
    "ray_node_gram_": "needs a GPU",
    "ray_manta_version_rollbacks_total": "counts from the first candidate on that is taken out",
    "ray_manta_version_refusals_total": "counts from the first version on that is refused",
    "manta_job_success": "is left at a push gateway or for node-exporter, which do not run here",
    'outcome=~"error|refused"': "counts from the first failure of a version on",
    'outcome=~"failed|crashed|diverged"': "counts from the first bad end of a run on",
}


@dataclass
class Seen:
    """What was done while Prometheus looked."""

    url: str
    began: float
    ended: float
    answered: Counter[tuple[str, str]]
    """What clients were answered: route and code."""
    images: int
    run: Path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with a validation split that is large enough to see drift against."""
    root = tmp_path_factory.mktemp("digits") / "dataset"
    config = PackConfig.model_validate({"source": "digits", "out": str(root), "split": {"val": 0.3}})
    pack(config, plan_pack(config), map)
    return root


@pytest.fixture(scope="module")
def bundles(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A cascade of two networks, and one of them alone."""
    folder = tmp_path_factory.mktemp("runs")

    def trained(name: str) -> Path:
        values = {
            "data": {"root": str(dataset), "threads": 2},
            "model": {"name": name, "image_size": 28 if name == "lenet5" else 8},
            "train": {"epochs": 1, "batch_size": 32},
            "optim": {"lr": 5e-3},
            "augment": {"policy": "none"},
            "run": {"name": name, "storage": str(folder), "num_workers": 0},
        }
        config = FinetuneConfig.model_validate(values)
        return Path(train(plan_run(config), World(), lambda _: None)["bundle"])

    alone = trained("lenet5")
    config = EnsembleConfig.model_validate(
        {
            "members": [str(alone), str(trained("resnet8"))],
            "data": {"root": str(dataset), "threads": 2},
            "cascade": {"max_accuracy_drop": 0.06},
            "out": str(folder / "pair"),
        }
    )
    build_ensemble(plan_ensemble(config))
    return folder / "pair", alone


@pytest.fixture(scope="module")
def seen(
    dataset: Path, bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Seen]:
    """Ray, Prometheus, an endpoint under load and a run, side by side, until both have ended."""
    folder = tmp_path_factory.mktemp("observed")
    ray, observe = folder / "ray", folder / "observe"
    port, home = free_port(), folder / "home"
    local = LocalConfig(
        folder=str(ray),
        port=free_port(),
        dashboard_port=free_port(),
        metrics_port=free_port(),
        num_cpus=6,
        object_store_mb=200,
    )
    targets = (str(ray / "targets.json"),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_metrics_report_interval_ms", "1000")
        joins = head.start(local)
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> "subprocess.Popen[str]":
        environment = os.environ | joins | {"MANTA_HOME": str(home)}
        log = folder / f"{len(started)}.log"
        with log.open("w") as stream:
            process = subprocess.Popen(
                [sys.executable, *words], cwd=ROOT, env=environment, stdout=stream, stderr=stream, text=True
            )
        started.append(process)
        return process

    try:
        config = ObserveConfig(folder=str(observe), port=free_port(), targets=targets, interval_s=1)
        url = stack.start(config)["prometheus"]
        began = time.time()
        start("-m", "serving", *_endpoint(port, bundles, folder))
        # A run takes the cores that are free when it starts.
        wait(lambda: "ready http" in (folder / "0.log").read_text(), folder / "0.log", "the endpoint")
        run = start(
            "jobs/finetune.py",
            "jobs/presets/digits.yaml",
            f"data.root={dataset}",
            "run.name=watched",
            "run.num_workers=2",
            f"train.epochs={EPOCHS}",
            "train.checkpoint_every_s=2",
        )
        answered, images = _load(f"http://127.0.0.1:{port}", port, bundles[0].name, dataset)
        assert run.wait(PATIENCE_S) == 0, (folder / "1.log").read_text()
        total = f"sum(ray_manta_requests_total{{route=~'{ROUTES}'}})"
        wait(lambda: value(url, total) >= sum(answered.values()), folder / "0.log", f"{answered}")
        time.sleep(3)  # what would be counted twice shows now
        yield Seen(url, began, time.time(), answered, images, home / "runs/watched")
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(PATIENCE_S)
        stack.stop(observe)
        head.stop(ray)
    assert members(observe) == members(ray) == set()
    assert (observe / "data").is_dir()


ROUTES = "/predict|/v2/models/.name./infer"


def _endpoint(port: int, bundles: tuple[Path, Path], folder: Path) -> list[str]:
    """The words of an endpoint with two replicas, few places and little patience, and a canary."""
    stable, candidate = bundles
    rollout = folder / "rollout.yaml"
    rollout.write_text(json.dumps({"candidates": [{"bundle": str(candidate), "weight": 0.3, "shadow": 0.5}]}))
    serve = {
        "engine": "torch",
        "threads": 1,
        "min_replicas": 2,
        "max_replicas": 3,
        "target_ongoing_requests": 1000,
        "max_batch_size": 2,
        "max_queued": 4,
        "request_timeout_s": 5,
    }
    words = [f"bundle={stable}", f"http.port={port}", f"rollout.file={rollout}"]
    return words + [f"serve.{key}={given}" for key, given in serve.items()]


def _load(url: str, port: int, name: str, dataset: Path) -> tuple[Counter[tuple[str, str]], int]:
    """Send pictures, wrong ones, and more slow ones than there are places; return what came back."""
    pictures = _pictures(dataset)[:400]
    answered: Counter[tuple[str, str]] = Counter()
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:

        def send(content: bytes) -> str:
            return str(client.post("/predict", content=content).status_code)

        with ThreadPoolExecutor(5) as pool:
            # A rate begins with the second value of a series, so that one request fails before the others.
            early = pool.submit(_unfinished, port)
            codes = Counter(pool.map(send, pictures))
            codes += Counter(pool.map(send, [b"no picture"] * 20))
            codes[early.result()] += 1
        for _ in range(10):
            body = {"inputs": [{"name": "nothing", "datatype": "BYTES", "shape": [1], "data": ["AA=="]}]}
            code = client.post(f"/v2/models/{name}/infer", json=body).status_code
            answered["/v2/models/{name}/infer", str(code)] += 1
        with ThreadPoolExecutor(32) as pool:
            codes += Counter(pool.map(lambda _: _unfinished(port), range(32)))
        codes += Counter(map(send, pictures[:40]))
    answered += Counter({("/predict", code): count for code, count in codes.items()})
    return answered, codes["200"]


def _pictures(dataset: Path) -> list[bytes]:
    with tarfile.open(next((dataset / "train").glob("*.tar"))) as shard:
        files = [shard.extractfile(each) for each in shard.getmembers() if each.name.endswith(".png")]
        return [file.read() for file in files if file is not None]


def _unfinished(port: int) -> str:
    """Send half of a request; return the code of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 1000\r\n\r\nhalf"
        connection.sendall(head.encode())
        return connection.recv(4096).decode().split()[1]


def wait(holds: Callable[[], bool], log: Path, what: str) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < ends, f"waited in vain for {what}: {log.read_text()}"
        time.sleep(0.2)


def test_counters_are_what_was_sent_to_both_replicas(seen: Seen) -> None:
    found = ask(
        seen.url, "query", query=f"sum by (route, code) (ray_manta_requests_total{{route=~'{ROUTES}'}})"
    )
    counted = {(e["metric"]["route"], e["metric"]["code"]): int(e["value"][1]) for e in found["result"]}
    assert counted == dict(seen.answered)
    assert {code for _, code in counted} >= {"200", "415", "429", "504"}
    assert value(seen.url, "sum(ray_manta_replicas)") == 2
    assert value(seen.url, "sum(ray_manta_images_total)") == seen.images
    assert value(seen.url, "sum(ray_manta_predicted_total)") == seen.images


def test_counters_are_what_the_run_did(seen: Seen) -> None:
    lines = [json.loads(line) for line in (seen.run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == EPOCHS
    assert value(seen.url, 'sum(ray_manta_train_steps_total{run="watched"})') == lines[-1]["step"]
    assert value(seen.url, 'sum(ray_manta_train_ends_total{run="watched",outcome="finished"})') == 1


def during(seen: Seen, query: str) -> list[float]:
    """All numbers that a query had while things were going on."""
    for word in ("namespace", "cluster", "run", "version"):
        query = query.replace(f'"${word}"', '".*"')
    query = query.replace("$__rate_interval", "10s")
    series = ask(seen.url, "query_range", query=query, start=seen.began, end=seen.ended, step=1)["result"]
    return [float(number) for each in series for _, number in each["values"] if not math.isnan(float(number))]


QUERIES = [
    pytest.param(query.expr, id=f"{name}: {panel.title} {number}")
    for name, board in boards().items()
    for row in board.rows
    for panel in row.panels
    for number, query in enumerate(panel.queries)
]
RULES = [rule for groups in rules().values() for group in groups.values() for rule in group]
# A name and its matchers; ray_io_… are labels.
SELECTOR = re.compile(r"(?<![\w:])(?:ray_(?!io_)\w+|manta_\w+|manta:\w+:\w+|up(?=\{))(?:\{[^}]*\})?")


def is_without(query: str) -> bool:
    return any(part in query for part in WITHOUT)


@pytest.mark.parametrize("query", QUERIES)
def test_every_panel_has_something_to_show(seen: Seen, query: str) -> None:
    assert during(seen, query) or is_without(query)


@pytest.mark.parametrize("name", [rule.name for rule in RULES if isinstance(rule, Record)])
def test_every_ratio_is_kept(seen: Seen, name: str) -> None:
    assert during(seen, name)


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if isinstance(rule, Alert)], ids=lambda rule: rule.name
)
def test_every_alert_looks_at_something(seen: Seen, rule: Alert) -> None:
    known = {each["name"] for group in _groups(seen) for each in group["rules"] if each["health"] == "ok"}
    assert rule.name in known
    expr = rule.expr.replace("$NAMESPACES", ".*").replace("$SLOW_SECONDS", "0.5")
    operands = set(SELECTOR.findall(expr))
    assert operands
    for operand in operands:
        assert during(seen, operand) or is_without(operand), operand


def _groups(seen: Seen) -> Any:
    return ask(seen.url, "rules")["groups"]


def test_what_is_wrong_is_told(seen: Seen) -> None:
    """The load fails more than a month allows, so the alert on it has begun; its text is filled in."""
    pending = {each["labels"]["alertname"]: each for each in ask(seen.url, "alerts")["alerts"]}
    assert "MantaErrorsBurnFast" in pending
    assert "local/local uses up its budget" in pending["MantaErrorsBurnFast"]["annotations"]["summary"]
    assert not {"MantaTrainingFailed", "MantaTrainingVanished", "MantaEndpointDown"} & set(pending)
