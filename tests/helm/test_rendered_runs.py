"""The rendered charts run in real Ray: commands, environment, probes, entrypoint, Serve configuration."""

import json
import secrets as random
import shlex
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lib.ports import free_ports
from serving.client import Client
from serving.proxy import fast_environment
from tests.conftest import encode, free_port
from tests.helm.charts import ROOT, Charts, Object, only
from tests.helm.operator import AGENT, BIN, DASHBOARD, Pod, start_pod, variables

pytestmark = pytest.mark.integration
# Enough for two nodes on a small machine.
SMALL = {"cpu": "2", "memory": "2Gi"}
PARAMS = {"object-store-memory": "100000000"}
VALUES: Object = {
    "head": {"resources": SMALL, "rayStartParams": PARAMS},
    "workers": {"workers": {"resources": SMALL, "rayStartParams": PARAMS}},
}


@dataclass(frozen=True)
class Cluster:
    found: list[Object]
    head: Pod
    worker: Pod
    port: int
    token: str

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.head.ports[DASHBOARD]}"

    def ask(self, path: str, method: str = "GET", body: Object | None = None) -> Object:
        """Ask the dashboard as the operator does."""
        token = self.head.environment["RAY_AUTH_TOKEN"]
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.dashboard + path, data, headers, method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else {}


@pytest.fixture(scope="module")
def cluster(
    charts: Charts, digits_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """The head and a worker of manta-serve."""
    port = free_port()
    endpoint = {
        "bundle": str(digits_bundle),
        "http": {"port": port},
        "serve": {"engine": "torch", "threads": 1},
    }
    found = charts.render("manta-serve", VALUES | {"endpoint": endpoint})
    spec = only(found, "RayService")["spec"]["rayClusterConfig"]
    assert spec["authOptions"] == {"mode": "token"}
    secret = only(found, "Secret")
    secrets = {secret["metadata"]["name"]: secret}
    home = tmp_path_factory.mktemp("home")
    token = variables(spec["headGroupSpec"]["template"]["spec"]["containers"][0], secrets)["MANTA_TOKENS"]
    with ExitStack() as stack:
        # Ray's sockets need a short path. A pod has a /tmp of its own; here two of them share one.
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mr"))) for _ in range(2)]
        # The operator hands the token of Ray in.
        shared = {
            "HOME": str(home),
            "MANTA_HOME": str(home / "manta"),
            "MANTA_CACHE": str(home / "cache"),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": random.token_hex(16),
        }
        head_of, worker_of = (
            shared | {"RAY_TMPDIR": str(folder)} | fast_environment(folder, free_ports(4))
            for folder in folders
        )
        head = stack.enter_context(start_pod(spec["headGroupSpec"], home / "head", head_of, secrets))
        head.wait("startupProbe")
        (group,) = spec["workerGroupSpecs"]
        address = f"127.0.0.1:{head.ports[6379]}"
        worker = stack.enter_context(start_pod(group, home / "worker", worker_of, secrets, address))
        worker.wait("startupProbe")
        yield Cluster(found, head, worker, port, token)


def test_nodes_are_alive_and_ask_for_a_token(cluster: Cluster) -> None:
    for pod in (cluster.head, cluster.worker):
        assert pod.probe("livenessProbe")
    assert cluster.head.probe("readinessProbe")
    # The head takes no tasks; the worker has what its limits say.
    nodes = cluster.ask("/nodes?view=summary")["data"]["summary"]
    assert len(nodes) == 2
    assert cluster.head.get(DASHBOARD, "/api/jobs/") == 401
    assert cluster.head.get(AGENT, "/api/healthz") == 200


def test_a_job_is_submitted_with_the_rendered_entrypoint(
    cluster: Cluster, charts: Charts, digits: Path, digits_bundle: Path, tmp_path: Path
) -> None:
    words: Object = {
        "bundle": str(digits_bundle),
        "data": {"root": str(digits)},
        "out": str(tmp_path / "evaluation"),
        "run": {"num_workers": 0},
    }
    found = charts.render("manta-jobs", {"jobs": {"measure": {"job": {"evaluate": words}}}})
    run = only(found, "RayJob")["spec"]
    # The ConfigMap is mounted there; a folder takes its place.
    (tmp_path / "job.yaml").write_text(only(found, "ConfigMap")["data"]["job.yaml"])
    entrypoint = run["entrypoint"].replace("/etc/manta/", f"{tmp_path}/")
    (container,) = run["submitterPodTemplate"]["spec"]["containers"]
    assert container["workingDir"] == "/app"
    ended = subprocess.run(
        [str(BIN / "ray"), "job", "submit", "--address", cluster.dashboard, "--", *shlex.split(entrypoint)],
        cwd=ROOT,
        env=cluster.head.environment | {"RAY_ADDRESS": cluster.dashboard},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    result = json.loads((tmp_path / "evaluation/result.json").read_text())
    assert result["metrics"]["test"]["num_samples"] == 179


def deploy(cluster: Cluster, config: Object, path: Path) -> Object:
    """Type `serve deploy` and wait; return the application."""
    path.write_text(yaml.safe_dump(config))
    subprocess.run(
        [str(BIN / "serve"), "deploy", str(path), "--address", cluster.dashboard],
        env=cluster.head.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    ends = time.monotonic() + 240
    while (app := cluster.ask("/api/serve/applications/")["applications"].get("manta", {})).get(
        "status"
    ) != "RUNNING":
        assert app.get("status") != "DEPLOY_FAILED", app
        assert time.monotonic() < ends, app
        time.sleep(1)
    return app


def test_the_rendered_configuration_serves_a_prediction(cluster: Cluster, tmp_path: Path) -> None:
    import numpy as np

    config = yaml.safe_load(only(cluster.found, "RayService")["spec"]["serveConfigV2"])
    assert config["http_options"] == {"host": "0.0.0.0", "port": cluster.port}
    config["http_options"]["host"] = "127.0.0.1"
    app = deploy(cluster, config, tmp_path / "serve.yaml")
    # The worker is ready when its proxy is.
    cluster.worker.wait("readinessProbe", timeout_s=60)
    # No replica is on the head, so it can be lost.
    (replica,) = app["deployments"]["Gateway"]["replicas"]
    nodes = {each["raylet"]["nodeId"]: each for each in cluster.ask("/nodes?view=summary")["data"]["summary"]}
    assert nodes[replica["node_id"]]["raylet"]["isHeadNode"] is False
    picture = encode(np.zeros((28, 28), np.uint8))
    with Client(f"http://127.0.0.1:{cluster.port}", token=cluster.token) as client:
        answer = client.predict(picture)
    assert len(answer.predictions) == 5
    assert cluster.worker.get(cluster.port, "/model") == 401
    assert cluster.worker.get(cluster.port, "/v2/health/ready") == 200

    # Other versions are a user_config: the replica stays, and goes on where one cannot be loaded.
    rollout = {"candidates": [{"bundle": "/nowhere", "weight": 0.1}]}
    config["applications"][0]["deployments"] = [{"name": "Gateway", "user_config": rollout}]
    gateway = deploy(cluster, config, tmp_path / "serve.yaml")["deployments"]["Gateway"]
    assert gateway["deployment_config"]["user_config"] == rollout
    assert [each["replica_id"] for each in gateway["replicas"]] == [replica["replica_id"]]
    assert cluster.worker.get(cluster.port, "/v2/health/ready") == 200
