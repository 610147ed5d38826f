"""A server that is started, and asked in turns with others, which are stopped meanwhile.

with started("fastapi", work, folder, {}) as server:
    server.measure(connections=16, seconds=5, arrivals="random")["rps"]
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from child import Child, ChildError, environment_without

from lib.ports import free_ports
from lib.runtime import ENVIRONMENT

_LOAD_FRACTION = 0.6
# Enough connections for requests that come at random moments never to wait for one.
_OPEN_CONNECTIONS = 64
_START_S = 180.0
# What had to wait while a server was stopped is done before it is measured.
_SETTLE_S = 1.0
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Work:
    """What all servers are given."""

    folder: Path
    """With the photograph."""
    bundles: dict[str, Path]
    """By fp32 and int8."""
    engine: str


@dataclass(frozen=True)
class Served:
    """A server, and what is typed to load it."""

    child: Child
    load: list[str]

    @contextmanager
    def awake(self) -> Iterator[None]:
        """Let it run; left, it is stopped."""
        self.child.resume()
        time.sleep(_SETTLE_S)
        try:
            yield
        finally:
            self.child.pause()

    def measure(self, connections: int, seconds: float, arrivals: str) -> dict[str, float]:
        """Saturate it, then load it in part; ChildError if a request was not answered."""
        with self.awake():
            full = send(self.load, connections, seconds)
            memory = self.child.memory_mb()
            rate = _LOAD_FRACTION * full["rps"]
            part = send([*self.load, f"arrivals={arrivals}"], _OPEN_CONNECTIONS, seconds, rate)
        found = {key: full[key] for key in ("rps", "p50_ms", "p90_ms", "p99_ms")}
        found |= {f"{key}_at_60": part[key] for key in ("p50_ms", "p90_ms", "p99_ms")}
        return found | {"memory_mb": memory}


@contextmanager
def started(server: str, work: Work, out: Path, tried: Mapping[str, str]) -> Iterator[Served]:
    """Start a server, and stop it once it answers; raises `ChildError` if it does not.

    `tried` are variables of the environment for the server manta_tried.
    """
    (port,) = free_ports(1)
    kind, body = "image/jpeg", work.folder / "photo.jpg"
    if server == "litserve":
        kind, body = "application/json", work.folder / "photo.json"
    load = load_command(port, body, kind)
    environment = server_environment() | (tried if server == "manta_tried" else {})
    with Child(_command(server, work, port), out, environment) as child:
        child.wait_until(lambda: answers(load), _START_S)
        child.pause()
        yield Served(child, load)


def load_command(port: int, body: Path, kind: str) -> list[str]:
    """Return what is typed to load a server."""
    url = f"http://127.0.0.1:{port}/predict"
    return [sys.executable, str(_HERE / "load.py"), url, str(body), f"type={kind}"]


def server_environment() -> dict[str, str]:
    """Return the environment of a server: as a user has it."""
    environment = environment_without(ENVIRONMENT) | {"PYTHONPATH": str(_HERE.parent)}
    environment.pop("RAY_ADDRESS", None)
    return environment


def _command(server: str, work: Work, port: int) -> list[str]:
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
