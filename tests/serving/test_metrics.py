"""Two replicas under load: what clients sent is what a node exports, whatever becomes of a replica."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
import ray
from ray import serve

from lib.bundle import read_bundle
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.ports import free_ports
from lib.recorder import EVERY_S
from lib.track.scrape import scrape
from serving.app import NAME, application
from serving.cluster import endpoint
from serving.ledger import end_ledger
from serving.listen import wait_until_ready
from serving.messages import MESSAGES, SERVICE
from serving.proxy import fast_environment
from tests.serving.test_rollout import replicas, running, wait_until

pytestmark = pytest.mark.integration

CLIENTS = 8
# A replica, its ledger and Ray hand on once a second each.
SOON_S = 30
INFER = f"/{SERVICE}/ModelInfer"


@pytest.fixture(scope="module")
def config(digits_bundle: Path) -> ServeConfig:
    http, grpc = free_ports(2)
    serve = {"engine": "torch", "threads": 1, "min_replicas": 2, "max_replicas": 2, "surge_fraction": 1}
    values = {"bundle": str(digits_bundle), "http": {"port": http}, "grpc": {"port": grpc}, "serve": serve}
    return ServeConfig.model_validate(values)


@pytest.fixture(scope="module")
def address(config: ServeConfig) -> Iterator[str]:
    """Where the node is scraped on which two replicas answer."""
    with (
        tempfile.TemporaryDirectory(prefix="manta-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        values = fast_environment(Path(folder), free_ports(4)) | {
            "RAY_OVERRIDE_RESOURCES": '{"CPU": 4}',
            "RAY_metrics_report_interval_ms": "1000",
        }
        for name, value in values.items():
            patch.setenv(name, value)
        with endpoint(config, Rollout(), joins=False):
            wait_until_ready(config.http, config.grpc)
            (node,) = ray.nodes()
            yield f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}"


@dataclass
class Load:
    """Sends requests of all kinds, and keeps how each was answered."""

    config: ServeConfig
    image: bytes
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By route and code."""
    images: int = 0

    def send(self, rounds: int) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(self._round, range(rounds)))

    def _round(self, number: int) -> None:
        model = read_bundle(Path(self.config.bundle)).name
        with httpx.Client(base_url=f"http://127.0.0.1:{self.config.http.port}", trust_env=False) as client:
            two = [("file", self.image), ("file", self.image)]
            self._note("/predict", client.post("/predict", content=self.image), 1)
            self._note("/predict", client.post("/predict", files=two), 2)
            self._note("/predict", client.post("/predict", content=b"no picture"), 0)
            self._note("/predict", client.post("/predict?top_k=99", content=self.image), 0)
            self._note("/model", client.get("/model"), 0)
            self._note("other", client.get(f"/nothing/{number}"), 0)
        with grpc.insecure_channel(f"127.0.0.1:{self.config.grpc.port}") as channel:
            for name, code, images in ((model, "200", 1), ("nobody", "404", 0)):
                inputs = [{"name": "image", "datatype": "BYTES", "shape": [1]}]
                request = MESSAGES["ModelInferRequest"](model_name=name, inputs=inputs)
                request.inputs[0].contents.bytes_contents.append(self.image)
                call = channel.unary_unary(
                    INFER,
                    request_serializer=MESSAGES["ModelInferRequest"].SerializeToString,
                    response_deserializer=MESSAGES["ModelInferResponse"].FromString,
                )
                if code == "200":
                    call(request, timeout=60)
                else:
                    with pytest.raises(grpc.RpcError, match="nobody"):
                        call(request, timeout=60)
                self.answered[INFER, code] += 1
                self.images += images

    def _note(self, route: str, response: httpx.Response, images: int) -> None:
        self.answered[route, str(response.status_code)] += 1
        self.images += images


@pytest.fixture(scope="module")
def load(config: ServeConfig) -> Load:
    return Load(config, read_bundle(Path(config.bundle)).golden().data)


def counted(address: str) -> Counter[tuple[str, str]]:
    """Requests by route and code, without what was asked at the start: whether the endpoint is ready."""
    found: Counter[tuple[str, str]] = Counter()
    for labels, value in scrape([address]).of("requests_total").items():
        named = dict(labels)
        if not named["route"].lower().endswith("ready"):
            found[named["route"], named["code"]] += int(value)
    return found


def wait_for_all(address: str, load: Load) -> None:
    """Wait until all is counted."""
    end = time.monotonic() + SOON_S
    while counted(address) != load.answered and time.monotonic() < end:
        time.sleep(0.2)
    assert counted(address) == load.answered


def test_nothing_is_lost_or_counted_twice(address: str, config: ServeConfig, load: Load) -> None:
    load.send(10)
    assert set(load.answered) >= {("/predict", "200"), ("/predict", "415"), (INFER, "404"), ("other", "404")}
    wait_for_all(address, load)
    found = scrape([address])
    version = read_bundle(Path(config.bundle)).version
    for name in ("images", "images_by_members", "predicted"):
        assert found.total(f"{name}_total", version=version) == load.images
    assert found.total("confidence_count", version=version) == load.images
    assert found.total("confidence_bucket", version=version, le="+Inf") == load.images
    assert found.total("stage_seconds_count", stage="decode") == load.images
    assert found.total("batch_size_sum") == load.images
    assert found.total("request_seconds_count", route="/predict") == sum(
        number for (route, _), number in load.answered.items() if route == "/predict"
    )
    assert found.total("replicas") == found.total("ready") == 2
    assert found.total("capacity") == 2 * 72
    # One process writes for all replicas.
    assert len(found.values("WorkerId")) == 1

    # Both replicas are replaced by Serve, right after they have answered.
    before = replicas()
    load.send(5)
    serve.run(application(config), name=NAME)
    wait_until(
        lambda: len(replicas()) == 2 and not replicas() & before and running() == 2, "two new replicas"
    )
    load.send(5)
    wait_for_all(address, load)

    # One is killed: what it has not reported is lost, the rest is not.
    load.send(5)
    reported = Counter(load.answered)
    time.sleep(3 * EVERY_S)
    load.send(5)
    os.kill(min(replicas()), 9)
    wait_until(lambda: running() == 2 and len(replicas()) == 2, "two replicas again")
    time.sleep(3 * EVERY_S)
    kept = counted(address)
    assert all(reported[each] <= kept[each] <= load.answered[each] for each in load.answered)

    # So is the ledger itself, when it ends; another one goes on.
    load.answered = kept
    end_ledger(NAME)
    load.send(2)
    wait_for_all(address, load)
    time.sleep(3 * EVERY_S)  # what would be counted twice shows now
    assert counted(address) == load.answered
