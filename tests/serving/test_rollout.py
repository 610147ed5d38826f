"""One endpoint under traffic through everything that may happen to it: no request fails."""

import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
import psutil
import pytest
from ray import serve

from lib.bundle import read_bundle
from lib.config.rollout import Rollout
from lib.config.serving import ServeConfig
from lib.ports import free_ports
from lib.predict.ensemble import Ensemble
from serving.app import NAME, application
from serving.client import Client
from serving.cluster import RollOut, endpoint
from serving.listen import wait_until_ready
from serving.messages import MESSAGES, SERVICE
from serving.proxy import fast_environment
from serving.schemas import ANSWERS, Problem

pytestmark = pytest.mark.integration

# Clients beside one that retries, and their pause between two requests. The many ask for three replicas.
MANY, FEW = (7, 0.05), (1, 0.2)
PATIENCE_S = 180


@dataclass
class Traffic:
    """What clients without retries are answered, and what one with retries is."""

    url: str
    image: bytes
    failed: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    """Of the client that retries."""
    versions: Counter[str] = field(default_factory=Counter)
    pause_s: float = 0.0
    _ends: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=PATIENCE_S, trust_env=False) as client:
            while not self._ends.wait(self.pause_s):
                try:
                    response = client.post("/predict", content=self.image)
                    if response.status_code == 200:
                        self.versions[response.json()["model"]["version"]] += 1
                    else:
                        self.failed.append(f"{response.status_code} {response.text[:200]}")
                except httpx.TransportError as error:
                    self.failed.append(repr(error))

    def run_with_retries(self) -> None:
        with Client(self.url) as client:
            while not self._ends.wait(self.pause_s):
                try:
                    client.predict(self.image)
                except Exception as error:
                    self.lost.append(repr(error))

    @contextmanager
    def flowing(self, clients: int, pause_s: float) -> Iterator[None]:
        self._ends.clear()
        self.pause_s = pause_s
        threads = [threading.Thread(target=self.run) for _ in range(clients)]
        threads.append(threading.Thread(target=self.run_with_retries))
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            for thread in threads:
                thread.join()

    def wait_for(self, versions: set[str]) -> None:
        """Wait until these versions and no others answer."""
        wait_until(lambda: set(self._seen()) == versions, f"{versions} answer")

    def _seen(self) -> Counter[str]:
        self.versions.clear()
        time.sleep(1)
        return Counter(self.versions)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"waited for this in vain: {what}"
        time.sleep(0.2)


