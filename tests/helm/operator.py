"""What KubeRay's operator makes of a rendered Ray cluster, as processes of this machine in place of pods.

with start_pod(spec["headGroupSpec"], "head", …) as pod:
    pod.probe("readinessProbe")

As the operator does, it completes the flags of `ray start`. What stands for Kubernetes is replaced: addresses
by loopback, ports by free ones, mounts by folders, a Secret by its value.
"""

import base64
import math
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from lib.ports import free_ports
from tests.helm.charts import ROOT, Object
from tests.processes import kill_tree

BIN = Path(sys.executable).parent
AGENT, DASHBOARD, METRICS = 52365, 8265, 8080
_UNITS = {"Gi": 2**30, "Mi": 2**20}


@dataclass(frozen=True)
class Pod:
    """A node of Ray, its container as it was rendered, and where its ports went."""

    container: Object
    ports: dict[int, int]
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]"
    log: Path

    def get(self, port: int, path: str) -> int:
        """Status of GET; 0 if nothing answers."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"http://127.0.0.1:{self.ports.get(port, port)}{path}", timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def probe(self, name: str) -> bool:
        """Ask what the kubelet would."""
        action = self.container[name]["httpGet"]
        return self.get(action["port"], action["path"]) == 200

    def wait(self, name: str, timeout_s: float = 180) -> None:
        ends = time.monotonic() + timeout_s
        while not self.probe(name):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < ends, f"{name}: {self.log.read_text()}"
            time.sleep(0.5)


def flags(group: Object, ports: dict[int, int], address: str | None) -> list[str]:
    """Flags of `ray start`: those that were rendered, and what the operator adds."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    params = {"metrics-export-port": METRICS, "dashboard-agent-listen-port": AGENT} | group["rayStartParams"]
    params.setdefault("num-cpus", math.ceil(float(limits["cpu"])))
    params.setdefault("memory", int(limits["memory"][:-2]) * _UNITS[limits["memory"][-2:]])
    here = {
        "metrics-export-port": ports[METRICS],
        "dashboard-agent-listen-port": ports[AGENT],
        "node-ip-address": "127.0.0.1",
    }
    if address is None:
        here |= {"port": ports[6379], "dashboard-host": "127.0.0.1", "dashboard-port": ports[DASHBOARD]}
    else:
        here |= {"address": address}
    start = ["--head"] if address is None else []
    return [*start, "--block", *(f"--{key}={value}" for key, value in (params | here).items())]


def variables(container: Object, secrets: dict[str, Object]) -> dict[str, str]:
    """The environment that was rendered."""
    found = {}
    for each in container["env"]:
        if "value" in each:
            found[each["name"]] = each["value"]
        else:
            wanted = each["valueFrom"]["secretKeyRef"]
            data = secrets[wanted["name"]]["data"][wanted["key"]]
            found[each["name"]] = base64.b64decode(data).decode()
    return found


@contextmanager
def start_pod(
    group: Object,
    home: Path,
    environment: dict[str, str],
    secrets: dict[str, Object],
    address: str | None = None,
) -> Iterator[Pod]:
    """Start a head, or with `address` a worker; `environment` stands for what is of the machine."""
    (container,) = group["template"]["spec"]["containers"]
    rendered = variables(container, secrets)
    names = [6379, DASHBOARD, METRICS, AGENT]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "MANTA_"))}
    whole = clean | rendered | environment | {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    home.mkdir(parents=True, exist_ok=True)
    log = home / "ray.log"
    command = " ".join(["ulimit -n 65536 || true;", "exec ray start", *flags(group, ports, address)])
    with log.open("w") as output:
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=ROOT, env=whole, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield Pod(container, ports, whole, process, log)
    finally:
        kill_tree(psutil.Process(process.pid))
        process.wait(timeout=60)