def replicas(app: str = NAME) -> set[int]:
    """Processes of the replicas that answer requests."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            # Its method follows while it is in one.
            if " ".join(process.cmdline()).startswith(f"ray::ServeReplica:{app}:Gateway"):
                found.add(process.pid)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return found


def running() -> int:
    status = serve.status().applications[NAME].deployments["Gateway"]
    return status.replica_states.get("RUNNING", 0)


@pytest.fixture(scope="module")
def config(digits_bundle: Path) -> ServeConfig:
    http_port, grpc_port = free_ports(2)
    return ServeConfig.model_validate(
        {
            "bundle": str(digits_bundle),
            "http": {"port": http_port},
            "grpc": {"port": grpc_port},
            "serve": {
                "engine": "torch",
                "threads": 1,
                "min_replicas": 0,
                "max_replicas": 3,
                "target_ongoing_requests": 0.3,
                "upscale_delay_s": 0,
                "downscale_delay_s": 1,
                "scale_window_s": 2,
                "surge_fraction": 1,
            },
        }
    )


@pytest.fixture(scope="module")
def roll_out(config: ServeConfig) -> Iterator[RollOut]:
    """An endpoint on a Ray of six cores, whatever this machine has, and how to change its versions."""
    with (
        tempfile.TemporaryDirectory(prefix="manta-", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        values = fast_environment(Path(folder), free_ports(4)) | {"RAY_OVERRIDE_RESOURCES": '{"CPU": 6}'}
        for name, value in values.items():
            patch.setenv(name, value)
        with endpoint(config, Rollout(), joins=False) as roll_out:
            wait_until_ready(config.http, config.grpc)
            yield roll_out


@pytest.fixture
def traffic(config: ServeConfig, digits_bundle: Path) -> Traffic:
    image = read_bundle(digits_bundle).golden().data
    return Traffic(f"http://127.0.0.1:{config.http.port}", image)


def test_no_request_fails(
    roll_out: RollOut,
    config: ServeConfig,
    traffic: Traffic,
    digits_bundle: Path,
    second_bundle: Path,
    poor_bundle: Path,
) -> None:
    stable, second = (read_bundle(path).version for path in (digits_bundle, second_bundle))

    # Serve's own rolling update: another process answers, and nothing is refused in between.
    with traffic.flowing(*FEW):
        before = replicas()
        serve.run(application(config), name=NAME)
        wait_until(lambda: bool(replicas()) and not replicas() & before, "the replica is a new one")
        traffic.wait_for({stable})
    assert traffic.failed == []

    # To zero, where HAProxy answers for the endpoint, and from there to three: the first request waits.
    wait_until(lambda: running() == 0 and not replicas(), "no replica is left")
    assert httpx.get(f"{traffic.url}/-/healthz", trust_env=False).status_code == 200
    assert roll_out(Rollout()) == []
    assert not replicas()
    with traffic.flowing(*MANY):
        wait_until(lambda: running() == 3, "three replicas run")
        before = replicas()

        # A canary step, and a candidate that cannot be loaded beside it.
        canary = {"bundle": str(second_bundle), "weight": 0.5}
        missing = {"bundle": "/nowhere", "weight": 0.1}
        refused = roll_out(Rollout.model_validate({"candidates": [canary, missing]}))
        assert [what for what, _ in refused] == ["/nowhere"]
        traffic.wait_for({stable, second})

        # A bad canary is taken out on all replicas.
        bad = {"bundle": str(poor_bundle), "weight": 0.3, "shadow": 1}
        rule = {"min_requests": 20, "max_disagreement": 0.5}
        assert roll_out(Rollout.model_validate({"candidates": [bad], "rollback": rule})) == []
        traffic.wait_for({stable})

        # A stable version that cannot be loaded changes nothing; a good one is there without a restart.
        assert [what for what, _ in roll_out(Rollout(bundle="/nowhere"))] == ["/nowhere"]
        traffic.wait_for({stable})
        assert roll_out(Rollout(bundle=str(second_bundle))) == []
        traffic.wait_for({second})
        assert replicas() == before
        assert traffic.failed == []

        # A replica is killed: what was with it may be lost to those who do not ask again.
        os.kill(min(before), 9)
        traffic.wait_for({second})
        assert len(traffic.failed) <= MANY[0]
    assert traffic.lost == []
    wait_until(lambda: not replicas(), "all replicas are gone")

    # Who does not wait for a replica is told so as the endpoint tells it; over gRPC one may wait too.
    hasty = {"X-Request-Timeout-Seconds": "0.1"}
    late = httpx.post(f"{traffic.url}/predict", content=traffic.image, headers=hasty, trust_env=False)
    assert late.status_code == 504
    assert "in time" in Problem.model_validate_json(late.content).error
    with grpc.insecure_channel(f"127.0.0.1:{config.grpc.port}") as channel:
        answer = channel.unary_unary(f"/{SERVICE}/ServerReady")(b"", timeout=PATIENCE_S)
    assert MESSAGES["ServerReadyResponse"].FromString(answer).ready


def test_members_elsewhere_say_the_same(
    roll_out: RollOut, config: ServeConfig, ensemble_path: Path, picture: Callable[..., bytes]
) -> None:
    options = config.serve.model_copy(update={"placement": "split", "min_replicas": 1, "max_replicas": 1})
    split = config.model_copy(update={"bundle": str(ensemble_path), "serve": options})
    serve.run(application(split), name="split", route_prefix="/split")
    here = Ensemble.load(ensemble_path)
    members = {f"Member-{bundle.version}" for bundle in here.folder.bundles}
    assert set(serve.status().applications["split"].deployments) == {"Gateway", *members}
    images = [picture(seed, 40, 40) for seed in range(8)]
    url = f"http://127.0.0.1:{config.http.port}/split/predict?top_k=10"
    for views in ("", "&views=none"):
        files = [("file", each) for each in images]
        response = httpx.post(url + views, files=files, trust_env=False, timeout=60)
        answers = ANSWERS.validate_json(response.text)
        found = [[p.probability for p in sorted(a.predictions, key=lambda p: p.index)] for a in answers]
        expected = here.run([here.prepare(each) for each in images], views.partition("=")[2] or None)
        np.testing.assert_allclose(found, expected.probabilities, atol=1e-5)
        assert [answer.members_used for answer in answers] == expected.members_used.tolist()
